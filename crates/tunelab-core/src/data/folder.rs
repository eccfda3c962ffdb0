//! Which files of a dataset folder are to be looked at.
//!
//! In: the folder. Out: the folder that really holds the pictures (a dataset repository may keep them in `train/`, as the
//! hub's `ImageFolder` layout has it) and the relative paths in it, sorted by their bytes so that no file system's order
//! reaches a result. Passed over are names that come with every repository or operating system, and, with a note, what other
//! programs that train leave beside pictures, and the results of our own; nothing else is. Also how images, captions, tables and
//! masks are told by their names.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use fs_err::File;

use super::name::listed;
use crate::config::Selection;
use crate::error::{Error, Result};

/// The caption tables that are read; a folder has at most one.
pub(super) const METADATA: [&str; 3] = ["metadata.jsonl", METADATA_CSV, METADATA_JSON];

/// The one of them that kohya's scripts write.
pub(super) const METADATA_JSON: &str = "metadata.json";

/// The one of them that has columns.
pub(super) const METADATA_CSV: &str = "metadata.csv";

/// How the names of masks end.
pub(super) const MASK_ENDING: &str = ".mask.png";

/// Folders below this depth are not entered.
const MAX_DEPTH: usize = 16;

/// Whether a file is named as a mask.
pub fn is_named_mask(name: &str) -> bool {
    name.to_lowercase().ends_with(MASK_ENDING)
}

/// What a folder holds, relative to it, each list in byte order.
#[derive(Debug, Default)]
pub(super) struct Entries {
    pub files: Vec<PathBuf>,
    /// Folders that were not entered.
    pub folders: Vec<PathBuf>,
    /// What other programs left.
    leftovers: Vec<PathBuf>,
    /// What tunelab wrote.
    results: Vec<PathBuf>,
}

impl Entries {
    /// Lists `base`; with `recursive`, the files of the folders in it too.
    pub(super) fn list(base: &Path, recursive: bool) -> Result<Self> {
        let mut entries = Self::default();
        entries.add(base, Path::new(""), if recursive { MAX_DEPTH } else { 0 })?;
        for list in [&mut entries.files, &mut entries.folders, &mut entries.leftovers, &mut entries.results] {
            list.sort();
        }
        Ok(entries)
    }

    fn add(&mut self, base: &Path, relative: &Path, depth: usize) -> Result<()> {
        let folder = base.join(relative);
        let found = fs_err::read_dir(&folder).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
        let found = found.map_err(|e| Error::input(e.to_string()))?;
        let names: BTreeSet<_> = found.iter().map(fs_err::DirEntry::file_name).collect();
        let holds_runs = names.contains(OsStr::new(LOCKS)) && names.iter().any(|name| is_run(&folder, name));
        for entry in found {
            let file_name = entry.file_name();
            let path = relative.join(&file_name);
            // A hub's cache links its files, so links to files count; links to folders could lead in a circle.
            let linked = entry.file_type().is_ok_and(|kind| kind.is_symlink());
            let is_folder = entry.path().is_dir();
            if is_ignored(&file_name.to_string_lossy()) && !is_caption_beside(Path::new(&file_name), &names) {
                continue;
            }
            if is_leftover(&file_name.to_string_lossy()) {
                self.leftovers.push(path);
            } else if holds_runs && is_table_of_runs(&file_name) || is_folder && is_results(&folder, &file_name) {
                self.results.push(path);
            } else if !is_folder {
                self.files.push(path);
            } else if linked || depth == 0 {
                self.folders.push(path);
            } else {
                self.add(base, &path, depth - 1)?;
            }
        }
        Ok(())
    }

    /// What was passed over that a person may not expect to be, as sentences.
    pub(super) fn notes(&self, base: &Path) -> Vec<String> {
        let kinds = [("left by other programs", &self.leftovers), ("results of tunelab", &self.results)];
        let kinds = kinds.into_iter().filter(|(_, paths)| !paths.is_empty());
        kinds.map(|(what, paths)| format!("passed over in `{}`, {what}: {}", base.display(), listed(paths))).collect()
    }

    /// Adds the files of `named` that are there but were not listed, because they lie behind a link to a folder or have names that
    /// are passed over: who names a file means it. A folder that one of them should lie in no longer counts as not entered.
    pub(super) fn add_named(&mut self, base: &Path, named: &[&Path]) {
        let aside = [&self.folders, &self.leftovers, &self.results];
        let is_unlisted = |path: &Path| {
            aside.iter().any(|list| list.iter().any(|aside| path.starts_with(aside)))
                || path.iter().any(|part| is_ignored(&part.to_string_lossy()))
        };
        let found: Vec<_> = named.iter().filter(|path| is_unlisted(path) && base.join(path).exists()).collect();
        self.files.extend(found.into_iter().map(|path| path.to_path_buf()));
        self.files.sort();
        self.files.dedup();
        for list in [&mut self.folders, &mut self.leftovers, &mut self.results] {
            list.retain(|aside| !named.iter().any(|path| path.starts_with(aside)));
        }
    }
}

