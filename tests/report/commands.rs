//! `tunelab table`, `plot` and `report` as they are typed.

use super::tables::tree;
use super::*;
use std::process::{Command, Output};

fn tunelab(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tunelab")).args(args).output().unwrap()
}

/// The tree with losses in two of its runs.
fn logged() -> tempfile::TempDir {
    let folder = tree();
    for name in ["lora_dog", "sft|dog", "on a card"] {
        let rows: Vec<String> =
            (1..40).map(|step| format!("{step},1,{},0.1,1\n", 0.2 + 0.1 / f64::from(step))).collect();
        let run = folder.path().join(run_folder(name));
        fs::write(run.join("loss.csv"), format!("step,epoch,loss,lr,grad_norm\n{}", rows.concat())).unwrap();
    }
    folder
}

#[test]
fn a_table_of_the_tree_is_printed_and_written_of_some_runs_printed_only() {
    let folder = tree();
    let here = folder.path().to_str().unwrap();
    let lora = format!("{here}/lora_dog");
    let some = tunelab(&["table", &lora]);
    assert!(some.status.success() && String::from_utf8_lossy(&some.stdout).contains("report, LoRA"));
    assert!(!folder.path().join("table.md").exists());
    let all = tunelab(&["table", "--results", here, "--baseline", "sft|dog"]);
    assert!(all.status.success());
    let markdown = fs::read_to_string(folder.path().join("table.md")).unwrap();
    assert!(markdown.contains(r"| × sft\|dog's |") && markdown.contains(r"half of sft\|dog's number"), "{markdown}");
    assert!(folder.path().join("table.tex").is_file() && folder.path().join("table.csv").is_file());
    assert_eq!(tunelab(&["table", "--results", here, "--baseline", "x"]).status.code(), Some(2));
    assert_eq!(tunelab(&["table", &format!("{here}/unfinished")]).status.code(), Some(2));
}

#[test]
fn a_table_has_the_columns_the_order_the_form_and_the_width_that_are_asked_for() {
    let folder = tree();
    let here = folder.path().to_str().unwrap();
    let table = |columns: Option<&str>, more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tunelab"));
        command
            .args(["table", "--results", here])
            .args(more)
            .env_remove("COLUMNS")
            .envs(columns.map(|n| ("COLUMNS", n)));
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let widest = |text: &str| text.lines().map(tunelab::cli::terminal::width).max().unwrap();
    for (columns, most) in [(None, 100), (Some("80"), 80), (Some("120"), 120), (Some("200"), 200), (Some("x"), 100)] {
        let (code, text, _) = table(columns, &[]);
        assert!(code == Some(0) && widest(&text) <= most && text.contains("lora_dog"), "{text}");
        let (_, text, _) = table(columns, &["--all"]);
        assert!(widest(&text) <= most && text.contains("eval_loss_first") && !text.contains("Left out"), "{text}");
    }
    let files = || ["table.md", "table.csv", "table.tex"].map(|name| fs::read(folder.path().join(name)).unwrap());
    let written = files();
    let (_, text, _) = table(None, &["--columns", "seconds_per_step, final_loss", "--sort", "-seconds_per_step"]);
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let rows: Vec<Vec<String>> = text.lines().map(words).collect();
    assert_eq!(
        (rows[1].clone(), rows[2][0].as_str()),
        (vec!["run".into(), "s/it".into(), "loss".into()], "sft|dog"),
        "{text}"
    );
    let (code, text, said) = table(None, &["--json", "--sort", "training_seconds"]);
    assert!(code == Some(0) && said.starts_with("wrote "), "{said}");
    let rows: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    assert_eq!((rows.len(), &rows[0]["name"], &rows[0]["training_seconds"]), (5, &"on a card".into(), &59.4.into()));
    // Files are always whole and by name.
    assert!(files() == written);
    for wrong in
        [&["--columns", "name,seconds_per_stp"][..], &["--sort", "seconds_per_stp"], &["--sort", "-seconds_per_stp"]]
    {
        let (code, text, said) = table(None, wrong);
        assert_eq!((code, text.as_str()), (Some(2), ""));
        assert!(
            said.contains("no column `seconds_per_stp`") && said.contains("did you mean seconds_per_step?"),
            "{said}"
        );
    }
    assert_eq!(table(None, &["--json", "--all"]).0, Some(2));
}

