//! Whether what a finished run was made from is still what it was.
//!
//! In: its plan, its record, and what is on this machine: nothing is fetched. Out: nothing, a note
//! on what is not here to be compared, or the error that names what has changed. A model or a
//! folder is hashed once for all runs of a command.

use super::prepare::{hash_data, hash_pictures};
use super::sources;
use crate::assets::{self, Reach};
use crate::config::{Dataset, Objective, Plan, Source};
use crate::data;
use crate::error::{Error, Result};
use crate::pipeline::ModelFiles;
use crate::progress::Progress;
use crate::results::{Hashes, RunDir};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The hashes of files, by their names.
type Files = BTreeMap<String, String>;

/// What was hashed so far.
#[derive(Default)]
pub struct Inputs {
    models: Known<Source, Files>,
    /// By all that the tables say.
    data: Known<(Dataset, Objective), Hashes>,
    class: Known<(PathBuf, bool), Files>,
}

impl Inputs {
    /// Compares what the trained run `run` recorded with what is here now. Gives a note, if not all
    /// of it is here.
    ///
    /// # Errors
    /// Wrong input: something is another than it was, or cannot be used any more.
    pub fn compare(&self, run: &RunDir, plan: &Plan, reach: &Reach, progress: &Progress) -> Result<Option<String>> {
        let has = (reach.has_model(&plan.model), reach.has_dataset(&plan.dataset));
        let mut now = if has.1 { self.data(plan, progress)? } else { Hashes::default() };
        if has.0 {
            now.model = self.hash_model(&plan.model, &assets::find_model(&plan.model, progress)?)?;
        }
        let before = run.earlier_record()?.hashes;
        if let Some(what) = now.changed_since(&before) {
            return Err(Error::input(format!("{what} since {} was trained", run.path().display()))
                .hint("put it back, start over with --force, or give another --results folder"));
        }
        let away = match has {
            (true, true) if before.is_of_earlier_version() => {
                return Ok(Some("its version recorded neither captions nor all of a tokenizer's files".to_owned()));
            }
            (true, true) => return Ok(None),
            (false, true) => "its model is",
            (true, false) => "its pictures are",
            (false, false) => "its model and pictures are",
        };
        Ok(Some(format!("{away} not here to be compared")))
    }

    /// The hashes of a model's files.
    pub fn hash_model(&self, source: &Source, files: &ModelFiles) -> Result<Files> {
        self.models.get(source.clone(), || files.hashes())
    }

    /// Of the plan's own pictures, their captions, and the user's own class images.
    fn data(&self, plan: &Plan, progress: &Progress) -> Result<Hashes> {
        let dataset = &plan.dataset;
        // What is passed over was told when the run was trained.
        let load = |root: &PathBuf, prompt| data::load_dataset(root, prompt, dataset.skip_broken, &mut |_| {});
        let hash = || Ok(hash_data(plan, &sources::load(plan, progress, &mut |_| {})?));
        let mut now = self.data.get((dataset.clone(), plan.objective.clone()), hash)?;
        if let Objective::DreamBooth(prior) = &plan.objective
            && let Some(own) = prior.class_path.as_ref().filter(|own| own.is_dir())
        {
            let hash = || Ok(hash_pictures(&load(own, Some(&prior.class_prompt))?));
            now.class = self.class.get((own.clone(), dataset.skip_broken), hash)?;
        }
        Ok(now)
    }
}

/// Values by what they were made from, each made once.
struct Known<K, V>(RefCell<Vec<(K, V)>>);

impl<K, V> Default for Known<K, V> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<K: PartialEq, V: Clone> Known<K, V> {
    fn get(&self, key: K, make: impl FnOnce() -> Result<V>) -> Result<V> {
        if let Some((_, value)) = self.0.borrow().iter().find(|(known, _)| *known == key) {
            return Ok(value.clone());
        }
        let value = make()?;
        self.0.borrow_mut().push((key, value.clone()));
        Ok(value)
    }
}
