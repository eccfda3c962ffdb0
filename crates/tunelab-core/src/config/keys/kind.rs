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
    /// A square's side, or a width and a height: `512` or `[512, 768]`.
    Sides {
        /// The range of each side.
        range: RangeInclusive<u64>,
        /// What a square's side must be a multiple of.
        square: u64,
        /// What the sides of a pair must be multiples of.
        pair: u64,
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
    /// A folder that exists, or a data set in one file.
    FolderOrPack,
    /// A repository's `owner/name`.
    Repository,
}
