//! Whether what a finished run was made from is still what it was.
//!
//! In: its plan, its record, and what is on this machine: nothing is fetched. Out: nothing, a note on what is not here to be
//! compared, or the error that names what has changed. A model is hashed once for all runs of a command.

use super::prepare::{hash_data, hash_pictures};
use crate::assets::{self, Reach};
use crate::data;
use crate::error::{Error, Result};
use crate::plan::{Objective, Plan, Source};
use crate::progress::Progress;
use crate::results::{Hashes, RunDir};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// The models that were hashed so far.
#[derive(Default)]
pub struct Inputs {
    models: RefCell<Vec<(Source, BTreeMap<String, String>)>>,
}

impl Inputs {
    /// Compares what the trained run `run` recorded with what is here now. Gives a note, if not all of it is here.
    ///
    /// # Errors
    /// Wrong input: something is another than it was, or cannot be used any more.
    pub fn compare(&self, run: &RunDir, plan: &Plan, reach: &Reach, progress: &Progress) -> Result<Option<String>> {
        let has = (reach.has_model(&plan.model), reach.has_dataset(&plan.dataset.source));
        let mut now = if has.1 { data_now(plan, progress)? } else { Hashes::default() };
        if has.0 {
            now.model = self.model(&plan.model, progress)?;
        }
        if let Some(what) = now.changed_since(&run.earlier_record()?.hashes) {
            return Err(Error::input(format!("{what} since {} was trained", run.path().display()))
                .hint("put it back, start over with --force, or give another --results folder"));
        }
        let away = match has {
            (true, true) => return Ok(None),
            (false, true) => "its model is",
            (true, false) => "its pictures are",
            (false, false) => "its model and pictures are",
        };
        Ok(Some(format!("{away} not here to be compared")))
    }

    fn model(&self, source: &Source, progress: &Progress) -> Result<BTreeMap<String, String>> {
        let known = self.models.borrow().iter().find(|(known, _)| known == source).map(|(_, files)| files.clone());
        if let Some(files) = known {
            return Ok(files);
        }
        let files = assets::hash_model(&assets::find_model(source, progress)?)?;
        self.models.borrow_mut().push((source.clone(), files.clone()));
        Ok(files)
    }
}

/// The hashes of the plan's own pictures, their captions, and the user's own class images.
fn data_now(plan: &Plan, progress: &Progress) -> Result<Hashes> {
    // What is passed over was told when the run was trained.
    let tell = &mut |_| {};
    let root = assets::find_dataset(&plan.dataset.source, progress)?;
    let skip_broken = plan.dataset.skip_broken;
    let mut now = hash_data(plan, &data::load_dataset(&root, plan.dataset.prompt.as_deref(), skip_broken, tell)?);
    if let Objective::DreamBooth(prior) = &plan.objective
        && let Some(own) = prior.class_path.as_ref().filter(|own| own.is_dir())
    {
        now.class = hash_pictures(&data::load_dataset(own, Some(&prior.class_prompt), skip_broken, tell)?);
    }
    Ok(now)
}
