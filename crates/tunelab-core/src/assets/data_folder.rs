//! A data set as a folder.
//!
//! In: where it was found or unpacked. Out: plain values.

use std::path::PathBuf;

use crate::config::Selection;

/// A folder of images, and what of the selection is still to be chosen in it.
#[derive(Debug, Clone, PartialEq)]
pub struct DataFolder {
    /// The folder.
    pub root: PathBuf,
    /// For [`load_captioned`](crate::data::load_captioned).
    pub selection: Selection,
    /// What its images are rows or samples of, in their order; `None`: they were files.
    pub numbered: Option<String>,
}
