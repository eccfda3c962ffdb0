//! Which files of a data set are needed, and whether a cache holds them all.
//!
//! In: names from a hub's listing, or in a folder. Out: the images, their captions and tables, or what they are packed in; and a
//! small list file that is written when all of them have come, because, other than with a model,
//! nothing else tells a whole data set from half of one.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::layout::stays_inside;
use super::own;
use super::pack_kind::is_pack;
use super::packs::{self, Chosen};
use super::wanted::is_wanted;
use crate::config::Selection;
use crate::data::{IMAGE_ENDINGS, has_image_ending};
use crate::error::{Error, Result};
use crate::numbers::listed;

/// Names listed in one message.
const MAX_LISTED: usize = 5;

/// Packed images that are not opened, by how their names end.
const UNREAD: [&str; 5] = [".arrow", ".rar", ".7z", ".tar.xz", ".tar.zst"];

/// Chooses the files of the selection from `names`: images with their captions, or the files that they are packed in; `place` is the
/// repository, for errors. As on the hub the more common kind counts, but Parquet files before all.
pub(super) fn choose(names: &BTreeSet<String>, selection: &Selection, place: &str) -> Result<Chosen> {
    let loose: Vec<String> = names.iter().filter(|n| is_wanted(n, names)).cloned().collect();
    let images: Vec<&String> = loose.iter().filter(|n| has_image_ending(n)).collect();
    let packed: Vec<&String> = names.iter().filter(|n| is_pack(n)).collect();
    let beside = |what: &str, names: &[&String]| {
        (!names.is_empty()).then(|| format!("{place}: not used beside {what}: {}", listed(names, MAX_LISTED)))
    };
    if !packed.is_empty() && (packed.len() >= images.len() || packed.iter().any(|n| is_parquet(n))) {
        let mut chosen = packs::choose(names, selection, place)?;
        chosen.notes.extend(beside("packed files", &images));
        return Ok(chosen);
    }
    if !images.is_empty() {
        let notes = beside("image files", &packed).into_iter().collect();
        return Ok(Chosen { names: of_split(loose, selection), notes });
    }
    let unread = names.iter().find(|n| UNREAD.iter().any(|e| n.to_lowercase().ends_with(e)));
    let what = match unread {
        Some(name) => format!("{place}: holds its images packed in a way that is not read ({name})"),
        None => format!("{place}: there are no images ({}) in this repository", IMAGE_ENDINGS.join(", ")),
    };
    Err(Error::input(what).hint(
        "unpack it into a folder of images with a metadata.jsonl (`file_name`, `text`) and give that folder as `path`, or take a \
         repository of images, Parquet files, tar or zip archives",
    ))
}

fn is_parquet(name: &str) -> bool {
    name.to_lowercase().ends_with(".parquet")
}

/// Where every file lies in a folder, and one of those is the split's: what lies in that.
fn of_split(files: Vec<String>, selection: &Selection) -> Vec<String> {
    let within = format!("{}/", selection.split());
    let is_split = selection.subset.is_none()
        && files.iter().all(|name| name.contains('/'))
        && files.iter().any(|name| name.starts_with(&within));
    if is_split { files.into_iter().filter(|name| name.starts_with(&within)).collect() } else { files }
}

/// The names in the list at `list`; none where there is no list.
fn names_of(list: &Path) -> Vec<String> {
    fs_err::read_to_string(list).map_or_else(|_| Vec::new(), |text| text.lines().map(str::to_owned).collect())
}

/// The names in the first of `lists` of which all files are in `dir`.
pub(super) fn complete(lists: &[PathBuf], dir: &Path) -> Option<Vec<String>> {
    let is_here = |names: &Vec<String>| {
        !names.is_empty() && names.iter().all(|name| stays_inside(name) && dir.join(name).is_file())
    };
    lists.iter().map(|list| names_of(list)).find(is_here)
}

/// Notes that all of `names` have come.
pub(super) fn note(list: &Path, names: &[String]) -> Result<()> {
    if let Some(parent) = list.parent() {
        fs_err::create_dir_all(parent)?;
    }
    let (own, mut file) = own::beside(list, own::new_file)?;
    let written = file.write_all((names.join("\n") + "\n").as_bytes());
    Ok(own::rename(&own, list, written)?)
}
