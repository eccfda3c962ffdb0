//! The recipe: the order of everything that `tunelab run` does.
//!
//! In: a plan and a folder. Out: the folder's files. `several` is the command, `room` what its experiments share and one after the
//! other of them, `jobs` several at once, each in a process of its own (`job`), `outcome` what became of each, `experiment` is one
//! run under way. `sources` finds and loads the photographs, `prepare` gathers what a run needs and `run_inputs` holds it, `inputs`
//! sees whether a finished run's are still the same, `class_images` and `base_images` make what runs share, `phases` how long it
//! will take, `metrics` measures the images, `record` says what came of it, `next` what to look at, `events` the event file for
//! TensorBoard, `resample` draws again.

mod base_images;
mod class_images;
mod events;
mod experiment;
mod inputs;
mod job;
mod jobs;
mod metrics;
mod next;
mod outcome;
mod phases;
mod prepare;
mod record;
mod resample;
mod room;
mod run_inputs;
mod several;
mod sources;
mod versions;

pub use several::run;
pub use sources::pictures;
pub use versions::versions;

use crate::adapter;
use crate::device::{self, GpuUtilization};
use crate::diffusion::NoiseSchedule;
use crate::error::Result;
use crate::model::unet::Unet;
use crate::model::vae::Vae;
use crate::numbers::counted;
use crate::pipeline::PromptEmbeds;
use crate::report::{curve, fidelity, grid};
use crate::results::{
    EventFile, ImageMetadata, LossLog, METRICS_CSV, MetricsRecord, RunRecord, SampleSet, Timing, TrainingSummary,
    memory_now_mib, peak_memory_mib,
};
use crate::sample::ImageGenerator;
use crate::train::checkpoint::Checkpoint;
use crate::train::evaluation::Evaluation;
use crate::train::trainer::Trainer;
use base_images::BaseImages;
use experiment::Experiment;
use run_inputs::RunInputs;
use std::time::Instant;
use tunelab_ops::replay::NO_GRAPHS;

/// What came of the training beside its files.
#[derive(Default)]
struct Trained {
    /// Whether the steps were CUDA graphs, where they could be.
    graphs: Option<bool>,
    /// Seconds that were spent on images.
    sampling: f64,
    /// The event file, where the plan asks for one.
    events: Option<EventFile>,
}

