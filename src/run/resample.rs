//! Drawing a finished run's pictures again, because only what `[eval]` says of pictures has
//! changed, or because some were removed.
//!
//! In: the folder of a run whose training is done. Out: new samples and grid, and `run.json` with
//! them and the new seconds. Training's own files stay as they are.

use super::Experiment;
use super::inputs::Inputs;
use crate::adapter;
use crate::assets;
use crate::config::{Dtype, Source};
use crate::error::Result;
use crate::pipeline::tokenize;
use crate::report::grid;
use crate::results::SampleSet;
use crate::sample::{check_base, load, trained_model};
use std::path::PathBuf;

impl Experiment<'_> {
    /// Draws every picture that is not there, with the base model and the trained one from the
    /// run's `weights/`.
    pub(super) fn resample(&self, inputs: &Inputs) -> Result<()> {
        self.check_names()?;
        let mut record = self.run.earlier_record()?;
        let (trained, lora) = trained_model(self.run, self.plan)?;
        let files = assets::find_model(&self.plan.model, self.progress)?;
        check_base(&record, &files.root, inputs.hash_model(&self.plan.model, &files)?)?;
        self.run.begin_resampling(&self.plan.to_toml())?;
        let mut sampling = 0.0;
        if !self.plan.eval.prompts.is_empty() {
            if self.plan.eval.compare_base {
                sampling += self.draw(SampleSet::Base, &self.plan.model, None)?;
            }
            sampling += self.draw(SampleSet::Final, &trained, lora)?;
            grid::write_run_grid(self.run.path())?;
        }
        record.seconds.total = self.total_seconds();
        record.seconds.sampling += sampling;
        record.peak_memory = self.peak_memory();
        record.warnings = self.warnings();
        record.files.retain(|name| name.starts_with("weights/"));
        record.files.extend(self.pictures());
        self.run.finish(&record)
    }

    fn draw(&self, set: SampleSet, source: &Source, lora: Option<PathBuf>) -> Result<f64> {
        let files = assets::find_model(source, self.progress)?;
        // Weights that are, or were, trained are not rounded.
        let trains_weights = adapter::method(&self.plan.adapter).trains_weights();
        let dtype = if trains_weights { Dtype::F32 } else { self.plan.train.dtype };
        let pipeline = load(&files, lora.map(|file| (file, 1.0)).as_ref(), self.device, dtype)?;
        let eval = &self.plan.eval;
        let texts = eval.prompts.iter().chain([&eval.sample.negative_prompt]).map(String::as_str);
        let ids = tokenize(&pipeline.tokenizers, texts, &mut |text| self.progress.warn(text))?;
        let embeds = pipeline.text_encoders.encode_each(&ids)?;
        let generator = self.image_generator(&pipeline.unet, &pipeline.vae, &pipeline.schedule);
        self.sample(set, &generator, &embeds)
    }
}
