//! What to look at when runs have ended.
//!
//! In: the folders of finished runs, and the results folder. Out: lines that name what is there, and
//! commands that work as they stand, in a shell.

use std::fmt::Write as _;
use std::path::Path;

use crate::results::{PLAN_TOML, RunDir};

/// A run's files that are made to be looked at, and its weights.
const FILES: [(&str, &str); 4] = [
    ("grid.png", "its pictures"),
    ("steps.png", "the same through the training"),
    ("loss.png", "its curve"),
    ("weights", "what was trained"),
];

/// The page of all runs.
const PAGE: &str = "index.html";

/// Of each run what there is of it, and how to draw with it; of all the page.
pub(super) fn told(runs: &[&Path], results: &Path) -> String {
    let mut text = String::from("\nto look at:");
    for run in runs {
        for (name, what) in FILES.iter().filter(|(name, _)| run.join(name).exists()) {
            // Writing into a text does not fail.
            let _ = write!(text, "\n  {}   {what}", run.join(name).display());
        }
        let _ = write!(text, "\n  {}", sample(run));
    }
    let page = results.join(PAGE);
    let again = if page.is_file() { "anew " } else { "" };
    let _ = write!(
        text,
        "\n  tunelab report --results {}   makes the page of all runs {again}({})",
        quoted(&results.display().to_string()),
        page.display()
    );
    text
}

/// The command that draws with a run.
fn sample(run: &Path) -> String {
    let prompt = prompt(run).unwrap_or_else(|| "a photograph".to_owned());
    let prompt = match quoted(&prompt) {
        quoted if prompt.starts_with('-') => format!("--prompt={quoted}"),
        quoted => format!("--prompt {quoted}"),
    };
    // A folder for each run: what lies in one is not drawn over.
    let output = Path::new("pictures").join(run.file_name().unwrap_or_default());
    let [run, output] = [run, &output].map(|path| quoted(&path.display().to_string()));
    format!("tunelab sample {run} {prompt} -o {output}")
}

/// What the run's plan draws first; else what all its photographs show.
fn prompt(run: &Path) -> Option<String> {
    let run = RunDir::existing(run).ok()?;
    let plan: toml::Table = fs_err::read_to_string(run.path().join(PLAN_TOML)).ok()?.parse().ok()?;
    let drawn = plan.get("eval").and_then(|eval| eval.get("prompts")?.get(0)?.as_str());
    let shown = || plan.get("dataset").and_then(|dataset| dataset.get("prompt")?.as_str());
    drawn.or_else(shown).map(str::to_owned)
}

/// As a POSIX shell reads it back; what needs no quotes has none.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+=:,@%".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) && !text.starts_with('=') {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_would_change_is_quoted() {
        for (text, wanted) in [
            ("results/a-b.c", "results/a-b.c"),
            ("Hündchen", "Hündchen"),
            ("a dog", "'a dog'"),
            ("it's $5 \"a\\b\"", r#"'it'\''s $5 "a\b"'"#),
            ("~/x", "'~/x'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(text), wanted);
        }
    }

    #[test]
    fn only_what_is_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("a b");
        fs_err::create_dir_all(run.join("weights")).unwrap();
        fs_err::write(run.join("loss.png"), "").unwrap();
        fs_err::write(run.join(PLAN_TOML), "[dataset]\nprompt = 'a dog'\n[eval]\nprompts = []\n").unwrap();
        let here = folder.path().display().to_string();
        let said = told(&[&run], folder.path()).replace(&here, "R");
        assert_eq!(
            said,
            "\nto look at:\n  R/a b/loss.png   its curve\n  R/a b/weights   what was trained\n  \
             tunelab sample 'R/a b' --prompt 'a dog' -o 'pictures/a b'\n  \
             tunelab report --results R   makes the page of all runs (R/index.html)"
        );
        fs_err::write(run.join("plan.toml"), "[eval]\nprompts = ['--dog', 'a cat']\n").unwrap();
        fs_err::write(folder.path().join(PAGE), "").unwrap();
        let said = told(&[&run], folder.path()).replace(&here, "R");
        assert!(
            said.contains("--prompt=--dog -o 'pictures/a b'") && said.contains("makes the page of all runs anew"),
            "{said}"
        );
    }
}
