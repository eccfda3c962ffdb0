//! Data sets whose images are packed: Parquet files, tar and zip archives.
//!
//! In: the files, which are here, and which part of them is meant. Out: a folder of image files, with a `metadata.jsonl` of their
//! captions where the files have a column or fields for them, so that from here on it is a data set like any other. It is made once for
//! what the files are (place, size, time) and for what was asked of them, and has its name when it is whole.

mod archive;
mod columns;
mod members;
mod parquet;
mod samples;
mod splits;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

pub(super) use splits::{Chosen, choose};

use super::data_folder::DataFolder;
use super::pack_kind::Kind;
use super::wanted::has_any;
use crate::config::Selection;
use crate::error::{Error, Result};
use crate::hash;
use crate::interrupt;
use crate::lock::Locked;
use crate::progress::Progress;
use samples::Samples;

/// Goes into the names of folders: another one where the same files are unpacked otherwise.
const VERSION: &str = "1";

/// Between two looks at what another process is unpacking.
const PAUSE: Duration = Duration::from_millis(200);

/// What is said of a data set whenever it is used; no data set has a file of this name.
const NOTE: &str = ".tunelab-note";

/// Digits of the hash in a folder's name.
const DIGITS: usize = 16;

/// How many images a file holds; `None`: this is known only where it is unpacked.
fn count(file: &Path, selection: &Selection) -> Result<Option<usize>> {
    match Kind::of(&file.to_string_lossy()) {
        Some(Kind::Parquet) => Ok(Some(parquet::row_count(file)?)),
        Some(Kind::Tar) => archive::sample_count(file, selection),
        Some(Kind::Zip) | None => Ok(None),
    }
}

/// Says after each file of the selection that has come whether those behind it are still wanted.
pub(super) fn enough(selection: &Selection) -> impl FnMut(&Path) -> Result<bool> {
    let mut found = 0;
    move |file| {
        let Some(most) = selection.max_samples else { return Ok(false) };
        found += count(file, selection)?.unwrap_or(0);
        Ok(found >= most)
    }
}

/// Parts of the names of lists of files that hold all of the selection, first the one that holds nothing else.
pub(super) fn list_names(selection: &Selection) -> [String; 2] {
    // Which columns are read changes no file.
    let files = Selection { image_column: None, caption_column: None, ..selection.clone() };
    [files.clone(), Selection { max_samples: None, ..files }].map(|files| {
        if files == Selection::default() {
            String::new()
        } else {
            format!("-{}", &hash::key(&[&format!("{files:?}")])[..DIGITS])
        }
    })
}

/// The files of a data set.
pub(super) struct Files<'f> {
    /// Where they lie.
    pub dir: &'f Path,
    /// Their names in it.
    pub names: &'f [String],
    /// The one that is a table of what the others hold.
    pub table: Option<&'f str>,
}

impl Files<'_> {
    fn paths(&self) -> impl Iterator<Item = PathBuf> {
        self.names.iter().map(|name| self.dir.join(name))
    }

    /// `train-00000-of-00003.parquet and 2 more`.
    fn shown(&self) -> String {
        let first = self.paths().next().map_or_else(String::new, |file| file.display().to_string());
        match self.names.len() {
            0 | 1 => first,
            n => format!("{first} and {} more", n - 1),
        }
    }
}

/// The folder with the images of the files, in the first of `roots` that can be written.
///
/// # Errors
/// A file is damaged, has no images, or not the columns that are asked for; no folder can be written; interrupted.
pub(super) fn unpack(
    files: &Files,
    selection: &Selection,
    roots: &[PathBuf],
    progress: &Progress,
) -> Result<DataFolder> {
    let name = folder_name(files, selection)?;
    let mut error = Error::input("there is no folder to unpack the images in")
        .hint("set XDG_CACHE_HOME to a folder that can be written");
    for root in roots {
        let folder = root.join(&name);
        if let Err(e) = make(files, selection, &folder, progress)? {
            // The next one is tried.
            error = error.cause(e);
            continue;
        }
        if let Ok(note) = fs_err::read_to_string(folder.join(NOTE)) {
            progress.line(note);
        }
        return if files.table.is_some() {
            let selection = Selection { split: None, subset: None, ..selection.clone() };
            Ok(DataFolder { root: folder, selection, numbered: None })
        } else if folder.join(archive::MARK).is_file() {
            // An archive without samples is a folder, of which a split may be meant.
            let selection = splits::left(files.names, selection);
            Ok(DataFolder { root: archive::root(&folder)?, selection, numbered: None })
        } else {
            Ok(DataFolder { root: folder, selection: Selection::default(), numbered: Some(files.shown()) })
        };
    }
    Err(error)
}

