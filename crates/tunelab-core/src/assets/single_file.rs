//! A model in one file, as model sites have them.
//!
//! In: the file, and perhaps a folder with what it lacks. Out: the model's [`ModelFiles`]: every part
//! in that one file, read where it is needed and never rewritten; configurations, tokenizer and
//! noise schedule from the folder, or from what is compiled in.

use std::collections::BTreeMap;
use std::path::Path;

use super::builtin;
use crate::config::experiment::NOT_SAFETENSORS;
use crate::diffusion::{NoiseSchedule, PredictionType};
use crate::error::{Error, Result};
use crate::pipeline::{ModelFiles, SCHEDULER};
use crate::weights::original::{Prediction, recognise};
use crate::weights::{Part, is_pickle};

/// The parts of the model in `file`; `config` is a folder in diffusers' layout whose configurations,
/// tokenizer and scheduler are taken in place of those that are compiled in.
///
/// Errors: the file is something else, or incomplete; the folder lacks something, or says another
/// prediction than the file.
pub fn find(file: &Path, config: Option<&Path>) -> Result<ModelFiles> {
    let found = recognise(file).map_err(|error| explain(file, error))?;
    let family = found.family;
    let folder = config.map_or_else(|| builtin::unpack(family.compiled_in()), |folder| Ok(folder.to_owned()))?;
    let place = |name: &str| folder.join(if config.is_some() { name } else { found.compiled_in_name(name) });
    let scheduler_config = place(SCHEDULER);
    let part = |(name, original)| Part {
        name,
        config: place(&format!("{name}/config.json")),
        weights: vec![file.to_owned()],
        half: found.half.contains(&name),
        original: Some(original),
    };
    let parts: BTreeMap<_, _> = found.parts.iter().map(|&(name, original)| (name, part((name, original)))).collect();
    let tokenizers = family.text_encoders().map(|(part, tokenizer)| (part, folder.join(tokenizer.folder))).collect();
    let files = ModelFiles { family, root: file.to_owned(), parts, tokenizers, scheduler_config, beside: found.beside };
    if let Some(config) = config {
        check(&files, config, found.prediction)?;
    }
    Ok(files)
}

/// Errors if the folder lacks something, all of it at once, or contradicts the file.
fn check(files: &ModelFiles, config: &Path, prediction: Prediction) -> Result<()> {
    let configs = files.parts.values().map(|part| &part.config).chain([&files.scheduler_config]);
    let mut missing: Vec<String> =
        configs.filter(|path| !path.is_file()).map(|path| path.display().to_string()).collect();
    for folder in files.tokenizers.values() {
        let has = |name: &str| folder.join(name).is_file();
        let is_there = has("tokenizer.json") || has("vocab.json") && has("merges.txt");
        if !is_there {
            missing.push(format!("{}/tokenizer.json (or vocab.json and merges.txt)", folder.display()));
        }
    }
    if !missing.is_empty() {
        let message = format!("`config`: the folder {} lacks:\n  {}", config.display(), missing.join("\n  "));
        return Err(Error::input(message)
            .hint("give a folder in diffusers' layout, or leave `config` out for what is compiled in"));
    }
    let schedule: NoiseSchedule = files.noise_schedule()?;
    if prediction != Prediction::Epsilon && schedule.prediction_type() != PredictionType::VPrediction {
        let (file, scheduler) = (files.root.display(), files.scheduler_config.display());
        return Err(Error::input(format!("{file} says that it predicts v, and {scheduler} says otherwise"))
            .hint("write \"prediction_type\": \"v_prediction\" there"));
    }
    Ok(())
}

/// Pickles have their own way out.
fn explain(file: &Path, error: Error) -> Error {
    if is_pickle(file).unwrap_or(false) { error.hint(NOT_SAFETENSORS) } else { error }
}
