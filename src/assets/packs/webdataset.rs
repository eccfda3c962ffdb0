//! A tar archive of samples, as `WebDataset` has them.
//!
//! In: shards. Out: their samples. The members of a sample lie behind each other and have one key, their path up to the first dot of the
//! base name; what follows is the field: `0001.jpg`, `0001.txt`, `0001.json`, `0001.mask.png`. The caption is the field `txt`, else
//! `caption`, else the text in `json`; or the one that is named.

use std::io::Read;
use std::path::Path;

use serde_json::Value;
use tar::{Archive, EntryType};

use super::samples::{Sample, Samples};
use super::{damaged, tar_bytes};
use crate::config::Selection;
use crate::data::has_image_ending;
use crate::error::{Error, Result};
use crate::numbers::listed;

/// The most bytes of one member: what is larger is no image.
const MAX_MEMBER: u64 = 1 << 30;

/// Names listed in one message.
const MAX_LISTED: usize = 8;

/// The fields of captions, and the names of them in a JSON object.
const TEXT_FIELDS: [&str; 3] = ["txt", "caption", "text"];
const TEXT_KEYS: [&str; 3] = ["text", "caption", "prompt"];

/// The members of one sample.
#[derive(Default)]
struct Members {
    key: String,
    fields: Vec<(String, Vec<u8>)>,
}

/// How many samples with an image a file has; `None`: to know that it would have to be unpacked.
pub(super) fn count(file: &Path, selection: &Selection) -> Result<Option<usize>> {
    if file.to_string_lossy().to_lowercase().ends_with("gz") {
        return Ok(None);
    }
    let mut archive = Archive::new(fs_err::File::open(file)?);
    let mut keys = 0;
    let mut last = None;
    for entry in archive.entries_with_seek().map_err(|e| damaged(file, e))? {
        let entry = entry.map_err(|e| damaged(file, e))?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let Some((key, field)) = split(&path) else { continue };
        if is_image(field, selection) && last.as_deref() != Some(key) {
            keys += 1;
            last = Some(key.to_owned());
        }
    }
    Ok(Some(keys))
}

/// Adds the samples of a file that have an image; `several` shards may use a key again.
///
/// # Errors
/// The file is damaged, a sample has several images, or none has the field that is named.
pub(super) fn read(file: &Path, several: bool, selection: &Selection, samples: &mut Samples) -> Result<()> {
    let mut archive = Archive::new(tar_bytes(file)?);
    let mut sample = Members::default();
    let mut fields = std::collections::BTreeSet::new();
    let mut found = 0;
    for entry in archive.entries().map_err(|e| damaged(file, e))? {
        if samples.is_full() {
            return Ok(());
        }
        let mut entry = entry.map_err(|e| damaged(file, e))?;
        if !matches!(entry.header().entry_type(), EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse) {
            continue;
        }
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let Some((key, field)) = split(&path) else { continue };
        if key != sample.key {
            found += usize::from(add(std::mem::take(&mut sample), selection, file, samples)?);
            key.clone_into(&mut sample.key);
        }
        fields.insert(field.to_owned());
        if entry.size() > MAX_MEMBER {
            return Err(damaged(file, format!("`{path}` has {} bytes", entry.size())));
        }
        if is_wanted(field, selection) {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(|e| damaged(file, e))?;
            sample.fields.push((field.to_owned(), bytes));
        }
    }
    found += usize::from(add(sample, selection, file, samples)?);
    if found == 0 && !several {
        let fields: Vec<String> = fields.into_iter().collect();
        let what = format!("{}: no sample has an image; its fields: {}", file.display(), listed(&fields, MAX_LISTED));
        return Err(Error::input(what).hint("`image_column` in [dataset] names the field of the images"));
    }
    Ok(())
}

/// Key and field of a member; `None` for what is no sample's.
fn split(path: &str) -> Option<(&str, &str)> {
    let path = path.strip_prefix("./").unwrap_or(path);
    let start = path.rfind('/').map_or(0, |at| at + 1);
    let base = &path[start..];
    if base.starts_with('.') || path.split('/').any(|part| part == "__MACOSX") {
        return None;
    }
    let dot = start + base.find('.')?;
    Some((&path[..dot], &path[dot + 1..]))
}

fn is_mask(field: &str) -> bool {
    field.eq_ignore_ascii_case("mask.png")
}

fn is_image(field: &str, selection: &Selection) -> bool {
    match &selection.image_column {
        Some(named) => field == named,
        None => !is_mask(field) && has_image_ending(&format!(".{field}")),
    }
}

/// `json`, or a caption's field.
fn is_text(field: &str, selection: &Selection) -> bool {
    let named = selection.caption_column.as_deref() == Some(field);
    named || field.eq_ignore_ascii_case("json") || TEXT_FIELDS.iter().any(|text| field.eq_ignore_ascii_case(text))
}

fn is_wanted(field: &str, selection: &Selection) -> bool {
    is_mask(field) || is_image(field, selection) || is_text(field, selection)
}

/// Adds a sample that has an image; says whether it had one.
fn add(members: Members, selection: &Selection, file: &Path, samples: &mut Samples) -> Result<bool> {
    let Members { key, fields } = members;
    let of_key = |why: String| Error::input(format!("{}: the sample `{key}` {why}", file.display()));
    let captions = captions(&fields, selection).map_err(|why| of_key(why).hint("repair it, or leave it out"))?;
    let mut images: Vec<(String, Vec<u8>)> = Vec::new();
    let mut mask = None;
    for (field, bytes) in fields {
        if is_mask(&field) {
            mask = Some(bytes);
        } else if is_image(&field, selection) {
            images.push((field, bytes));
        }
    }
    if images.len() > 1 {
        let names: Vec<&str> = images.iter().map(|(field, _)| field.as_str()).collect();
        return Err(of_key(format!("has several images: {}", listed(&names, MAX_LISTED)))
            .hint("say which with `image_column` in [dataset]"));
    }
    let Some((field, image)) = images.pop() else { return Ok(false) };
    samples.add(Sample { image, name: Some(format!("{key}.{field}")), captions, mask })?;
    Ok(true)
}

/// The sample's captions; `None` where it has none at all. The error is the rest of a sentence that begins with the sample.
fn captions(fields: &[(String, Vec<u8>)], selection: &Selection) -> std::result::Result<Option<Vec<String>>, String> {
    let field = |name: &str| fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, bytes)| bytes);
    let text = |name: &str, bytes: &[u8]| {
        let text = std::str::from_utf8(bytes).map_err(|_| format!("has a `{name}` that is not UTF-8 text"))?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Ok::<_, String>(text.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let named = selection.caption_column.as_deref();
    let names: Vec<&str> = named.map_or(TEXT_FIELDS.to_vec(), |named| vec![named]);
    if let Some((name, bytes)) = names.iter().find_map(|name| Some((name, field(name)?))) {
        return Ok(Some(vec![text(name, bytes)?]));
    }
    let Some(bytes) = field("json") else { return Ok(None) };
    let value: Value = serde_json::from_slice(bytes).map_err(|e| format!("has a `json` that is none: {e}"))?;
    let keys: Vec<&str> = named.map_or(TEXT_KEYS.to_vec(), |named| vec![named]);
    Ok(match keys.iter().find_map(|key| value.get(key)) {
        Some(Value::String(text)) => Some(vec![text.trim().to_owned()]),
        Some(Value::Array(texts)) => {
            Some(texts.iter().filter_map(Value::as_str).map(|text| text.trim().to_owned()).collect())
        }
        _ => None,
    })
}
