//! Which files of a data set's repository are needed, and whether a cache holds them all.
//!
//! In: names from a hub's listing. Out: the pictures, their captions and their metadata; and a
//! small list file that is written when all of them have come, because, other than with a model,
//! nothing else tells a whole data set from half of one.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use super::layout::stays_inside;
use super::own;
use crate::data::{IMAGE_ENDINGS, has_image_ending};
use crate::error::{Error, Result};

/// Chooses the files of a data set from `names`; `place` is the repository, for the error.
pub(super) fn choose(names: &BTreeSet<String>, place: &str) -> Result<Vec<String>> {
    let wanted: Vec<String> = names.iter().filter(|n| is_wanted(n, names)).cloned().collect();
    if wanted.iter().any(|n| has_image_ending(n)) {
        return Ok(wanted);
    }
    let packed = ["parquet", "arrow", "zip", "tar", "tar.gz", "tgz", "rar"];
    let pack = names.iter().find(|n| packed.iter().any(|e| n.to_lowercase().ends_with(&format!(".{e}"))));
    let what = match pack {
        Some(name) => format!("{place}: holds its pictures packed ({name}), not as picture files"),
        None => format!("{place}: there are no pictures ({}) in this repository", IMAGE_ENDINGS.join(", ")),
    };
    Err(Error::input(what).hint(
        "unpack it into a folder of pictures with a metadata.jsonl (`file_name`, `text`) and give that folder as `path`, or \
         take a repository of picture files, such as diffusers/dog-example",
    ))
}

/// Pictures; captions that lie beside a picture of the same name; metadata files.
fn is_wanted(name: &str, names: &BTreeSet<String>) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name);
    if file.starts_with('.') {
        return false;
    }
    if let Some(stem) = caption_stem(name) {
        let beside = names.range(stem.to_owned()..).take_while(|n| n.starts_with(stem));
        return beside.filter(|n| has_image_ending(n)).any(|n| n.rsplit_once('.').is_some_and(|(s, _)| s == stem));
    }
    has_image_ending(name) || file == "metadata.jsonl" || file == "metadata.csv"
}

/// A caption's name without its ending, `.txt`, kohya's `.caption` or ai-toolkit's `.json` in any case.
fn caption_stem(name: &str) -> Option<&str> {
    let (stem, ending) = name.rsplit_once('.')?;
    ["txt", "caption", "json"].iter().any(|caption| ending.eq_ignore_ascii_case(caption)).then_some(stem)
}

/// Whether there is a picture in `dir` or below.
pub(super) fn has_any(dir: &Path) -> bool {
    let Ok(mut entries) = fs_err::read_dir(dir) else { return false };
    entries.any(|entry| {
        let Ok(path) = entry.map(|entry| entry.path()) else { return false };
        if path.is_dir() { has_any(&path) } else { path.is_file() && has_image_ending(&path.to_string_lossy()) }
    })
}

/// Whether all files that the list at `list` names are in `dir`.
pub(super) fn is_complete(list: &Path, dir: &Path) -> bool {
    let Ok(text) = fs_err::read_to_string(list) else { return false };
    let mut names = text.lines().peekable();
    names.peek().is_some() && names.all(|n| stays_inside(n) && dir.join(n).is_file())
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
