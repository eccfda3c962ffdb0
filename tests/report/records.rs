//! `run.json`.

use super::*;

fn keys(prefix: &str, value: &serde_json::Value, out: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(map) if !map.is_empty() && !prefix.ends_with("crates") => {
            map.iter().for_each(|(key, value)| keys(&format!("{prefix}.{key}"), value, out));
        }
        _ => out.push(prefix.trim_start_matches('.').to_string()),
    }
}

#[test]
fn the_keys_of_run_json_are_a_contract() {
    let folder = tempfile::tempdir().unwrap();
    let run = fresh(folder.path());
    run.finish(&record("lora_dog")).unwrap();
    let text = fs::read_to_string(run.path().join("run.json")).unwrap();
    let mut found = Vec::new();
    keys("", &serde_json::from_str(&text).unwrap(), &mut found);
    insta::assert_snapshot!(found.join("\n"), @r"
    status
    name
    stand_in
    method
    device
    dtype
    counts.trained_parameters
    counts.total_parameters
    counts.images
    counts.steps
    counts.epochs
    loss.final
    loss.eval_first
    loss.eval_last
    seconds.total
    seconds.training
    seconds.sampling
    seconds.measuring
    seconds.per_step
    peak_memory.host_mib
    peak_memory.device_mib
    device_busy_percent
    cuda_graphs
    versions.tunelab
    versions.commit
    versions.rustc
    versions.crates
    machine.os
    machine.kernel
    machine.arch
    machine.cpu
    machine.cpu_features
    machine.simd
    machine.cores
    machine.memory_mib
    machine.gpus
    hashes.model
    hashes.data
    warnings
    files
    ");
    assert_eq!(serde_json::from_str::<RunRecord>(&text).unwrap(), record("lora_dog"));
    // As earlier versions wrote it.
    let old = text.replace("  \"stand_in\": null,\n", "").replace(",\n  \"warnings\": [],\n  \"files\": []", "");
    assert!(!old.contains("stand_in") && !old.contains("warnings") && !old.contains("files"), "{old}");
    assert_eq!(serde_json::from_str::<RunRecord>(&old).unwrap(), record("lora_dog"));
}

#[test]
fn this_build_and_this_machine_are_known() {
    let versions = tunelab::run::versions();
    assert_eq!(versions.tunelab, env!("CARGO_PKG_VERSION"));
    assert!(versions.crates["candle-core"].starts_with("0.11."), "{versions:?}");
    assert!(versions.rustc.unwrap().starts_with("rustc "));
    if let Some(commit) = versions.commit {
        assert!(commit.len() == 40 && commit.bytes().all(|b| b.is_ascii_hexdigit()), "{commit}");
    }
    let machine = Machine::detect();
    assert!(machine.cores >= 1 && !machine.os.is_empty());
    if cfg!(target_os = "linux") {
        assert!(machine.kernel.is_some() && machine.memory_mib.unwrap() > 100.0, "{machine:?}");
        let (now, peak) = (tunelab::results::memory_now_mib().unwrap(), tunelab::results::peak_memory_mib().unwrap());
        assert!(now > 1.0 && peak >= now * 0.9, "{now} {peak}");
    }
}
