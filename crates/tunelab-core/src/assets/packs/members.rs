//! Which members of a tar archive are unpacked, and under which names.
//!
//! In: the members' names. Out: for each that is wanted its name in the folder. With a table of captions, or with folders that are
//! splits, the archive is a folder and keeps its names. Otherwise it is samples as `WebDataset` has them, wherever their members lie: what belongs to an
//! image has its name up to the last dot, or its key, which ends at the first dot of the base name (`0001.v1.png`, `0001.txt`,
//! `0001.json`, `0001.mask.png`); folders become a part of the name.

use std::collections::{BTreeMap, BTreeSet};

use super::splits::is_split;
use crate::assets::layout::stays_inside;
use crate::assets::wanted::{is_table, is_wanted};
use crate::config::Selection;
use crate::data::{has_image_ending, is_named_mask};
use crate::numbers::listed;

/// The fields of captions, as they lie beside an image.
const TEXTS: [&str; 3] = ["txt", "caption", "json"];

/// Names listed in one message.
const MAX_LISTED: usize = 8;

/// What becomes of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// It gets this name.
    As(String),
    /// It is JSON, of which one value becomes the text of this name.
    ValueAs(String),
}

/// What is unpacked of an archive.
#[derive(Debug, Default)]
pub(super) struct Members {
    /// By the members' names.
    pub targets: BTreeMap<String, Target>,
    /// How many samples; none of a folder.
    pub samples: usize,
}

impl Members {
    /// Of `names` in their order, no more than `most` samples, whose names begin with `prefix`. The error is a whole sentence and a remedy.
    pub(super) fn of(
        names: &[String],
        selection: &Selection,
        (prefix, most): (&str, usize),
    ) -> Result<Self, (String, &'static str)> {
        let shown = |name: &&String| {
            stays_inside(name) && !name.split('/').any(|part| part.starts_with('.') || part == "__MACOSX")
        };
        let names: Vec<&String> = names.iter().filter(shown).collect();
        let all: BTreeSet<String> = names.iter().map(ToString::to_string).collect();
        if names.iter().any(|name| is_table(name)) || has_splits(&names) {
            let wanted = all.iter().filter(|name| is_wanted(name, &all));
            let targets = wanted.map(|name| (name.clone(), Target::As(name.clone()))).collect();
            return Ok(Self { targets, samples: 0 });
        }
        let mut members = Self::default();
        let mut taken: BTreeMap<String, &str> = BTreeMap::new();
        let column = selection.caption_column.as_deref();
        for name in &names {
            if members.samples == most {
                break;
            }
            if !is_image(name, selection) {
                continue;
            }
            let texts = TEXTS.iter().copied().chain(column);
            let has = |key: &str| {
                texts.clone().any(|field| all.contains(&format!("{key}.{field}")))
                    || all.contains(&format!("{key}.mask.png"))
            };
            let (stem, ending) = name.rsplit_once('.').unwrap_or((name, ""));
            let key = if !has(stem) && has(key(name)) { key(name) } else { stem };
            if let Some(other) = taken.insert(key.to_owned(), name) {
                return Err((
                    format!("the sample `{key}` has several images: `{other}` and `{name}`"),
                    "say which with `image_column` in [dataset]",
                ));
            }
            let flat = format!("{prefix}{}", key.replace('/', "_"));
            let mut take = |member: String, target: Target| {
                if all.contains(&member) {
                    members.targets.insert(member, target);
                }
            };
            take((*name).clone(), Target::As(format!("{flat}.{ending}")));
            take(format!("{key}.mask.png"), Target::As(format!("{flat}.mask.png")));
            match column {
                Some(column) if all.contains(&format!("{key}.{column}")) => {
                    take(format!("{key}.{column}"), Target::As(format!("{flat}.txt")));
                }
                Some(_) => take(format!("{key}.json"), Target::ValueAs(format!("{flat}.txt"))),
                None => {
                    for field in TEXTS {
                        take(format!("{key}.{field}"), Target::As(format!("{flat}.{field}")));
                    }
                }
            }
            members.samples += 1;
        }
        if members.samples == 0 && most > 0 {
            let fields: BTreeSet<&str> =
                names.iter().filter_map(|name| Some(name.rsplit('/').next()?.split_once('.')?.1)).collect();
            let fields: Vec<&str> = fields.into_iter().collect();
            let hint = "`image_column` in [dataset] names the field of the images; links are not followed";
            return Err((format!("no sample has an image; its fields: {}", listed(&fields, MAX_LISTED)), hint));
        }
        Ok(members)
    }
}

/// A sample's key: up to the first dot of the base name.
fn key(name: &str) -> &str {
    let base = name.rfind('/').map_or(0, |at| at + 1);
    name[base..].find('.').map_or(name, |dot| &name[..base + dot])
}

