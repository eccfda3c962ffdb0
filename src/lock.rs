//! A file that one process alone writes to.
//!
//! In: an open file. Out: the same file with a lock on it, which is given back when it is dropped or the process ends,
//! however it ends. Locks are advisory: they keep out those who ask.

use std::fs::TryLockError;

use fs_err::File;

/// Others are kept out while it lives.
#[derive(Debug)]
pub struct Locked {
    /// The file, as it was opened.
    pub file: File,
}

impl Locked {
    /// Takes the lock of `file`; `None` if another has it. A file system without locks gives one that keeps nobody out.
    pub fn take(file: File) -> Option<Self> {
        match file.file().try_lock() {
            Ok(()) | Err(TryLockError::Error(_)) => Some(Self { file }),
            Err(TryLockError::WouldBlock) => None,
        }
    }
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
        let open = || fs_err::OpenOptions::new().create(true).append(true).open(&path).unwrap();
        let held = Locked::take(open()).unwrap();
        assert!(Locked::take(open()).is_none(), "one at a time");

        // As a program has it that is being started.
        let copy = held.file.file().try_clone().unwrap();
        assert!(Locked::take(open()).is_none());
        drop(held);
        assert!(Locked::take(open()).is_some());
        drop(copy);
    }
}
