//! A key, stated once: its name, type, range, default, one line of documentation, and what it
//! affects.
//!
//! In: the settings structs, each of which visits its keys with `Visit`. Out: what is read from
//! an experiment, what is written as `plan.toml`, and a [`Listing`] of all keys, from which come
//! the reference (`tunelab keys`), the JSON Schema (`tunelab schema`), the comparison of plans and
//! the older spellings.

pub(crate) mod kind;
mod listing;
pub mod reference;
pub mod schema;
mod settings;
pub(crate) mod spelling;
pub(crate) mod value;
mod visit;
mod write;

pub use kind::Kind;
pub use listing::{Known, Listing};
pub(super) use settings::settings;
pub(super) use value::{Named, named};
pub use value::{Setting, Value};
pub(super) use visit::{Each, Inner, Keys, MaybeTable, NoKey, Stated, Visit};
pub(super) use write::Lines;

use std::ops::{Bound, RangeInclusive};

/// No limit that anybody meets; keeps products of counts within 64 bits.
pub(super) const ANY: usize = 1_000_000_000;

/// What has to be done again where a key's value is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Affects {
    /// Nothing: only what is said about a run.
    Metadata,
    /// What images are measured to be.
    Measuring,
    /// The images that are drawn after training.
    Sampling,
    /// Training, and so everything.
    Training,
}

/// The statement of a key, but for its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// The name in its table.
    pub name: &'static str,
    /// One line of documentation.
    pub doc: &'static str,
    /// Type and range.
    pub kind: Kind,
    /// The default in words, where it depends on other keys.
    pub usual: Option<&'static str>,
    /// What has to be done again where it changes.
    pub affects: Affects,
    /// The path that it had in an earlier version, which is read for ever.
    pub old: Option<&'static str>,
    /// Left out of `plan.toml` while it is false.
    pub quiet: bool,
}

impl Key {
    fn new(kind: Kind) -> Self {
        Self { name: "", doc: "", kind, usual: None, affects: Affects::Training, old: None, quiet: false }
    }

    /// With its name and its line of documentation.
    pub(super) fn named(self, name: &'static str, doc: &'static str) -> Self {
        Self { name, doc: doc.trim(), ..self }
    }

    /// The default in words.
    pub(super) fn usual(self, words: &'static str) -> Self {
        Self { usual: Some(words), ..self }
    }

    /// Changes nothing but what images are measured to be.
    pub(super) fn measuring(self) -> Self {
        Self { affects: Affects::Measuring, ..self }
    }

    /// Changes nothing but the images that are drawn after training.
    pub(super) fn sampling(self) -> Self {
        Self { affects: Affects::Sampling, ..self }
    }

    /// Changes nothing that is computed.
    pub(super) fn metadata(self) -> Self {
        Self { affects: Affects::Metadata, ..self }
    }

    /// Also read at this path, where it was in an earlier version.
    pub(super) fn old(self, path: &'static str) -> Self {
        Self { old: Some(path), ..self }
    }

    /// Left out of `plan.toml` while it is false.
    pub(super) fn quiet(self) -> Self {
        Self { quiet: true, ..self }
    }
}

/// A whole number in the range.
pub(super) fn whole(range: RangeInclusive<u64>) -> Key {
    Key::new(Kind::Whole { range, multiple_of: 1 })
}

/// A whole number from `low` on.
pub(super) fn count(low: u64) -> Key {
    whole(low..=ANY as u64)
}

/// A whole number in the range, and a multiple of `multiple_of`.
pub(super) fn multiple(multiple_of: u64, range: RangeInclusive<u64>) -> Key {
    Key::new(Kind::Whole { range, multiple_of })
}

/// A square's side in multiples of `square`, or a width and a height in multiples of `pair`, all in the range.
pub(super) fn sides(square: u64, pair: u64, range: RangeInclusive<u64>) -> Key {
    Key::new(Kind::Sides { range, square, pair })
}

/// As TOML has whole numbers: from 0 to 2^63 - 1.
pub(super) fn natural() -> Key {
    whole(0..=i64::MAX.unsigned_abs())
}

/// A number from `low` on.
pub(super) fn at_least(low: f64) -> Key {
    Key::new(Kind::Number(Bound::Included(low), Bound::Unbounded))
}

/// A number above `low`.
pub(super) fn above(low: f64) -> Key {
    Key::new(Kind::Number(Bound::Excluded(low), Bound::Unbounded))
}

/// A number between two bounds.
pub(super) fn between(low: Bound<f64>, high: Bound<f64>) -> Key {
    Key::new(Kind::Number(low, high))
}

/// A share: from 0 to below 1.
pub(super) fn share() -> Key {
    between(Bound::Included(0.0), Bound::Excluded(1.0))
}

/// `true` or `false`.
pub(super) fn flag() -> Key {
    Key::new(Kind::Flag)
}

/// A text with something in it.
pub(super) fn text() -> Key {
    Key::new(Kind::Text)
}

/// A text, which may be empty.
pub(super) fn any_text() -> Key {
    Key::new(Kind::AnyText)
}

/// A list of texts.
pub(super) fn texts() -> Key {
    Key::new(Kind::Texts)
}

/// One of an enum's names.
pub(super) fn choice<T: Named>() -> Key {
    Key::new(Kind::Choice(T::names().into_iter().map(|(name, _)| name).collect()))
}

/// Some of an enum's names.
pub(super) fn choices<T: Named>() -> Key {
    Key::new(Kind::Choices(T::names().into_iter().map(|(name, _)| name).collect()))
}

/// One of these names.
pub(super) fn one_of(names: &[&'static str]) -> Key {
    Key::new(Kind::Choice(names.into()))
}

/// A folder that exists.
pub(super) fn folder() -> Key {
    Key::new(Kind::Folder)
}

/// A folder that exists, or a model in one file.
pub(super) fn folder_or_model() -> Key {
    Key::new(Kind::FolderOrModel)
}

/// A folder that exists, or a data set in one file.
pub(super) fn folder_or_pack() -> Key {
    Key::new(Kind::FolderOrPack)
}

/// A repository's `owner/name`.
pub(super) fn repository() -> Key {
    Key::new(Kind::Repository)
}
