//! Drawing a finished run's pictures again, because only what `[eval]` says of pictures has changed, or because some were removed.
//!
//! In: the folder of a run whose training is done. Out: new samples and grid, and `run.json` with them and the new seconds.
//! Training's own files stay as they are.

use super::Experiment;
use crate::adapter;
use crate::assets;
use crate::config::{Dtype, Source};
use crate::error::Result;
use crate::pipeline::load;
use crate::report::grid;
use crate::results::SampleSet;
use crate::sample::{Networks, check_base, trained_model};
use crate::train::texts::States;
use std::path::PathBuf;

impl Experiment<'_> {
    /// Draws every picture that is not there, with the base model and the trained one from the run's `weights/`.
    pub(super) fn resample(&self) -> Result<()> {
        self.check_names()?;
        let mut record = self.run.earlier_record()?;
        let (trained, lora) = trained_model(self.run, self.plan)?;
        check_base(&record, &assets::find_model(&self.plan.model, self.progress)?)?;
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
        let schedule = load::schedule(&files)?;
        // Weights that are, or were, trained are not rounded.
        let trains_weights = adapter::method(&self.plan.adapter).trains_weights();
        let dtype = if trains_weights { Dtype::F32 } else { self.plan.train.dtype };
        let networks = Networks::load(&files, lora.map(|file| (file, 1.0)).as_ref(), self.device, dtype)?;
        let eval = &self.plan.eval;
        let texts = eval.prompts.iter().chain([&eval.sample.negative_prompt]);
        let states = texts.map(|text| Ok((text.clone(), networks.states(text, self.progress)?)));
        let states: States = states.collect::<Result<_>>()?;
        self.sample(set, &self.painter(&networks.unet, &networks.vae, &schedule), &states)
    }
}
