//! Every input that can change a run's numbers beside its plan, by hash: the one list of them.
//!
//! In: hashes of files and captions, as they were read. Out: `inputs.json`, written before the first step, and `hashes` of
//! `run.json`. What a cut-off run goes on with, and what a finished one passes for, must be equal to it; a checkpoint carries the hash
//! of all. What is computed once for several runs has the hashes of what it is computed from in its name: latents the VAE's and the
//! picture's, hidden states the text encoder's, class images the whole model's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::RunDir;
use crate::data;
use crate::error::{Error, Result};

/// The hashes of a run that has begun.
pub(super) const INPUTS_JSON: &str = "inputs.json";

/// SHA-256 of all that goes in, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hashes {
    /// The model's files, by their path in its folder: weights, configurations, tokenizer, scheduler.
    pub model: BTreeMap<String, String>,
    /// The pictures, by their path in the data set's folder.
    pub data: BTreeMap<String, String>,
    /// The pictures' captions, by the same; empty where the plan has one prompt for all. Earlier versions recorded none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub captions: Option<BTreeMap<String, String>>,
    /// The class images of prior preservation, drawn or the user's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub class: BTreeMap<String, String>,
}

/// A list of [`Hashes`], and how one of its entries is called.
type List<'a> = (&'a str, &'a BTreeMap<String, String>);

impl Hashes {
    fn lists(&self) -> [Option<List<'_>>; 4] {
        [
            Some(("the model's file", &self.model)),
            Some(("the picture", &self.data)),
            self.captions.as_ref().map(|captions| ("the caption of", captions)),
            Some(("the class image", &self.class)),
        ]
    }

    /// One hash of everything.
    pub fn digest(&self) -> String {
        let list = |(what, files): List| {
            let entries = files.iter().flat_map(|(name, hash)| [name.as_str(), hash]);
            data::key(&[what].into_iter().chain(entries).collect::<Vec<_>>())
        };
        let lists: Vec<String> = self.lists().into_iter().flatten().map(list).collect();
        data::key(&lists.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// What is another than `before`, as a sentence; `None` if nothing is. A list that is empty here is not known yet.
    pub fn changed_since(&self, before: &Self) -> Option<String> {
        let lists = self.lists().into_iter().zip(before.lists()).filter_map(|(now, then)| Some((now?, then?.1)));
        let known = lists.filter(|((_, now), _)| !now.is_empty());
        let changes: Vec<String> =
            known.flat_map(|((what, now), then)| changes(what, now, then, before.captions.is_some())).collect();
        match changes.as_slice() {
            [] => None,
            [one] => Some(one.clone()),
            [first, _] => Some(format!("{first}, and one more change,")),
            [first, more @ ..] => Some(format!("{first}, and {} more changes,", more.len())),
        }
    }
}

/// A sentence for each entry that is not what it was. Before there were hashes of captions, not all of a tokenizer's files had hashes:
/// then an entry that is there now only says nothing (`all_were_listed`).
fn changes(
    what: &str,
    now: &BTreeMap<String, String>,
    then: &BTreeMap<String, String>,
    all_were_listed: bool,
) -> Vec<String> {
    let gone = then.keys().filter(|name| !now.contains_key(*name)).map(|name| format!("{what} `{name}` is gone"));
    let other = now.iter().filter_map(|(name, hash)| match then.get(name) {
        Some(before) if before != hash => Some(format!("{what} `{name}` has changed")),
        None if all_were_listed => Some(format!("{what} `{name}` is new")),
        _ => None,
    });
    other.chain(gone).collect()
}

impl RunDir {
    /// Compares with what this run began with, as far as it is known yet.
    ///
    /// # Errors
    /// Wrong input: something is another; the message names it.
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
            Some(what) => Err(Error::input(format!("{what} since {} was cut off", self.path.display()))
                .hint("put it back to go on, start over with --force, or give another --results folder")),
        }
    }

    /// Writes down what the run begins with.
    pub fn write_inputs(&self, now: &Hashes) -> Result<()> {
        let json =
            serde_json::to_string_pretty(now).map_err(|e| Error::run("the hashes cannot be written").cause(e))?;
        self.write(INPUTS_JSON, format!("{json}\n").as_bytes())
    }
}
