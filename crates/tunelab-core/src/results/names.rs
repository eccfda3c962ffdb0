//! Names of folders and files made from what a person wrote: prompts and experiment names.
//!
//! In: any text (empty, emoji, path separators, names that Windows reserves). Out: one path
//! component that every file system takes. Two prompts never share a folder: a prompt that its slug
//! does not spell out in full gets a hash, after a character that slugs without a hash never hold.

use unicode_normalization::UnicodeNormalization;

use super::sample_set::SampleSet;
use crate::hash::sha256;

/// The most characters of a slug before its hash.
const SLUG_CHARS: usize = 60;

/// Device names of Windows, which no file may have whatever its ending.
const RESERVED: [&str; 4] = ["con", "prn", "aux", "nul"];

/// Files that the report writes beside the runs' folders.
const TAKEN: [&str; 8] =
    ["table.csv", "table.md", "table.tex", "index.html", "report.html", "report.md", "loss.png", "loss.svg"];

/// A prompt's folder: `a dog` → `a-dog`; `A dog!` → `a-dog_` and eight hexadecimal digits.
pub fn slug(prompt: &str) -> String {
    let words: Vec<String> = prompt
        .nfkd()
        .collect::<String>()
        .to_ascii_lowercase()
        .split(|c: char| !c.is_ascii_alphanumeric() && !is_accent(c))
        .map(|word| word.chars().filter(char::is_ascii_alphanumeric).collect::<String>())
        .filter(|word| !word.is_empty())
        .collect();
    let mut slug = words.join("-");
    let exact = words.join(" ") == prompt && slug.len() <= SLUG_CHARS && !slug.is_empty() && !is_reserved(&slug);
    if exact {
        return slug;
    }
    slug.truncate(SLUG_CHARS);
    let readable = slug.trim_end_matches('-');
    format!("{}_{}", if readable.is_empty() { "prompt" } else { readable }, short_hash(prompt))
}

/// Where image `index` of `prompt` lies in the folder of its run.
pub fn sample_name(set: SampleSet, prompt: &str, index: usize) -> String {
    format!("samples/{}/{}/{index}.png", set.folder(), slug(prompt))
}

/// A run's folder: the name itself where it is a plain one, otherwise a plain one with a hash.
pub fn run_folder(name: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    let harmless = !name.is_empty() && name.len() <= 120 && !name.starts_with(['.', '-']) && !name.ends_with('.');
    // What came of a sweep lies in such a folder.
    let is_sweeps = name.to_lowercase().ends_with(".sweep");
    if harmless
        && !is_sweeps
        && name.chars().all(plain)
        && !is_reserved(name)
        && !TAKEN.contains(&name.to_lowercase().as_str())
    {
        return name.to_string();
    }
    let readable: String = name.chars().map(|c| if plain(c) { c } else { '-' }).take(SLUG_CHARS).collect();
    // A reserved name is one whatever follows its first point.
    let readable = if is_reserved(&readable) { readable.replace('.', "-") } else { readable };
    let readable = readable.trim_matches(['.', '-']);
    format!("{}_{}", if readable.is_empty() { "run" } else { readable }, short_hash(name))
}

/// The file among a run's weights that is called as the run is: kohya's form of a LoRA, or the
/// whole model. An experiment may have the name of the file for diffusers or PEFT, or one that
/// Windows reserves.
pub fn weights_name(name: &str) -> String {
    let stem = match name {
        name if is_reserved(name) => run_folder(name),
        "pytorch_lora_weights" | "adapter_model" => format!("{name}_kohya"),
        name => name.to_owned(),
    };
    format!("{stem}.safetensors")
}

/// Combining marks, which normal form NFKD parts from their letters.
fn is_accent(c: char) -> bool {
    ('\u{300}'..='\u{36f}').contains(&c)
}

fn is_reserved(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().to_lowercase();
    let numbered = |device: &str| stem.strip_prefix(device).is_some_and(|n| n.chars().count() == 1);
    RESERVED.contains(&stem.as_str()) || numbered("com") || numbered("lpt")
}

fn short_hash(text: &str) -> String {
    sha256(text.as_bytes())[..8].to_owned()
}
