//! What is found where a run's folder should be, and so what is to be done; and how what another
//! plan left is cleared away.
//!
//! In: a results folder, the experiment's name, the text of its resolved plan. Out: [`Opened`].
//! Nothing of another plan is removed without `--force`, but images that only `[eval]` asks for
//! otherwise.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fs_err as fs;

use super::inputs::INPUTS_JSON;
use super::lock::{DYING, lock};
use super::names::run_folder;
use super::{
    CHECKPOINTS, EVAL_CSV, EVAL_SOURCES_CSV, LOSS_CSV, METRICS_CSV, PLAN_TOML, PROGRESS_JSON, RESAMPLING_JSON,
    RUN_JSON, RunDir, SOURCES_CSV, TENSORBOARD, TIMING_CSV, WARNINGS_JSON, files, samples,
};
use crate::config::PlanDiff;
use crate::error::{Error, Result, is_full};

/// Everything a run may write but its samples, as `--force` removes it; whatever else lies in the
/// folder stays.
const WRITTEN: [&str; 22] = [
    SOURCES_CSV,
    EVAL_SOURCES_CSV,
    RUN_JSON,
    INPUTS_JSON,
    RESAMPLING_JSON,
    LOSS_CSV,
    EVAL_CSV,
    TIMING_CSV,
    "loss.png",
    "loss.svg",
    "grid.png",
    "steps.png",
    "data.png",
    METRICS_CSV,
    "metrics.png",
    "metrics.svg",
    "weights",
    CHECKPOINTS,
    WARNINGS_JSON,
    PROGRESS_JSON,
    TENSORBOARD,
    PLAN_TOML,
];

/// What was found where the run's folder should be.
#[derive(Debug)]
pub enum Opened {
    /// Nothing, or another plan that left nothing, or the caller forced a new start: the folder
    /// holds `plan.toml` only.
    Fresh(RunDir),
    /// The same plan, cut off before its end; whatever it wrote is still there.
    Unfinished(RunDir),
    /// Trained to its end, and then what `[eval]` says of images changed: only images are
    /// missing.
    Resample(RunDir),
    /// Run to its end, and then how images are measured changed.
    Remeasure(RunDir),
    /// Run to its end, and then some of its weights were removed; which.
    MissingWeights(RunDir, String),
    /// Run to its end, and then some of its images were removed; which.
    MissingPictures(RunDir, String),
    /// The same plan, run to its end: there is nothing to do.
    Finished(RunDir),
}

impl RunDir {
    /// Opens the folder of experiment `name` under `results`, making both where needed, and writes
    /// `plan_toml` (the text of the resolved plan) into a fresh one. With `force`, what an earlier
    /// run wrote there is removed first.
    ///
    /// # Errors
    /// Wrong input: the folder holds another plan, files that are no run's, another process writes
    /// there now, or `results` cannot be written.
    pub fn open(results: &Path, name: &str, plan_toml: &str, force: bool) -> Result<Opened> {
        Self::open_if_free(results, name, plan_toml, force, DYING)?.ok_or_else(|| {
            let path = results.join(run_folder(name));
            Error::input(format!("{} is being written by another tunelab", path.display()))
                .hint("wait until that one ends, or give this one another --results folder")
        })
    }

    /// As [`RunDir::open`]; `None` if another process writes there for longer than `patience`.
    ///
    /// # Errors
    /// As [`RunDir::open`], but for that.
    pub fn open_if_free(
        results: &Path,
        name: &str,
        plan_toml: &str,
        force: bool,
        patience: Duration,
    ) -> Result<Option<Opened>> {
        let path = results.join(run_folder(name));
        fs::create_dir_all(&path).map_err(|e| unwritable(results, e))?;
        let lock = lock(results, &run_folder(name), patience).map_err(|e| unwritable(results, e))?;
        let Some(lock) = lock else { return Ok(None) };
        Self { path, _lock: Some(Arc::new(lock)) }.found(results, plan_toml, force).map(Some)
    }

