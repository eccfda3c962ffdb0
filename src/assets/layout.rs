//! Which files of a diffusers repository this program needs, chosen from the names that are there.
//!
//! In: the names below the repository's root, `/` between folders, from a local folder or from a hub's listing. Out: the
//! weight files of each part and the other files; or one error that lists everything that is missing.

use std::collections::BTreeSet;
use std::path::{Component, Path};

use super::family;
pub(super) use crate::config::experiment::SINGLE_FILE;
use crate::error::{Error, Result};

/// One part of the model: its folder, the stem of its weight files, and the class that is supported.
pub(super) struct PartKind {
    pub name: &'static str,
    pub stem: &'static str,
    pub class: &'static str,
}

pub(super) const PARTS: [PartKind; 3] = [
    PartKind { name: "unet", stem: "diffusion_pytorch_model", class: "UNet2DConditionModel" },
    PartKind { name: "vae", stem: "diffusion_pytorch_model", class: "AutoencoderKL" },
    PartKind { name: "text_encoder", stem: "model", class: "CLIPTextModel" },
];

pub(super) const SCHEDULER: &str = "scheduler/scheduler_config.json";
pub(super) const MODEL_INDEX: &str = "model_index.json";

/// The folder of [`TOKENIZER_FILES`].
pub(super) const TOKENIZER: &str = "tokenizer";

/// Every file that can decide an id: what is read of a tokenizer's folder, fetched where it is there, and hashed.
pub const TOKENIZER_FILES: [&str; 6] = [
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
];

/// The weight files of one part.
pub(super) struct Chosen {
    /// The shards' index, where there are shards.
    pub index: Option<String>,
    /// One file, or the shards.
    pub files: Vec<String>,
    /// Whether only the float16 variant is there.
    pub half: bool,
}

/// All files that are needed.
pub(super) struct Needed {
    /// In the order of [`PARTS`].
    pub parts: Vec<Chosen>,
    /// Configurations, tokenizer, scheduler.
    pub others: Vec<String>,
}

impl Needed {
    /// Every file, small ones first: a wrong configuration shows before gigabytes have come.
    pub(super) fn all(&self) -> impl Iterator<Item = &String> {
        self.others.iter().chain(self.parts.iter().flat_map(|p| p.index.iter().chain(&p.files)))
    }
}

/// Chooses the files from `names`; `place` is the folder or repository, for the error.
pub(super) fn choose(names: &BTreeSet<String>, place: &str) -> Result<Needed> {
    if let Some(error) = family::refused(names, place) {
        return Err(error);
    }
    let mut missing = Vec::new();
    let tokenizer = TOKENIZER_FILES.map(|name| format!("{TOKENIZER}/{name}"));
    let small = [MODEL_INDEX.to_owned()].into_iter().chain(tokenizer);
    let mut others: Vec<String> = small.filter(|name| names.contains(name)).collect();
    let mut require = |name: String| if names.contains(&name) { others.push(name) } else { missing.push(name) };
    require(SCHEDULER.to_owned());
    for part in &PARTS {
        require(format!("{}/config.json", part.name));
    }
    if !["tokenizer/vocab.json", "tokenizer/merges.txt"].iter().all(|n| names.contains(*n))
        && !names.contains("tokenizer/tokenizer.json")
    {
        missing.push("tokenizer/tokenizer.json (or vocab.json and merges.txt)".to_owned());
    }
    let mut parts = Vec::new();
    for part in &PARTS {
        match weights(names, part) {
            Some(chosen) => parts.push(chosen),
            None => missing.push(format!("{}/{}.safetensors", part.name, part.stem)),
        }
    }
    if missing.is_empty() { Ok(Needed { parts, others }) } else { Err(incomplete(names, place, &missing)) }
}

/// One full file, else full shards, else one float16 file, else float16 shards.
fn weights(names: &BTreeSet<String>, part: &PartKind) -> Option<Chosen> {
    let PartKind { name: dir, stem, .. } = part;
    [("", false), (".fp16", true)].into_iter().find_map(|(variant, half)| {
        let single = format!("{dir}/{stem}{variant}.safetensors");
        if names.contains(&single) {
            return Some(Chosen { index: None, files: vec![single], half });
        }
        let index = format!("{dir}/{stem}.safetensors.index{variant}.json");
        let files = names.iter().filter(|n| is_shard(n, dir, stem, variant)).cloned().collect();
        names.contains(&index).then_some(Chosen { index: Some(index), files, half })
    })
}

/// `unet/diffusion_pytorch_model-00001-of-00002.safetensors`, with `.fp16` before the number or before the ending.
fn is_shard(name: &str, dir: &str, stem: &str, variant: &str) -> bool {
    let middle = name.strip_prefix(&format!("{dir}/{stem}")).and_then(|n| n.strip_suffix(".safetensors"));
    middle.is_some_and(|m| m.contains("-of-") && m.contains(".fp16") != variant.is_empty())
}

fn incomplete(names: &BTreeSet<String>, place: &str, missing: &[String]) -> Error {
    let single = names.iter().find(|n| !n.contains('/') && has_extension(n, &["safetensors", "ckpt"]));
    if let (Some(single), true) = (single, PARTS.iter().all(|p| in_folder(names, p.name).next().is_none())) {
        return Error::input(format!("{place}: holds a single-file checkpoint ({single}), not a diffusers folder"))
            .hint(SINGLE_FILE);
    }
    let error = Error::input(format!("{place}: not a complete diffusers folder; missing:\n  {}", missing.join("\n  ")));
    let pickles: Vec<_> = PARTS
        .iter()
        .filter(|p| missing.iter().any(|m| m.starts_with(&format!("{}/{}", p.name, p.stem))))
        .flat_map(|p| in_folder(names, p.name))
        .filter(|n| has_extension(n, &["bin", "ckpt"]))
        .cloned()
        .collect();
    if pickles.is_empty() {
        return error.hint("give the folder that holds model_index.json, or download the repository again");
    }
    error.cause(format!("there are only pickled weights, which are not read: {}", pickles.join(", "))).hint(
        "opening a pickle can run any code; take a revision that has .safetensors files, or convert it in Python: \
               `DiffusionPipeline.from_pretrained(DIR).save_pretrained(NEW_DIR)`",
    )
}

fn in_folder<'a>(names: &'a BTreeSet<String>, dir: &'a str) -> impl Iterator<Item = &'a String> {
    names.iter().filter(move |n| n.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/')))
}

fn has_extension(name: &str, extensions: &[&str]) -> bool {
    Path::new(name).extension().is_some_and(|e| extensions.iter().any(|known| e == *known))
}

/// Whether a name from a server or an index stays below the folder that it is joined to.
pub(super) fn stays_inside(name: &str) -> bool {
    !name.is_empty()
        && !name.contains(['\\', '\0', ':'])
        && Path::new(name).components().all(|c| matches!(c, Component::Normal(_)))
}
