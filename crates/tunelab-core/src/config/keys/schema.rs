//! The JSON Schema (draft-07) of an experiment, for editors.
//!
//! In: all keys. Out: a schema that knows every key with its documentation, default and range, and
//! which tables exclude each other. It asks for what is needed only where the file has no
//! `[[variant]]`, each of which may bring it.

use std::ops::Bound;

use serde_json::{Map, Value, json};

use super::{Kind, Known, Listing};

/// The schema.
pub fn schema(keys: &Listing) -> Value {
    let mut root = table(keys, "", "An experiment of tunelab.");
    let mut definitions = Map::new();
    let tables = top_tables(keys);
    for name in &tables {
        let about = keys.tables.iter().find(|(path, _)| path == name).map_or("", |(_, about)| about);
        definitions.insert((*name).into(), table(keys, name, about));
        root["properties"][name] = json!({ "$ref": format!("#/definitions/{name}") });
    }
    let mut stand_in = root.clone();
    stand_in["description"] = "What the experiment becomes where no hub can be reached.".into();
    let mut variant = root.clone();
    variant["description"] = "One of several runs that the file states.".into();
    variant["properties"]["name"] = json!({
        "description": "The end of the run's name.", "type": "string",
        // Letters and digits of any script: all but spaces and ASCII's other signs.
        "pattern": r"^[^\s!-,/:-@\[-^`{-~]*[^\s!-,./:-@\[-^`{-~]$", "maxLength": 80,
    });
    variant["properties"]["stand_in"] = json!({ "$ref": "#/definitions/stand_in" });
    variant["required"] = json!(["name"]);
    definitions.insert("stand_in".into(), stand_in);
    definitions.insert("variant".into(), variant);

    root["$schema"] = "http://json-schema.org/draft-07/schema#".into();
    root["title"] = "tunelab experiment".into();
    root["properties"]["stand_in"] = json!({ "$ref": "#/definitions/stand_in" });
    root["properties"]["variant"] =
        json!({ "type": "array", "minItems": 1, "items": { "$ref": "#/definitions/variant" } });
    let tables = json!({ "type": "array", "minItems": 1, "items": { "type": "object" } });
    root["properties"]["sweep"] = json!({
        "description": "Keys with lists of values: a run for each combination.",
        "type": "object",
        "properties": { "zip": tables, "skip": tables },
    });
    root["if"] = json!({ "required": ["variant"] });
    root["else"] = complete();
    root["definitions"] = definitions.into();
    root
}

/// What an experiment must say, if no variant says it.
fn complete() -> Value {
    let sources = ["path", "repo", "modelscope", "builtin"].map(|key| json!({ "required": [key] }));
    let source = json!({ "anyOf": sources.clone() });
    let several =
        json!({ "anyOf": sources.into_iter().chain([json!({ "required": ["sources"] })]).collect::<Vec<_>>() });
    let dreambooth = json!({
        "oneOf": [{ "required": ["lora"] }, { "required": ["full"] }],
    });
    json!({
        "required": ["model", "dataset", "adapter"],
        "properties": {
            "model": source,
            "dataset": several,
            "adapter": { "minProperties": 1, "properties": { "dreambooth": dreambooth } },
            "reference": { "required": ["label"] },
            "stands_in_for": { "required": ["experiment", "model", "dataset"] },
        },
    })
}

fn top_tables(keys: &Listing) -> Vec<&str> {
    keys.tables.iter().map(|(path, _)| path.as_str()).filter(|path| !path.contains('.')).collect()
}