impl Experiment<'_> {
    /// From photographs to the record.
    fn run(&self) -> Result<()> {
        self.watched(|| self.all()).map_err(|error| self.with_what_is_kept(error))
    }

    fn all(&self) -> Result<()> {
        self.check_names()?;
        let judges = self.find_judges()?;
        let inputs = RunInputs::new(self, &judges)?;
        self.progress.loaded();
        let eval_unet = inputs.unet_without_dropout()?;
        let mut sampling = 0.0;
        if self.plan.eval.compare_base {
            // Before the first step: full fine-tuning changes these very weights.
            let base = inputs.base_unet()?;
            let generator = self.image_generator(&base, &inputs.vae, &inputs.schedule);
            let shared = BaseImages::new(self, &inputs.hashes.model);
            sampling += self.sample_sharing(SampleSet::Base, &generator, &inputs.eval_embeds, Some(&shared))?;
        }
        let mut trained = self.train(&inputs, &eval_unet)?;
        sampling += trained.sampling;
        let end = TrainingSummary::read(self.run)?;
        let weights = adapter::save(self.run, "weights".to_owned(), &inputs.trained_model(self.plan, &end))?;
        let written = inputs.written_unet()?;
        let generator = self.image_generator(&written, &inputs.vae, &inputs.schedule);
        sampling += self.sample(SampleSet::Final, &generator, &inputs.encode_eval_prompts()?)?;
        drop(written);
        let steps = SampleSet::on_the_way(self.images_every(), end.steps);
        sampling += self.draw_again(steps)?;
        if let Some(events) = &mut trained.events {
            events.images(SampleSet::Final, end.steps)?;
        }
        curve::write(self.run.path())?;
        self.draw_grids()?;
        let metrics = self.measure(&judges, end.steps, &inputs.pictures)?;
        let mut record = self.record(&inputs, &end, trained.graphs, weights);
        record.seconds.sampling += sampling;
        self.finish(record, metrics, trained.events)
    }

    /// Trains to the end, from the newest checkpoint if there is one.
    fn train(&self, inputs: &RunInputs, eval_unet: &Unet) -> Result<Trained> {
        let t = &self.plan.train;
        let every = self.plan.eval.every;
        let evaluation = (every > 0)
            .then(|| Evaluation::new(&inputs.examples, &inputs.vae, &inputs.schedule, self.plan.seed))
            .transpose()?;
        let eval_texts = inputs.texts_without_dropout()?;
        let eval_predictor = inputs.predictor(eval_unet, &eval_texts, self.plan);
        let mut trainer = Trainer::new(inputs.trainer_inputs(self.plan))?;
        if let Some(note) = device::advice(self.device, t) {
            self.progress.line(note);
        }
        let warn = &mut |text: String| self.progress.warn(text);
        if let Some(checkpoint) = Checkpoint::newest(self.run, warn)? {
            trainer.resume(&checkpoint)?;
            self.progress.line(format!("going on after step {}", checkpoint.step));
        }
        let mut log = LossLog::resume(self.run, trainer.done(), inputs.class.is_some())?;
        if let Some(names) = inputs.source_names() {
            log = log.with_sources(self.run, trainer.done(), names)?;
        }
        let total = trainer.total();
        let parameters = counted(trainer.trained_parameters(), "parameter");
        let (pictures, steps) = (counted(inputs.pictures.len(), "picture"), counted(total, "step"));
        self.progress.line(format!("training {parameters} on {pictures} for {steps}"));
        if let Some(evaluation) = evaluation.as_ref().filter(|_| trainer.done() == 0) {
            let losses = trainer.with_ema_weights(|| evaluation.losses(eval_predictor))?;
            log.evaluation(0, Evaluation::mean(&losses))?;
            log.source_evaluations(0, &losses)?;
        }
        let bar = self.progress.bar(phases::TRAINING, total as u64);
        bar.skip(trainer.done() as u64);
        let busy = GpuUtilization::watch(self.device);
        let images_every = self.images_every();
        let is_drawn = |step: usize| (1..total).contains(&step) && SampleSet::Step(step).is_drawn(images_every);
        let mut trained = Trained::default();
        if is_drawn(trainer.done()) {
            // The checkpoint may be older than the last of its images.
            trained.sampling += self.sample_step(inputs, &mut trainer)?;
        }
        trained.events = self.event_file(trainer.done())?;
        let mut begun = Instant::now();
        let mut stop = Ok(());
        while let Some(row) = trainer.step()? {
            let replayed = trainer.replayed();
            if let (None | Some(true), Some(Err(why))) = (trained.graphs, &replayed) {
                self.progress.line(format!("note: {NO_GRAPHS}: {why}"));
            }
            trained.graphs = replayed.map(|replayed| replayed.is_ok());
            let took = Timing {
                seconds: begun.elapsed().as_secs_f64(),
                memory_mib: memory_now_mib(),
                device_peak_mib: device::memory_mib(self.device).map(|[_, peak]| peak),
                device_busy_percent: busy.percent(),
                peak_mib: peak_memory_mib(),
                total_seconds: self.total_seconds(),
            };
            log.step(&row, &took)?;
            log.sources(row.step, trainer.source_losses().iter().map(|of| (of.samples, of.sum)))?;
            trained.events.as_mut().map_or(Ok(()), |events| events.step(&row, &took))?;
            bar.set_message(format!("loss {:.4}", row.loss));
            bar.inc(1);
            let due = |every: usize| every > 0 && (row.step % every == 0 || row.step == total);
            if let Some(evaluation) = evaluation.as_ref().filter(|_| due(every)) {
                let losses = trainer.with_ema_weights(|| evaluation.losses(eval_predictor))?;
                let loss = Evaluation::mean(&losses);
                log.evaluation(row.step, loss)?;
                log.source_evaluations(row.step, &losses)?;
                trained.events.as_mut().map_or(Ok(()), |events| events.evaluation(row.step, loss))?;
            }
            stop = self.interrupt.check();
            if stop.is_ok() && is_drawn(row.step) {
                // Before the checkpoint, so that one that is there says that they are all drawn, unless it was written at a
                // signal.
                match self.sample_step(inputs, &mut trainer) {
                    Ok(seconds) => {
                        trained.sampling += seconds;
                        let set = SampleSet::Step(row.step);
                        trained.events.as_mut().map_or(Ok(()), |events| events.images(set, total))?;
                    }
                    Err(error) if error.is_interrupted() => stop = Err(error),
                    Err(error) => return Err(error),
                }
            }
            if due(t.checkpoint_every) || stop.is_err() {
                trainer.checkpoint()?.write(self.run, t.keep_checkpoints)?;
            }
            if stop.is_err() {
                break;
            }
            busy.begin();
            begun = Instant::now();
        }
        if let Some((steps, scale)) = trainer.skipped_steps() {
            let steps = counted(steps, "step");
            self.progress.warn(format!("skipped {steps} (f16 overflow); the loss scale is now {scale}"));
        }
        stop?;
        bar.finish();
        trainer.finish()?;
        Ok(trained)
    }

    /// Optimizer steps between two sets of images; 0 where none is drawn.
    fn images_every(&self) -> usize {
        if self.plan.eval.prompts.is_empty() { 0 } else { self.plan.eval.images_every }
    }

    /// The weights and the images of a step on the way, both as the run's end would have them.
    fn sample_step(&self, inputs: &RunInputs, trainer: &mut Trainer) -> Result<f64> {
        let set = SampleSet::Step(trainer.done());
        trainer.with_ema_weights(|| {
            if let Some(folder) = set.weights_folder().filter(|_| self.plan.eval.keep_weights) {
                adapter::save(self.run, folder, &inputs.trained_model(self.plan, &TrainingSummary::read(self.run)?))?;
            }
            let written = inputs.written_unet()?;
            let generator = self.image_generator(&written, &inputs.vae, &inputs.schedule);
            self.sample(set, &generator, &inputs.encode_eval_prompts()?)
        })
    }

    /// `grid.png`, and `steps.png` where images were drawn while training.
    fn draw_grids(&self) -> Result<()> {
        if self.plan.eval.prompts.is_empty() {
            return Ok(());
        }
        grid::write_run_grid(self.run.path())?;
        grid::write_steps_grid(self.run.path())
    }

    /// The run's last file: its record, with what its images were measured to be.
    fn finish(
        &self,
        mut record: RunRecord,
        measured: Option<(MetricsRecord, f64)>,
        events: Option<EventFile>,
    ) -> Result<()> {
        let (metrics, seconds) = measured.unzip();
        fidelity::write(self.run.path(), metrics.as_ref().unwrap_or(&MetricsRecord::default()))?;
        record.files.retain(|name| name.starts_with("weights/"));
        record.files.extend(self.pictures(record.counts.steps));
        record.files.extend(metrics.is_some().then(|| METRICS_CSV.to_owned()));
        metrics.iter().flat_map(fidelity::lines).for_each(|line| self.progress.line(line));
        record.metrics = metrics;
        record.seconds.measuring += seconds.unwrap_or_default();
        record.seconds.total = self.total_seconds();
        record.peak_memory = self.peak_memory();
        record.warnings = self.warnings();
        let measured = record.metrics.iter().flat_map(|metrics| metrics.encoders.keys()).collect::<Vec<_>>();
        record.warnings.retain(|warning| !metrics::is_of_unmeasured(warning, measured.iter()));
        events.map_or(Ok(()), |events| events.end(record.metrics.as_ref(), record.seconds.total))?;
        self.run.finish(&record)
    }

    fn image_generator<'p>(&'p self, unet: &'p Unet, vae: &'p Vae, schedule: &'p NoiseSchedule) -> ImageGenerator<'p> {
        ImageGenerator::new(unet, vae, schedule, self.device, self.interrupt)
    }

    /// Draws every evaluation prompt that is not drawn yet; returns the seconds that it took.
    fn sample(&self, set: SampleSet, generator: &ImageGenerator, embeds: &PromptEmbeds) -> Result<f64> {
        self.sample_sharing(set, generator, embeds, None)
    }

    /// As [`Self::sample`], with images that other runs have drawn, or will need.
    fn sample_sharing(
        &self,
        set: SampleSet,
        generator: &ImageGenerator,
        embeds: &PromptEmbeds,
        shared: Option<&BaseImages>,
    ) -> Result<f64> {
        let begun = Instant::now();
        let eval = &self.plan.eval;
        let prompts = self.plan.drawn_prompts();
        if prompts.is_empty() {
            return Ok(0.0);
        }
        let unet_calls = generator.unet_calls(eval.sample.sampler, eval.sample.steps)?;
        let all = unet_calls * eval.images * prompts.len();
        let bar = self.progress.bar(&phases::pictures(set), all as u64);
        for prompt in &prompts {
            for index in 0..eval.images {
                if self.run.sample_path(set, prompt, index).is_file() {
                    bar.skip(unet_calls as u64);
                    continue;
                }
                let params = eval.sample.nth(index);
                let shot = ImageMetadata { prompt: prompt.clone(), params, stand_in: self.plan.in_place() };
                let (positive, negative) = (&embeds[prompt], &embeds[&eval.sample.negative_prompt]);
                let draw = || {
                    let image = generator.generate(&shot, eval.sample.sampler, positive, negative, &bar)?;
                    self.run.write_sample(set, index, &image, &shot)
                };
                match shared {
                    Some(shared) if shared.get(&shot, &self.run.sample_path(set, prompt, index), draw)? => {
                        bar.skip(unet_calls as u64);
                    }
                    Some(_) => {}
                    None => draw()?,
                }
            }
        }
        bar.finish();
        if let Some(Err(why)) = generator.replayed() {
            self.progress.line(format!("note: {NO_GRAPHS}: {why}"));
        }
        Ok(begun.elapsed().as_secs_f64())
    }
}