fn is_image(name: &str, selection: &Selection) -> bool {
    let field = name.get(key(name).len() + 1..).unwrap_or_default();
    match &selection.image_column {
        Some(named) => {
            field.eq_ignore_ascii_case(named)
                || name.rsplit('.').next().is_some_and(|ending| ending.eq_ignore_ascii_case(named))
        }
        None => has_image_ending(name) && !is_named_mask(name),
    }
}

/// Whether images lie in folders that are called as splits are, below folders that hold everything.
fn has_splits(names: &[&String]) -> bool {
    let folders = |name: &str| name.split('/').map(str::to_owned).collect::<Vec<_>>();
    let mut images: Vec<Vec<String>> =
        names.iter().filter(|name| has_image_ending(name)).map(|name| folders(name)).collect();
    while let Some(first) = images.first().filter(|parts| parts.len() > 1).map(|parts| parts[0].clone()) {
        if images.iter().any(|parts| parts.len() > 1 && is_split(&parts[0])) {
            return true;
        }
        if !images.iter().all(|parts| parts.len() > 1 && parts[0] == first) {
            return false;
        }
        for parts in &mut images {
            parts.remove(0);
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str], selection: &Selection, most: usize) -> Result<Vec<String>, String> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let members = Members::of(&names, selection, ("", most)).map_err(|(what, _)| what)?;
        let said = |(name, target): (String, Target)| match target {
            Target::As(to) => format!("{name} > {to}"),
            Target::ValueAs(to) => format!("{name} > {to} (value)"),
        };
        Ok(members.targets.into_iter().map(said).collect())
    }

    #[test]
    fn what_belongs_to_an_image_is_found_wherever_it_lies() {
        let all = Selection::default();
        // As `tar` has them in the order of a folder, of a shell's patterns, and as WebDataset does.
        let names = ["b/2.txt", "b/1.jpg", "b/1.mask.png", "b/2.jpg", "b/1.txt", "b/.x.jpg", "b/3.txt", "notes.pdf"];
        let found = of(&names, &all, 9).unwrap();
        let expected = [
            "b/1.jpg > b_1.jpg",
            "b/1.mask.png > b_1.mask.png",
            "b/1.txt > b_1.txt",
            "b/2.jpg > b_2.jpg",
            "b/2.txt > b_2.txt",
        ];
        assert_eq!(found, expected);
        assert_eq!(of(&names, &all, 1).unwrap(), expected[..3]);
        // Dots in names: what lies beside says what the key is.
        let dots = of(&["a.x.jpg", "a.x.txt", "p.1.jpg", "p.2.jpg", "0.v1.png", "0.json"], &all, 9).unwrap();
        let expected = [
            "0.json > 0.json",
            "0.v1.png > 0.png",
            "a.x.jpg > a.x.jpg",
            "a.x.txt > a.x.txt",
            "p.1.jpg > p.1.jpg",
            "p.2.jpg > p.2.jpg",
        ];
        assert_eq!(dots, expected);
    }

    #[test]
    fn fields_may_be_named() {
        let column = |image: Option<&str>, caption: Option<&str>| Selection {
            image_column: image.map(str::to_owned),
            caption_column: caption.map(str::to_owned),
            ..Selection::default()
        };
        let names = ["0.v1.png", "0.v2.png", "0.json", "0.prompt", "0.txt"];
        let text = of(&names, &column(None, None), 9).unwrap_err();
        assert_eq!(text, "the sample `0` has several images: `0.v1.png` and `0.v2.png`");
        let found = of(&names, &column(Some("V2.png"), Some("prompt")), 9).unwrap();
        assert_eq!(found, ["0.prompt > 0.txt", "0.v2.png > 0.png"]);
        let found = of(&names, &column(Some("v2.png"), Some("about")), 9).unwrap();
        assert_eq!(found, ["0.json > 0.txt (value)", "0.v2.png > 0.png"]);
        let text = of(&names, &column(Some("webp"), None), 9).unwrap_err();
        assert_eq!(text, "no sample has an image; its fields: json, prompt, txt, v1.png, v2.png");
    }

    #[test]
    fn folders_of_splits_and_tables_keep_their_names() {
        let all = Selection::default();
        let names = ["x/train/a.png", "x/train/a.txt", "x/test/b.png", "x/readme.pdf"];
        let expected =
            ["x/test/b.png > x/test/b.png", "x/train/a.png > x/train/a.png", "x/train/a.txt > x/train/a.txt"];
        assert_eq!(of(&names, &all, 1).unwrap(), expected);
        assert_eq!(of(&["metadata.json", "a/b.png"], &all, 1).unwrap().len(), 2);
    }
}
