//! What is compiled in, unpacked into a folder, because the rest of the program works on paths.
//!
//! In: a [`Builtin`]. Out: a folder that holds exactly its files. The folder is named by a hash of
//! them, so versions of the program do not meet in one. Each use compares every file with what is
//! compiled in and writes those anew that differ: a damaged or half-written copy mends itself.
//! Files appear under a name of their own and are renamed, so any number of processes may unpack at
//! once.

use std::io::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::own;
use super::settings::own_folders;
use crate::builtin::Builtin;
use crate::error::{Error, Result};
use crate::hash::hex;

/// Hexadecimal digits of the hash in the folder's name.
const DIGITS: usize = 16;

/// The folder with the files of `builtin`: in the user's cache, or where that cannot be written in
/// the system's folder for temporary files.
pub fn unpack(builtin: Builtin) -> Result<PathBuf> {
    unpack_into(builtin, &own_folders())
}

/// As [`unpack`], in the first of these folders that can be used.
pub fn unpack_into(builtin: Builtin, roots: &[PathBuf]) -> Result<PathBuf> {
    let name = folder_name(builtin);
    let mut error = Error::input(format!("there is no folder to unpack {builtin} in"))
        .hint("set XDG_CACHE_HOME to a folder that can be written");
    for root in roots {
        let folder = root.join(&name);
        match mend(builtin, root, &folder) {
            Ok(()) => return Ok(folder),
            Err(why) => error = error.cause(why.message()),
        }
    }
    Err(error)
}

/// `mini-0123456789abcdef`.
fn folder_name(builtin: Builtin) -> String {
    let mut hash = Sha256::new();
    for (path, bytes) in builtin.files() {
        hash.update((path.len() as u64).to_le_bytes());
        hash.update(path);
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    format!("{}-{}", builtin.name(), &hex(&hash.finalize())[..DIGITS])
}

/// Writes what is missing or differs.
fn mend(builtin: Builtin, root: &Path, folder: &Path) -> Result<()> {
    for (path, bytes) in builtin.files() {
        let file = folder.join(path);
        if !holds(&file, bytes) {
            put(root, &file, bytes)?;
        }
    }
    only(builtin, folder)
}

fn holds(file: &Path, bytes: &[u8]) -> bool {
    let size = fs_err::metadata(file).map(|meta| meta.len());
    size.is_ok_and(|size| size == bytes.len() as u64) && fs_err::read(file).is_ok_and(|found| found == bytes)
}

fn put(root: &Path, file: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(parent) = file.parent() {
        fs_err::create_dir_all(parent)?;
    }
    // Outside the folder, in which a killed process must leave nothing.
    let (own, mut open) = own::within(root, own::new_file)?;
    let written = open.write_all(bytes).and_then(|()| open.sync_all());
    Ok(own::rename(&own, file, written)?)
}

/// A picture more in the folder would be trained on.
fn only(builtin: Builtin, folder: &Path) -> Result<()> {
    for entry in fs_err::read_dir(folder)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        let known = |(path, _): &(&str, _)| path.split('/').next() == Some(&*name);
        if !name.starts_with('.') && !builtin.files().iter().any(known) {
            let path = folder.join(&*name);
            return Err(Error::input(format!("{} is no part of {builtin}: remove it", path.display())));
        }
    }
    Ok(())
}
