//! The commands that repeat the runs, from the folder in which the document lies.

use crate::cli::output::quoted;
use crate::report::document::Block;
use crate::report::runs::Run;

use super::groups::groups;

pub(super) fn blocks(runs: &[Run]) -> Vec<Block> {
    let plans: Vec<String> = runs.iter().map(|run| quoted(&format!("{}/plan.toml", run.folder()))).collect();
    let mut lines = vec![format!("tunelab run --results repeated {}", plans.join(" \\\n  "))];
    lines.push("tunelab table --results repeated".into());
    lines.push("tunelab report --results repeated".into());
    let mut out = Vec::new();
    out.push(Block::Text(
        "Each plan.toml is a complete experiment. From the folder of this document; losses, weights and pictures come out \
         equal on the same kind of device:"
            .into(),
    ));
    out.push(Block::Commands(lines.join("\n")));
    let commits = groups(runs, |run| run.record.versions.commit.clone());
    if let [(Some(commit), _)] = commits.as_slice() {
        out.push(Block::Text("The program, from its repository:".into()));
        out.push(Block::Commands(format!("git checkout {commit}\ncargo build --release --locked")));
    }
    out
}
