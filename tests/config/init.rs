//! `tunelab init`: templates that are right as they are written.

use std::path::Path;
use std::process::{Command, Output};

use tunelab::cli::Template;
use tunelab::config::{Plan, Planned, init};

fn tunelab(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tunelab"));
    command.args(args).current_dir(folder).env("HF_HOME", "/nonexistent").env("NO_COLOR", "1").output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn every_template_is_a_right_experiment_with_a_stand_in() {
    for template in Template::ALL {
        let name = template.name();
        let file = format!("{name}.toml");
        let planned = Planned::parse_all(init::text(template), Path::new(&file), &[]).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(planned.len(), if template == Template::Sweep { 6 } else { 1 }, "{name}");
        for Planned { plan, stand_in } in planned {
            let stand_in = stand_in.unwrap_or_else(|| panic!("{name} has no stand-in"));
            assert!(!plan.model.is_here() && stand_in.model.is_here() && stand_in.dataset.source.is_here(), "{name}");
            assert!(plan.eval.prompts.len() > 2 && plan.eval.compare_base, "{name}");
        }
    }
}

#[test]
fn what_is_changed_first_has_a_comment() {
    for template in Template::ALL {
        let text = init::text(template);
        assert!(text.contains("# Your own ") && text.contains("path = \"pictures\""), "{}", template.name());
        for key in ["prompt = ", "steps = ", "prompts = ", "class_prompt = ", "rank = ", "resolution = "] {
            let mut lines = text.lines().filter(|line| line.starts_with(key));
            assert!(lines.all(|line| line.contains(" # ")), "{}: {key}", template.name());
        }
        assert!(text.lines().all(|line| line.chars().count() <= 130), "{}", template.name());
        assert!(text.starts_with("# "), "{}", template.name());
    }
}

#[test]
fn an_experiment_is_written_and_never_over_another() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    for template in ["lora", "dreambooth", "full", "sweep"] {
        let output = tunelab(here, &["init", "--from", template]);
        assert_eq!((output.status.code(), stdout(&output)), (Some(0), String::new()), "{}", stderr(&output));
        let file = format!("{template}.toml");
        let said = stderr(&output);
        assert!(said.starts_with(&format!("wrote {file}: ")), "{said}");
        assert!(said.ends_with(&format!("\n  tunelab check {file}\n  tunelab run {file}\n")), "{said}");
        let check = tunelab(here, &["check", &file]);
        assert_eq!((check.status.code(), stderr(&check)), (Some(0), String::new()));
        let plan = tunelab(here, &["plan", &file]);
        assert!(stdout(&plan).contains("where no hub can be reached: builtin:mini with builtin:corgi"), "{template}");
        let stand_in = tunelab(here, &["plan", "--stand-in", &file]);
        assert!(stdout(&stand_in).contains("a stand-in: builtin:mini") && stand_in.status.code() == Some(0));
    }
    fs_err::write(here.join("mine.toml"), "mine").unwrap();
    for name in ["mine", "mine.toml", "./mine.toml"] {
        let output = tunelab(here, &["init", name]);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains("mine.toml is there already, and stays as it is"), "{}", stderr(&output));
    }
    assert_eq!(fs_err::read_to_string(here.join("mine.toml")).unwrap(), "mine");
}

#[test]
fn a_name_may_have_a_folder_an_ending_and_spaces_and_must_be_one() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    fs_err::create_dir(here.join("sub")).unwrap();
    for (name, file) in [("sub/x", "sub/x.toml"), ("a.b", "a.b.toml"), ("y.toml", "y.toml"), ("my dog", "my dog.toml")]
    {
        let output = tunelab(here, &["init", name, "--from", "full"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(Plan::load(&here.join(file), &[]).is_ok(), "{file}");
    }
    assert!(stderr(&tunelab(here, &["init", "an other"])).contains("tunelab run 'an other.toml'\n"));
    for (name, said) in [
        ("none/x", "hint: mkdir -p none"),
        ("sub/", "no name for a file"),
        ("..", "no name for a file"),
        ("", "NAME"),
        ("Cargo", "another program's settings"),
        (&"x".repeat(250), "name"),
    ] {
        let output = tunelab(here, &["init", name]);
        assert_eq!(output.status.code(), Some(2), "{name}");
        assert!(stderr(&output).contains(said), "{name}: {}", stderr(&output));
    }
    assert_eq!(fs_err::read_dir(here).unwrap().count(), 5);
}

#[test]
fn templates_are_listed_by_what_they_are_for() {
    let folder = tempfile::tempdir().unwrap();
    let output = tunelab(folder.path(), &["init", "--list"]);
    insta::assert_snapshot!(stdout(&output), @r"
    lora        A LoRA: a small file beside frozen weights that teaches the model one subject or style.
    dreambooth  DreamBooth: one subject gets a word of its own, while its class stays what it was.
    full        Full fine-tuning: every weight of the UNet is trained, for a style or many pictures; about 15 GB of memory.
    sweep       Which rank does a LoRA need? All combinations of some keys' values: here three ranks with two seeds each, in one table.
    ");
    assert!(output.status.success() && fs_err::read_dir(folder.path()).unwrap().next().is_none());
    assert_eq!(tunelab(folder.path(), &["init", "--from", "lara"]).status.code(), Some(2));
}
