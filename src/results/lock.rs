//! Keeps two processes out of one run's folder: both would go on from the same checkpoint and write over each other.
//!
//! In: the results folder and the run's folder name. Out: a lock that the system takes back when this process ends, however
//! it ends; the empty file `.cache/locks/NAME` that carries it stays.

use std::fs::TryLockError;
use std::path::Path;
use std::sync::Arc;

use fs_err as fs;

use crate::error::{Error, Result};

/// Held while it lives; clones share it.
#[derive(Debug, Clone)]
pub(super) struct Lock {
    _file: Option<Arc<fs::File>>,
}

impl Lock {
    /// Takes the lock of the run `folder` in `results`. A file system that has no locks gives one that keeps nobody out.
    ///
    /// # Errors
    /// Wrong input: another process has it.
    pub(super) fn take(results: &Path, folder: &str) -> Result<Self> {
        let locks = results.join(".cache").join("locks");
        fs::create_dir_all(&locks)?;
        let file = fs::OpenOptions::new().create(true).append(true).open(locks.join(folder))?;
        match file.file().try_lock() {
            Ok(()) => Ok(Self { _file: Some(Arc::new(file)) }),
            Err(TryLockError::Error(_)) => Ok(Self { _file: None }),
            Err(TryLockError::WouldBlock) => {
                Err(Error::input(format!("{} is being written by another tunelab", results.join(folder).display()))
                    .hint("wait until that one ends, or give this one another --results folder"))
            }
        }
    }
}
