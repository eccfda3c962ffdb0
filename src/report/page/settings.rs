//! What the runs were asked to do: settings that all share once, settings that differ side by side.

use std::collections::BTreeMap;

use crate::report::document::{Block, Grid};
use crate::report::runs::Run;

use super::groups::pairs;

/// In the order of a plan; what is not named comes last.
const SECTIONS: [&str; 5] = ["model", "dataset", "adapter", "train", "eval"];

/// What differs between the runs; nothing where they are alike.
pub(super) fn differences(runs: &[Run]) -> Vec<Block> {
    let plans = plans(runs);
    let keys = keys(&plans);
    let different: Vec<&String> = keys.iter().filter(|key| differs(&plans, key)).collect();
    if different.is_empty() {
        return Vec::new();
    }
    vec![Block::Table(side_by_side(runs, &different, |run, key| value(&plans[run], key)))]
}

/// What all runs share.
pub(super) fn common(runs: &[Run]) -> Vec<Block> {
    let plans = plans(runs);
    let keys = keys(&plans);
    let common: Vec<(String, String)> =
        keys.iter().filter(|key| !differs(&plans, key)).map(|key| (key.clone(), value(&plans[0], key))).collect();
    if common.is_empty() { Vec::new() } else { vec![pairs("key", common)] }
}

fn plans(runs: &[Run]) -> Vec<BTreeMap<String, String>> {
    runs.iter().map(|run| flat(&run.plan)).collect()
}

fn differs(plans: &[BTreeMap<String, String>], key: &str) -> bool {
    plans.iter().any(|plan| plan.get(key) != plans[0].get(key))
}

fn value(plan: &BTreeMap<String, String>, key: &str) -> String {
    plan.get(key).cloned().unwrap_or_else(|| "–".into())
}

/// A row for each run where the keys are few, a column for each where they are many: the table
/// stays narrow.
fn side_by_side(runs: &[Run], keys: &[&String], value: impl Fn(usize, &str) -> String) -> Grid {
    let names = runs.iter().map(|run| run.name().to_string());
    if keys.len() <= runs.len() {
        let headings = ["run".to_string()].into_iter().chain(keys.iter().map(|key| (*key).clone())).collect();
        let row = |(at, name): (usize, String)| {
            [name].into_iter().chain(keys.iter().map(|key| value(at, key))).collect::<Vec<_>>()
        };
        return Grid { headings, rows: names.enumerate().map(row).collect() };
    }
    let headings = ["key".to_string()].into_iter().chain(names).collect();
    let row = |key: &&String| [(*key).clone()].into_iter().chain((0..runs.len()).map(|at| value(at, key))).collect();
    Grid { headings, rows: keys.iter().map(row).collect() }
}

/// Every key of every plan, by section, then by name.
fn keys(plans: &[BTreeMap<String, String>]) -> Vec<String> {
    let place = |key: &str| {
        let section = key.split('.').next().unwrap_or_default();
        let last = if key.contains('.') { SECTIONS.len() + 1 } else { 0 };
        SECTIONS.iter().position(|name| *name == section).map_or(last, |at| at + 1)
    };
    let mut keys: Vec<String> = plans.iter().flat_map(BTreeMap::keys).cloned().collect();
    keys.sort_by(|a, b| (place(a), a).cmp(&(place(b), b)));
    keys.dedup();
    keys
}

/// `train.learning_rate` → `0.0001`. The name is the run's, and a reference is no setting.
fn flat(plan: &toml::Table) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for (key, value) in plan.iter().filter(|(key, _)| !["name", "reference"].contains(&key.as_str())) {
        flatten(key, value, &mut out);
    }
    out
}

fn flatten(key: &str, value: &toml::Value, out: &mut BTreeMap<String, String>) {
    match value {
        toml::Value::Table(table) => {
            table.iter().for_each(|(inner, value)| flatten(&format!("{key}.{inner}"), value, out));
        }
        toml::Value::String(text) => drop(out.insert(key.to_string(), words(text))),
        toml::Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| item.as_str().map_or(item.to_string(), words)).collect();
            out.insert(key.to_string(), items.join(", "));
        }
        other => drop(out.insert(key.to_string(), other.to_string())),
    }
}

/// A text that would not be seen, or seen as several, keeps its quotes.
fn words(text: &str) -> String {
    if text.trim().is_empty() || text.contains(',') { format!("\"{text}\"") } else { text.to_string() }
}
