//! Drawing and measuring a finished run's pictures again, because only what `[eval]` says of pictures or
//! `[metrics]` of measuring has changed, or because some were removed.
//!
//! In: the folder of a run whose training is done. Out: new samples and grid, and `run.json` with
//! them and the new seconds. Training's own files stay as they are.

use super::experiment::Experiment;
use super::inputs::Inputs;
use super::metrics::Judges;
use super::sources;
use crate::adapter;
use crate::assets;
use crate::config::{Dtype, PlanDiff, Source};

use crate::error::Result;
use crate::pipeline::tokenize;
use crate::results::{MetricsRecord, RunRecord, SampleSet};
use crate::sample::{check_base, load, trained_model};
use std::path::PathBuf;

impl Experiment<'_> {
    /// Draws every picture that is not there, with the base model and the trained one from the
    /// run's `weights/`, and measures all; whether anything was done.
    pub(super) fn resample(&self, inputs: &Inputs, judges: &Judges) -> Result<bool> {
        self.watched(|| self.draw_and_measure(inputs, judges))
    }

    fn draw_and_measure(&self, inputs: &Inputs, judges: &Judges) -> Result<bool> {
        self.check_names()?;
        let mut record = self.run.earlier_record()?;
        let plan_toml = self.plan.to_toml();
        let change = self.run.change_to(&plan_toml)?;
        let lost = self.lost_judges(judges, &record);
        if change == PlanDiff::MeasuringOnly && self.plan.is_measured() && (judges.is_empty() || !lost.is_empty()) {
            let who = if lost.is_empty() {
                "no encoder can be had now".to_owned()
            } else {
                format!("{} measured these pictures and cannot be had now", lost.join(", "))
            };
            self.progress.line(format!("{who}, so nothing is measured again"));
            return Ok(false);
        }
        trained_model(self.run, self.plan, SampleSet::Final)?;
        let sets = self.all_sets(record.counts.steps);
        if change == PlanDiff::SamplingOnly || sets.iter().any(|set| self.is_missing(*set)) {
            let files = assets::find_model(&self.plan.model, self.progress)?;
            check_base(&record, &files.root, inputs.hash_model(&self.plan.model, &files)?)?;
        }
        self.run.begin_resampling(&plan_toml)?;
        self.expect_pictures(&sets, judges, record.counts.images);
        self.progress.loaded();
        record.seconds.sampling += self.draw_again(sets.into_iter())?;
        self.draw_grids()?;
        // The numbers of the same pictures by the same encoders are the same.
        let before = record.metrics.take().filter(|_| matches!(change, PlanDiff::Equal | PlanDiff::MetadataOnly));
        let before = before.map(|metrics| (metrics, 0.0));
        let metrics = match (judges.is_empty(), lost.is_empty()) {
            (false, true) => self.measure_again(judges, record.counts.steps)?.or(before),
            (true, true) => None,
            (_, false) => before,
        };
        let events = self.whole_event_file(&record)?;
        self.finish(record, metrics, events)?;
        Ok(true)
    }

    /// The encoders that measured before, are still asked for, and cannot be had now.
    fn lost_judges(&self, judges: &Judges, record: &RunRecord) -> Vec<String> {
        let measured = record.metrics.iter().flat_map(|metrics| metrics.encoders.keys());
        let is_asked = |name: &&String| self.plan.metrics.encoders.iter().any(|asked| asked.as_str() == *name);
        measured.filter(is_asked).filter(|name| !judges.has(name)).cloned().collect()
    }

    /// As the run's end does. Photographs that are not here any more are no reason to draw nothing.
    fn measure_again(&self, judges: &Judges, steps: usize) -> Result<Option<(MetricsRecord, f64)>> {
        // What is passed over was told when the run was trained.
        match sources::load(self.plan, self.progress, &mut |_| {}) {
            Ok(loaded) => self.measure(judges, steps, &sources::instances(&loaded)),
            Err(error) if error.is_interrupted() => Err(error),
            Err(error) => {
                self.progress.warn(format!("the pictures are not measured: {}", error.line()));
                Ok(None)
            }
        }
    }

    /// Draws what is missing of these sets, with weights from the run's folder; a step's only if they were
    /// kept. Returns the seconds that it took.
    pub(super) fn draw_again(&self, sets: impl Iterator<Item = SampleSet>) -> Result<f64> {
        let mut sampling = 0.0;
        let mut gone = Vec::new();
        for set in sets.filter(|set| self.is_missing(*set)) {
            match (set, trained_model(self.run, self.plan, set)) {
                (SampleSet::Step(step), Err(_)) => gone.push(step.to_string()),
                (_, model) => sampling += self.draw(set, model?)?,
            }
        }
        if !gone.is_empty() {
            let steps = if gone.len() == 1 { "step" } else { "steps" };
            self.progress.warn(format!(
                "the pictures of {steps} {} are not drawn where they are missing: the weights of then are not in weights/ \
                 (eval.keep_weights keeps them)",
                gone.join(", ")
            ));
        }
        Ok(sampling)
    }

    fn draw(&self, set: SampleSet, (source, lora): (Source, Option<PathBuf>)) -> Result<f64> {
        let files = assets::find_model(&source, self.progress)?;
        // Weights that are, or were, trained are not rounded.
        let trains_weights = adapter::method(&self.plan.adapter).trains_weights();
        let dtype = if trains_weights { Dtype::F32 } else { self.plan.train.dtype };
        let pipeline = load(&files, lora.map(|file| (file, 1.0)).as_ref(), self.device, dtype)?;
        let pipeline = pipeline.with_text_chunks(self.plan.text.chunks);
        let eval = &self.plan.eval;
        let prompts = self.plan.drawn_prompts();
        let texts = prompts.iter().chain([&eval.sample.negative_prompt]).map(String::as_str);
        let ids = tokenize(&pipeline.tokenizers, texts, &mut |text| self.progress.warn(text))?;
        let embeds = pipeline.text_encoders.encode_each(&ids)?;
        let schedule = self.plan.train.noise_schedule(pipeline.schedule)?;
        let generator = self.image_generator(&pipeline.unet, &pipeline.vae, &schedule);
        self.sample(set, &generator, &embeds)
    }
}
