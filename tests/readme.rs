//! What the README says about experiments is true: its table of keys, their defaults, its example of an error.

use std::collections::BTreeSet;
use std::path::Path;

use tunelab::config::Plan;

fn readme() -> String {
    fs_err::read_to_string("README.md").unwrap()
}

/// The text of the first block in this language.
fn block<'a>(text: &'a str, language: &str) -> &'a str {
    let (_, rest) = text.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("```").unwrap().0
}

/// `table.key` of every line, whether commented out or not.
fn keys(toml: &str) -> BTreeSet<String> {
    let mut table = "";
    let mut keys = BTreeSet::new();
    for line in toml.lines().map(|line| line.trim_start_matches("# ")) {
        if let Some((name, _)) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            table = name;
        } else if let Some((key, _)) = line.split_once(" = ") {
            keys.insert(format!("{table}.{key}"));
        }
    }
    keys
}

#[test]
fn every_key_is_there_with_its_default() {
    let readme = readme();
    let whole = block(&readme, "toml");
    let least = r#"
        [model]
        repo = "stable-diffusion-v1-5/stable-diffusion-v1-5"
        [dataset]
        repo = "diffusers/dog-example"
        prompt = "a dog"
        [adapter.lora]
    "#;
    let parse = |text: &str| Plan::parse(text, Path::new("mine.toml"), &[]).unwrap();
    assert_eq!(parse(whole), parse(least));

    let mut written = keys(&parse(least).to_toml());
    written.extend(
        [
            "model.path",
            "model.modelscope",
            "model.builtin",
            "dataset.builtin",
            "train.steps",
            "train.snr_gamma",
            "train.tf32",
        ]
        .map(String::from),
    );
    written.remove("dataset.revision"); // "as above"
    assert_eq!(keys(whole), written);
}

#[test]
fn a_mistyped_key_gives_the_error_that_is_shown() {
    let file = Path::new("experiments/lora_dog.toml");
    let text = fs_err::read_to_string(file).unwrap().replace("\nrank = 4", "\nrnak = 4");
    let error = Plan::parse(&text, file, &[]).unwrap_err().to_string();
    assert!(readme().contains(&format!("```text\n{error}\n```")), "{error}");
}

#[test]
fn links_lead_somewhere() {
    let readme = readme();
    let targets = readme.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
    let local: Vec<_> = targets.filter(|target| !target.contains("://")).collect();
    assert!(local.len() > 5);
    for target in local {
        match target.strip_prefix('#') {
            Some(title) => {
                let found = readme
                    .lines()
                    .any(|l| l.strip_prefix("## ").is_some_and(|t| t.to_lowercase().replace(' ', "-") == title));
                assert!(found, "no section {title}");
            }
            None => assert!(Path::new(target).exists(), "{target}"),
        }
    }
}
