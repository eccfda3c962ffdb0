//! `results/NAME.sweep/sweep.json`: what a `[sweep]` stated, for whoever reads the tree later.
//!
//! In: the sweep. Out: the file; and all that lie in a results folder, by their names.

use std::path::Path;

use fs_err as fs;

use super::names::run_folder;
use super::write_atomic;
use crate::config::files::Sweep;
use crate::error::{Error, Result};

const SWEEP_JSON: &str = "sweep.json";

/// The folder of a sweep's own files.
pub fn sweep_folder(name: &str) -> String {
    format!("{}.sweep", run_folder(name))
}

/// Writes what the sweep states.
///
/// # Errors
/// The file cannot be written.
pub fn write_sweep(results: &Path, sweep: &Sweep) -> Result<()> {
    let json = serde_json::to_string_pretty(sweep).map_err(|e| Error::run("sweep.json cannot be made").cause(e))?;
    write_atomic(&results.join(sweep_folder(&sweep.name)).join(SWEEP_JSON), format!("{json}\n").as_bytes())
}

/// The sweeps of a results folder, by their names; one that cannot be read is left out.
pub fn sweeps(results: &Path) -> Vec<Sweep> {
    let entries = fs::read_dir(results).into_iter().flatten().filter_map(std::io::Result::ok);
    let files = entries.map(|entry| entry.path().join(SWEEP_JSON)).filter(|file| file.is_file());
    let mut found: Vec<Sweep> = files.filter_map(|file| serde_json::from_slice(&fs::read(file).ok()?).ok()).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}
