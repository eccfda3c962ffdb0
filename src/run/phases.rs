//! The phases of a run and what they cost, for its bar: how long the rest takes is known from the
//! beginning, roughly, and better with every phase that has been measured.
//!
//! In: the plan, the number of pictures, what is there already. Out: phases, with weights in forward
//! passes of the UNet over one image of the training's size.

use super::experiment::Experiment;
use super::metrics::{Judges, MEASURING};
use super::sources::Loaded;
use crate::adapter;
use crate::config::{ClassPart, DreamBooth, Objective, SampleParams};
use crate::data::Shapes;
use crate::diffusion::NoiseSchedule;
use crate::error::Result;
use crate::plan::local;
use crate::progress::{Ended, Phase, Work};
use crate::results::{ProgressFile, SampleSet};
use crate::train::checkpoint::Checkpoint;
use crate::train::examples::{CLASS_LATENTS, LATENTS};
use crate::train::items::Items;

pub(super) const TRAINING: &str = "training";
pub(super) const CLASS_PICTURES: &str = "class pictures";

/// To latents: the VAE's encoder works on all pixels, and takes a little longer than the UNet.
const ENCODING: f64 = 1.5;
/// From latents: the decoder is larger.
const DECODING: f64 = 3.0;
/// An image in the eyes of one encoder, which are small.
const SEEING: f64 = 0.1;
/// A forward pass with its backward pass: that of activations costs as much again, and that of
/// weights too where they are trained.
const STEP_OF_ADAPTER: f64 = 2.2;
const STEP_OF_WEIGHTS: f64 = 3.0;

/// The title of a set's images.
pub(super) fn pictures(set: SampleSet) -> String {
    match set {
        SampleSet::Step(step) => format!("pictures at step {step}"),
        SampleSet::Base | SampleSet::Final => format!("{} pictures", set.heading()),
    }
}

