//! Which files of a data set hold the split that is meant.
//!
//! In: the names of Parquet files and archives, as a hub lists them or as they lie in a folder. Out: those of one kind and one split. Splits are told as the `datasets` library does
//! (`data_files.py`): by `<split>-00000-of-00003`, else by a folder's name, else by a word in the file's; where no name says any, all
//! files are `train`.

use std::collections::{BTreeMap, BTreeSet};

use crate::assets::pack_kind::{Kind, is_pack};
use crate::assets::wanted::is_table;
use crate::config::Selection;
use crate::error::{Error, Result};
use crate::numbers::listed;

/// Names listed in one message.
const MAX_LISTED: usize = 8;

/// The words that name a split, and what it is then called.
const WORDS: [(&str, &[&str]); 3] = [
    ("train", &["train", "training"]),
    ("validation", &["validation", "valid", "dev", "val"]),
    ("test", &["test", "testing", "eval", "evaluation"]),
];

/// The files that are chosen of a data set.
#[derive(Debug, Default)]
pub(in crate::assets) struct Chosen {
    /// Their names; with archives a table that lies beside them.
    pub names: Vec<String>,
    /// What was passed over that a person may not expect to be, as sentences.
    pub notes: Vec<String>,
}

/// The files of the selection's split among `names`; none where there are no packed files at all. `place` is where they are, for errors.
///
/// # Errors
/// No file is of the split or the subset, several data sets have files of it, or shards are missing.
pub(in crate::assets) fn choose(names: &BTreeSet<String>, selection: &Selection, place: &str) -> Result<Chosen> {
    let packs: Vec<&String> = names.iter().filter(|name| is_pack(name)).collect();
    let Some(kind) = kind(&packs) else { return Ok(Chosen::default()) };
    let (packs, others): (Vec<&String>, Vec<&String>) =
        packs.into_iter().partition(|name| Kind::of(name) == Some(kind));
    let mut notes = Vec::new();
    if !others.is_empty() {
        notes.push(format!("{place}: not used beside the {} files: {}", kind.ending(), listed(&others, MAX_LISTED)));
    }
    let packs = of_subset(packs, selection, place)?;
    let wanted = canonical(selection.split());
    let splits: Vec<Option<String>> = packs.iter().map(|name| split_of(name)).collect();
    let there: BTreeSet<&str> = splits.iter().flatten().map(String::as_str).collect();
    // An archive may hold folders of splits.
    let may_be_within = kind != Kind::Parquet;
    let chosen: Vec<&String> = if there.is_empty() && (may_be_within || wanted == "train") {
        packs
    } else {
        let unnamed: Vec<&String> =
            packs.iter().zip(&splits).filter(|(_, split)| split.is_none()).map(|(name, _)| *name).collect();
        if !unnamed.is_empty() {
            notes.push(format!("{place}: not used, as no split is in their names: {}", listed(&unnamed, MAX_LISTED)));
        }
        packs
            .iter()
            .zip(&splits)
            .filter(|(_, split)| split.as_deref() == Some(&*wanted))
            .map(|(name, _)| *name)
            .collect()
    };
    if chosen.is_empty() {
        let there: Vec<&str> = if there.is_empty() { vec!["train"] } else { there.into_iter().collect() };
        return Err(Error::input(format!("{place}: no file is of the split `{}`", selection.split()))
            .hint(format!("set `split` in [dataset] to one of: {}", listed(&there, MAX_LISTED))));
    }
    if kind == Kind::Parquet {
        one_data_set(&chosen, place)?;
    }
    all_shards(&chosen, selection, place)?;
    // A table for what an archive holds lies beside it.
    let folder = |name: &str| name.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
    let beside = |table: &&String| is_table(table) && chosen.iter().all(|name| folder(name) == folder(table));
    let table = names.iter().find(beside).filter(|_| kind != Kind::Parquet);
    Ok(Chosen { names: table.into_iter().chain(chosen).cloned().collect(), notes })
}

/// The kind that counts. What img2dataset writes beside its archives is a table of them.
fn kind(packs: &[&String]) -> Option<Kind> {
    let of = |kind: Kind| packs.iter().filter(move |name| Kind::of(name) == Some(kind));
    let stem = |name: &str| name.rsplit_once('.').map_or(name.to_owned(), |(stem, _)| stem.to_owned());
    let tars: BTreeSet<String> = of(Kind::Tar).map(|name| stem(name)).collect();
    if !tars.is_empty() && of(Kind::Parquet).all(|name| tars.contains(&stem(name))) {
        return Some(Kind::Tar);
    }
    packs.iter().filter_map(|name| Kind::of(name)).min()
}

