//! Every input that can change a run's numbers beside its plan, by hash: the one list of them.
//!
//! In: hashes of files and captions, as they were read. Out: [`Hashes`], and a sentence on what
//! differs from an earlier one. What is computed once for several runs has the hashes of what it is
//! computed from in its name: latents the VAE's and the image's, hidden states the text
//! encoder's, class images the whole model's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::hash;

/// SHA-256 of all that goes in, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hashes {
    /// The model's files, by their path in its folder: weights, configurations, tokenizer,
    /// scheduler.
    pub model: BTreeMap<String, String>,
    /// The images, by their path in the data set's folder.
    pub data: BTreeMap<String, String>,
    /// The images' captions, by the same; empty where the plan has one prompt for all. Earlier
    /// versions recorded none.
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

/// How the names of class images begin that the base model drew, where there are others too.
pub const DRAWN_CLASS: &str = "class: ";

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

    /// Whether a version recorded it that listed neither captions nor all of a tokenizer's files,
    /// and spelled some names otherwise.
    pub fn is_of_earlier_version(&self) -> bool {
        self.captions.is_none()
    }

    /// What is another than `before`, as a sentence; `None` if nothing is. A list that is empty
    /// here is not known yet.
    pub fn changed_since(&self, before: &Self) -> Option<String> {
        let is_old = before.is_of_earlier_version();
        let unlisted = |name: &str, how| is_old && how == New && name.starts_with("tokenizer/");
        let model = differences(&self.model, &before.model).filter(|(name, how)| !unlisted(name, *how));
        // An image that came or went says enough of its caption.
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
        // Those that the base model draws are not known before they are there; a source's are.
        let drawn_are_there = self.class.keys().any(|name| name.starts_with(DRAWN_CLASS));
        let class = before.class.iter().filter(|(name, _)| drawn_are_there || !name.starts_with(DRAWN_CLASS));
        let class: List = class.map(|(name, hash)| (name.clone(), hash.clone())).collect();
        all.extend(files(&self.class, &class).map(told("the class image")));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn of_class(entries: &[(&str, &str)]) -> Hashes {
        let class = entries.iter().map(|(name, hash)| ((*name).to_owned(), (*hash).to_owned())).collect();
        Hashes { captions: Some(List::new()), class, ..Hashes::default() }
    }

    #[test]
    fn own_class_images_are_compared_before_others_are_drawn() {
        let before = of_class(&[("class: a dog/0.png", "1"), ("own/0.png", "2")]);
        assert_eq!(of_class(&[]).changed_since(&before), None, "nothing is known yet");
        assert_eq!(of_class(&[("own/0.png", "2")]).changed_since(&before), None);
        let changed = of_class(&[("own/0.png", "3")]).changed_since(&before);
        assert_eq!(changed.as_deref(), Some("the class image `own/0.png` has changed"));
        let drawn = of_class(&[("class: a dog/0.png", "3"), ("own/0.png", "2")]).changed_since(&before);
        assert_eq!(drawn.as_deref(), Some("the class image `class: a dog/0.png` has changed"));
        assert!(of_class(&[("own/1.png", "2")]).changed_since(&before).is_some());
    }
}
