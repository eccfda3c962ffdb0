//! ModelScope's own layout of a data set: a table, and the images that it names in an archive or a folder.
//!
//! In: `<name>.json` at the repository's root, {subset: {split: {"meta": "x.csv" or ".jsonl", "file": "x.zip" or a folder}}}
//! (`modelscope/msdatasets/meta/data_meta_manager.py`). Out: the table and the images of one subset and split. The table's columns are
//! `Target:FILE`, or another that ends so, and `Text`; its names begin at the archive's root.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::layout::stays_inside;
use super::pack_kind::is_pack;
use super::wanted::is_table as is_usual_table;
use crate::config::Selection;
use crate::error::{Error, Result};
use crate::numbers::listed;

/// Names listed in one message.
const MAX_LISTED: usize = 8;

/// The subset that is meant where none is named.
const DEFAULT: &str = "default";

/// One split of a subset.
#[derive(Deserialize)]
struct Split {
    #[serde(default)]
    meta: String,
    #[serde(default)]
    file: String,
}

type Splits = BTreeMap<String, Split>;

/// The name of the file that describes a data set.
pub(super) fn description(repo: &str) -> Option<String> {
    Some(format!("{}.json", repo.rsplit('/').next()?))
}

/// The split's table, and its archive or the folder of its images, by the description at `file`.
///
/// # Errors
/// It is no such description, or has not the subset or the split, or what it says of that is not read.
pub(super) fn choose(file: &Path, selection: &Selection, repo: &str) -> Result<[String; 2]> {
    let Split { meta, file: images } = split(file, selection, repo)?;
    if let Some(name) = [&meta, &images].into_iter().find(|name| !stays_inside(name.trim_end_matches('/'))) {
        return Err(Error::input(format!("{repo}: `{name}` in {} is no file of it", file.display())));
    }
    if ![".csv", ".jsonl"].iter().any(|ending| meta.ends_with(ending)) {
        return Err(Error::input(format!("{repo}: its table `{meta}` is not read: only .csv and .jsonl are")));
    }
    Ok([meta, images])
}

fn split(file: &Path, selection: &Selection, repo: &str) -> Result<Split> {
    let text = fs_err::read_to_string(file)?;
    let mut subsets: BTreeMap<String, Splits> = serde_json::from_str(&text)
        .map_err(|e| Error::input(format!("{}: is no description of a data set: {e}", file.display())))?;
    let wanted = selection.subset.clone().unwrap_or_else(|| match subsets.keys().next() {
        Some(only) if subsets.len() == 1 => only.clone(),
        _ => DEFAULT.to_owned(),
    });
    let there: Vec<String> = subsets.keys().cloned().collect();
    let mut splits = subsets.remove(&wanted).ok_or_else(|| {
        Error::input(format!("{repo}: has no subset `{wanted}`"))
            .hint(format!("set `subset` in [dataset] to one of: {}", listed(&there, MAX_LISTED)))
    })?;
    let there: Vec<String> = splits.keys().cloned().collect();
    splits.remove(selection.split()).ok_or_else(|| {
        Error::input(format!("{repo}: has no split `{}`", selection.split()))
            .hint(format!("set `split` in [dataset] to one of: {}", listed(&there, MAX_LISTED)))
    })
}

/// The table among the files of a data set, if it is one of what others hold: it lies beside archives, or is called otherwise than a
/// folder's own.
pub(super) fn table_among(names: &[String]) -> Option<String> {
    let is_table = |name: &&String| [".csv", ".jsonl", ".json"].iter().any(|ending| name.ends_with(ending));
    let are_packed = names.iter().any(|name| is_pack(name));
    names
        .iter()
        .filter(is_table)
        .find(|name| if are_packed { true } else { names.first() == Some(name) && !is_usual_table(name) })
        .cloned()
}

/// A file that the description names and the repository's listing lacks.
pub(super) fn elsewhere(repo: &str, name: &str) -> Error {
    Error::input(format!("{repo}: its `{name}` is not in the repository but in ModelScope's object store, which is not read"))
        .hint("fetch it with ModelScope's own library, unpack it beside its table, call that metadata.csv, and give the folder as `path`")
}
