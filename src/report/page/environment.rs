//! What the runs ran on: computer, program, versions. Runs with the same environment share a table.

use crate::report::document::Block;
use crate::report::runs::Run;
use crate::report::table::gibibytes;
use crate::results::{Gpu, Machine, Versions};

use super::groups::{groups, pairs, shared_by};

pub(super) fn blocks(runs: &[Run]) -> Vec<Block> {
    let mut out = Vec::new();
    let rows = |run: &Run| {
        let mut rows = machine(&run.record.machine);
        rows.push(("trained on".into(), format!("{}, {}", run.record.device, run.record.dtype)));
        rows.extend(versions(&run.record.versions));
        rows
    };
    for (rows, members) in groups(runs, rows) {
        out.push(pairs(&shared_by(&members, runs.len()), rows));
    }
    out
}

fn machine(machine: &Machine) -> Vec<(String, String)> {
    let kernel = machine.kernel.as_ref().map_or_else(String::new, |kernel| format!(", kernel {kernel}"));
    let mut rows = vec![("operating system".to_string(), format!("{}{kernel}, {}", machine.os, machine.arch))];
    let cpu = machine.cpu.as_deref().unwrap_or("unknown");
    rows.push(("processor".into(), format!("{cpu}, {} logical cores", machine.cores)));
    if !machine.cpu_features.is_empty() {
        rows.push(("processor features".into(), machine.cpu_features.join(" ")));
    }
    rows.extend(machine.memory_mib.map(|mib| ("memory".to_string(), gibibytes(mib))));
    rows.extend(machine.gpus.iter().map(|card| ("GPU".to_string(), gpu(card))));
    if machine.gpus.is_empty() {
        rows.push(("GPU".into(), "none".into()));
    }
    rows
}

fn gpu(gpu: &Gpu) -> String {
    let named = |name: &str, value: &Option<String>| value.as_ref().map(|value| format!("{name} {value}"));
    let parts = [
        Some(gpu.name.clone()),
        gpu.memory_mib.map(gibibytes),
        named("driver", &gpu.driver),
        named("CUDA up to", &gpu.cuda),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn versions(versions: &Versions) -> Vec<(String, String)> {
    let commit = versions.commit.as_ref().map_or_else(String::new, |commit| format!(" (commit {commit})"));
    let mut rows = vec![("tunelab".to_string(), format!("{}{commit}", versions.tunelab))];
    rows.extend(versions.rustc.clone().map(|rustc| ("compiler".to_string(), rustc)));
    let crates: Vec<String> = versions.crates.iter().map(|(name, version)| format!("{name} {version}")).collect();
    if !crates.is_empty() {
        rows.push(("crates".into(), crates.join(", ")));
    }
    rows
}
