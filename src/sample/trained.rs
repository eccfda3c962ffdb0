//! What a finished run trained, loaded to draw with, and whether the model that it trained on is
//! still the same.
//!
//! In: the run's folder and plan, or a model and a LoRA file. Out: the model to draw with, and the
//! LoRA for it, if there is one; both as one [`Pipeline`].

use crate::adapter::file::{self as lora_file, Modules};
use crate::adapter::{self, Output};
use crate::config::{Dtype, Plan, Source};
use crate::error::{Error, Result};
use crate::pipeline::{ModelFiles, Pipeline, PipelineLoader};
use crate::results::{Hashes, RunDir, RunRecord, SampleSet};
use candle_core::Device;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The model of a run with the weights of `set`, and its LoRA. Errors: wrong input, if the weights
/// are not there.
pub fn trained_model(run: &RunDir, plan: &Plan, set: SampleSet) -> Result<(Source, Option<PathBuf>)> {
    let Some(folder) = set.weights_folder() else { return Ok((plan.model.clone(), None)) };
    let folder = run.path().join(folder);
    let (last, model, lora) = match adapter::method(&plan.adapter).output {
        Output::Adapter(name) => (folder.join(name), plan.model.clone(), Some(folder.join(name))),
        Output::Model(name) => (folder.join(name), Source::Path(folder), None),
    };
    if last.is_file() {
        return Ok((model, lora));
    }
    if let SampleSet::Step(step) = set {
        let error = Error::input(format!("{} has no weights of step {step}", run.path().display()));
        return Err(error.hint(kept(run, plan)));
    }
    Err(Error::input(format!("{} has no trained weights", run.path().display()))
        .hint("let `tunelab run` finish this experiment; if its weights were removed, run it with --force"))
}

/// Which steps' weights a run has.
fn kept(run: &RunDir, plan: &Plan) -> String {
    let sets = SampleSet::found_in(&run.path().join("weights")).unwrap_or_default();
    let steps =
        sets.into_iter().filter_map(|set| if let SampleSet::Step(step) = set { Some(step.to_string()) } else { None });
    let steps: Vec<String> = steps.collect();
    match steps.as_slice() {
        [] if plan.eval.keep_weights && plan.eval.images_every > 0 => {
            "they were not kept while it trained, or were removed; `tunelab run --force` trains again".to_owned()
        }
        [] => "eval.images_every with eval.keep_weights keeps weights while training".to_owned(),
        steps => format!("it has those of {}", steps.join(", ")),
    }
}

/// Compares the base model in `root` with what the run recorded of it: a LoRA beside other weights
/// draws something that nobody trained.
pub fn check_base(record: &RunRecord, root: &Path, hashes: BTreeMap<String, String>) -> Result<()> {
    let found = Hashes { model: hashes, ..Hashes::default() };
    let Some(what) = found.changed_since(&record.hashes) else { return Ok(()) };
    let message = format!("{what} since {} was trained on {}", record.name, root.display());
    Err(Error::input(message).hint(
        "put the file with the SHA-256 that run.json records back, or train on this model with `tunelab run --force`",
    ))
}

/// A model with frozen weights of type `dtype`, with a LoRA file and its scale, if there is one.
pub fn load(files: &ModelFiles, lora: Option<&(PathBuf, f64)>, device: &Device, dtype: Dtype) -> Result<Pipeline> {
    let pipeline = PipelineLoader::of_files(files, device).dtype(dtype).pipeline()?;
    let Some((file, scale)) = lora else { return Ok(pipeline) };
    let modules = Modules::new(&pipeline.parameters);
    let adapters = lora_file::read(file, &modules, device, *scale)?;
    pipeline.with_lora(adapters)
}