/// Errors where shards that the names count are not there.
fn all_shards(chosen: &[&String], selection: &Selection, place: &str) -> Result<()> {
    let mut numbers: BTreeMap<(&str, usize), BTreeSet<usize>> = BTreeMap::new();
    for name in chosen {
        let Some((before, _)) = name.split_once("-of-") else { continue };
        if let Some((_, number, total)) = shard(name.rsplit('/').next().unwrap_or(name)) {
            numbers
                .entry((before.rsplit_once('-').map_or(before, |(stem, _)| stem), total))
                .or_default()
                .insert(number);
        }
    }
    for ((stem, total), there) in numbers {
        let missing: Vec<String> =
            (0..total.min(100_000)).filter(|n| !there.contains(n)).map(|n| n.to_string()).collect();
        // Those behind the last sample may be elsewhere.
        let is_enough = selection.max_samples.is_some() && there.iter().copied().eq(0..there.len());
        if !missing.is_empty() && !is_enough {
            return Err(Error::input(format!(
                "{place}: of {total} shards {stem}-… these are missing: {}",
                listed(&missing, MAX_LISTED)
            ))
            .hint("fetch them, or name the files that are there otherwise"));
        }
    }
    Ok(())
}

/// What of the selection is still to be chosen in the folder that archives held: their names may have told the split.
pub(super) fn left(names: &[String], selection: &Selection) -> Selection {
    let told = names.iter().any(|name| split_of(name).is_some());
    Selection { split: selection.split.clone().filter(|_| !told), subset: None, ..selection.clone() }
}

fn of_subset<'n>(packs: Vec<&'n String>, selection: &Selection, place: &str) -> Result<Vec<&'n String>> {
    let Some(subset) = &selection.subset else { return Ok(packs) };
    let folders = |name: &str| name.split('/').rev().skip(1).map(str::to_owned).collect::<Vec<_>>();
    let all: BTreeSet<String> = packs.iter().flat_map(|name| folders(name)).collect();
    let chosen: Vec<&String> = packs.into_iter().filter(|name| folders(name).contains(subset)).collect();
    if chosen.is_empty() {
        let there: Vec<String> = all.into_iter().collect();
        let hint = if there.is_empty() {
            "its files lie in no folders: leave `subset` out".to_owned()
        } else {
            format!("its folders: {}", listed(&there, MAX_LISTED))
        };
        return Err(Error::input(format!("{place}: no file lies in a folder `{subset}`")).hint(hint));
    }
    Ok(chosen)
}

/// Files of several data sets are not one: folders that are no splits tell them apart.
fn one_data_set(chosen: &[&String], place: &str) -> Result<()> {
    let folder = |name: &String| {
        let folders = name.rsplit_once('/').map_or("", |(folders, _)| folders);
        folders.split('/').filter(|part| !is_split(part)).collect::<Vec<_>>().join("/")
    };
    let folders: Vec<String> = chosen.iter().map(|name| folder(name)).collect::<BTreeSet<_>>().into_iter().collect();
    if folders.len() < 2 {
        return Ok(());
    }
    Err(Error::input(format!("{place}: holds several data sets, in the folders {}", listed(&folders, MAX_LISTED)))
        .hint("say which with `subset` in [dataset]"))
}

/// The split that a file's name says, if any.
fn split_of(name: &str) -> Option<String> {
    let (folders, file) = name.rsplit_once('/').unwrap_or(("", name));
    by_shard(file).or_else(|| folders.split('/').find_map(by_word)).or_else(|| by_word(file))
}

fn by_shard(file: &str) -> Option<String> {
    shard(file).map(|(split, ..)| canonical(split))
}

/// `train-00000-of-00003-0123456789abcdef.parquet`: the split, the shard's number, how many there are.
fn shard(file: &str) -> Option<(&str, usize, usize)> {
    let (before, after) = file.split_once("-of-")?;
    let (split, number) = before.rsplit_once('-')?;
    let total = &after[..after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len())];
    let parsed = |text: &str| text.parse().ok().filter(|_| text.len() >= 5);
    (!split.is_empty()).then_some((split, parsed(number)?, parsed(total)?))
}

/// By a word between other signs: `val` in `dogs_val.tar`, not in `valley.tar`.
fn by_word(name: &str) -> Option<String> {
    let name = name.to_lowercase();
    let words = || name.split(|c: char| !c.is_alphabetic());
    let found = WORDS.iter().find(|(_, all)| words().any(|word| all.contains(&word)));
    found.map(|(split, _)| (*split).to_owned())
}

/// Whether this is a split's name and nothing else.
pub(super) fn is_split(name: &str) -> bool {
    WORDS.iter().any(|(_, all)| all.contains(&&*name.to_lowercase()))
}

