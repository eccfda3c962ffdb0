//! Which files of a diffusers repository this program needs, chosen from the names that are there.
//!
//! In: the names below the repository's root, `/` between folders, from a local folder or from a
//! hub's listing. Out: the weight files of each part and the other files; or one error that lists
//! everything that is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use super::family;
use crate::config::experiment::NOT_SAFETENSORS;
use crate::error::{Error, Result};
use crate::pipeline::{Family, PartKind, SCHEDULER, TOKENIZER_FILES};
use crate::weights::PartName;

pub(super) const MODEL_INDEX: &str = "model_index.json";

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
    /// What the model is.
    pub family: Family,
    /// The weight files of each part.
    pub parts: BTreeMap<PartName, Chosen>,
    /// Configurations, tokenizer, scheduler.
    pub others: Vec<String>,
}

impl Needed {
    /// Every file, small ones first: a wrong configuration shows before gigabytes have come.
    pub(super) fn all(&self) -> impl Iterator<Item = &String> {
        self.others.iter().chain(self.parts.values().flat_map(|p| p.index.iter().chain(&p.files)))
    }
}

/// Chooses the files from `names`; `place` is the folder or repository, for the error.
pub(super) fn choose(names: &BTreeSet<String>, place: &str) -> Result<Needed> {
    let family = family::of_names(names, place)?;
    let mut missing = Vec::new();
    let folders: Vec<&str> = family.text_encoders().map(|(_, tokenizer)| tokenizer.folder).collect();
    let tokenizers = folders.iter().flat_map(|folder| TOKENIZER_FILES.map(|name| format!("{folder}/{name}")));
    let small = [MODEL_INDEX.to_owned()].into_iter().chain(tokenizers);
    let mut others: Vec<String> = small.filter(|name| names.contains(name)).collect();
    let mut require = |name: String| if names.contains(&name) { others.push(name) } else { missing.push(name) };
    require(SCHEDULER.to_owned());
    for part in family.parts() {
        require(format!("{}/config.json", part.name));
    }
    for folder in folders {
        let there = |file: &str| names.contains(&format!("{folder}/{file}"));
        let is_there = there("tokenizer.json") || there("vocab.json") && there("merges.txt");
        if !is_there {
            missing.push(format!("{folder}/tokenizer.json (or vocab.json and merges.txt)"));
        }
    }
    let mut parts = BTreeMap::new();
    for part in family.parts() {
        match weights(names, part) {
            Some(chosen) => drop(parts.insert(part.name, chosen)),
            None => missing.push(format!("{}/{}.safetensors", part.name, part.stem)),
        }
    }
    if missing.is_empty() {
        return Ok(Needed { family, parts, others });
    }
    Err(incomplete(names, place, family, &missing))
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
        let files = names.iter().filter(|n| is_shard(n, dir.as_str(), stem, variant)).cloned().collect();
        names.contains(&index).then_some(Chosen { index: Some(index), files, half })
    })
}

/// `unet/diffusion_pytorch_model-00001-of-00002.safetensors`, with `.fp16` before the number or
/// before the ending.
fn is_shard(name: &str, dir: &str, stem: &str, variant: &str) -> bool {
    let middle = name.strip_prefix(&format!("{dir}/{stem}")).and_then(|n| n.strip_suffix(".safetensors"));
    middle.is_some_and(|m| m.contains("-of-") && m.contains(".fp16") != variant.is_empty())
}

fn incomplete(names: &BTreeSet<String>, place: &str, family: Family, missing: &[String]) -> Error {
    let single = names.iter().find(|n| !n.contains('/') && has_extension(n, &["safetensors", "ckpt"]));
    if let (Some(single), true) = (single, family.parts().iter().all(|p| in_folder(names, p.name).next().is_none())) {
        let remedy = if has_extension(single, &["safetensors"]) {
            format!(
                "name the file: {single} behind the folder under `path`, or with `file = \"{single}\"` beside `repo`"
            )
        } else {
            NOT_SAFETENSORS.to_owned()
        };
        return Error::input(format!("{place}: holds a model in one file ({single}), not a diffusers folder"))
            .hint(remedy);
    }
    let error = Error::input(format!("{place}: not a complete diffusers folder; missing:\n  {}", missing.join("\n  ")));
    let pickles: Vec<_> = family
        .parts()
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

fn in_folder(names: &BTreeSet<String>, part: PartName) -> impl Iterator<Item = &String> {
    names.iter().filter(move |n| n.strip_prefix(part.as_str()).is_some_and(|rest| rest.starts_with('/')))
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

/// Whether a folder has these files.
pub(super) fn has_files(dir: &Path, needed: &[&str]) -> bool {
    needed.iter().all(|name| dir.join(name).is_file())
}

/// The files `needed`, and those of `useful` that `names` has; or one of `needed` that it lacks.
pub(super) fn choose_files<'n>(
    names: &BTreeSet<String>,
    needed: &[&'n str],
    useful: &[&'n str],
) -> std::result::Result<Vec<String>, &'n str> {
    if let Some(lacking) = needed.iter().find(|name| !names.contains(**name)) {
        return Err(*lacking);
    }
    Ok(needed.iter().chain(useful).filter(|name| names.contains(**name)).map(ToString::to_string).collect())
}
