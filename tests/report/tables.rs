//! The table of runs.

use super::*;

fn tree() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["b|run", "a_run"] {
        match RunDir::open(folder.path(), name, PLAN, false).unwrap() {
            Opened::Fresh(run) => run.finish(&record(name)).unwrap(),
            other => panic!("{other:?}"),
        }
    }
    RunDir::open(folder.path(), "unfinished", PLAN, false).unwrap();
    folder
}

#[test]
fn one_row_a_finished_run_in_the_order_of_names() {
    let folder = tree();
    let mut warnings = Vec::new();
    let records = table::write(folder.path(), &mut |warning| warnings.push(warning)).unwrap();
    assert_eq!(records.iter().map(|record| record.name.as_str()).collect::<Vec<_>>(), ["a_run", "b|run"]);
    assert!(warnings.is_empty());
    let csv = fs::read_to_string(folder.path().join("table.csv")).unwrap();
    insta::assert_snapshot!(csv, @r"
    name,method,trained_parameters,total_parameters,images,steps,total_seconds,seconds_per_step,final_loss,eval_loss_first,eval_loss_last,peak_host_mib,peak_device_mib,device
    a_run,lora,797184,1066235307,5,500,3725.4,7.2,0.125372,0.151,0.1302,9216,,cpu
    b|run,lora,797184,1066235307,5,500,3725.4,7.2,0.125372,0.151,0.1302,9216,,cpu
    ");
    let markdown = fs::read_to_string(folder.path().join("table.md")).unwrap();
    insta::assert_snapshot!(markdown, @r"
    | run | method | trained | total | time | s/it | final loss | eval loss | peak memory | device |
    |---|---|---:|---:|---:|---:|---:|---:|---:|---|
    | a_run | lora | 797,184 | 1,066,235,307 | 1 h 02 min | 7.200 | 0.1254 | 0.1302 | 9.00 GiB | cpu |
    | b\|run | lora | 797,184 | 1,066,235,307 | 1 h 02 min | 7.200 | 0.1254 | 0.1302 | 9.00 GiB | cpu |
    ");
    insta::assert_snapshot!(table::to_terminal(&records), @r"
    run    method  trained          total        time   s/it  final loss  eval loss  peak memory  device
    a_run  lora    797,184  1,066,235,307  1 h 02 min  7.200      0.1254     0.1302     9.00 GiB  cpu
    b|run  lora    797,184  1,066,235,307  1 h 02 min  7.200      0.1254     0.1302     9.00 GiB  cpu
    ");
}

#[test]
fn a_broken_record_costs_its_own_row_only() {
    let folder = tree();
    fs::create_dir(folder.path().join("broken")).unwrap();
    fs::write(folder.path().join("broken/run.json"), "{").unwrap();
    let mut warnings = Vec::new();
    let records = table::read(folder.path(), &mut |warning| warnings.push(warning)).unwrap();
    assert_eq!(records.len(), 2);
    assert!(warnings.len() == 1 && warnings[0].contains("broken"), "{warnings:?}");
}

#[test]
fn numbers_that_are_missing_are_said_to_be() {
    let mut one = record("x");
    one.loss = Loss { last: None, eval_first: None, eval_last: None };
    one.peak_memory = PeakMemory { host_mib: Some(1024.0), device_mib: Some(2048.0) };
    one.seconds.total = 59.4;
    let markdown = table::to_markdown(&[one]);
    assert!(markdown.contains("| 59.4 s | 7.200 | – | – | 2.00 GiB |"), "{markdown}");
}
