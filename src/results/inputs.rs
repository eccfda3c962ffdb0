//! Every input that can change a run's numbers beside its plan, by hash: the one list of them.
//!
//! In: hashes of files and captions, as they were read. Out: `inputs.json`, written before the first step, and `hashes` of
//! `run.json`. What a cut-off run goes on with, and what a finished one passes for, must be equal to it; a checkpoint carries the hash
//! of all. What is computed once for several runs has the hashes of what it is computed from in its name: latents the VAE's and the
//! picture's, hidden states the text encoder's, class images the whole model's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::RunDir;
use crate::error::{Error, Result};
use crate::hash;

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

/// How an entry differs from what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Difference {
    Changed,
    New,
    Gone,
}
use Difference::{Changed, Gone, New};

/// Hashes by name.
type List = BTreeMap<String, String>;

impl Hashes {
    /// One hash of everything.
    pub fn digest(&self) -> String {
        let none = List::new();
        let lists = [&self.model, &self.data, self.captions.as_ref().unwrap_or(&none), &self.class];
        let one = |list: &List| {
            let entries: Vec<&str> = list.iter().flat_map(|(name, hash)| [name.as_str(), hash]).collect();
            hash::key(&entries)
        };
        let lists = lists.map(one);
        hash::key(&lists.each_ref().map(String::as_str))
    }

    /// Whether a version recorded it that listed neither captions nor all of a tokenizer's files, and spelt some names otherwise.
    pub fn is_of_earlier_version(&self) -> bool {
        self.captions.is_none()
    }

    /// What is another than `before`, as a sentence; `None` if nothing is. A list that is empty here is not known yet.
    pub fn changed_since(&self, before: &Self) -> Option<String> {
        let is_old = before.is_of_earlier_version();
        let unlisted = |name: &str, how| is_old && how == New && name.starts_with("tokenizer/");
        let model = differences(&self.model, &before.model).filter(|(name, how)| !unlisted(name, *how));
        // A picture that came or went says enough of its caption.
        let captions = self.captions.iter().zip(&before.captions).flat_map(|(now, then)| differences(now, then));
        let captions = captions.filter(|(_, how)| *how == Changed);
        let files = |now, then| differences(now, then).filter(move |_| !(is_old && same_content(now, then)));
        let told = |what: &'static str| {
            move |(name, how): (&str, Difference)| {
                let how = match how {
                    Changed => "has changed",
                    New => "is new",
                    Gone => "is gone",
                };
                format!("{what} `{name}` {how}")
            }
        };
        let mut all: Vec<String> = model.map(told("the model's file")).collect();
        all.extend(files(&self.data, &before.data).map(told("the picture")));
        all.extend(captions.map(told("the caption of")));
        all.extend(files(&self.class, &before.class).map(told("the class image")));
        match all.as_slice() {
            [] => None,
            [one] => Some(one.clone()),
            [first, _] => Some(format!("{first}, and one more change,")),
            [first, more @ ..] => Some(format!("{first}, and {} more changes,", more.len())),
        }
    }
}

/// The entries that are not what they were; none where `now` is empty.
fn differences<'a>(now: &'a List, then: &'a List) -> impl Iterator<Item = (&'a str, Difference)> {
    let other = now.iter().filter_map(|(name, hash)| match then.get(name) {
        None => Some((name.as_str(), New)),
        Some(before) => (before != hash).then_some((name.as_str(), Changed)),
    });
    let gone = then.keys().filter(|name| !now.is_empty() && !now.contains_key(*name));
    other.chain(gone.map(|name| (name.as_str(), Gone)))
}

/// Whether the same files are listed, whatever they are called.
fn same_content(now: &List, then: &List) -> bool {
    let sorted = |list: &List| {
        let mut hashes: Vec<String> = list.values().cloned().collect();
        hashes.sort();
        hashes
    };
    sorted(now) == sorted(then)
}

impl RunDir {
    /// Compares with what this run began with, as far as it is known yet. Where there is no checkpoint to go on from, another
    /// beginning is none the worse, and only the pictures that the old one left are removed.
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

    /// Writes down what the run begins with. One that goes on has begun already: its checkpoint knows with what.
    pub fn write_inputs(&self, now: &Hashes) -> Result<()> {
        if self.has_checkpoint() {
            return Ok(());
        }
        let json =
            serde_json::to_string_pretty(now).map_err(|e| Error::run("the hashes cannot be written").cause(e))?;
        self.write(INPUTS_JSON, format!("{json}\n").as_bytes())
    }

    fn has_checkpoint(&self) -> bool {
        fs_err::read_dir(self.path.join("checkpoints")).is_ok_and(|mut entries| entries.next().is_some())
    }
}