/// Makes the folder, or waits until another process has made it. The inner error: nothing can be written there; the outer one: what is
/// wrong with the files.
fn make(files: &Files, selection: &Selection, folder: &Path, progress: &Progress) -> Result<io::Result<()>> {
    let mut is_told = false;
    while !folder.is_dir() {
        let parent = folder.parent().unwrap_or(Path::new(""));
        match fs_err::create_dir_all(parent).and_then(|()| Locked::open(&folder.with_extension("lock"))) {
            Err(e) => return Ok(Err(e)),
            Ok(Some(lock)) => unpack_into(files, selection, folder, &lock, progress)?,
            Ok(None) => {
                if !std::mem::replace(&mut is_told, true) {
                    progress.line(format!("waiting for another process that unpacks {}", files.shown()));
                }
                interrupt::check_process()?;
                std::thread::sleep(PAUSE);
            }
        }
    }
    Ok(Ok(()))
}

fn unpack_into(files: &Files, selection: &Selection, folder: &Path, lock: &Locked, progress: &Progress) -> Result<()> {
    if folder.is_dir() {
        // Another process made it and removed its lock before this one was made.
        let _ = fs_err::remove_file(folder.with_extension("lock"));
        return Ok(());
    }
    // What a killed process left is nobody's, once there is a lock; without locks each process has a name of its own.
    let own = if lock.held { "part".to_owned() } else { format!("{}.part", std::process::id()) };
    let part = folder.with_extension(own);
    let unpacked = remake(&part).and_then(|()| read(files, selection, &part, progress));
    let renamed = unpacked.and_then(|()| Ok(fs_err::rename(&part, folder)?));
    if renamed.is_err() {
        // The first error is the one to tell.
        let _ = fs_err::remove_dir_all(&part);
    }
    let _ = fs_err::remove_file(folder.with_extension("lock"));
    if folder.is_dir() { Ok(()) } else { renamed }
}

fn remake(part: &Path) -> Result<()> {
    if part.is_dir() {
        fs_err::remove_dir_all(part)?;
    }
    Ok(fs_err::create_dir_all(part)?)
}

/// Reads the files into the folder.
fn read(files: &Files, selection: &Selection, folder: &Path, progress: &Progress) -> Result<()> {
    let total = files.paths().map(|file| Ok(fs_err::metadata(file)?.len())).sum::<Result<u64>>()?;
    let bar = progress.bytes("unpacking images", total);
    let mut samples = Samples::new(folder, selection.max_samples);
    let several = files.names.len() > 1;
    let mut unpacked = 0;
    for (name, file) in files.names.iter().zip(files.paths()) {
        if samples.is_full() || selection.max_samples == Some(unpacked) {
            break;
        }
        match Kind::of(name) {
            _ if files.table == Some(&**name) => {
                let ending = file.extension().unwrap_or_default();
                fs_err::copy(&file, folder.join("metadata").with_extension(ending))?;
            }
            Some(Kind::Parquet) => {
                if let Some(note) = parquet::read(&file, selection, &mut samples)? {
                    fs_err::write(folder.join(NOTE), note)?;
                }
            }
            Some(Kind::Tar) => {
                let prefix = if several { format!("{}_", stem(name)) } else { String::new() };
                let most = selection.max_samples.map_or(usize::MAX, |most| most - unpacked);
                unpacked += archive::extract_tar(&file, folder, selection, (&prefix, most))?;
            }
            Some(Kind::Zip) => archive::extract_zip(&file, folder)?,
            // A folder of images that a table beside it names.
            None => copy(&file, &folder.join(name))?,
        }
        bar.inc(fs_err::metadata(&file)?.len());
    }
    let count = samples.finish()?;
    bar.finish();
    if count == 0 && !has_any(folder) {
        return Err(Error::input(format!("{}: there is no image in it", files.shown())));
    }
    Ok(())
}

/// A file's name without folders and endings.
fn stem(name: &str) -> &str {
    name.rsplit('/').next().and_then(|name| name.split('.').next()).unwrap_or(name)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(parent) = to.parent() {
        fs_err::create_dir_all(parent)?;
    }
    fs_err::copy(from, to)?;
    Ok(())
}

/// A name for what the files are and what is asked of them.
fn folder_name(files: &Files, selection: &Selection) -> Result<String> {
    let mut parts = vec![VERSION.to_owned(), format!("{selection:?}")];
    for file in files.paths() {
        let path = fs_err::canonicalize(file)?;
        let there = fs_err::metadata(&path)?;
        let time = there.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        parts.push(format!("{} {} {} {}", path.display(), there.len(), time.as_nanos(), identity(&there)));
    }
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    Ok(format!("images-{}", &hash::key(&parts)[..DIGITS]))
}

/// Which file it is, and when it was last touched: copies may keep size and time.
#[cfg(unix)]
fn identity(there: &std::fs::Metadata) -> String {
    use std::os::unix::fs::MetadataExt;
    format!("{} {} {}", there.ino(), there.ctime(), there.ctime_nsec())
}

#[cfg(not(unix))]
fn identity(_: &std::fs::Metadata) -> &'static str {
    ""
}
