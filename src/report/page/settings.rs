//! What the runs were asked to do: settings that all share once, settings that differ side by side.

use std::collections::BTreeMap;

use crate::report::document::{Block, Grid};
use crate::report::runs::Run;
use crate::report::settings::{flat, sorted};

use super::groups::pairs;

/// What differs between the runs; nothing where they are alike.
pub(super) fn differences(runs: &[Run]) -> Vec<Block> {
    let plans = plans(runs);
    let keys = sorted(plans.iter().flat_map(BTreeMap::keys));
    let different: Vec<&str> = keys.iter().copied().filter(|key| differs(&plans, key)).collect();
    if different.is_empty() {
        return Vec::new();
    }
    vec![Block::Table(side_by_side(runs, &different, |run, key| value(&plans[run], key)))]
}

/// What all runs share.
pub(super) fn common(runs: &[Run]) -> Vec<Block> {
    let plans = plans(runs);
    let keys = sorted(plans.iter().flat_map(BTreeMap::keys));
    let common: Vec<(String, String)> =
        keys.iter().filter(|key| !differs(&plans, key)).map(|key| ((*key).to_owned(), value(&plans[0], key))).collect();
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
fn side_by_side(runs: &[Run], keys: &[&str], value: impl Fn(usize, &str) -> String) -> Grid {
    let names = runs.iter().map(|run| run.name().to_string());
    if keys.len() <= runs.len() {
        let headings = ["run".to_string()].into_iter().chain(keys.iter().map(|key| (*key).to_owned())).collect();
        let row = |(at, name): (usize, String)| {
            [name].into_iter().chain(keys.iter().map(|key| value(at, key))).collect::<Vec<_>>()
        };
        return Grid { headings, rows: names.enumerate().map(row).collect() };
    }
    let headings = ["key".to_string()].into_iter().chain(names).collect();
    let row = |key: &&str| [(*key).to_owned()].into_iter().chain((0..runs.len()).map(|at| value(at, key))).collect();
    Grid { headings, rows: keys.iter().map(row).collect() }
}