impl Experiment<'_> {
    /// Shows a run from its beginning to its end, here and in `progress.json`.
    pub(super) fn watched<T>(&self, run: impl FnOnce() -> Result<T>) -> Result<T> {
        let whole = self.progress.begin_run(&self.plan.name);
        let file = ProgressFile::begin(self.run, self.progress);
        let result = run();
        let last = self.progress.snapshot();
        whole.end(match &result {
            Ok(_) => Ended::Done,
            Err(error) if error.is_interrupted() => Ended::Interrupted,
            Err(_) => Ended::Failed,
        });
        file.end(last.as_ref(), result.as_ref().err());
        result
    }

    /// Says what is to come of a run on so many pictures.
    pub(super) fn expect_run(&self, schedule: &NoiseSchedule, judges: &Judges, loaded: &[Loaded]) {
        let mut phases = Vec::new();
        let images = loaded.iter().filter(|of| !of.part.prior).map(|of| of.pictures.len()).sum();
        let flips = self.plan.dataset.parts().iter().any(|part| part.random_flip);
        let sides = if flips { 2.0 } else { 1.0 };
        let latents = |name: &str, pictures: usize| phase(name, Work::Encoding, pictures, ENCODING * sides);
        phases.push(latents(LATENTS, images));
        let class = |part: &ClassPart| match &self.plan.objective {
            Objective::DreamBooth(prior) => Some(class_count(prior, part, loaded)),
            Objective::Captions => None,
        };
        if let Objective::DreamBooth(prior) = &self.plan.objective {
            phases.extend(self.class_pictures(prior, schedule));
            let all = self.plan.class_parts().iter().filter_map(class).sum();
            phases.push(latents(CLASS_LATENTS, all));
        }
        let train = &self.plan.train;
        let shapes = Shapes::of(&self.plan.dataset);
        let sizes = |of: &Loaded| {
            let pictures = of.pictures.iter().filter(|_| !of.part.prior);
            pictures.filter_map(|picture| Some(shapes.cut([picture.height, picture.width])?.size)).collect()
        };
        let counts: Vec<usize> = self.plan.class_parts().iter().filter_map(class).collect();
        let items = Items::expected(self.plan, &loaded.iter().map(sizes).collect::<Vec<_>>(), &counts);
        let steps = train.total_steps_of_batches(items.batches(train.batch_size));
        let done = Checkpoint::last_step(self.run).ok().flatten().unwrap_or(0);
        let training = phase(TRAINING, Work::Training, steps, self.step_weight());
        phases.push(Phase { skipped: done as u64, ..training });
        let sets = self.all_sets(steps);
        let calls = calls(&self.plan.eval.sample, schedule);
        phases.extend(sets.iter().map(|set| self.set(*set, calls)));
        phases.extend(self.measuring(judges, images, &sets));
        self.progress.expect(phases);
    }

    /// Says what is to come where these sets of images are drawn, as far as they are missing, and
    /// measured.
    pub(super) fn expect_pictures(&self, sets: &[SampleSet], judges: &Judges, images: usize) {
        // How often the UNet is called turns out when the model is there.
        let missing = sets.iter().filter(|set| self.is_missing(**set));
        let mut phases: Vec<Phase> = missing.map(|set| self.set(*set, self.plan.eval.sample.steps)).collect();
        phases.extend(self.measuring(judges, images, sets));
        self.progress.expect(phases);
    }

    fn class_pictures(&self, prior: &DreamBooth, schedule: &NoiseSchedule) -> Option<Phase> {
        let prompts = self.plan.drawn_class_prompts().len();
        if prompts == 0 {
            return None;
        }
        let (calls, batch) = (calls(&prior.class_sample, schedule), prior.class_batch_size);
        let units = calls * prior.class_images.div_ceil(batch) * prompts;
        let weight = self.call_weight(&prior.class_sample, calls) * batch as f64;
        Some(phase(CLASS_PICTURES, Work::Drawing, units, weight))
    }

    /// The images of one set, those that are there counted as done.
    fn set(&self, set: SampleSet, calls: usize) -> Phase {
        let eval = &self.plan.eval;
        let (there, all) = self.drawn_of(set);
        let weight = self.call_weight(&eval.sample, calls);
        Phase { skipped: (there * calls) as u64, ..phase(&pictures(set), Work::Drawing, all * calls, weight) }
    }

    fn measuring(&self, judges: &Judges, images: usize, sets: &[SampleSet]) -> Option<Phase> {
        let drawn: usize = sets.iter().map(|set| self.drawn_of(*set).1).sum();
        let seen = images + judges.own_references() + drawn;
        let weight = SEEING * judges.count() as f64;
        (!judges.is_empty()).then(|| phase(MEASURING, Work::Measuring, seen, weight))
    }

    /// A call of the UNet for one image, with its share of the decoder's work.
    fn call_weight(&self, of: &SampleParams, calls: usize) -> f64 {
        let trained = self.plan.dataset.resolution.area().max(1) as f64;
        let area = (of.width * of.height) as f64 / trained;
        let passes = if of.guidance_scale > 1.0 { 2.0 } else { 1.0 };
        area * (passes + DECODING / calls.max(1) as f64)
    }

    fn step_weight(&self) -> f64 {
        let train = &self.plan.train;
        let pass = if adapter::method(&self.plan.adapter).trains_weights() { STEP_OF_WEIGHTS } else { STEP_OF_ADAPTER };
        let again = if train.gradient_checkpointing { 1.0 } else { 0.0 };
        let halves = if matches!(self.plan.objective, Objective::DreamBooth(_)) { 2.0 } else { 1.0 };
        (pass + again) * halves * (train.batch_size * train.gradient_accumulation) as f64
    }
}

fn phase(name: &str, work: Work, units: usize, weight: f64) -> Phase {
    Phase { name: name.to_owned(), work, units: units as u64, skipped: 0, weight }
}

/// Calls of the UNet for one image; what a sampler refuses, whoever draws says.
fn calls(of: &SampleParams, schedule: &NoiseSchedule) -> usize {
    of.sampler_run(schedule).map_or(of.steps, |run| run.timesteps().len())
}

/// How many class images there are or will be.
fn class_count(prior: &DreamBooth, part: &ClassPart, loaded: &[Loaded]) -> usize {
    match part {
        ClassPart::Drawn(_) => prior.class_images,
        ClassPart::Folder(folder, _) => local::pictures_in(folder).unwrap_or(0),
        ClassPart::Part(index) => loaded.get(*index).map_or(0, |of| of.pictures.len()),
    }
}
