//! Captions in JSON: a file beside a picture, as ai-toolkit has it, and kohya's metadata of a whole folder.
//!
//! In: the text of the file. Out: captions, or what is wrong as the rest of a sentence. Both have `caption` (or `text`) and `tags`; as
//! in kohya's scripts, tags come behind the caption.

use serde_json::{Map, Value};

use super::name::shortened;

/// The fields that are read.
const CAPTIONS: [&str; 2] = ["caption", "text"];
const TAGS: &str = "tags";

/// A picture's entry: its name, and its captions or what is wrong with them.
pub(super) type Entry = (String, Result<Vec<String>, String>);

/// The captions of `x.json`; none, if all in it are empty.
pub(super) fn beside(text: &str) -> Result<Vec<String>, String> {
    match serde_json::from_str(text).map_err(|e| format!("is not JSON: {e}"))? {
        Value::Object(fields) => captions(&fields),
        _ => Err("is not a JSON object, as {\"caption\": …}".to_owned()),
    }
}

/// The entries of kohya's `metadata.json`, in the order of their names.
pub(super) fn kohya(text: &str) -> Result<Vec<Entry>, String> {
    let value: Value = serde_json::from_str(text).map_err(|e| format!("is not JSON: {e}"))?;
    let Value::Object(entries) = value else {
        return Err("is not a JSON object of pictures, as kohya's scripts write it".to_owned());
    };
    let entry = |(name, value): (String, Value)| match value {
        Value::Object(fields) => (name, captions(&fields)),
        _ => (name, Err("is not a JSON object, as {\"caption\": …}".to_owned())),
    };
    Ok(entries.into_iter().map(entry).collect())
}

/// One text or several, trimmed; those with nothing in them are left out.
pub(super) fn texts(field: &str, value: &Value) -> Result<Vec<String>, String> {
    let fault = || format!("`{field}` must be a text or a list of texts");
    let text = |value: &Value| value.as_str().map(|text| text.trim().to_owned()).ok_or_else(fault);
    let texts = match value {
        Value::Array(values) => values.iter().map(text).collect::<Result<Vec<_>, _>>()?,
        one => vec![text(one)?],
    };
    Ok(texts.into_iter().filter(|text| !text.is_empty()).collect())
}

fn captions(fields: &Map<String, Value>) -> Result<Vec<String>, String> {
    let found = CAPTIONS.iter().find_map(|name| Some((*name, fields.get(*name)?)));
    let tags = fields.get(TAGS).filter(|tags| !tags.is_null());
    if found.is_none() && tags.is_none() {
        let names: Vec<String> = fields.keys().take(5).map(|name| format!("`{}`", shortened(name))).collect();
        let names = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
        return Err(format!("has neither `caption`, `text` nor `tags`; found: {names}"));
    }
    let captions =
        found.filter(|(_, value)| !value.is_null()).map_or(Ok(Vec::new()), |(name, value)| texts(name, value))?;
    let tags = tags.map_or(Ok(Vec::new()), |value| texts(TAGS, value))?.join(", ");
    Ok(match (captions.is_empty(), tags.is_empty()) {
        (_, true) => captions,
        (true, false) => vec![tags],
        (false, false) => captions.into_iter().map(|caption| format!("{caption}, {tags}")).collect(),
    })
}
