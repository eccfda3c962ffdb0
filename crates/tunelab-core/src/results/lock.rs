//! Keeps two processes out of one run's folder: both would go on from the same checkpoint and write
//! over each other.
//!
//! In: the results folder and the run's folder name. Out: the lock; the empty file `.locks/NAME`
//! that carries it stays. It is not in `.cache`, which may be deleted at any time.

use std::io::{self, Write as _, stderr};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use fs_err as fs;

use crate::error::Stop;
use crate::interrupt;
use crate::lock::{Locked, Owner, locks_are_local};

/// How long a process that was killed may take to end: whoever kills one and starts another at once
/// should not be refused.
pub(super) const DYING: Duration = Duration::from_secs(2);

/// A run that other processes are kept out of.
#[derive(Debug)]
pub(super) struct Held {
    _lock: Locked,
    /// Where locks cannot be relied on.
    _owner: Option<Owner>,
}

/// Takes the lock of the run `folder` in `results`; `None` if another process has it and keeps it for
/// longer than `patience`. Where the file system's locks cannot be relied on, the file
/// `.locks/NAME.owner` keeps others out.
///
/// # Errors
/// The file that carries it cannot be opened.
pub(super) fn lock(results: &Path, folder: &str, patience: Duration) -> io::Result<Option<Held>> {
    let locks = results.join(".locks");
    fs::create_dir_all(&locks)?;
    let (path, begun) = (locks.join(folder), Instant::now());
    loop {
        match take(&path)? {
            None if begun.elapsed() < patience => thread::sleep(Duration::from_millis(20)),
            taken => return Ok(taken),
        }
    }
}

fn take(path: &Path) -> io::Result<Option<Held>> {
    let Some(lock) = Locked::open(path)? else { return Ok(None) };
    if lock.held && !locks_are_local(path) {
        return Ok(Some(Held { _lock: lock, _owner: None }));
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".owner");
    let run = path.display().to_string();
    let lost = move || {
        // Nobody may be listening any more.
        let _ = writeln!(
            stderr(),
            "warning: another process has taken the run of {run}, as this one was silent for long: it stops"
        );
        interrupt::ask_process(Stop::Terminate);
    };
    Ok(Owner::take(&path.with_file_name(name), lost)?.map(|owner| Held { _lock: lock, _owner: Some(owner) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_about_to_end_is_waited_for() {
        let results = tempfile::tempdir().unwrap();
        let held = lock(results.path(), "a", DYING).unwrap().unwrap();
        let waiting = thread::scope(|scope| {
            let waiting = scope.spawn(|| lock(results.path(), "a", DYING).unwrap().is_some());
            thread::sleep(Duration::from_millis(100));
            drop(held);
            waiting.join().unwrap()
        });
        assert!(waiting);
        let _held = lock(results.path(), "a", DYING).unwrap().unwrap();
        assert!(lock(results.path(), "a", DYING).unwrap().is_none(), "one that goes on keeps it");
    }
}
