//! What went in: images and model files with their hashes, and the grid of the data.

use std::collections::BTreeMap;

use crate::report::document::{Block, Grid, Image};
use crate::report::runs::Run;

use super::groups::{captioned, groups, shared_by};

/// Longer lists of files are cut; the run's `run.json` has them whole.
const MOST_FILES: usize = 12;
/// Digits of a hash that are shown.
const DIGITS: usize = 16;

pub(super) fn blocks(runs: &[Run]) -> Vec<Block> {
    let mut out = Vec::new();
    for (files, members) in groups(runs, |run| run.record.hashes.data.clone()) {
        let images = members[0].record.counts.images;
        let noun = if images == 1 { "picture" } else { "pictures" };
        let who = shared_by(&members, runs.len());
        out.push(Block::Text(format!("{}: {images} {noun}{}.", capital(&who), source(members[0], "dataset"))));
        out.extend(hashes("picture", &files));
    }
    for (files, members) in groups(runs, |run| run.record.hashes.class.clone()) {
        if !files.is_empty() {
            out.push(Block::Text(format!("Class images of {}: {}.", shared_by(&members, runs.len()), files.len())));
            out.extend(hashes("class image", &files));
        }
    }
    for run in runs.iter().filter(|run| run.path.join("data.png").is_file()) {
        out.push(Block::Image(Image {
            path: format!("{}/data.png", run.folder()),
            caption: format!("{}: the data", captioned(run)),
            vector: None,
            narrow: false,
        }));
    }
    for (files, members) in groups(runs, |run| run.record.hashes.model.clone()) {
        let who = shared_by(&members, runs.len());
        out.push(Block::Text(format!("Model of {who}{}.", source(members[0], "model"))));
        out.extend(hashes("file of the model", &files));
    }
    out
}

/// Where it came from, as the plan says.
fn source(run: &Run, section: &str) -> String {
    let get = |key: &str| run.plan.get(section)?.get(key)?.as_str();
    if let Some(name) = get("builtin") {
        return format!(" from builtin:{name}");
    }
    match (get("path"), get("repo"), get("modelscope")) {
        (Some(path), ..) => format!(" from the folder {}", path.rsplit(['/', '\\']).next().unwrap_or(path)),
        (_, Some(repo), _) => format!(" from {repo} (Hugging Face)"),
        (_, _, Some(repo)) => format!(" from {repo} (ModelScope)"),
        _ => String::new(),
    }
}

fn hashes(what: &str, files: &BTreeMap<String, String>) -> Vec<Block> {
    if files.is_empty() {
        return Vec::new();
    }
    let shown = if files.len() > MOST_FILES + 1 { MOST_FILES } else { files.len() };
    let mut rows: Vec<Vec<String>> =
        files.iter().take(shown).map(|(path, hash)| vec![path.clone(), beginning(hash)]).collect();
    if shown < files.len() {
        rows.push(vec![format!("and {} more, in run.json", files.len() - shown), String::new()]);
    }
    vec![Block::Table(Grid { headings: vec![what.to_string(), "SHA-256, beginning".into()], rows })]
}

/// A hash as it is shown.
pub(super) fn beginning(hash: &str) -> String {
    format!("{}…", hash.chars().take(DIGITS).collect::<String>())
}

/// `all runs` as a sentence begins.
pub(super) fn capital(text: &str) -> String {
    match text.strip_prefix("all runs") {
        Some(rest) => format!("All runs{rest}"),
        None => text.to_string(),
    }
}
