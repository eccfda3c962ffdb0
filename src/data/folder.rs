//! Which files of a dataset folder are to be looked at.
//!
//! In: the folder. Out: the folder that really holds the pictures (a dataset repository may keep them in `train/`, as the
//! hub's `ImageFolder` layout has it) and the relative paths in it, sorted by their bytes so that no file system's order
//! reaches a result. Names that come with every repository or operating system are passed over; nothing else is.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The caption tables that are read; a folder has at most one.
pub(super) const METADATA: [&str; 2] = ["metadata.jsonl", METADATA_CSV];

/// The one of them that has columns.
pub(super) const METADATA_CSV: &str = "metadata.csv";

/// The hub's name for the folder of the pictures to train on.
const TRAIN: &str = "train";

/// Folders below this depth are not entered.
const MAX_DEPTH: usize = 16;

/// What a folder holds, relative to it, each list in byte order.
#[derive(Debug, Default)]
pub(super) struct Entries {
    pub files: Vec<PathBuf>,
    /// Folders that were not entered.
    pub folders: Vec<PathBuf>,
}

impl Entries {
    /// Lists `base`; with `recursive`, the files of the folders in it too.
    pub(super) fn list(base: &Path, recursive: bool) -> Result<Self> {
        let mut entries = Self::default();
        entries.add(base, Path::new(""), if recursive { MAX_DEPTH } else { 0 })?;
        entries.files.sort();
        entries.folders.sort();
        Ok(entries)
    }

    fn add(&mut self, base: &Path, relative: &Path, depth: usize) -> Result<()> {
        for entry in fs_err::read_dir(base.join(relative)).map_err(|e| Error::input(e.to_string()))? {
            let entry = entry.map_err(|e| Error::input(e.to_string()))?;
            if is_ignored(&entry.file_name().to_string_lossy()) {
                continue;
            }
            let path = relative.join(entry.file_name());
            // A hub's cache links its files, so links to files count; links to folders could lead in a circle.
            let linked = entry.file_type().is_ok_and(|kind| kind.is_symlink());
            match entry.path().is_dir() {
                false => self.files.push(path),
                true if linked || depth == 0 => self.folders.push(path),
                true => self.add(base, &path, depth - 1)?,
            }
        }
        Ok(())
    }
}

/// The folder that holds the pictures: `root` itself, or `root/train` where `root` has no files of its own. Folders beside
/// `train` (a test split) are not used, and a warning names them.
pub(super) fn pictures_folder(root: &Path, warn: &mut dyn FnMut(String)) -> Result<PathBuf> {
    if !root.is_dir() {
        let what = if root.exists() { "is a file, not a folder of pictures" } else { "does not exist" };
        return Err(Error::input(format!("the dataset folder `{}` {what}", root.display()))
            .hint("set `path` in [dataset] to a folder that holds the pictures"));
    }
    let Entries { files, folders } = Entries::list(root, false)?;
    if !files.is_empty() || !folders.iter().any(|folder| folder.as_os_str() == TRAIN) {
        return Ok(root.to_owned());
    }
    let beside: Vec<_> = folders.iter().map(|f| name(f)).filter(|name| name != TRAIN).collect();
    if !beside.is_empty() {
        warn(format!("pictures are taken from `{TRAIN}/` of `{}`; not used: {}", root.display(), beside.join(", ")));
    }
    Ok(root.join(TRAIN))
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

/// `license_plate.jpg` is a photograph.
fn is_picture_name(name: &str) -> bool {
    !name.starts_with('.') && [".jpg", ".jpeg", ".png", ".webp"].iter().any(|extension| name.ends_with(extension))
}

/// A relative path as captions' tables write it: with `/` on every system.
pub(super) fn name(path: &Path) -> String {
    path.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}
