//! Drawing a finished run's pictures again, because only what `[eval]` says of pictures has changed.
//!
//! In: the folder of a run whose training is done. Out: new samples and grid, and `run.json` with the new seconds. Training's
//! own files stay as they are.

use super::Experiment;
use crate::assets;
use crate::error::{Error, Result};
use crate::model::load;
use crate::plan::Source;
use crate::report::grid;
use crate::results::Model;
use crate::sample::Networks;
use crate::train::texts::States;
use std::path::PathBuf;

impl Experiment<'_> {
    /// Draws every picture that is not there, with the base model and the trained one from the run's `weights/`.
    pub(super) fn resample(&self) -> Result<()> {
        let mut record = self.run.earlier_record()?;
        let (trained, lora) = crate::sample::trained_model(self.run, self.plan)?;
        let base = assets::find_model(&self.plan.model, self.progress)?;
        if assets::hash_model(&base)? != record.hashes.model {
            return Err(Error::input("the model's files have changed since this run trained on them")
                .hint("put them back, or run with --force to start over"));
        }
        self.run.begin_resampling(&self.plan.to_toml())?;
        let mut sampling = 0.0;
        if !self.plan.eval.prompts.is_empty() {
            if self.plan.eval.compare_base {
                sampling += self.draw(Model::Base, &self.plan.model, None)?;
            }
            sampling += self.draw(Model::Tuned, &trained, lora)?;
            grid::write_run_grid(self.run.path())?;
        }
        record.seconds.total += sampling - record.seconds.sampling;
        record.seconds.sampling = sampling;
        self.run.finish(&record)
    }

    fn draw(&self, model: Model, source: &Source, lora: Option<PathBuf>) -> Result<f64> {
        let files = assets::find_model(source, self.progress)?;
        let schedule = load::schedule(&files)?;
        let networks = Networks::load(&files, lora.map(|file| (file, 1.0)).as_ref(), self.device)?;
        let eval = &self.plan.eval;
        let texts = eval.prompts.iter().chain([&eval.negative_prompt]);
        let states = texts.map(|text| Ok((text.clone(), networks.states(text, self.progress)?)));
        let states: States = states.collect::<Result<_>>()?;
        self.sample(model, &self.painter(&networks.unet, &networks.vae, &schedule), &states)
    }
}
