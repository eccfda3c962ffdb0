//! A plan's settings as a flat list of keys.
//!
//! In: a `plan.toml` as data. Out: `train.learning_rate` and its value, or what readers see of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use toml::Value;

use crate::config::Plan;

/// The sections in the order of a plan; what is not named comes last.
const SECTIONS: [&str; 5] = ["model", "dataset", "adapter", "train", "eval"];

/// Every key by section, then by name; keys without a section come first.
pub fn sorted<'a>(keys: impl Iterator<Item = &'a String>) -> Vec<&'a str> {
    let place = |key: &str| {
        let section = key.split('.').next().unwrap_or_default();
        let last = if key.contains('.') { SECTIONS.len() + 1 } else { 0 };
        SECTIONS.iter().position(|name| *name == section).map_or(last, |at| at + 1)
    };
    let mut keys: Vec<&str> = keys.map(String::as_str).collect();
    keys.sort_by(|a, b| (place(a), a).cmp(&(place(b), b)));
    keys.dedup();
    keys
}

/// `train.learning_rate` → `0.0001`, as readers see it.
pub fn flat(plan: &toml::Table) -> BTreeMap<String, String> {
    values(plan).into_iter().map(|(key, value)| (key, words(value))).collect()
}

/// The value of a key in what [`flat`] gives. Flags that plans have only where they are true are false elsewhere.
pub fn value_of(plan: &BTreeMap<String, String>, key: &str) -> Option<String> {
    static QUIET: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
        let keys = Plan::keys().keys;
        keys.into_iter().filter(|known| known.key.quiet).map(|known| known.path).collect()
    });
    plan.get(key).cloned().or_else(|| QUIET.contains(key).then(|| false.to_string()))
}

/// The values by their whole keys. The name is the run's, and a reference is no setting.
pub fn values(plan: &toml::Table) -> BTreeMap<String, &Value> {
    let mut out = BTreeMap::new();
    for (key, value) in plan.iter().filter(|(key, _)| !["name", "reference"].contains(&key.as_str())) {
        flatten(key, value, &mut out);
    }
    out
}

fn flatten<'a>(key: &str, value: &'a Value, out: &mut BTreeMap<String, &'a Value>) {
    match value {
        Value::Table(table) => {
            for (inner, value) in table {
                flatten(&format!("{key}.{inner}"), value, out);
            }
        }
        other => drop(out.insert(key.to_owned(), other)),
    }
}

/// A value without the quotes of texts; a list's parts are parted by commas.
fn words(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Array(items) => {
            let items: Vec<String> =
                items.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), quoted)).collect();
            items.join(", ")
        }
        other => other.to_string(),
    }
}

/// A text that would not be seen, or seen as several, keeps its quotes.
fn quoted(text: &str) -> String {
    if text.trim().is_empty() || text.contains(',') { format!("\"{text}\"") } else { text.to_owned() }
}