/// A table with the tables in it; those at the top level are apart.
fn table(keys: &Listing, path: &str, about: &str) -> Value {
    let mut properties = Map::new();
    for known in keys.of(path) {
        properties.insert(known.key.name.into(), key(known));
    }
    // The name of what stands directly in this table.
    let inside = |other: &'_ str| {
        let name = other.strip_prefix(path)?.strip_prefix('.')?;
        (!name.contains('.')).then(|| name.to_owned())
    };
    for known in &keys.keys {
        if let Some(name) = known.key.old.and_then(inside) {
            properties.insert(name, older(known));
        }
    }
    for (other, about) in &keys.tables {
        if let Some(name) = inside(other) {
            let one = table(keys, other, about);
            let is_list = keys.lists.contains(other);
            let list = |items| json!({ "description": about, "type": "array", "minItems": 1, "items": items });
            properties.insert(name, if is_list { list(one) } else { one });
        }
    }
    let mut out = json!({
        "description": about, "type": "object", "additionalProperties": false, "properties": properties,
    });
    if let Some((_, names)) = keys.choices.iter().find(|(choice, _)| choice == path) {
        exclude(&mut out, names);
    }
    // What is built in stands alone.
    if out["properties"]["builtin"].is_object() {
        let others = ["path", "repo", "modelscope", "file", "config"].map(|other| json!({ "required": [other] }));
        out["dependencies"] = json!({ "builtin": { "not": { "anyOf": others } } });
    }
    out
}

/// Of these tables there is one.
fn exclude(out: &mut Value, names: &[&str]) {
    let others: Vec<Value> = names.iter().map(|name| json!({ "required": [name] })).collect();
    let pairs: Vec<Value> = (0..others.len())
        .flat_map(|a| (a + 1..others.len()).map(move |b| (a, b)))
        .map(|(a, b)| json!({ "allOf": [others[a], others[b]] }))
        .collect();
    if !pairs.is_empty() {
        out["not"] = json!({ "anyOf": pairs });
    }
}

fn key(known: &Known) -> Value {
    let mut out = kind(&known.key.kind);
    let usual = known.key.usual.map_or_else(String::new, |usual| format!(" Default: {usual}."));
    out["description"] = format!("{}{usual}", known.key.doc).into();
    if let Some(default) = &known.default {
        out["default"] = default.to_json();
    }
    out
}

/// A key at the path that it had in an earlier version.
fn older(known: &Known) -> Value {
    let mut out = kind(&known.key.kind);
    out["description"] = format!("Old spelling of {}.", known.path).into();
    out["deprecated"] = true.into();
    out
}

fn kind(kind: &Kind) -> Value {
    match kind {
        Kind::Whole { range, multiple_of: 1 } => {
            json!({ "type": "integer", "minimum": range.start(), "maximum": range.end() })
        }
        Kind::Whole { range, multiple_of } => json!({
            "type": "integer", "minimum": range.start(), "maximum": range.end(), "multipleOf": multiple_of,
        }),
        Kind::Sides { range, square, pair } => {
            let side = |multiple_of: u64| {
                json!({
                    "type": "integer", "minimum": range.start(), "maximum": range.end(), "multipleOf": multiple_of,
                })
            };
            json!({ "anyOf": [
                side(*square),
                { "type": "array", "items": side(*pair), "minItems": 2, "maxItems": 2 },
            ] })
        }
        Kind::Number(low, high) => number(*low, *high),
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Text | Kind::Folder | Kind::FolderOrModel | Kind::FolderOrPack => {
            json!({ "type": "string", "pattern": r"\S" })
        }
        Kind::AnyText => json!({ "type": "string" }),
        Kind::Texts => {
            json!({ "type": "array", "items": { "type": "string", "pattern": r"\S" }, "uniqueItems": true })
        }
        Kind::Choice(names) => json!({ "type": "string", "enum": names }),
        Kind::Choices(names) => {
            json!({ "type": "array", "items": { "type": "string", "enum": names }, "uniqueItems": true })
        }
        Kind::Repository => json!({
            "type": "string", "pattern": r"^[A-Za-z0-9_-][A-Za-z0-9._-]*/[A-Za-z0-9_-][A-Za-z0-9._-]*$",
        }),
    }
}

fn number(low: Bound<f64>, high: Bound<f64>) -> Value {
    let mut out = json!({ "type": "number" });
    match low {
        Bound::Included(low) => out["minimum"] = low.into(),
        Bound::Excluded(low) => out["exclusiveMinimum"] = low.into(),
        Bound::Unbounded => {}
    }
    match high {
        Bound::Included(high) => out["maximum"] = high.into(),
        Bound::Excluded(high) => out["exclusiveMaximum"] = high.into(),
        Bound::Unbounded => {}
    }
    out
}
