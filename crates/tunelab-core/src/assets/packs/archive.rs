//! Archives of images: zip, which holds a folder, and tar, which holds a folder or samples (`members`).
//!
//! In: the archive. Out: its images, captions, masks and tables in a folder. Nothing else is unpacked, and nothing outside of the folder is
//! written.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use fs_err::File;
use serde_json::Value;
use tar::{Archive, Entries, EntryType};
use zip::ZipArchive;
use zip::result::ZipError;

use super::members::{Members, Target};
use super::splits::is_split;
use crate::assets::layout::stays_inside;
use crate::assets::pack_kind::damaged;
use crate::assets::wanted::is_wanted;
use crate::config::Selection;
use crate::error::{Error, Result};
use crate::interrupt;

/// Lies in a folder that was unpacked from archives; no data set has a file of this name.
pub(super) const MARK: &str = ".tunelab-archive";

/// How captions end whose field was named.
const TXT: &str = ".txt";

/// The most bytes that one member may become: what is larger is no image.
const MAX_MEMBER: u64 = 1 << 30;

/// The folder that holds everything: archives often have one folder around all.
pub(super) fn root(folder: &Path) -> Result<PathBuf> {
    let mut root = folder.to_owned();
    loop {
        let entries = fs_err::read_dir(&root)?.collect::<io::Result<Vec<_>>>()?;
        let shown: Vec<_> = entries.iter().filter(|entry| entry.file_name() != MARK).collect();
        match shown[..] {
            [only] if only.path().is_dir() && !is_split(&only.file_name().to_string_lossy()) => root = only.path(),
            _ => return Ok(root),
        }
    }
}

/// Writes what is wanted of a zip into the folder.
///
/// # Errors
/// It is damaged or encrypted, two archives hold one name, or it cannot be written; interrupted.
pub(super) fn extract_zip(file: &Path, folder: &Path) -> Result<()> {
    fs_err::write(folder.join(MARK), "")?;
    let fault = |e: ZipError| match e.to_string() {
        why if why.contains("assword") || why.contains("upported") => {
            Error::input(format!("{}: is packed in a way that is not read: {why}", file.display()))
                .hint("pack it again without a password, with the usual compression (deflate)")
        }
        why => damaged(file, why),
    };
    let mut archive = ZipArchive::new(io::BufReader::new(File::open(file)?)).map_err(fault)?;
    let slashed = |name: &str| name.replace('\\', "/");
    // What has no readable name is not wanted.
    let names: BTreeSet<String> = archive.file_names().flatten().map(|name| slashed(&name)).collect();
    for index in 0..archive.len() {
        let entry = archive.by_index(index).map_err(fault)?;
        let name = entry.name().map_or_else(|_| String::new(), |name| slashed(&name));
        let is_shown = !name.split('/').any(|part| part == "__MACOSX");
        if entry.is_file() && is_shown && stays_inside(&name) && is_wanted(&name, &names) {
            write(&read(entry, &name, file)?, &name, file, folder)?;
        }
    }
    Ok(())
}

/// How many samples a tar has; `None`: it is a folder, or would have to be unpacked to know it.
pub(super) fn sample_count(file: &Path, selection: &Selection) -> Result<Option<usize>> {
    if is_compressed(file) {
        return Ok(None);
    }
    let members = members(file, selection, ("", usize::MAX))?;
    Ok(Some(members.samples).filter(|samples| *samples > 0))
}

