//! Keeps two processes out of one run's folder: both would go on from the same checkpoint and write
//! over each other.
//!
//! In: the results folder and the run's folder name. Out: the lock; the empty file `.locks/NAME`
//! that carries it stays. It is not in `.cache`, which may be deleted at any time.

use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use fs_err as fs;

use crate::lock::Locked;

/// How long a process that was killed may take to end: whoever kills one and starts another at once
/// should not be refused.
const DYING: Duration = Duration::from_secs(2);

/// Takes the lock of the run `folder` in `results`; `None` if another process has it and keeps it.
///
/// # Errors
/// The file that carries it cannot be opened.
pub(super) fn lock(results: &Path, folder: &str) -> io::Result<Option<Locked>> {
    let locks = results.join(".locks");
    fs::create_dir_all(&locks)?;
    let (path, begun) = (locks.join(folder), Instant::now());
    loop {
        match Locked::open(&path)? {
            None if begun.elapsed() < DYING => thread::sleep(Duration::from_millis(20)),
            taken => return Ok(taken),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_about_to_end_is_waited_for() {
        let results = tempfile::tempdir().unwrap();
        let held = lock(results.path(), "a").unwrap().unwrap();
        let waiting = thread::scope(|scope| {
            let waiting = scope.spawn(|| lock(results.path(), "a").unwrap().is_some());
            thread::sleep(Duration::from_millis(100));
            drop(held);
            waiting.join().unwrap()
        });
        assert!(waiting);
        let _held = lock(results.path(), "a").unwrap().unwrap();
        assert!(lock(results.path(), "a").unwrap().is_none(), "one that goes on keeps it");
    }
}