#[test]
fn a_plot_is_written_where_it_is_wanted() {
    let folder = logged();
    let here = folder.path().to_str().unwrap();
    assert!(tunelab(&["plot", "--results", here]).status.success());
    let svg = fs::read_to_string(folder.path().join("loss.svg")).unwrap();
    assert!(folder.path().join("loss.png").is_file() && texts(&svg).contains(&"sft|dog"));
    assert!(!texts(&svg).contains(&"unfinished"));
    let (run, file) = (format!("{here}/lora_dog"), format!("{here}/one.svg"));
    assert!(tunelab(&["plot", &run, "--log", "--smoothing", "1", "-o", &file]).status.success());
    assert!(texts(&fs::read_to_string(&file).unwrap()).contains(&"lora_dog"));
    for wrong in [&["plot", &run, "-o", "x.pdf"][..], &["plot", &run, "--eval"], &["plot", here]] {
        assert_eq!(tunelab(wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn a_report_is_the_same_again_and_needs_a_finished_run() {
    let folder = logged();
    let here = folder.path().to_str().unwrap();
    let files = ["report.md", "index.html", "table.tex", "loss.svg", "loss.png"].map(|name| folder.path().join(name));
    let made = || {
        let output = tunelab(&["report", "--results", here]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        files.clone().map(|file| fs::read(file).unwrap())
    };
    assert_eq!(made(), made());
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(tunelab(&["report", "--results", empty.path().to_str().unwrap()]).status.code(), Some(2));
}

/// Root may write anywhere, so a folder lies where the file should.
#[test]
fn a_table_is_printed_even_where_its_files_cannot_be_written() {
    let folder = tree();
    fs::create_dir(folder.path().join("table.csv")).unwrap();
    let output = tunelab(&["table", "--results", folder.path().to_str().unwrap()]);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(2), "{err}");
    assert!(out.contains("lora_dog") && out.contains("report_SFT"), "{out}");
    assert!(
        err.starts_with("error: ") && err.contains("table.csv was not written") && err.contains("name its runs"),
        "{err}"
    );
    assert_eq!(err.lines().count(), 1, "{err}");
}

#[test]
fn a_run_that_cannot_be_read_is_left_out_with_a_word_unless_it_was_named() {
    let folder = logged();
    let here = folder.path().to_str().unwrap();
    fs::write(folder.path().join("lora_dog/loss.csv"), "no,columns,here\n1,2,3\n").unwrap();
    fs::write(folder.path().join(run_folder("on a card")).join("run.json"), "{").unwrap();
    for command in ["plot", "report"] {
        let output = tunelab(&[command, "--results", here]);
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{command}: {err}");
        let warnings: Vec<&str> = err.lines().filter(|line| line.starts_with("warning: ")).collect();
        assert_eq!((warnings.len(), err.lines().count()), (2, 3), "{command}: {err}");
        assert!(
            warnings.iter().any(|line| line.contains("lora_dog is left out") && line.contains("column step")),
            "{err}"
        );
        assert!(warnings.iter().any(|line| line.contains("run.json cannot be read")), "{err}");
        let svg = fs::read_to_string(folder.path().join("loss.svg")).unwrap();
        assert!(texts(&svg).contains(&"sft|dog") && !texts(&svg).contains(&"lora_dog"));
        fs::remove_file(folder.path().join("loss.svg")).unwrap();
    }
    let (named, good) = (format!("{here}/lora_dog"), format!("{here}/{}", run_folder("sft|dog")));
    let output = tunelab(&["plot", &good, &named, "-o", folder.path().join("x.svg").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("lora_dog"));
}