/// Writes what is wanted of a tar into the folder, no more than `most` samples, whose names begin with `prefix`; gives how many there
/// were.
///
/// # Errors
/// It is damaged, has no samples, a sample has several images, or it cannot be written; interrupted.
pub(super) fn extract_tar(
    file: &Path,
    folder: &Path,
    selection: &Selection,
    (prefix, most): (&str, usize),
) -> Result<usize> {
    fs_err::write(folder.join(MARK), "")?;
    let members = members(file, selection, (prefix, most))?;
    let mut texts = 0;
    let mut archive = Archive::new(tar_bytes(file)?);
    for entry in archive.entries().map_err(|e| damaged(file, e))? {
        let mut entry = entry.map_err(|e| damaged(file, e))?;
        let name = tar_name(&entry.path_bytes());
        let Some(target) = members.targets.get(&name) else { continue };
        match (entry.header().entry_type(), target) {
            (EntryType::Link, Target::As(to)) => {
                let first = entry.link_name_bytes().map(|name| tar_name(&name)).unwrap_or_default();
                let Some(Target::As(first)) = members.targets.get(&first) else {
                    return Err(damaged(file, format!("`{name}` is a link to `{first}`, which is no image of it")));
                };
                let bytes = fs_err::read(folder.join(first)).map_err(|e| damaged(file, e))?;
                write(&bytes, to, file, folder)?;
            }
            (kind, target) if is_file(kind) => {
                let bytes = read(&mut entry, &name, file)?;
                match target {
                    Target::As(to) => {
                        texts += usize::from(to.ends_with(TXT));
                        write(&bytes, to, file, folder)?;
                    }
                    Target::ValueAs(to) => {
                        let column = selection.caption_column.as_deref().unwrap_or_default();
                        if let Some(text) =
                            value(&bytes, column).map_err(|why| damaged(file, format!("`{name}`: {why}")))?
                        {
                            texts += 1;
                            write(text.as_bytes(), to, file, folder)?;
                        }
                    }
                }
            }
            _ => {}
        }
    }
    if let (Some(column), 0, 1..) = (&selection.caption_column, texts, members.samples) {
        return Err(Error::input(format!("{}: no sample has a field or a JSON value `{column}`", file.display()))
            .hint("`caption_column` in [dataset] names where the captions are"));
    }
    Ok(members.samples)
}

fn members(file: &Path, selection: &Selection, how: (&str, usize)) -> Result<Members> {
    // What need not be unpacked is passed over without being read.
    let names = if is_compressed(file) {
        tar_names(Archive::new(tar_bytes(file)?).entries())
    } else {
        tar_names(Archive::new(File::open(file)?).entries_with_seek())
    };
    Members::of(&names.map_err(|e| damaged(file, e))?, selection, how)
        .map_err(|(what, hint)| Error::input(format!("{}: {what}", file.display())).hint(hint))
}

/// Whether a tar archive is compressed, by its name.
fn is_compressed(file: &Path) -> bool {
    file.to_string_lossy().to_lowercase().ends_with("gz")
}

/// A tar archive's bytes, unpacked where it is compressed.
fn tar_bytes(file: &Path) -> Result<Box<dyn Read>> {
    let open = io::BufReader::with_capacity(1 << 20, File::open(file)?);
    if is_compressed(file) {
        return Ok(Box::new(flate2::bufread::MultiGzDecoder::new(open)));
    }
    Ok(Box::new(open))
}

fn tar_names<R: Read>(entries: io::Result<Entries<R>>) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in entries? {
        let entry = entry?;
        let kind = entry.header().entry_type();
        if is_file(kind) || kind == EntryType::Link {
            names.push(tar_name(&entry.path_bytes()));
        }
    }
    Ok(names)
}

fn is_file(kind: EntryType) -> bool {
    matches!(kind, EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse)
}

/// The text of one name in a JSON object.
fn value(bytes: &[u8], name: &str) -> serde_json::Result<Option<String>> {
    let value: Value = serde_json::from_slice(bytes)?;
    Ok(value.get(name).and_then(Value::as_str).map(str::to_owned))
}

fn tar_name(path: &[u8]) -> String {
    let path = String::from_utf8_lossy(path);
    path.strip_prefix("./").unwrap_or(&path).to_owned()
}

fn read(entry: impl Read, name: &str, file: &Path) -> Result<Vec<u8>> {
    interrupt::check_process()?;
    let mut bytes = Vec::new();
    entry.take(MAX_MEMBER + 1).read_to_end(&mut bytes).map_err(|e| damaged(file, format!("`{name}`: {e}")))?;
    if bytes.len() as u64 > MAX_MEMBER {
        return Err(damaged(file, format!("`{name}` has more than {MAX_MEMBER} bytes")));
    }
    Ok(bytes)
}

fn write(bytes: &[u8], name: &str, file: &Path, folder: &Path) -> Result<()> {
    let to = folder.join(name);
    if let Some(parent) = to.parent() {
        fs_err::create_dir_all(parent)?;
    }
    if to.exists() {
        return Err(Error::input(format!("{}: `{name}` is there twice", file.display())).hint(
            "where several archives hold the same names, unpack them and make each a source of [[dataset.sources]]",
        ));
    }
    Ok(File::create(&to)?.write_all(bytes)?)
}