    /// What is in the folder of a run that is locked.
    fn found(self, results: &Path, plan_toml: &str, force: bool) -> Result<Opened> {
        let run = self;
        match run.stored_plan()? {
            Some(stored) if force => run.clear(&stored, plan_toml)?,
            Some(stored) if PlanDiff::of(&stored, plan_toml) == PlanDiff::Training && run.holds_only_its_plan()? => {
                run.remove(INPUTS_JSON)?;
                run.remove(PROGRESS_JSON)?;
            }
            Some(stored) => return run.reopen(&stored, plan_toml, results),
            None => run.must_be_empty()?,
        }
        run.write_plan(plan_toml, results)?;
        Ok(Opened::Fresh(run))
    }

    fn reopen(self, stored: &str, wanted: &str, results: &Path) -> Result<Opened> {
        let trained = self.is_finished() || self.path.join(RESAMPLING_JSON).is_file();
        let [weights, pictures] = self.missing();
        match PlanDiff::of(stored, wanted) {
            PlanDiff::Equal => {}
            // As below: what is there stays until it can be measured otherwise.
            PlanDiff::MeasuringOnly if self.is_finished() && weights.is_none() => return Ok(Opened::Remeasure(self)),
            PlanDiff::MeasuringOnly => {
                samples::remove_changed(&self.path, stored, wanted)?;
                self.write_plan(wanted, results)?;
            }
            PlanDiff::MetadataOnly => self.write_plan(wanted, results)?,
            // What is there stays until it is known that other images can be drawn.
            PlanDiff::SamplingOnly if trained && weights.is_none() => return Ok(Opened::Resample(self)),
            PlanDiff::SamplingOnly => self.forget_pictures(stored, wanted)?,
            PlanDiff::Training => return Err(self.holds_another_plan()),
        }
        if let Some(weights) = weights {
            files::remove_temporaries(&self.path)?;
            return Ok(Opened::MissingWeights(self, weights));
        }
        Ok(match (self.is_finished(), trained, pictures) {
            (true, _, None) => Opened::Finished(self),
            (true, _, Some(pictures)) => Opened::MissingPictures(self, pictures),
            (false, true, _) => Opened::Resample(self),
            (false, false, _) => {
                files::remove_temporaries(&self.path)?;
                Opened::Unfinished(self)
            }
        })
    }

    /// What the run's record names and is not there: of the weights, and of the images. A damaged
    /// record names nothing here: what reads it next says so.
    fn missing(&self) -> [Option<String>; 2] {
        let named = self.any_record().ok().flatten().map(|record| record.files).unwrap_or_default();
        let gone = named.into_iter().filter(|name| !self.path.join(name).is_file());
        let (weights, pictures): (Vec<_>, Vec<_>) = gone.partition(|name| name.starts_with("weights/"));
        [weights, pictures].map(|names| match names.as_slice() {
            [] => None,
            [one] => Some(format!("{one} is missing")),
            [first, more @ ..] => Some(format!("{first} and {} more are missing", more.len())),
        })
    }

    fn write_plan(&self, plan_toml: &str, results: &Path) -> Result<()> {
        let plan = self.path.join(PLAN_TOML);
        files::atomically(&plan, |path| fs::write(path, plan_toml)).map_err(|e| unwritable(results, e))
    }

    /// The record goes aside first and the plan changes last, so that a cut at any point leaves a
    /// run that says that its images are to be drawn.
    fn forget_pictures(&self, stored: &str, plan_toml: &str) -> Result<()> {
        if self.is_finished() {
            fs::rename(self.path.join(RUN_JSON), self.path.join(RESAMPLING_JSON))?;
        }
        self.remove_samples(&[stored, plan_toml])?;
        for name in ["grid.png", "steps.png", METRICS_CSV, "metrics.png", "metrics.svg"] {
            self.remove(name)?;
        }
        self.write(PLAN_TOML, plan_toml.as_bytes())
    }

    /// Begins to draw and measure a trained run's images for the plan `plan_toml`: those of another plan
    /// are removed, those that a cut-off drawing left stay; so do all where only the measuring is another.
    pub fn begin_resampling(&self, plan_toml: &str) -> Result<()> {
        let Some(stored) = self.stored_plan()? else { return Ok(()) };
        match PlanDiff::of(&stored, plan_toml) {
            PlanDiff::SamplingOnly => self.forget_pictures(&stored, plan_toml),
            PlanDiff::MeasuringOnly => {
                self.remove(METRICS_CSV)?;
                samples::remove_changed(&self.path, &stored, plan_toml)?;
                self.write(PLAN_TOML, plan_toml.as_bytes())
            }
            PlanDiff::Equal | PlanDiff::MetadataOnly | PlanDiff::Training => Ok(()),
        }
    }

