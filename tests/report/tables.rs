//! The table of runs.

use super::fidelity::measured;
use super::*;
use tunelab::cli::terminal::width;
use tunelab::report::document::to_markdown;
use tunelab::report::page;
use tunelab::report::runs::{Run, Runs};
use tunelab::report::table::{Field, Table, View};

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
    let fitting = |columns| table::to_text(&table, &View::Fitting, columns);
    insta::assert_snapshot!("table_200", fitting(200));
    insta::assert_snapshot!("table_120", fitting(120));
    insta::assert_snapshot!("table_80", fitting(80));
    insta::assert_snapshot!("table_all_80", table::to_text(&table, &View::All, 80));
}

/// Runs whose names are long, and in letters and pictures that take two columns each.
fn wide_names() -> tempfile::TempDir {
    let folder = tree();
    for name in [
        "一只在海滩上奔跑的狗，学习率很大，秩为十六，训练一千步",
        "🐕🐈🐕🐈🐕🐈🐕🐈🐕🐈🐕🐈🐕🐈🐕🐈",
        &"long_".repeat(20),
        "long_1_long",
        "long_2_long",
    ] {
        let mut record = record(name);
        record.stand_in = Some(StandIn {
            experiment: "e".into(),
            what: "m in place of ".repeat(9) + &"x".repeat(150),
            why: "w".into(),
        });
        record.metrics = Some(measured(&["builtin", "clip_vit_b32"], &[0, 400], 2, true));
        finished(folder.path(), &record, "");
    }
    folder
}

#[test]
fn no_line_is_wider_than_the_terminal_and_no_number_is_cut() {
    let folders = [tree(), wide_names()];
    for folder in &folders {
        let table = Table::new(&runs(folder.path()).finished, None).unwrap();
        let some = ["kind", "total_parameters", "builtin_subject_base", "training_seconds_ratio", "device"];
        let only = View::Only(some.iter().map(|key| Field::named(key).unwrap()).collect());
        for columns in [32, 40, 57, 80, 120, 200, 1000] {
            for view in [&View::Fitting, &View::All, &only] {
                let text = table::to_text(&table, view, columns);
                for line in text.lines() {
                    assert!(width(line) <= columns, "{columns} {view:?}: {line}\n{text}");
                }
                assert!(text.contains("lora_dog") && !text.contains('\t'), "{text}");
                if columns >= 40 && *view != View::Fitting {
                    assert!(text.contains("1,066,235,307"), "{columns} {view:?}\n{text}");
                }
            }
        }
    }
}