/// One name for what is called `val`, `valid` or `dev`.
fn canonical(split: &str) -> String {
    let split = split.to_lowercase();
    let found = WORDS.iter().find(|(_, all)| all.contains(&&*split));
    found.map_or(split.clone(), |(split, _)| (*split).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(ToString::to_string).collect()
    }

    fn of(split: &str, subset: Option<&str>) -> Selection {
        Selection { split: Some(split.into()), subset: subset.map(str::to_owned), ..Selection::default() }
    }

    #[test]
    fn splits_are_told_by_shards_folders_and_words() {
        let told = [
            ("data/train-00000-of-00003.parquet", Some("train")),
            ("data/dev-00000-of-00001-0123abcd.parquet", Some("validation")),
            ("data/cats-00001-of-00002.parquet", Some("cats")),
            ("validation/0.parquet", Some("validation")),
            ("a/testing/train.parquet", Some("test")),
            ("dogs_val.tar", Some("validation")),
            ("valley.tar", None),
            ("train2017.zip", Some("train")),
            ("00000.tar", None),
        ];
        for (name, split) in told {
            assert_eq!(split_of(name).as_deref(), split, "{name}");
        }
    }

    #[test]
    fn files_of_one_kind_and_one_split_are_chosen() {
        let hub = names(&[
            "README.md",
            "data/train-00000-of-00002.parquet",
            "data/train-00001-of-00002.parquet",
            "data/test-00000-of-00001.parquet",
            ".cache/train-00000-of-00001.parquet",
            "old/train.zip",
        ]);
        let chosen = choose(&hub, &Selection::default(), "o/n").unwrap();
        assert_eq!(chosen.notes, ["o/n: not used beside the .parquet files: old/train.zip"]);
        assert_eq!(chosen.names, ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"]);
        assert_eq!(choose(&hub, &of("eval", None), "o/n").unwrap().names, ["data/test-00000-of-00001.parquet"]);
        let error = choose(&hub, &of("validation", None), "o/n").unwrap_err().to_string();
        assert!(
            error.contains("o/n: no file is of the split `validation`") && error.contains("test, train"),
            "{error}"
        );
        // No name says a split.
        let plain = names(&["00000.tar", "00001.tar"]);
        assert_eq!(choose(&plain, &Selection::default(), "o/n").unwrap().names.len(), 2);
        let plain = names(&["0.parquet"]);
        assert!(choose(&plain, &of("test", None), "o/n").unwrap_err().to_string().contains("one of: train"));
    }

    #[test]
    fn several_data_sets_are_not_taken_for_one() {
        let hub = names(&["en/train-00000-of-00001.parquet", "fr/train-00000-of-00001.parquet"]);
        let error = choose(&hub, &Selection::default(), "o/n").unwrap_err().to_string();
        assert!(error.contains("en, fr") && error.contains("`subset`"), "{error}");
        assert_eq!(choose(&hub, &of("train", Some("fr")), "o/n").unwrap().names, ["fr/train-00000-of-00001.parquet"]);
        let error = choose(&hub, &of("train", Some("de")), "o/n").unwrap_err().to_string();
        assert!(error.contains("no file lies in a folder `de`") && error.contains("en, fr"), "{error}");
    }

    /// Without `-of-` in the names, and as the hub's own conversion has them.
    #[test]
    fn folders_that_are_no_splits_are_data_sets() {
        let several = names(&["a/0000.parquet", "b/0000.parquet"]);
        assert!(choose(&several, &Selection::default(), "o/n").unwrap_err().to_string().contains("a, b"));
        let one = names(&["default/train/0000.parquet", "default/train/0001.parquet", "default/test/0000.parquet"]);
        assert_eq!(choose(&one, &Selection::default(), "o/n").unwrap().names.len(), 2);
        let partial = names(&["default/train/0000.parquet", "default/partial-train/0000.parquet"]);
        assert!(choose(&partial, &Selection::default(), "o/n").is_err());
    }

    #[test]
    fn shards_that_are_missing_are_told() {
        let hub = names(&["data/train-00000-of-00004.parquet", "data/train-00002-of-00004.parquet"]);
        let error = choose(&hub, &Selection::default(), "o/n").unwrap_err().to_string();
        assert!(error.contains("of 4 shards data/train-… these are missing: 1, 3"), "{error}");
        let first = Selection { max_samples: Some(3), ..Selection::default() };
        assert!(choose(&hub, &first, "o/n").is_err(), "the second is missing between them");
        let hub = names(&["data/train-00000-of-00004.parquet", "data/train-00001-of-00004.parquet"]);
        assert_eq!(choose(&hub, &first, "o/n").unwrap().names.len(), 2);
    }

    #[test]
    fn tables_beside_archives_are_taken_with_them() {
        // As img2dataset writes them.
        let written = names(&["00000.tar", "00000.parquet", "00000_stats.json", "00001.tar", "00001.parquet"]);
        let chosen = choose(&written, &Selection::default(), "o/n").unwrap();
        assert_eq!(chosen.names, ["00000.tar", "00001.tar"]);
        assert_eq!(chosen.notes.len(), 1);
        let zip = names(&["x/images.zip", "x/metadata.csv", "metadata.jsonl"]);
        assert_eq!(choose(&zip, &Selection::default(), "o/n").unwrap().names, ["x/metadata.csv", "x/images.zip"]);
    }
}
