//! Which file a path of a LoRA stands for.
//!
//! In: what a person gave: a file, or the folder that a program saved into (PEFT's, diffusers', a
//! run's `weights/`). Out: the file.

use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

/// What diffusers and `tunelab run`, and what PEFT, call their file in a folder of its own.
const NAMED: [&str; 2] = ["pytorch_lora_weights.safetensors", "adapter_model.safetensors"];

/// The file at `path`, or the one LoRA in the folder at `path`: the one with a known name, or the
/// only safetensors file.
///
/// Errors: nothing is there, or several files might be meant.
pub fn find(path: &Path) -> Result<PathBuf> {
    if path.is_file() {
        return Ok(path.to_owned());
    }
    if !path.is_dir() {
        return Err(Error::input(format!("there is no LoRA file {}", path.display()))
            .hint("give the .safetensors file of a LoRA, or its folder, such as the weights/ of a run"));
    }
    let files = safetensors(path)?;
    let named: Vec<&String> = files.iter().filter(|name| NAMED.contains(&name.as_str())).collect();
    match (&named[..], &files[..]) {
        ([only], _) => Ok(path.join(only)),
        ([], [only]) => Ok(path.join(only)),
        ([], []) => Err(without_any(path)),
        ([], several) => Err(ambiguous(path, several)),
        (several, _) => Err(ambiguous(path, several)),
    }
}

/// The names of the safetensors files in the folder, sorted; hidden ones are some system's own.
fn safetensors(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs_err::read_dir(folder).map_err(|e| Error::input(e.to_string()))? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_file() && name.to_lowercase().ends_with(".safetensors") && !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn ambiguous(folder: &Path, names: &[impl AsRef<str>]) -> Error {
    let shown: String = names.iter().flat_map(|name| ["\n    ", name.as_ref()]).collect();
    Error::input(format!("{} has several files that may be meant:{shown}", folder.display())).hint("name one of them")
}

fn without_any(folder: &Path) -> Error {
    let (has, name) = (|name: &str| folder.join(name).exists(), folder.display());
    if has("plan.toml") {
        return Error::input(format!("{name} is the folder of a run, and no LoRA"))
            .hint(format!("give {}, or draw with `tunelab sample {name}`", folder.join("weights").display()));
    }
    if has("model_index.json") {
        return Error::input(format!("{name} is a whole model, and no LoRA"))
            .hint("give it as --model, without --lora");
    }
    if let Some(pickle) = ["pytorch_lora_weights.bin", "adapter_model.bin"].into_iter().find(|name| has(name)) {
        return super::pickle(&folder.join(pickle));
    }
    let parts: Vec<&str> =
        ["unet", "text_encoder"].into_iter().filter(|part| has(&format!("{part}/{}", NAMED[1]))).collect();
    let hint = match parts[..] {
        [] => "give the .safetensors file of a LoRA, or the folder that it lies in".to_owned(),
        _ => format!("PEFT keeps each network's adapter in a folder of its own: give one of {}", parts.join(", ")),
    };
    Error::input(format!("{name} has no .safetensors file")).hint(hint)
}