#[test]
fn what_is_left_out_is_said_and_the_least_important_goes_first() {
    let folder = wide_names();
    let table = Table::new(&runs(folder.path()).finished, None).unwrap();
    let said = |columns| table::to_text(&table, &View::Fitting, columns).replace('\n', " ");
    let left_out = |columns| {
        let text = said(columns);
        let (_, rest) = text.split_once("Left out, as there is no room: ").unwrap_or(("", "."));
        let keys = rest.split_once('.').unwrap().0;
        keys.split(", ").filter(|key| !key.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    let (wide, narrow, narrowest) = (left_out(200), left_out(100), left_out(50));
    assert!(wide.len() < narrow.len() && narrow.len() < narrowest.len(), "{wide:?} {narrow:?} {narrowest:?}");
    assert!(narrow.contains(&"device".to_owned()) && !narrowest.contains(&"eval_loss_last".to_owned()), "{narrow:?}");
    assert!(said(80).contains("`tunelab table --all` shows all columns"));
    assert_eq!(left_out(1000), Vec::<String>::new());
}

#[test]
fn names_are_told_apart_where_they_are_shortened() {
    let folder = tempfile::tempdir().unwrap();
    for at in 0..3 {
        let mut record = record(&format!("the-beginning-of-it-all-{at}-and-then-the-same-end"));
        let more = f64::from(at);
        record.seconds =
            Seconds { total: 100.0 + more, training: 10.0 + more, sampling: 1.0, measuring: 0.0, per_step: 1.0 + more };
        record.loss.last = Some(more as f32);
        finished(folder.path(), &record, "");
    }
    let table = Table::new(&runs(folder.path()).finished, None).unwrap();
    let text = table::to_text(&table, &View::Fitting, 80);
    for at in 0..3 {
        assert!(text.contains(&format!("{at}-and-then-the-same-end")) && text.contains('…'), "{text}");
    }
}

#[test]
fn what_all_runs_share_is_said_once_and_ratios_stand_under_their_numbers() {
    let folder = tempfile::tempdir().unwrap();
    finished(folder.path(), &record("a"), "");
    let mut slow = record("b");
    slow.seconds.per_step = 14.4;
    finished(folder.path(), &slow, "");
    let runs = runs(folder.path());
    let both = table::to_text(&Table::new(&runs.finished, None).unwrap(), &View::Fitting, 100);
    insta::assert_snapshot!(both, @r"
    run    s/it
    a     7.200
    b    14.400
          2.00×
    The same in all: method lora; trained parameters 797,184; total parameters 1,066,235,307; training
    time 1 h 00 min; total time 1 h 02 min; final loss 0.1254; eval loss 0.1302; host memory 9.00 GiB;
    device cpu.
    2.00× is twice and 0.50× half of a's number.
    ");
    // A lone run has nothing in common with another.
    let alone = table::to_text(&Table::new(&runs.finished[..1], None).unwrap(), &View::Fitting, 100);
    assert!(alone.contains("lora") && !alone.contains("The same in all") && !alone.contains('×'), "{alone}");
}

#[test]
fn rows_are_sorted_by_any_column_and_a_report_stays_below_its_run() {
    let folder = tree();
    let table = Table::new(&runs(folder.path()).finished, Some("sft|dog")).unwrap();
    let order = |by: &str| -> Vec<String> {
        let name = Field::named("name").unwrap();
        let sorted = table.clone().sorted(by).unwrap();
        assert_eq!(sorted.baseline.as_deref(), Some("sft|dog"));
        sorted.rows.iter().map(|row| name.exact(row)).collect()
    };
    let (lora, card, sft) = (["lora_dog", "report, LoRA"], ["on a card"], ["sft|dog", "report_SFT"]);
    assert_eq!(order("-name"), [&sft[..], &card, &lora].concat());
    assert_eq!(order("training_seconds"), [&card[..], &lora, &sft].concat());
    assert_eq!(order("-seconds_per_step_ratio"), [&sft[..], &lora, &card].concat());
    // What has no number is last, up and down.
    assert_eq!(order("peak_device_mib"), [&card[..], &lora, &sft].concat());
    assert_eq!(order("-peak_device_mib"), [&card[..], &lora, &sft].concat());
    assert_eq!(order("final_loss")[4], "on a card");
    let error = table.sorted("-trainig_seconds").unwrap_err();
    assert!(error.kind() == Kind::Input, "{error}");
    assert!(
        error.to_string().contains("no column `trainig_seconds`")
            && error.to_string().contains("did you mean training_seconds?"),
        "{error}"
    );
}

#[test]
fn json_has_all_digits_and_the_csv_s_names() {
    let folder = tree();
    let table = Table::new(&runs(folder.path()).finished, None).unwrap();
    let fields: Vec<Field> = Field::all().collect();
    let rows: Vec<serde_json::Map<String, serde_json::Value>> =
        serde_json::from_str(&table::to_json(&table, &fields)).unwrap();
    let csv = table::to_csv(&table).unwrap();
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let header = reader.headers().unwrap().clone();
    let records: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!((rows.len(), records.len()), (5, 5));
    for (row, record) in rows.iter().zip(&records) {
        assert_eq!(row.keys().collect::<Vec<_>>(), header.iter().collect::<Vec<_>>());
        for (value, cell) in row.values().zip(record) {
            let text = match value {
                serde_json::Value::Null => String::new(),
                serde_json::Value::String(text) => text.clone(),
                number => number.as_f64().unwrap().to_string(),
            };
            assert_eq!(text, cell);
        }
    }
    // A loss of 32 bits has its own digits, not those of 64.
    assert_eq!(rows[0]["final_loss"].to_string(), "0.125372");
    assert!(rows[1]["final_loss"].is_null());
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
    for text in [table::to_text(&table, &View::All, 200), table::to_markdown(&table), table::to_latex(&table)] {
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
