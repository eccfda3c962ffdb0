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
        let samples = run.join("samples");
        if !samples.is_dir() {
            return Ok(Vec::new());
        }
        let mut sets = Vec::new();
        for entry in fs::read_dir(samples)? {
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
        let run = tempfile::tempdir().unwrap();
        assert!(SampleSet::found(run.path()).unwrap().is_empty());
        for set in ["tuned", "step-000500", "mine", "base", "step-1000000"] {
            fs::create_dir_all(run.path().join("samples").join(set)).unwrap();
        }
        assert_eq!(SampleSet::found(run.path()).unwrap(), sets);
    }
}
