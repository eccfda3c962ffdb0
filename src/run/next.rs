//! What to look at when runs have ended.
//!
//! In: the folders of finished runs, and the results folder. Out: lines that name what is there, and
//! commands that work as they stand, in a shell.

use std::fmt::Write as _;
use std::path::Path;

use crate::cli::output::quoted;
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

/// What there is of a run, or of several in each one's folder, how to draw with the last one, and the page of all.
pub(super) fn told(runs: &[&Path], results: &Path) -> String {
    let mut text = String::from("\nto look at:");
    let Some(last) = runs.last() else { return String::new() };
    let known = FILES.iter().filter(|(name, _)| runs.iter().any(|run| run.join(name).exists()));
    if runs.len() == 1 {
        for (name, what) in known {
            // Writing into a text does not fail.
            let _ = write!(text, "\n  {}   {what}", last.join(name).display());
        }
    } else {
        let names: Vec<String> = known.map(|(name, what)| format!("{name} ({what})")).collect();
        let _ = write!(text, "\n  in each of the {} folders: {}", runs.len(), names.join(", "));
    }
    let _ = write!(text, "\n  {}", sample(last));
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

#[cfg(test)]
mod tests {
    use super::*;

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
