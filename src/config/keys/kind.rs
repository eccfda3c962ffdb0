//! Types and ranges of keys.
//!
//! In: what a statement says. Out: one description, by which a value is read, documented and
//! checked in an editor.

use std::ops::{Bound, RangeInclusive};

/// The values that a key may have.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// A whole number in a range.
    Whole {
        /// The range.
        range: RangeInclusive<u64>,
        /// What it must be a multiple of.
        multiple_of: u64,
    },
    /// A finite number in a range.
    Number(Bound<f64>, Bound<f64>),
    /// `true` or `false`.
    Flag,
    /// A text with something in it.
    Text,
    /// A text, which may be empty.
    AnyText,
    /// A list of different texts, each with something in it.
    Texts,
    /// One of the names.
    Choice(Vec<&'static str>),
    /// A list of different ones of the names.
    Choices(Vec<&'static str>),
    /// A folder that exists.
    Folder,
    /// A folder that exists, or a model in one file.
    FolderOrModel,
    /// A repository's `owner/name`.
    Repository,
}
