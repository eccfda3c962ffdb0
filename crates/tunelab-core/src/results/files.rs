//! Writing a file so that it is there whole or not at all.
//!
//! In: a path and bytes, or a writer that fills a path. Out: the file under its name, flushed to
//! the disk before it is renamed. A failure removes the temporary file and leaves what was there
//! before.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use fs_err as fs;

use crate::error::{Error, Result};

/// The ending of files that are still being written.
const TEMPORARY: &str = ".tunelab-tmp";

/// Writes `bytes` to `path`, making its folder where needed.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    write_with(path, |temporary| Ok(fs::write(temporary, bytes)?))
}

/// Lets `write` fill a temporary file beside `path`, then gives it that name.
pub fn write_with(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    atomically(path, write).map_err(|e: Error| e.context(format!("{} was not written", path.display())))
}

/// As [`write_with`], with the writer's own error.
pub fn atomically<E: From<io::Error>>(
    path: &Path,
    write: impl FnOnce(&Path) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let temporary = temporary(path);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let written = write(&temporary).and_then(|()| Ok(put_in_place(&temporary, path)?));
    if written.is_err() {
        // The first failure is the one to report; a temporary file that stays does no harm.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Replaces a small file that is no result, as often as every few seconds: whole, but without
/// waiting for the disk, and without making its folder.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = temporary(path);
    let written = fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Whether a file's name is that of a file that was still being written. A writer of tensors adds
/// an ending of its own.
pub fn is_temporary(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with('.') && name.contains(TEMPORARY)
}

/// Removes what a killed run was writing in `folder` and below.
pub fn remove_temporaries(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_temporaries(&entry.path())?;
        } else if is_temporary(&entry.file_name()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// In the same folder, because a rename works within one file system only; with the process's
/// number, so that two runs that write one table do not write into each other's file.
fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}{TEMPORARY}", std::process::id()))
}

/// The longest name that a file has while it is written: a writer of tensors puts a point before it
/// and an ending behind it.
pub fn longest_name(path: &Path) -> PathBuf {
    let temporary = temporary(path);
    let name = temporary.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.tmp"))
}

fn put_in_place(temporary: &Path, path: &Path) -> io::Result<()> {
    // Opened for writing because Windows flushes no handle that only reads.
    fs::OpenOptions::new().write(true).open(temporary)?.sync_all()?;
    fs::rename(temporary, path)
}
