//! Keeps two processes out of one run's folder: both would go on from the same checkpoint and write over each other.
//!
//! In: the results folder and the run's folder name. Out: the lock; the empty file `.locks/NAME` that carries it stays. It is
//! not in `.cache`, which may be deleted at any time.

use std::io;
use std::path::Path;

use fs_err as fs;

use crate::lock::Locked;

/// Takes the lock of the run `folder` in `results`; `None` if another process has it.
///
/// # Errors
/// The file that carries it cannot be opened.
pub(super) fn lock(results: &Path, folder: &str) -> io::Result<Option<Locked>> {
    let locks = results.join(".locks");
    fs::create_dir_all(&locks)?;
    Locked::open(&locks.join(folder))
}
