//! What a run begins with, written down so that another process can see whether it goes on with the
//! same.
//!
//! In: [`Hashes`]. Out: `inputs.json`, written before the first step. What a cut-off run goes on
//! with must be equal to it; a checkpoint carries the hash of all.

use super::hashes::Hashes;
use super::{CHECKPOINTS, RunDir};
use crate::error::{Error, Result};

/// The hashes of a run that has begun.
pub(super) const INPUTS_JSON: &str = "inputs.json";

impl RunDir {
    /// Compares with what this run began with, as far as it is known yet. Where there is no
    /// checkpoint to go on from, another beginning is none the worse, and only the images that
    /// the old one left are removed.
    ///
    /// # Errors
    /// Wrong input: something is another, and there is a checkpoint; the message names it.
    pub fn check_inputs(&self, now: &Hashes) -> Result<()> {
        let path = self.path.join(INPUTS_JSON);
        if !path.is_file() {
            return Ok(());
        }
        let before: Hashes = serde_json::from_str(&fs_err::read_to_string(&path)?).map_err(|e| {
            Error::input(format!("{} cannot be read", path.display()))
                .cause(e)
                .hint("give --force to remove what this run left and start over")
        })?;
        match now.changed_since(&before) {
            None => Ok(()),
            Some(what) if self.has_checkpoint() => {
                Err(Error::input(format!("{what} since {} began", self.path.display()))
                    .hint("put it back to go on, start over with --force, or give another --results folder"))
            }
            Some(_) => {
                let plan = self.stored_plan()?.unwrap_or_default();
                self.remove_samples(&[&plan])?;
                self.remove(INPUTS_JSON)
            }
        }
    }

    /// What the run began with, where that can be read.
    pub fn inputs(&self) -> Option<Hashes> {
        serde_json::from_str(&fs_err::read_to_string(self.path.join(INPUTS_JSON)).ok()?).ok()
    }

    /// Writes down what the run begins with. One that goes on has begun already: its checkpoint
    /// knows with what.
    pub fn write_inputs(&self, now: &Hashes) -> Result<()> {
        if self.has_checkpoint() {
            return Ok(());
        }
        let json =
            serde_json::to_string_pretty(now).map_err(|e| Error::run("the hashes cannot be written").cause(e))?;
        self.write(INPUTS_JSON, format!("{json}\n").as_bytes())
    }

    fn has_checkpoint(&self) -> bool {
        fs_err::read_dir(self.path.join(CHECKPOINTS)).is_ok_and(|mut entries| entries.next().is_some())
    }
}