/// The folder that holds the pictures: `root` itself, or that of the split in it where `root` has no files of its own, which is
/// `root/train` unless another is named. Folders beside that of the split are not used, and a warning names them.
pub(super) fn pictures_folder(root: &Path, selection: &Selection, warn: &mut dyn FnMut(String)) -> Result<PathBuf> {
    let subset = selection.subset.as_ref().map(|subset| root.join(subset));
    let root = subset.as_deref().unwrap_or(root);
    if !root.is_dir() {
        let what = if root.exists() { "is a file, not a folder of pictures" } else { "does not exist" };
        return Err(Error::input(format!("the dataset folder `{}` {what}", root.display()))
            .hint("set `path` in [dataset] to a folder that holds the pictures"));
    }
    let Entries { files, folders, .. } = Entries::list(root, false)?;
    let split = selection.split();
    let is_there = folders.iter().any(|folder| folder.as_os_str() == split);
    if !is_there && let Some(split) = &selection.split {
        let there = if folders.is_empty() { "no folders".to_owned() } else { listed(&folders) };
        let what = format!("`{}` has no folder `{split}` for the split that [dataset] names", root.display());
        return Err(Error::input(what).hint(format!("there is {there}")));
    }
    if !is_there || selection.split.is_none() && !files.is_empty() {
        return Ok(root.to_owned());
    }
    let beside: Vec<_> = folders.into_iter().filter(|folder| folder.as_os_str() != split).collect();
    if !beside.is_empty() && selection.split.is_none() {
        warn(format!("pictures are taken from `{split}/` of `{}`; not used: {}", root.display(), listed(&beside)));
    }
    Ok(root.join(split))
}

/// Opens a file to be read, with its length, but never waits for one: opening a named pipe lasts until somebody writes into it.
/// The error is the rest of a sentence that begins with the file's name.
pub(super) fn open(path: &Path) -> std::result::Result<(File, u64), String> {
    let there = fs_err::metadata(path).map_err(|e| unreadable(&e))?;
    if !there.is_file() {
        return Err(format!("is {}, which is not opened", special(there.file_type())));
    }
    Ok((File::open(path).map_err(|e| unreadable(&e))?, there.len()))
}

/// The rest of a sentence that begins with the file's name.
pub(super) fn unreadable(error: &std::io::Error) -> String {
    format!("cannot be read: {error}")
}

fn special(kind: std::fs::FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if kind.is_fifo() {
            return "a named pipe";
        }
        if kind.is_socket() {
            return "a socket";
        }
        if kind.is_block_device() || kind.is_char_device() {
            return "a device";
        }
    }
    if kind.is_dir() { "a folder" } else { "no plain file" }
}

/// Names that belong to a repository or an operating system, not to the data: hidden files and folders, read-me and licence
/// texts, thumbnails' databases, descriptions of the repository.
fn is_ignored(name: &str) -> bool {
    const PREFIXES: [&str; 5] = [".", "readme", "license", "licence", "citation"];
    const NAMES: [&str; 6] =
        ["thumbs.db", "desktop.ini", "__macosx", "dataset_infos.json", "dataset_info.json", "configuration.json"];
    let name = name.to_lowercase();
    NAMES.contains(&name.as_str()) || PREFIXES.iter().any(|prefix| name.starts_with(prefix)) && !is_picture_name(&name)
}

/// How the names of images end, in any case.
pub const IMAGE_ENDINGS: [&str; 8] = ["png", "jpg", "jpeg", "webp", "bmp", "gif", "tif", "tiff"];

/// Whether a file's name says that it is an image.
pub fn has_image_ending(name: &str) -> bool {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    IMAGE_ENDINGS.iter().any(|image| ending.eq_ignore_ascii_case(image))
}

/// `license_plate.jpg` is a photograph.
fn is_picture_name(name: &str) -> bool {
    !name.starts_with('.') && has_image_ending(name)
}

/// `license_plate.txt` is the caption of `license_plate.jpg`.
fn is_caption_beside(file: &Path, names: &BTreeSet<std::ffi::OsString>) -> bool {
    let is_its_picture = |name: &OsStr| {
        is_picture_name(&name.to_string_lossy()) && Path::new(name).with_extension("") == file.with_extension("")
    };
    is_caption(file) && names.iter().any(|name| is_its_picture(name))
}

/// Endings of a caption's file; the second is kohya's, the third ai-toolkit's.
pub(super) const CAPTION_ENDINGS: [&str; 3] = ["txt", "caption", JSON];

/// The ending of captions that count only where no other lies beside the picture: such files may hold anything.
pub(super) const JSON: &str = "json";

/// Whether a file holds a caption, by its ending in any case.
pub(super) fn is_caption(path: &Path) -> bool {
    path.extension().is_some_and(|ending| CAPTION_ENDINGS.iter().any(|caption| ending.eq_ignore_ascii_case(caption)))
}

/// What other programs leave beside pictures: trainers their caches of latents and hidden states, file servers their indices
/// and bins.
fn is_leftover(name: &str) -> bool {
    const ENDINGS: [&str; 4] = [".npz", ".npy", ".safetensors", ".pt"];
    const NAMES: [&str; 7] =
        ["@eadir", "@recycle", "#recycle", "#snapshot", "$recycle.bin", "lost+found", "system volume information"];
    let name = name.to_lowercase();
    NAMES.contains(&name.as_str()) || ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// Where a results folder keeps a lock for each of its runs.
const LOCKS: &str = ".locks";

/// Whether `name` is the folder of a run: it has a plan, and beside it lies its lock, which nobody else writes.
fn is_run(results: &Path, name: &OsStr) -> bool {
    results.join(LOCKS).join(name).is_file() && results.join(name).join("plan.toml").is_file()
}

/// Whether `name` is the folder of a run or holds such.
fn is_results(folder: &Path, name: &OsStr) -> bool {
    let locks =
        || fs_err::read_dir(folder.join(name).join(LOCKS)).into_iter().flatten().filter_map(std::io::Result::ok);
    is_run(folder, name) || locks().any(|lock| is_run(&folder.join(name), &lock.file_name()))
}

/// What lies beside the folders of runs.
fn is_table_of_runs(name: &OsStr) -> bool {
    const NAMES: [&str; 7] = ["table.csv", "table.md", "table.tex", "index.html", "report.md", "loss.png", "loss.svg"];
    NAMES.iter().any(|own| name == *own)
}
