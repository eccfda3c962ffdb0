//! `tunelab diff`: what is not the same in two runs.

use super::fidelity::measured;
use super::tables::finished;
use super::*;
use std::process::{Command, Output};
use tunelab::cli::terminal::width;
use tunelab::report::diff::{Side, to_json, to_text};

fn tunelab(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tunelab")).args(args).env("COLUMNS", "100").output().unwrap()
}

/// A plan's text without its name.
fn settings(rank: usize, prompts: &str) -> String {
    format!("[model]\nrepo = 'a/m'\n[adapter.lora]\nrank = {rank}\n[train]\nlearning_rate = 1e-4\nnote = {prompts:?}\n")
}

/// Two runs that differ a little in everything, and one that was cut off.
fn pair() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let long = |middle: &str| format!("{}{middle}{}", "the same beginning ".repeat(9), " and the same end".repeat(9));
    let mut one = record("one");
    one.metrics = Some(measured(&["builtin"], &[0, 400], 2, true));
    one.warnings = vec!["a caption was cut".into(), "both say this".into()];
    one.hashes.data.insert("1.jpg".into(), "0123456789abcdef".repeat(4));
    finished(folder.path(), &one, &settings(4, &long("here")));
    let mut two = one.clone();
    two.name = "two".into();
    two.versions.tunelab = "9.9.9".into();
    two.loss.last = Some(0.125_373);
    two.seconds.training = 7200.5;
    two.counts.trained_parameters = 3_188_736;
    two.warnings = vec!["both say this".into(), "no room".into()];
    two.hashes.data.insert("1.jpg".into(), "f".repeat(64));
    two.metrics.as_mut().unwrap().sets[1].metrics[0].value += 0.01;
    two.metrics.as_mut().unwrap().sets[1].metrics[1].value += 0.01;
    finished(folder.path(), &two, &settings(16, &long("there")));
    let cut = format!("name = \"cut\"\n{PLAN}{}", settings(4, "x"));
    let Opened::Fresh(run) = RunDir::open(folder.path(), "cut", &cut, false).unwrap() else { panic!() };
    let mut log = LossLog::create(&run, false).unwrap();
    log.evaluation(0, 0.5).unwrap();
    log.step(&LossRow { step: 1, epoch: 1, loss: 0.25, lr: 1e-4, grad_norm: 1.0, parts: None }, &Timing::default())
        .unwrap();
    run.keep_warnings(&["of the cut one".into()]).unwrap();
    folder
}

fn side(folder: &tempfile::TempDir, name: &str) -> Side {
    Side::read(&folder.path().join(name)).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn what_differs_is_said_in_groups_and_what_always_differs_last() {
    let folder = pair();
    let (one, two) = (side(&folder, "one"), side(&folder, "two"));
    insta::assert_snapshot!("diff", to_text(&one, &two, false, 100));
    for columns in [32, 40, 60, 80, 120, 200] {
        for all in [false, true] {
            let text = to_text(&one, &two, all, columns);
            assert!(text.lines().all(|line| width(line) <= columns), "{columns}\n{text}");
        }
    }
    let text = to_text(&one, &two, false, 80);
    // Long values are shortened to where they differ, and no number so that it seems equal.
    let line = |key: &str| {
        text.lines().find(|line| line.trim_start().starts_with(key)).unwrap().split_whitespace().collect::<Vec<_>>()
    };
    assert!(line("train.note").join(" ").contains("here") && line("train.note").join(" ").contains("there"), "{text}");
    assert_eq!(line("final"), ["final", "0.125372", "0.125373"]);
    let all = to_text(&one, &two, true, 120);
    let equal = all.lines().find(|line| line.contains("model.repo")).unwrap();
    assert!(equal.split_whitespace().eq(["model.repo", "a/m", "="]), "{equal}");
    assert!(all.contains("both: both say this") && all.contains("tuned.builtin.subject.low"), "{all}");
}

#[test]
fn a_run_and_itself_have_no_difference() {
    let folder = pair();
    let one = side(&folder, "one");
    let text = to_text(&one, &one, false, 80);
    assert!(
        text.starts_with("no difference in settings\nno difference in inputs\n") && text.lines().count() == 8,
        "{text}"
    );
    let json: serde_json::Value = serde_json::from_str(&to_json(&one, &one, false)).unwrap();
    assert!(json["settings"].as_object().unwrap().is_empty() && json["times"].as_object().unwrap().is_empty());
}

#[test]
fn of_a_run_that_was_cut_off_there_is_what_there_is() {
    let folder = pair();
    let text = to_text(&side(&folder, "one"), &side(&folder, "cut"), false, 100);
    assert!(text.starts_with("cut is not finished: known are its settings, losses and times of 1 step\n"), "{text}");
    for line in [
        "environment: not known of both",
        "metrics: not known of both",
        "  cut: of the cut one",
        "  one: a caption was cut",
    ] {
        assert!(text.lines().any(|said| said == line), "{line}\n{text}");
    }
    assert!(text.contains("500  ") && text.contains("0.25"), "{text}");
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    assert!(Side::read(&empty).unwrap_err().to_string().contains("holds no plan.toml"));
    fs::write(folder.path().join("two/run.json"), "{").unwrap();
    let error = Side::read(&folder.path().join("two")).unwrap_err();
    assert!(error.kind() == Kind::Input && error.message().ends_with("run.json cannot be read"), "{error}");
}

#[test]
fn the_command_prints_text_or_nothing_but_json() {
    let folder = pair();
    let [one, two] = ["one", "two"].map(|name| folder.path().join(name).to_str().unwrap().to_owned());
    let text = tunelab(&["diff", &one, &two]);
    assert!(text.status.code() == Some(0) && text.stderr.is_empty());
    assert_eq!(
        String::from_utf8_lossy(&text.stdout),
        to_text(&side(&folder, "one"), &side(&folder, "two"), false, 100)
    );
    let json = tunelab(&["diff", &one, &two, "--json"]);
    assert!(json.status.code() == Some(0) && json.stderr.is_empty());
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["settings"]["adapter.lora.rank"], serde_json::json!({"a": 4, "b": 16}));
    assert_eq!(json["losses"]["final"].to_string(), r#"{"a":0.125372,"b":0.125373}"#);
    assert_eq!((&json["runs"]["b"]["name"], &json["runs"]["b"]["finished"]), (&"two".into(), &true.into()));
    assert!(
        json["settings"].get("model.repo").is_none() && json["metrics"].as_object().unwrap().len() == 2,
        "{json:#}"
    );
    assert_eq!(tunelab(&["diff", &one, "/nonexistent"]).status.code(), Some(2));
    assert_eq!(tunelab(&["diff", &one]).status.code(), Some(2));
}
