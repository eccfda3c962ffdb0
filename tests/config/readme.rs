//! What the README says about experiments is true: its keys, its example of an experiment and that of an error.

use std::path::Path;

use tunelab::config::Plan;
use tunelab::config::keys::reference;

fn readme() -> String {
    fs_err::read_to_string("README.md").unwrap()
}

/// `tunelab keys` prints what stands between the markers, on 100 columns.
#[test]
fn every_key_is_there() {
    let text = reference::text(&Plan::keys(), "", 100).unwrap();
    let block = format!("<!-- keys: begin -->\n```text\n{text}```\n<!-- keys: end -->\n");
    assert!(
        readme().contains(&block),
        "between the markers README.md must have the output of `tunelab keys`:\n{block}"
    );
}

#[test]
fn the_example_of_an_experiment_is_one() {
    let readme = readme();
    let (_, example) = readme.split_once("```toml\n").unwrap();
    let plan = Plan::parse(example.split_once("```").unwrap().0, Path::new("mine.toml"), &[]);
    assert!(plan.is_ok_and(|plan| plan.train.total_steps(5) == 500));
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
