//! The files of a `tokenizer` folder.
//!
//! In: a path. Out: its text, or the values in its JSON; errors name the file.

use crate::error::{Error, Result};
use serde::Deserialize;
use std::path::Path;

/// Its text.
pub(super) fn read(file: &Path) -> Result<String> {
    fs_err::read_to_string(file).map_err(|e| {
        Error::input("the tokenizer cannot be read")
            .cause(e)
            .hint("a tokenizer folder holds tokenizer.json, or vocab.json and merges.txt")
    })
}

/// The values of its JSON.
pub(super) fn parse<T: for<'a> Deserialize<'a>>(file: &Path) -> Result<T> {
    serde_json::from_str(&read(file)?).map_err(|e| broken(file).cause(e))
}

/// The error for a file that cannot be used.
pub(super) fn broken(file: &Path) -> Error {
    Error::input(format!("{} is not a tokenizer file that can be used", file.display()))
}
