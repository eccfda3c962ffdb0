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
use crate::pipeline::ModelFiles;
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
    let mut save = |part: &Part, file: &str, weights| {
        out.write(&format!("{}/{file}", part.name), |path| write_safetensors(path, weights, &metadata))?;
        out.copy(&part.config, &format!("{}/config.json", part.name))
    };
    save(files.part(PartName::Unet)?, "diffusion_pytorch_model.safetensors", &trained.unet.weights)?;
    match trained.text_encoder {
        Some(text) => save(files.part(PartName::TextEncoder)?, "model.safetensors", &text.weights)?,
        None => copy_part(out, files.part(PartName::TextEncoder)?, "model")?,
    }
    copy_part(out, files.part(PartName::Vae)?, "diffusion_pytorch_model")?;
    copy_folder(out, files.tokenizer(PartName::TextEncoder)?, "tokenizer")?;
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
    let known = ["unet", "vae", "text_encoder", "tokenizer", "scheduler"];
    let path = files.root.join(MODEL_INDEX);
    let mut index: Map<String, Value> = if path.is_file() {
        let text = fs_err::read_to_string(&path)?;
        serde_json::from_str(&text)
            .map_err(|e| Error::input(format!("{}: not a JSON object", path.display())).cause(e))?
    } else {
        let scheduler = fs_err::read_to_string(&files.scheduler_config)?;
        let scheduler: Value = serde_json::from_str(&scheduler).unwrap_or_default();
        let scheduler = scheduler["_class_name"].as_str().unwrap_or("PNDMScheduler");
        let kinds = [
            ("unet", ["diffusers", "UNet2DConditionModel"]),
            ("vae", ["diffusers", "AutoencoderKL"]),
            ("text_encoder", ["transformers", "CLIPTextModel"]),
            ("tokenizer", ["transformers", "CLIPTokenizer"]),
            ("scheduler", ["diffusers", scheduler]),
        ];
        kinds.into_iter().map(|(part, kind)| (part.to_owned(), json!(kind))).collect()
    };
    index.insert("_class_name".to_owned(), json!("StableDiffusionPipeline"));
    index.insert("requires_safety_checker".to_owned(), json!(false));
    for (name, value) in &mut index {
        if value.is_array() && !known.contains(&name.as_str()) {
            *value = json!([null, null]);
        }
    }
    for name in ["safety_checker", "feature_extractor", "image_encoder"] {
        index.insert(name.to_owned(), json!([null, null]));
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
