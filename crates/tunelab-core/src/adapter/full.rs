//! Full fine-tuning: every weight of the UNet, and of the text encoder where that is asked for.
//!
//! In: its settings, and at the end the trained networks. Out: what it trains; a folder that
//! diffusers loads, in which the trained parts are written and the others copied from the base
//! model, and one single file if asked for.

use super::method::{Method, Output};
use super::single_file;
use super::weights::{TrainedModel, WeightsFolder};
use crate::config::Full;
use crate::diffusion::zero_terminal_snr_json;
use crate::error::{Error, Result};
use crate::model::build::Trainable;
use crate::pipeline::{Family, ModelFiles, PartKind};
use crate::results::weights_name;
use crate::weights::{Part, PartName, write_safetensors};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// With it a folder is a model.
const MODEL_INDEX: &str = "model_index.json";

/// What it trains.
pub fn method(full: &Full) -> Method {
    Method {
        label: "full",
        unet: Trainable::Full,
        text_encoder: if full.text_encoder { Trainable::Full } else { Trainable::None },
        beside_weights: None,
        ema_decay: full.ema_decay,
        output: Output::Model(MODEL_INDEX),
    }
}

/// A diffusers pipeline: the trained parts are written, the others copied from the base model.
pub fn save(out: &mut WeightsFolder, full: &Full, trained: &TrainedModel) -> Result<()> {
    let files = trained.files;
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    let save = |out: &mut WeightsFolder, part: &Part, file: &str, weights| {
        out.write(&format!("{}/{file}", part.name), |path| write_safetensors(path, weights, &metadata))?;
        out.copy(&part.config, &format!("{}/config.json", part.name))
    };
    save(out, files.part(PartName::Unet)?, "diffusion_pytorch_model.safetensors", &trained.unet.weights)?;
    for (name, _) in files.family.text_encoders() {
        match trained.text_encoders.get(&name) {
            Some(text) => save(out, files.part(name)?, "model.safetensors", &text.weights)?,
            None => copy_part(out, files.part(name)?, "model")?,
        }
    }
    copy_part(out, files.part(PartName::Vae)?, "diffusion_pytorch_model")?;
    for (name, tokenizer) in files.family.text_encoders() {
        copy_folder(out, files.tokenizer(name)?, tokenizer.folder)?;
    }
    scheduler(out, trained)?;
    if full.single_file {
        out.write(&weights_name(&trained.plan.name), |file| single_file::write(file, trained))?;
    }
    // Last: with it the folder is a model.
    let index = model_index(files)?;
    out.write(MODEL_INDEX, |path| Ok(fs_err::write(path, format!("{index:#}\n"))?))
}

/// The base model's scheduler, with zero-terminal SNR where the model was trained so.
fn scheduler(out: &mut WeightsFolder, trained: &TrainedModel) -> Result<()> {
    let name = "scheduler/scheduler_config.json";
    let from = &trained.files.scheduler_config;
    if !trained.plan.train.zero_terminal_snr {
        return out.copy(from, name);
    }
    let json = zero_terminal_snr_json(&fs_err::read_to_string(from)?)?;
    out.write(name, |path| Ok(fs_err::write(path, json)?))
}

/// The base model's index without what is not copied (safety checker and its like).
fn model_index(files: &ModelFiles) -> Result<Value> {
    let family = files.family;
    let tokenizers = family.text_encoders().map(|(_, kind)| (kind.folder, ["transformers", kind.class]));
    let library = |part: &PartKind| if part.tokenizer.is_some() { "transformers" } else { "diffusers" };
    let parts = family.parts().iter().map(|part| (part.name.as_str(), [library(part), part.class]));
    let scheduler = fs_err::read_to_string(&files.scheduler_config)?;
    let scheduler: Value = serde_json::from_str(&scheduler).unwrap_or_default();
    let scheduler = scheduler["_class_name"].as_str().unwrap_or("PNDMScheduler");
    let kinds: BTreeMap<&str, [&str; 2]> =
        parts.chain(tokenizers).chain([("scheduler", ["diffusers", scheduler])]).collect();
    let path = files.root.join(MODEL_INDEX);
    let mut index: Map<String, Value> = if path.is_file() {
        let text = fs_err::read_to_string(&path)?;
        serde_json::from_str(&text)
            .map_err(|e| Error::input(format!("{}: not a JSON object", path.display())).cause(e))?
    } else {
        kinds.iter().map(|(part, kind)| ((*part).to_owned(), json!(kind))).collect()
    };
    index.insert("_class_name".to_owned(), json!(family.pipeline_class()));
    if family != Family::Sdxl {
        index.insert("requires_safety_checker".to_owned(), json!(false));
    }
    for (name, value) in &mut index {
        if value.is_array() && !kinds.contains_key(name.as_str()) {
            *value = json!([null, null]);
        }
    }
    for name in ["safety_checker", "feature_extractor", "image_encoder"] {
        // Stable Diffusion XL's pipeline takes no safety checker.
        if family != Family::Sdxl || name != "safety_checker" {
            index.insert(name.to_owned(), json!([null, null]));
        }
    }
    Ok(Value::Object(index))
}

/// Weights and configuration of a part that was not trained; shards keep their names and their
/// index, a part of one file is written under diffusers' names.
fn copy_part(out: &mut WeightsFolder, part: &Part, stem: &str) -> Result<()> {
    out.copy(&part.config, &format!("{}/config.json", part.name))?;
    if part.original.is_some() {
        let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        let tensors = single_file::load(part)?;
        return out
            .write(&format!("{}/{stem}.safetensors", part.name), |path| write_safetensors(path, &tensors, &metadata));
    }
    if let [only] = part.weights.as_slice() {
        return out.copy(only, &format!("{}/{stem}.safetensors", part.name));
    }
    for shard in &part.weights {
        out.copy(shard, &format!("{}/{}", part.name, file_name(shard)))?;
    }
    let index = format!("{stem}.safetensors.index.json");
    let folder = part.config.parent().unwrap_or(Path::new("."));
    out.copy(&folder.join(&index), &format!("{}/{index}", part.name))
}

/// Every plain file of a folder.
fn copy_folder(out: &mut WeightsFolder, folder: &Path, name: &str) -> Result<()> {
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() {
            out.copy(&path, &format!("{name}/{}", file_name(&path)))?;
        }
    }
    Ok(())
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}
