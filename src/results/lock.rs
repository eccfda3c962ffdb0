//! Keeps two processes out of one run's folder: both would go on from the same checkpoint and write over each other.
//!
//! In: the results folder and the run's folder name. Out: the lock; the empty file `.cache/locks/NAME` that carries it stays.

use std::path::Path;

use fs_err as fs;

use crate::error::{Error, Result};
use crate::lock::Locked;

/// Takes the lock of the run `folder` in `results`.
///
/// # Errors
/// Wrong input: another process has it.
pub(super) fn lock(results: &Path, folder: &str) -> Result<Locked> {
    let locks = results.join(".cache").join("locks");
    fs::create_dir_all(&locks)?;
    let file = fs::OpenOptions::new().create(true).append(true).open(locks.join(folder))?;
    Locked::take(file).ok_or_else(|| {
        Error::input(format!("{} is being written by another tunelab", results.join(folder).display()))
            .hint("wait until that one ends, or give this one another --results folder")
    })
}
