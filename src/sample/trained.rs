//! What a finished run trained, and whether the model that it trained on is still the same.
//!
//! In: the run's folder and plan. Out: the model to draw with, and the LoRA for it, if it trained one.

use crate::adapter::{self, Output};
use crate::assets::{self, ModelFiles};
use crate::config::{Plan, Source};
use crate::error::{Error, Result};
use crate::results::{Hashes, RunDir, RunRecord};
use std::path::PathBuf;

/// The model of a finished run, and its LoRA. Errors: wrong input, if the weights are not there.
pub fn trained_model(run: &RunDir, plan: &Plan) -> Result<(Source, Option<PathBuf>)> {
    let folder = run.path().join("weights");
    let (last, model, lora) = match adapter::method(&plan.adapter).output {
        Output::Adapter(name) => (folder.join(name), plan.model.clone(), Some(folder.join(name))),
        Output::Model(name) => (folder.join(name), Source::Path(folder), None),
    };
    if last.is_file() {
        return Ok((model, lora));
    }
    Err(Error::input(format!("{} has no trained weights", run.path().display()))
        .hint("let `tunelab run` finish this experiment; if its weights were removed, run it with --force"))
}

/// Compares the base model with what the run recorded of it: a LoRA beside other weights draws something that nobody trained.
pub fn check_base(record: &RunRecord, files: &ModelFiles) -> Result<()> {
    let found = Hashes { model: assets::hash_model(files)?, ..Hashes::default() };
    let Some(what) = found.changed_since(&record.hashes) else { return Ok(()) };
    let message = format!("{what} since {} was trained on {}", record.name, files.root.display());
    Err(Error::input(message).hint(
        "put the file with the SHA-256 that run.json records back, or train on this model with `tunelab run --force`",
    ))
}
