//! A diffusers folder on this machine.
//!
//! In: the folder that holds `model_index.json`. Out: the files of its parts, after the pipeline's
//! and the parts' classes were checked; or one error that lists everything that is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::family;
use super::layout::{self, Chosen, MODEL_INDEX, stays_inside};
use super::single_file;
use crate::error::{Error, Result};
use crate::model::clip::ClipConfig;
use crate::pipeline::{Family, ModelFiles, SCHEDULER};
use crate::weights::{Part, PartName};

/// Finds the parts of the model in `root`, which may be one file.
pub fn find(root: &Path) -> Result<ModelFiles> {
    if root.is_file() {
        return single_file::find(root, None);
    }
    let names = names(root)?;
    if names.contains(MODEL_INDEX) {
        check_classes(&root.join(MODEL_INDEX))?;
    }
    let needed = layout::choose(&names, &root.display().to_string())?;
    let parts = needed.parts.iter().map(|(name, chosen)| Ok((*name, part(root, *name, chosen)?)));
    let parts: BTreeMap<PartName, Part> = parts.collect::<Result<_>>()?;
    let tokenizers = needed.family.text_encoders().map(|(part, tokenizer)| (part, root.join(tokenizer.folder)));
    // What is wrong with a configuration is told where it is loaded.
    let text_encoder = parts.get(&PartName::TextEncoder).and_then(|part| ClipConfig::read(&part.config).ok());
    Ok(ModelFiles {
        family: text_encoder.map_or(needed.family, |config| needed.family.by_text_encoder(&config)),
        root: root.to_owned(),
        parts,
        tokenizers: tokenizers.collect(),
        scheduler_config: root.join(SCHEDULER),
        beside: None,
    })
}

/// The names of the files in `root` and one folder below it, which is all that the layout has.
fn names(root: &Path) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in read_dir(root)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|n| n.to_str()) else { continue };
        if path.is_dir() {
            for inner in read_dir(&path)? {
                let inner = inner?.path();
                if let (Some(file), true) = (inner.file_name().and_then(|n| n.to_str()), inner.is_file()) {
                    names.insert(format!("{name}/{file}"));
                }
            }
        } else if path.is_file() {
            names.insert(name.to_owned());
        }
    }
    Ok(names)
}

fn read_dir(dir: &Path) -> Result<fs_err::ReadDir> {
    fs_err::read_dir(dir).map_err(|e| {
        Error::input(format!("{}: the model's folder cannot be read", dir.display()))
            .cause(e)
            .hint("give the folder that holds model_index.json, unet/, vae/, text_encoder/, tokenizer/ and scheduler/")
    })
}

/// What `model_index.json` says of one component: its library and its class.
type Component = (Value, Value);

/// Errors if the pipeline or one of its parts is of another kind than tunelab's.
pub(super) fn check_classes(path: &Path) -> Result<()> {
    let text = fs_err::read_to_string(path)?;
    let index: BTreeMap<String, Value> = serde_json::from_str(&text)
        .map_err(|e| Error::input(format!("{}: not the JSON object that was expected: {e}", path.display())))?;
    let mut wrong = Vec::new();
    let class = index.get("_class_name").and_then(Value::as_str);
    let is_of = |family: &Family| class.is_none_or(|class| class == family.pipeline_class());
    let family = Family::ALL.into_iter().find(is_of);
    if let (Some(class), None) = (class, family) {
        let mut supported = Family::ALL.map(Family::pipeline_class).to_vec();
        supported.dedup();
        let supported = supported.join(" or ");
        wrong.push(format!("the pipeline is {class}, supported is {supported}"));
    }
    let family = family.unwrap_or(Family::Sd1);
    let tokenizers = family.text_encoders().map(|(_, tokenizer)| (tokenizer.folder, tokenizer.class));
    let parts = family.parts().iter().map(|p| (p.name.as_str(), p.class)).chain(tokenizers);
    for (name, supported) in parts {
        let class = index.get(name).and_then(|v| Component::deserialize(v).ok());
        let class = class.as_ref().and_then(|c| c.1.as_str());
        let fast = class.and_then(|c| c.strip_suffix("Fast"));
        if class != Some(supported) && fast != Some(supported) {
            wrong.push(format!("{name} is {}, supported is {supported}", class.unwrap_or("not there")));
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let what =
        class.and_then(family::of_class).map_or("this pipeline".to_owned(), |what| format!("this is {what}, which"));
    let list = wrong.join("\n  ");
    Err(Error::input(format!("{}: {what} is not supported:\n  {list}", path.display())).hint(family::REMEDY))
}

fn part(root: &Path, name: PartName, chosen: &Chosen) -> Result<Part> {
    let weights = match &chosen.index {
        None => chosen.files.iter().map(|f| root.join(f)).collect(),
        Some(index) => shards(&root.join(index))?,
    };
    Ok(Part { name, config: root.join(name.as_str()).join("config.json"), weights, half: chosen.half, original: None })
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The shard files that an index names; all that are missing in one error.
fn shards(index: &Path) -> Result<Vec<PathBuf>> {
    let text = fs_err::read_to_string(index)?;
    let wrong = |what: String| Error::input(format!("{}: {what}", index.display()));
    let Index { weight_map } = serde_json::from_str(&text).map_err(|e| wrong(format!("damaged index: {e}")))?;
    let files: BTreeSet<String> = weight_map.into_values().collect();
    if let Some(name) = files.iter().find(|n| !stays_inside(n)) {
        return Err(wrong(format!("names a file outside its folder: `{name}`")));
    }
    if files.is_empty() {
        return Err(wrong("names no file".to_owned()));
    }
    let dir = index.parent().unwrap_or(Path::new(""));
    let missing: Vec<_> = files.iter().filter(|f| !dir.join(f).is_file()).cloned().collect();
    if !missing.is_empty() {
        return Err(wrong(format!("shards are missing:\n  {}", missing.join("\n  ")))
            .hint("download the part again; every file that the index names is needed"));
    }
    Ok(files.iter().map(|f| dir.join(f)).collect())
}
