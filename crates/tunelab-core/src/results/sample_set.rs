//! The sets of images that a run may hold: of the base model, of a step on the way, of the end.
//!
//! In: a set, or a folder. Out: the set's folder under `samples/`, the words above its images, and
//! its place among the others.

use std::io;
use std::path::Path;

use fs_err as fs;

/// Which weights made an image; in the order in which they come to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SampleSet {
    /// The model as it was loaded.
    Base,
    /// The model after so many optimizer steps.
    Step(usize),
    /// The model after training.
    Final,
}

impl SampleSet {
    /// The folder's name under `samples/`.
    pub fn folder(self) -> String {
        match self {
            Self::Base => "base".to_owned(),
            Self::Step(step) => format!("step-{step:06}"),
            Self::Final => "tuned".to_owned(),
        }
    }

    /// Optimizer steps before it, of a training of `steps`.
    pub fn step(self, steps: usize) -> usize {
        match self {
            Self::Base => 0,
            Self::Step(step) => step,
            Self::Final => steps,
        }
    }

    /// Where the weights that draw it lie in a run's folder; those of a step only if they are kept.
    pub fn weights_folder(self) -> Option<String> {
        match self {
            Self::Base => None,
            Self::Step(_) => Some(format!("weights/{}", self.folder())),
            Self::Final => Some("weights".to_owned()),
        }
    }

    /// The sets on the way to the last step `total`, one every `every` steps: the last step's own is
    /// the result.
    pub fn on_the_way(every: usize, total: usize) -> impl Iterator<Item = Self> {
        (every..total).step_by(every.max(1)).filter(move |_| every > 0).map(Self::Step)
    }

    /// Whether a run draws it that draws a set every `every` steps, 0 being never.
    pub fn is_drawn(self, every: usize) -> bool {
        match self {
            Self::Base | Self::Final => true,
            Self::Step(step) => every > 0 && step.is_multiple_of(every),
        }
    }

    /// The words on the grid and at the progress bar.
    pub fn heading(self) -> String {
        match self {
            Self::Base => "base".to_owned(),
            Self::Step(step) => format!("step {step}"),
            Self::Final => "tuned".to_owned(),
        }
    }

    /// The set whose folder is called so; other folders are a person's own.
    pub fn of_folder(name: &str) -> Option<Self> {
        let step = || name.strip_prefix("step-")?.parse().ok();
        let sets = [Self::Base, Self::Final].into_iter().chain(step().map(Self::Step));
        sets.into_iter().find(|set| set.folder() == name)
    }

    /// The sets that a run's folder holds, in order.
    pub fn found(run: &Path) -> io::Result<Vec<Self>> {
        Self::found_in(&run.join("samples"))
    }

    /// The sets whose folders lie in `folder`, in order; none where it is not there.
    pub fn found_in(folder: &Path) -> io::Result<Vec<Self>> {
        if !folder.is_dir() {
            return Ok(Vec::new());
        }
        let mut sets = Vec::new();
        for entry in fs::read_dir(folder)? {
            sets.extend(Self::of_folder(&entry?.file_name().to_string_lossy()));
        }
        sets.sort();
        Ok(sets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_one_folder_and_its_place() {
        let sets = [SampleSet::Base, SampleSet::Step(500), SampleSet::Step(1_000_000), SampleSet::Final];
        assert_eq!(sets.map(SampleSet::folder), ["base", "step-000500", "step-1000000", "tuned"]);
        assert_eq!(sets.map(SampleSet::heading), ["base", "step 500", "step 1000000", "tuned"]);
        assert_eq!(sets.map(|set| SampleSet::of_folder(&set.folder())), sets.map(Some));
        for other in ["final", "step-500", "step-", "step-0005000", "Base", ""] {
            assert_eq!(SampleSet::of_folder(other), None, "{other}");
        }
        assert_eq!(
            sets.map(SampleSet::weights_folder)[1..3],
            ["weights/step-000500", "weights/step-1000000"].map(|f| Some(f.to_owned()))
        );
        let steps = |every, total| SampleSet::on_the_way(every, total).collect::<Vec<_>>();
        assert_eq!(steps(2, 6), [SampleSet::Step(2), SampleSet::Step(4)]);
        assert!(steps(0, 6).is_empty() && steps(6, 6).is_empty() && steps(7, 6).is_empty() && steps(0, 0).is_empty());
        let run = tempfile::tempdir().unwrap();
        assert!(SampleSet::found(run.path()).unwrap().is_empty());
        for set in ["tuned", "step-000500", "mine", "base", "step-1000000"] {
            fs::create_dir_all(run.path().join("samples").join(set)).unwrap();
        }
        assert_eq!(SampleSet::found(run.path()).unwrap(), sets);
    }
}
