//! A file that one process alone writes to.
//!
//! In: a path. Out: the file there, made if need be, with a lock on it, which is given back when it is dropped or the process
//! ends, however it ends. Locks keep out those who ask; on SMB and on Windows nobody else can read or write the file either, not
//! even this process through another handle. Where a file system has no locks, or none that other machines see (`mounts`), a file that
//! says who has it takes their place (`owner`).

mod mounts;
mod owner;

use std::fs::TryLockError;
use std::io;
use std::path::Path;

use fs_err::{File, OpenOptions};

pub use mounts::locks_are_local;
pub use owner::{BEAT, DEAD, Owner};

/// Others are kept out while it lives.
#[derive(Debug)]
pub struct Locked {
    /// To be read and written; it stands at its beginning.
    pub file: File,
    /// Whether others are kept out: some network file systems have no locks, or none to be relied on.
    pub held: bool,
}

/// How often a file may be replaced under our hands before its file system is taken for one that cannot be relied on.
const ATTEMPTS: usize = 100;

impl Locked {
    /// Opens a file and takes its lock; `None` if it is taken.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(path: &Path) -> io::Result<Option<Self>> {
        let open = || OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path);
        for _ in 0..ATTEMPTS {
            let file = open()?;
            let held = match file.file().try_lock() {
                Ok(()) => true,
                Err(TryLockError::WouldBlock) => return Ok(None),
                // So SMB says that it is taken; that the file may be written has just been seen.
                Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
                Err(TryLockError::Error(e)) if is_gone(&e) || e.kind() == io::ErrorKind::Interrupted => continue,
                Err(TryLockError::Error(_)) => false,
            };
            let locked = Self { file, held };
            // Whoever had the lock may have renamed or removed the file since it was opened here.
            if !held || locked.is_at(path)? {
                return Ok(Some(locked));
            }
        }
        Ok(Some(Self { file: open()?, held: false }))
    }

    /// Whether the path still leads to this file.
    #[cfg(unix)]
    fn is_at(&self, path: &Path) -> io::Result<bool> {
        use std::os::unix::fs::MetadataExt;
        let place = |of: std::fs::Metadata| (of.dev(), of.ino());
        match (self.file.metadata().map(place), fs_err::metadata(path).map(place)) {
            (Ok(ours), Ok(there)) => Ok(ours == there),
            (Err(e), _) | (_, Err(e)) if is_gone(&e) => Ok(false),
            (Err(e), _) | (_, Err(e)) => Err(e),
        }
    }

    /// Whether the path still leads to a file: which one cannot be told.
    #[cfg(not(unix))]
    #[allow(clippy::unused_self)]
    fn is_at(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }
}

/// Whether a file was removed, here or on another machine.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::StaleNetworkFileHandle)
}

impl Drop for Locked {
    /// Closing the file would not do: the lock lasts as long as any copy of the open file, and a program that another thread
    /// starts just now has copies of all of ours until it is loaded.
    fn drop(&mut self) {
        // It fails where there are no locks.
        let _ = self.file.file().unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_ends_when_it_is_dropped_whoever_has_a_copy_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let open = || Locked::open(&path).unwrap();
        let held = open().unwrap();
        assert!(open().is_none(), "one at a time");

        // As a program has it that is being started.
        let copy = held.file.file().try_clone().unwrap();
        assert!(open().is_none());
        drop(held);
        assert!(open().is_some());
        drop(copy);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_was_renamed_or_replaced_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let held = Locked::open(&path).unwrap().unwrap();
        assert!(held.is_at(&path).unwrap());
        fs_err::rename(&path, folder.path().join("whole")).unwrap();
        assert!(!held.is_at(&path).unwrap());
        assert!(Locked::open(&path).unwrap().is_some(), "a new file has a lock of its own");
        assert!(!held.is_at(&path).unwrap());
    }
}
