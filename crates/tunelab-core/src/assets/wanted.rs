//! Which files belong to a data set, by their names.
//!
//! In: names from a hub's listing, in an archive, or in a folder. Out: whether one is an image, or a caption or a table of such.

use std::collections::BTreeSet;
use std::path::Path;

use super::pack_kind::is_pack;
use crate::data::has_image_ending;

/// The tables of captions that are fetched.
const TABLES: [&str; 3] = ["metadata.jsonl", "metadata.csv", "metadata.json"];

/// Whether a name is a table's of captions.
pub(super) fn is_table(name: &str) -> bool {
    TABLES.contains(&name.rsplit('/').next().unwrap_or(name))
}

/// Images; captions that lie beside an image of the same name; tables.
pub(super) fn is_wanted(name: &str, names: &BTreeSet<String>) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name);
    if file.starts_with('.') {
        return false;
    }
    if is_table(name) {
        return true;
    }
    if let Some(stem) = caption_stem(name) {
        let beside = names.range(stem.to_owned()..).take_while(|n| n.starts_with(stem));
        return beside.filter(|n| has_image_ending(n)).any(|n| n.rsplit_once('.').is_some_and(|(s, _)| s == stem));
    }
    has_image_ending(name)
}

/// A caption's name without its ending, `.txt`, kohya's `.caption` or ai-toolkit's `.json` in any case.
fn caption_stem(name: &str) -> Option<&str> {
    let (stem, ending) = name.rsplit_once('.')?;
    ["txt", "caption", "json"].iter().any(|caption| ending.eq_ignore_ascii_case(caption)).then_some(stem)
}

/// The names of all files in `dir` and below, `/` between folders; links to folders are not followed.
pub(super) fn names_in(dir: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    add_names(dir, "", &mut names);
    names
}

fn add_names(dir: &Path, within: &str, names: &mut BTreeSet<String>) {
    for entry in fs_err::read_dir(dir).into_iter().flatten().filter_map(std::io::Result::ok) {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let name = format!("{within}{name}");
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            add_names(&entry.path(), &format!("{name}/"), names);
        } else if entry.path().is_file() {
            names.insert(name);
        }
    }
}

/// Whether there is an image in `dir` or below, packed or not.
pub(super) fn has_any(dir: &Path) -> bool {
    names_in(dir).iter().any(|name| has_image_ending(name) || is_pack(name))
}
