//! An archive that holds a folder of images: a zip, or a tar with a table of captions.
//!
//! In: the archive. Out: its images, captions and tables as they lie in it. Nothing else is unpacked, and nothing outside of the folder
//! is written.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use fs_err::File;
use tar::{Archive, EntryType};
use zip::ZipArchive;
use zip::result::ZipError;

use super::splits::is_split;
use super::{Kind, damaged, tar_bytes};
use crate::assets::layout::stays_inside;
use crate::assets::pictures::{is_table, is_wanted};
use crate::error::{Error, Result};
use crate::interrupt;

/// Lies in a folder that was unpacked as it is; no data set has a file of this name.
pub(super) const MARK: &str = ".tunelab-archive";

/// The most bytes that one member may become: what is larger is no image.
const MAX_MEMBER: u64 = 1 << 30;

/// Whether a tar holds a table of captions, so that it is a folder and not samples.
pub(super) fn is_folder(file: &Path) -> Result<bool> {
    Ok(tar_names(file)?.iter().any(|name| is_table(name)))
}

/// The folder that holds everything: archives often have one folder around all.
pub(super) fn root(folder: &Path) -> Result<PathBuf> {
    let mut root = folder.to_owned();
    loop {
        let entries = fs_err::read_dir(&root)?.collect::<std::io::Result<Vec<_>>>()?;
        let shown: Vec<_> = entries.iter().filter(|entry| entry.file_name() != MARK).collect();
        match shown[..] {
            [only] if only.path().is_dir() && !is_split(&only.file_name().to_string_lossy()) => root = only.path(),
            _ => return Ok(root),
        }
    }
}

/// Writes what is wanted of the archive into the folder.
///
/// # Errors
/// It is damaged or encrypted, two archives hold one name, or it cannot be written; interrupted.
pub(super) fn extract(file: &Path, folder: &Path) -> Result<()> {
    fs_err::write(folder.join(MARK), "")?;
    match Kind::of(&file.to_string_lossy()) {
        Some(Kind::Tar) => extract_tar(file, folder),
        _ => extract_zip(file, folder),
    }
}

fn extract_zip(file: &Path, folder: &Path) -> Result<()> {
    let fault = |e: ZipError| match e {
        ZipError::UnsupportedArchive(why) => {
            Error::input(format!("{}: is packed in a way that is not read: {why}", file.display()))
                .hint("pack it again without a password, with the usual compression (deflate)")
        }
        e => damaged(file, e),
    };
    let mut archive = ZipArchive::new(std::io::BufReader::new(File::open(file)?)).map_err(fault)?;
    let slashed = |name: &str| name.replace('\\', "/");
    // What has no readable name is not wanted.
    let names: BTreeSet<String> = archive.file_names().flatten().map(|name| slashed(&name)).collect();
    for index in 0..archive.len() {
        let entry = archive.by_index(index).map_err(fault)?;
        let name = entry.name().map_or_else(|_| String::new(), |name| slashed(&name));
        if entry.is_file() && wants(&name, &names) {
            write(entry, &name, file, folder)?;
        }
    }
    Ok(())
}

fn extract_tar(file: &Path, folder: &Path) -> Result<()> {
    let names = tar_names(file)?;
    let mut archive = Archive::new(tar_bytes(file)?);
    for entry in archive.entries().map_err(|e| damaged(file, e))? {
        let entry = entry.map_err(|e| damaged(file, e))?;
        let name = tar_name(&entry.path_bytes());
        if entry.header().entry_type() == EntryType::Regular && wants(&name, &names) {
            write(entry, &name, file, folder)?;
        }
    }
    Ok(())
}

fn tar_names(file: &Path) -> Result<BTreeSet<String>> {
    let mut archive = Archive::new(tar_bytes(file)?);
    let names = archive.entries().map_err(|e| damaged(file, e))?;
    names.map(|entry| Ok(tar_name(&entry.map_err(|e| damaged(file, e))?.path_bytes()))).collect()
}

fn tar_name(path: &[u8]) -> String {
    let path = String::from_utf8_lossy(path);
    path.strip_prefix("./").unwrap_or(&path).to_owned()
}

/// Images, captions and tables, but no name that leaves the folder.
fn wants(name: &str, names: &BTreeSet<String>) -> bool {
    stays_inside(name) && !name.split('/').any(|part| part == "__MACOSX") && is_wanted(name, names)
}

fn write(entry: impl Read, name: &str, file: &Path, folder: &Path) -> Result<()> {
    interrupt::check_process()?;
    let to = folder.join(name);
    if let Some(parent) = to.parent() {
        fs_err::create_dir_all(parent)?;
    }
    if to.exists() {
        return Err(Error::input(format!("{}: `{name}` is there twice", file.display())).hint(
            "where several archives hold the same names, unpack them and make each a source of [[dataset.sources]]",
        ));
    }
    let mut bytes = Vec::new();
    entry.take(MAX_MEMBER + 1).read_to_end(&mut bytes).map_err(|e| damaged(file, format!("`{name}`: {e}")))?;
    if bytes.len() as u64 > MAX_MEMBER {
        return Err(damaged(file, format!("`{name}` has more than {MAX_MEMBER} bytes")));
    }
    Ok(File::create(&to)?.write_all(&bytes)?)
}
