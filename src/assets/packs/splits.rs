//! Which files of a data set hold the split that is meant.
//!
//! In: the names of Parquet files and archives, as a hub lists them or as they lie in a folder. Out: those of one kind and one split. Splits are told as the `datasets` library does
//! (`data_files.py`): by `<split>-00000-of-00003`, else by a folder's name, else by a word in the file's; where no name says any, all
//! files are `train`.

use std::collections::{BTreeMap, BTreeSet};

use super::Kind;
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

/// The files of the selection's split among `names`; none where there are no packed files at all. `place` is where they are, for errors.
///
/// # Errors
/// No file is of the split or the subset, or several data sets have files of it.
pub(in crate::assets) fn choose(names: &BTreeSet<String>, selection: &Selection, place: &str) -> Result<Vec<String>> {
    let shown = |name: &&String| !name.split('/').any(|part| part.starts_with('.') || part.starts_with("__"));
    let packs: Vec<&String> = names.iter().filter(|name| Kind::of(name).is_some()).filter(shown).collect();
    let Some(kind) = packs.iter().filter_map(|name| Kind::of(name)).min() else { return Ok(Vec::new()) };
    let packs: Vec<&String> = packs.into_iter().filter(|name| Kind::of(name) == Some(kind)).collect();
    let packs = of_subset(packs, selection, place)?;
    let wanted = canonical(selection.split());
    let splits: Vec<Option<String>> = packs.iter().map(|name| split_of(name)).collect();
    let there: BTreeSet<&str> = splits.iter().flatten().map(String::as_str).collect();
    // An archive may hold folders of splits.
    let may_be_within = kind != Kind::Parquet;
    if there.is_empty() && (may_be_within || wanted == "train") {
        return Ok(packs.into_iter().cloned().collect());
    }
    let chosen: Vec<&String> = packs
        .iter()
        .zip(&splits)
        .filter(|(_, split)| split.as_deref() == Some(&*wanted))
        .map(|(name, _)| *name)
        .collect();
    if chosen.is_empty() {
        let there: Vec<&str> = if there.is_empty() { vec!["train"] } else { there.into_iter().collect() };
        return Err(Error::input(format!("{place}: no file is of the split `{}`", selection.split()))
            .hint(format!("set `split` in [dataset] to one of: {}", listed(&there, MAX_LISTED))));
    }
    one_data_set(&chosen, place)?;
    Ok(chosen.into_iter().cloned().collect())
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

/// Shards of several data sets are not one.
fn one_data_set(chosen: &[&String], place: &str) -> Result<()> {
    let mut by_folder: BTreeMap<&str, usize> = BTreeMap::new();
    for name in chosen {
        let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
        if by_shard(file).is_some() {
            *by_folder.entry(folder).or_default() += 1;
        }
    }
    if by_folder.len() < 2 {
        return Ok(());
    }
    let folders: Vec<&str> = by_folder.into_keys().collect();
    Err(Error::input(format!("{place}: holds several data sets, in the folders {}", listed(&folders, MAX_LISTED)))
        .hint("say which with `subset` in [dataset]"))
}

/// The split that a file's name says, if any.
fn split_of(name: &str) -> Option<String> {
    let (folders, file) = name.rsplit_once('/').unwrap_or(("", name));
    by_shard(file).or_else(|| folders.split('/').find_map(by_word)).or_else(|| by_word(file))
}

/// `train-00000-of-00003-0123456789abcdef.parquet`.
fn by_shard(file: &str) -> Option<String> {
    let stem = file.split('.').next()?;
    let (before, after) = stem.split_once("-of-")?;
    let (split, number) = before.rsplit_once('-')?;
    let total: String = after.chars().take_while(char::is_ascii_digit).collect();
    let is_number = |text: &str| text.len() >= 5 && text.bytes().all(|b| b.is_ascii_digit());
    (is_number(number) && is_number(&total) && !split.is_empty()).then(|| canonical(split))
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
        assert_eq!(chosen, ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"]);
        assert_eq!(choose(&hub, &of("eval", None), "o/n").unwrap(), ["data/test-00000-of-00001.parquet"]);
        let error = choose(&hub, &of("validation", None), "o/n").unwrap_err().to_string();
        assert!(
            error.contains("o/n: no file is of the split `validation`") && error.contains("test, train"),
            "{error}"
        );
        // No name says a split.
        let plain = names(&["00000.tar", "00001.tar"]);
        assert_eq!(choose(&plain, &Selection::default(), "o/n").unwrap().len(), 2);
        let plain = names(&["0.parquet"]);
        assert!(choose(&plain, &of("test", None), "o/n").unwrap_err().to_string().contains("one of: train"));
    }

    #[test]
    fn several_data_sets_are_not_taken_for_one() {
        let hub = names(&["en/train-00000-of-00001.parquet", "fr/train-00000-of-00001.parquet"]);
        let error = choose(&hub, &Selection::default(), "o/n").unwrap_err().to_string();
        assert!(error.contains("en, fr") && error.contains("`subset`"), "{error}");
        assert_eq!(choose(&hub, &of("train", Some("fr")), "o/n").unwrap(), ["fr/train-00000-of-00001.parquet"]);
        let error = choose(&hub, &of("train", Some("de")), "o/n").unwrap_err().to_string();
        assert!(error.contains("no file lies in a folder `de`") && error.contains("en, fr"), "{error}");
    }
}
