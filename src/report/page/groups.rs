//! Runs that have something in common, and how the page names them.
//!
//! In: runs, and what is to be compared. Out: groups, their names, and tables of two columns.

use crate::report::document::{Block, Grid};
use crate::report::runs::Run;

/// The run's name in a caption, with the mark of a stand-in.
pub(super) fn captioned(run: &Run) -> String {
    format!("{}{}", run.name(), if run.record.stand_in.is_some() { " (STAND-IN)" } else { "" })
}

/// Names of runs that share something; nothing where all do.
pub(super) fn shared_by(runs: &[&Run], of: usize) -> String {
    if runs.len() == of {
        return if of == 1 { runs[0].name().to_string() } else { "all runs".to_string() };
    }
    runs.iter().map(|run| run.name()).collect::<Vec<_>>().join(", ")
}

/// Runs with equal keys together, in the order in which the keys first come.
pub(super) fn groups<K: PartialEq>(runs: &[Run], key: impl Fn(&Run) -> K) -> Vec<(K, Vec<&Run>)> {
    let mut groups: Vec<(K, Vec<&Run>)> = Vec::new();
    for run in runs {
        let key = key(run);
        match groups.iter_mut().find(|(other, _)| *other == key) {
            Some((_, members)) => members.push(run),
            None => groups.push((key, vec![run])),
        }
    }
    groups
}

/// A table of two columns.
pub(super) fn pairs(heading: &str, rows: Vec<(String, String)>) -> Block {
    let rows = rows.into_iter().map(|(name, value)| vec![name, value]).collect();
    Block::Table(Grid { headings: vec![heading.to_string(), "value".into()], rows })
}
