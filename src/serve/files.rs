//! The files of the tree.
//!
//! In: a request's path. Out: the file of that name in the tree. What is no plain file, and what lies outside of the tree,
//! `..` and links included, is not there.

use std::path::{Component, Path};
use std::time::UNIX_EPOCH;

use fs_err as fs;

use super::answer::Answer;
use super::tree::Tree;

/// What a browser shows, by the ending; all else it may keep.
const KINDS: [(&str, &str); 10] = [
    ("png", "image/png"),
    ("svg", "image/svg+xml"),
    ("html", "text/html; charset=utf-8"),
    ("csv", "text/plain; charset=utf-8"),
    ("json", "application/json"),
    ("toml", "text/plain; charset=utf-8"),
    ("md", "text/plain; charset=utf-8"),
    ("tex", "text/plain; charset=utf-8"),
    ("txt", "text/plain; charset=utf-8"),
    ("log", "text/plain; charset=utf-8"),
];

pub(super) fn answer(tree: &Tree, path: &str) -> Answer {
    found(tree, path).unwrap_or_else(|| Answer::refusal(404, "there is no such file"))
}

fn found(tree: &Tree, path: &str) -> Option<Answer> {
    let relative = Path::new(path.strip_prefix('/')?);
    let is_plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
    if !is_plain || path.contains(['\\', '\0']) {
        return None;
    }
    let real = fs::canonicalize(tree.root().join(relative)).ok()?;
    // Before it is opened: to open a pipe waits for its other end.
    if !real.starts_with(tree.root()) || !fs::metadata(&real).ok()?.is_file() {
        return None;
    }
    let file = fs::File::open(&real).ok()?;
    let metadata = file.metadata().ok()?;
    let changed = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    let tag = format!("\"{:x}-{:x}\"", changed.as_nanos(), metadata.len());
    let ending = real.extension().map(|ending| ending.to_string_lossy().to_lowercase()).unwrap_or_default();
    let kind = KINDS.iter().find(|(known, _)| *known == ending).map_or("application/octet-stream", |(_, kind)| kind);
    Some(Answer::file(kind, file, metadata.len(), tag))
}
