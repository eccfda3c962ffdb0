//! What the runs were asked to do: settings that all share once, settings that differ side by side.

use std::collections::BTreeMap;

use crate::report::document::{Block, Grid};
use crate::report::runs::Run;
use crate::report::settings::{flat, sorted};

use super::groups::pairs;

pub(super) fn blocks(runs: &[Run]) -> Vec<Block> {
    let plans: Vec<BTreeMap<String, String>> = runs.iter().map(|run| flat(&run.plan)).collect();
    let keys = sorted(plans.iter().flat_map(BTreeMap::keys));
    let value = |plan: &BTreeMap<String, String>, key: &str| plan.get(key).cloned().unwrap_or_else(|| "–".into());
    let differs = |key: &&str| plans.iter().any(|plan| plan.get(*key) != plans[0].get(*key));
    let mut out = vec![Block::Heading(2, "Settings".into())];
    let common: Vec<(String, String)> =
        keys.iter().filter(|key| !differs(key)).map(|key| ((*key).to_owned(), value(&plans[0], key))).collect();
    let different: Vec<&str> = keys.iter().copied().filter(differs).collect();
    if !different.is_empty() {
        out.push(Block::Text("What differs:".into()));
        out.push(Block::Table(side_by_side(runs, &different, |run, key| value(&plans[run], key))));
        out.push(Block::Text("The same in all runs:".into()));
    }
    out.push(pairs("key", common));
    out
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