    /// How the plan `plan_toml` differs from the one that is here.
    pub fn change_to(&self, plan_toml: &str) -> Result<PlanDiff> {
        Ok(self.stored_plan()?.map_or(PlanDiff::Training, |stored| PlanDiff::of(&stored, plan_toml)))
    }

    /// Whether `results` holds this plan, run to its end, so that [`Self::open`] would find it finished
    /// but for the measuring.
    pub fn is_done(results: &Path, name: &str, plan_toml: &str) -> Result<bool> {
        let run = Self { path: results.join(run_folder(name)), _lock: None };
        // To measure what is there needs neither model nor training.
        let same = |stored: String| {
            let diff = PlanDiff::of(&stored, plan_toml);
            matches!(diff, PlanDiff::Equal | PlanDiff::MetadataOnly | PlanDiff::MeasuringOnly)
        };
        Ok(run.is_finished() && run.missing() == [None, None] && run.stored_plan()?.is_some_and(same))
    }

    /// Whether `results` holds a run of this name that was trained by another plan: [`Self::open`] would refuse it.
    pub fn is_of_another_plan(results: &Path, name: &str, plan_toml: &str) -> Result<bool> {
        let run = Self { path: results.join(run_folder(name)), _lock: None };
        let is_other = |stored: String| PlanDiff::of(&stored, plan_toml) == PlanDiff::Training;
        Ok(run.path.is_dir() && run.stored_plan()?.is_some_and(is_other) && !run.holds_only_its_plan()?)
    }

    /// Removes all that a run wrote; its record goes early and its plan last, so that a cut leaves
    /// an unfinished run.
    fn clear(&self, stored: &str, plan_toml: &str) -> Result<()> {
        files::remove_temporaries(&self.path)?;
        self.remove_samples(&[stored, plan_toml])?;
        WRITTEN.iter().try_for_each(|name| self.remove(name))
    }

    /// Removes the samples that a run of one of the plans draws and those that the record names:
    /// those of the wanted plan too, for what lies in their place would be taken for them.
    pub(super) fn remove_samples(&self, plans: &[&str]) -> Result<()> {
        let named = self.any_record().ok().flatten().map(|record| record.files).unwrap_or_default();
        Ok(samples::remove(&self.path, plans, &named)?)
    }

    /// Whether the run ended before it left anything, say at a folder of images that is not
    /// there: a plan with that mistake mended may take its place.
    fn holds_only_its_plan(&self) -> Result<bool> {
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            if ![PLAN_TOML, INPUTS_JSON, PROGRESS_JSON].iter().any(|own| name == *own) && !files::is_temporary(&name) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn must_be_empty(&self) -> Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            if !files::is_temporary(&name) {
                let whose =
                    if WRITTEN.iter().any(|own| name == *own) { "as a run writes it" } else { "which no run wrote" };
                return Err(Error::input(format!(
                    "{} holds {}, {whose}, and no {PLAN_TOML}",
                    self.path.display(),
                    Path::new(&name).display()
                ))
                .hint("move those files away, give another --results folder, or rename the experiment's file"));
            }
        }
        Ok(())
    }

    fn holds_another_plan(&self) -> Error {
        let state = if self.is_finished() { "the results of" } else { "an unfinished run of" };
        Error::input(format!("{} holds {state} another plan", self.path.display())).hint(
            "give --force to remove them and start over, another --results folder, or rename the experiment's file; \
             compare the plan.toml there with what `tunelab plan` prints",
        )
    }
}

fn unwritable(results: &Path, cause: std::io::Error) -> Error {
    if is_full(&cause) {
        return Error::from(cause);
    }
    Error::input(format!("the results folder {} cannot be written", results.display()))
        .cause(cause)
        .hint("give a folder that can be written with --results DIR")
}
