//! The table of runs.

use super::*;
use tunelab::report::document::to_markdown;
use tunelab::report::page;
use tunelab::report::runs::{Run, Runs};
use tunelab::report::table::Table;

/// A tree of three runs, two of which repeat a report, and one that was cut off.
pub(super) fn tree() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    finished(
        folder.path(),
        &record("lora_dog"),
        "[reference]\nlabel = 'report, LoRA'\ntrained_parameters = 797184\nseconds = 64\nseconds_per_step = 0.5\ndevice = 'A card'\n",
    );
    let mut sft = record("sft|dog");
    sft.method = "full".to_string();
    sft.counts.trained_parameters = 859_520_964;
    sft.seconds = Seconds { total: 8000.0, training: 7200.0, sampling: 100.0, measuring: 0.0, per_step: 14.4 };
    sft.peak_memory = PeakMemory { host_mib: Some(14_100.0), device_mib: None };
    finished(folder.path(), &sft, "[reference]\nlabel = 'report_SFT'\nseconds_per_step = 2.5\n");
    let mut card = record("on a card");
    card.device = "cuda:0".to_string();
    card.loss = Loss { last: None, eval_first: None, eval_last: None };
    card.seconds.training = 59.4;
    card.peak_memory.device_mib = Some(2048.0);
    finished(folder.path(), &card, "");
    RunDir::open(folder.path(), "unfinished", PLAN, false).unwrap();
    folder
}

pub(super) fn finished(results: &Path, record: &RunRecord, more: &str) {
    let plan = format!("name = \"{}\"\n{PLAN}{more}", record.name);
    match RunDir::open(results, &record.name, &plan, false).unwrap() {
        Opened::Fresh(run) => run.finish(record).unwrap(),
        other => panic!("{other:?}"),
    }
}

pub(super) fn runs(results: &Path) -> Runs {
    Runs::read(results, &mut |warning| panic!("{warning}")).unwrap()
}

#[test]
fn all_forms_say_the_same() {
    let folder = tree();
    let table = Table::new(&runs(folder.path()).finished, Some("lora_dog")).unwrap();
    insta::assert_snapshot!("table_csv", table::to_csv(&table).unwrap());
    insta::assert_snapshot!("table_md", table::to_markdown(&table));
    insta::assert_snapshot!("table_tex", table::to_latex(&table));
    insta::assert_snapshot!("table_wide", table::to_text(&table, None));
    insta::assert_snapshot!("table_narrow", table::to_text(&table, Some(70)));
    assert!(table::to_text(&table, Some(70)).lines().all(|line| line.chars().count() <= 70));
}

#[test]
fn a_reference_is_compared_with_the_baseline_s_reference_only() {
    let folder = tree();
    let finished = runs(folder.path()).finished;
    let per_step = |baseline| -> Vec<Option<f64>> {
        Table::new(&finished, Some(baseline)).unwrap().rows.iter().map(|row| row.ratio("seconds_per_step")).collect()
    };
    // lora_dog, its reference, on a card, sft|dog, its reference.
    assert_eq!(per_step("lora_dog"), [Some(1.0), Some(1.0), Some(1.0), Some(2.0), Some(5.0)]);
    assert_eq!(per_step("sft|dog"), [Some(0.5), Some(0.2), Some(0.5), Some(1.0), Some(1.0)]);
    assert_eq!(per_step("on a card")[1], None);
    assert_eq!(Table::new(&finished, None).unwrap().baseline.as_deref(), Some("lora_dog"));
    let error = Table::new(&finished, Some("nobody")).unwrap_err();
    assert!(error.kind() == Kind::Input && error.to_string().contains("lora_dog, on a card, sft|dog"), "{error}");
}

#[test]
fn a_lone_run_has_no_ratios_and_no_empty_columns() {
    let folder = tree();
    let run = Run::open(&folder.path().join("lora_dog")).unwrap();
    let markdown = table::to_markdown(&Table::new(&[run], None).unwrap());
    assert!(!markdown.contains('×') && !markdown.contains("GPU memory") && markdown.contains("9.00 GiB"), "{markdown}");
    assert!(table::to_csv(&Table::new(&[], None).unwrap()).unwrap().lines().count() == 1);
}

#[test]
fn the_tree_s_files_are_written_and_a_broken_record_costs_its_own_row() {
    let folder = tree();
    fs::create_dir(folder.path().join("broken")).unwrap();
    fs::write(folder.path().join("broken/run.json"), "{").unwrap();
    let mut warnings = Vec::new();
    let table = table::write(folder.path(), &mut |warning| warnings.push(warning)).unwrap();
    assert_eq!(table.rows.len(), 5);
    assert!(warnings.len() == 1 && warnings[0].contains("broken") && !warnings[0].contains('\n'), "{warnings:?}");
    assert!(["csv", "md", "tex"].iter().all(|ending| folder.path().join(format!("table.{ending}")).is_file()));
}

#[test]
fn an_unfinished_run_is_no_row() {
    let folder = tree();
    let error = Run::open(&folder.path().join("unfinished")).unwrap_err();
    assert!(error.kind() == Kind::Input && error.to_string().contains("goes on with it"), "{error}");
    assert_eq!(Run::open(folder.path()).unwrap_err().kind(), Kind::Input);
}

#[test]
fn a_stand_in_is_marked_and_compared_with_stand_ins_only() {
    let folder = tempfile::tempdir().unwrap();
    let stand_in = |name: &str| RunRecord {
        stand_in: Some(StandIn {
            experiment: "e".into(),
            what: "m with c in place of a/b with d".into(),
            why: "w".into(),
        }),
        ..record(name)
    };
    finished(folder.path(), &record("a"), "");
    finished(folder.path(), &stand_in("b"), "");
    finished(folder.path(), &stand_in("c"), "");
    let runs = runs(folder.path());
    let per_step = |baseline| -> Vec<Option<f64>> {
        let table = Table::new(&runs.finished, Some(baseline)).unwrap();
        table.rows.iter().map(|row| row.ratio("seconds_per_step")).collect()
    };
    assert_eq!((per_step("a"), per_step("c")), (vec![Some(1.0), None, None], vec![None, Some(1.0), Some(1.0)]));
    let table = Table::new(&runs.finished, None).unwrap();
    let note = "STAND-IN: m with c in place of a/b with d.";
    for text in [table::to_text(&table, None), table::to_markdown(&table), table::to_latex(&table)] {
        assert_eq!((text.matches("lora, STAND-IN").count(), text.matches(note).count()), (2, 1), "{text}");
    }
    let kinds: Vec<String> =
        table::to_csv(&table).unwrap().lines().map(|row| row.split(',').next().unwrap().to_owned()).collect();
    assert_eq!(kinds, ["kind", "run", "stand-in", "stand-in"]);
    // Once on a page, whose runs are marked one by one.
    let html = page::Page::new(folder.path(), &runs, &table).to_html();
    let markdown = to_markdown(&page::blocks(folder.path(), &runs, &table));
    let said = "Marked runs are of another model and other pictures than their experiments name, because w: ";
    assert!(html.contains(&format!("<strong>Stand-ins. </strong>{said}")), "{html}");
    assert!(markdown.contains(&format!("\n> Stand-ins. {said}")), "{markdown}");
    for page in [&html, &markdown] {
        assert_eq!(page.matches("b, c: m with c in place of a/b with d.").count(), 1, "{page}");
    }
    assert_eq!((markdown.matches("lora, STAND-IN").count(), html.matches("<span class=\"mark\"").count()), (2, 2));
}
