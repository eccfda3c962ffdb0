//! What is said of a run at its end: the record of one that came to it, and of one that did not
//! what the next process finds.
//!
//! In: what the run worked with and what it left. Out: [`RunRecord`], and the last line of an
//! error.

use super::experiment::Experiment;
use super::run_inputs::RunInputs;
use super::versions::versions;
use crate::adapter;
use crate::config::{Dtype, Objective};
use crate::device;
use crate::error::{Error, Kind, Result};
use crate::results::{
    Counts, LOSS_CSV, Machine, PeakMemory, RunRecord, SampleSet, Seconds, StandIn, Status, TrainingSummary,
    peak_memory_mib, sample_name, weights_name,
};
use crate::train::checkpoint::Checkpoint;
use tunelab_ops::weight::products_in_bf16;

impl Experiment<'_> {
    /// Says of a run that did not come to its end what the next one finds, and keeps for it what
    /// was warned of.
    pub(super) fn with_what_is_kept(&self, error: Error) -> Error {
        let warnings = self.warnings();
        if !warnings.is_empty() && self.run.path().join(LOSS_CSV).is_file() {
            // The run's own failure is the one to tell.
            let _ = self.run.keep_warnings(&warnings);
        }
        match Checkpoint::last_step(self.run) {
            _ if error.kind() == Kind::Input => error,
            Ok(Some(step)) => {
                error.also(&format!("the last checkpoint holds step {step}; the same command goes on from there"))
            }
            _ if self.run.path().join(LOSS_CSV).is_file() => {
                error.also("there is no checkpoint yet; the same command begins again at the first step")
            }
            _ => error,
        }
    }

    /// Everything that was spent on this run so far, in all processes.
    pub(super) fn total_seconds(&self) -> f64 {
        self.spent.seconds + self.begun.elapsed().as_secs_f64()
    }

    pub(super) fn peak_memory(&self) -> PeakMemory {
        let device_mib = self.spent.device_peak_with(device::memory_mib(self.device).map(|[_, peak]| peak));
        PeakMemory { host_mib: self.spent.peak_with(peak_memory_mib()), device_mib }
    }

    /// The names of all pictures that `[eval]` asks for in a training of `steps`, as far as they can be
    /// drawn, and of their grid.
    pub(super) fn pictures(&self, steps: usize) -> Vec<String> {
        if self.plan.eval.prompts.is_empty() {
            return Vec::new();
        }
        let names = self.sample_sets(steps).into_iter().flat_map(|set| self.samples(set));
        names.chain(["grid.png".to_owned()]).collect()
    }

    /// Every set that `[eval]` asks for in a training of `steps`.
    pub(super) fn all_sets(&self, steps: usize) -> Vec<SampleSet> {
        if self.plan.eval.prompts.is_empty() {
            return Vec::new();
        }
        let base = self.plan.eval.compare_base.then_some(SampleSet::Base);
        base.into_iter().chain(SampleSet::on_the_way(self.images_every(), steps)).chain([SampleSet::Final]).collect()
    }

    /// The sets of a training of `steps`, without those on the way of which nothing could be drawn.
    pub(super) fn sample_sets(&self, steps: usize) -> Vec<SampleSet> {
        let mut sets = self.all_sets(steps);
        sets.retain(|set| !matches!(set, SampleSet::Step(_)) || !self.samples(*set).is_empty());
        sets
    }

    /// The names of a set's pictures; of one on the way only those that are there, as others cannot
    /// always be drawn.
    fn samples(&self, set: SampleSet) -> Vec<String> {
        let mut names = self.all_samples(set);
        names.retain(|name| !matches!(set, SampleSet::Step(_)) || self.run.path().join(name).is_file());
        names
    }

    /// The names of all pictures that a set should have.
    fn all_samples(&self, set: SampleSet) -> Vec<String> {
        let eval = &self.plan.eval;
        let prompts = self.plan.drawn_prompts();
        let names = |prompt: &str| (0..eval.images).map(|index| sample_name(set, prompt, index)).collect::<Vec<_>>();
        prompts.iter().flat_map(|prompt| names(prompt)).collect()
    }

    /// How many pictures of the set are there, and how many there should be.
    pub(super) fn drawn_of(&self, set: SampleSet) -> (usize, usize) {
        let names = self.all_samples(set);
        (names.iter().filter(|name| self.run.path().join(name).is_file()).count(), names.len())
    }

    /// Whether a picture of the set is still to be drawn.
    pub(super) fn is_missing(&self, set: SampleSet) -> bool {
        let (there, all) = self.drawn_of(set);
        there < all
    }

    /// Whether the file system takes the names of all that will be written; those of a run's own
    /// make are short.
    pub(super) fn check_names(&self) -> Result<()> {
        self.run.takes(&[self.pictures(0), vec![format!("weights/{}", weights_name(&self.plan.name))]].concat())
    }

    /// What was warned of, by this process and earlier ones.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = self.run.earlier_warnings();
        let mut new = self.progress.take_warnings();
        new.retain(|warning| !warnings.contains(warning));
        warnings.extend(new);
        warnings
    }

    fn stand_in(&self) -> Option<StandIn> {
        let (experiment, what) = (self.plan.stands_in_for.as_ref()?.experiment.clone(), self.plan.in_place()?);
        Some(StandIn { experiment, what, why: self.why?.to_owned() })
    }

    /// Of a training that is done, before its images are counted in.
    pub(super) fn record(
        &self,
        with: &RunInputs,
        end: &TrainingSummary,
        cuda_graphs: Option<bool>,
        weights: Vec<String>,
    ) -> RunRecord {
        let adapter = adapter::method(&self.plan.adapter).label;
        let method = match &self.plan.objective {
            Objective::Captions => adapter.to_owned(),
            Objective::DreamBooth(_) => format!("dreambooth {adapter}"),
        };
        RunRecord {
            status: Status::Finished,
            name: self.plan.name.clone(),
            stand_in: self.stand_in(),
            method,
            device: device::name(self.device),
            dtype: match self.plan.train.dtype {
                Dtype::Bf16 if self.device.is_cpu() => format!("{} {}", Dtype::Bf16, products_in_bf16()),
                Dtype::F32 if self.plan.train.tf32 => "f32, products in tf32".to_owned(),
                dtype if self.plan.train.tf32 => format!("{dtype}, products of f32 in tf32"),
                dtype => dtype.to_string(),
            },
            counts: Counts {
                trained_parameters: with.trained().values().map(|t| t.elem_count() as u64).sum(),
                total_parameters: with.total_parameters as u64,
                images: with.pictures.len(),
                steps: end.steps,
                epochs: end.epochs,
            },
            loss: end.loss.clone(),
            metrics: None,
            seconds: Seconds {
                total: self.total_seconds(),
                training: end.training_seconds,
                sampling: self.spent.sampling,
                measuring: self.spent.measuring,
                per_step: end.seconds_per_step,
            },
            peak_memory: self.peak_memory(),
            device_busy_percent: end.device_busy_percent,
            cuda_graphs,
            versions: versions(),
            machine: Machine::detect(),
            hashes: with.hashes.clone(),
            warnings: Vec::new(),
            files: weights,
        }
    }
}
