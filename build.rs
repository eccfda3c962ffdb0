//! Tells the crate which commit, compiler and crate versions it was built from, for `run.json`.
//!
//! In: `.git` beside the manifest (a folder, or a work tree's pointer file), `Cargo.lock`, `rustc --version`. Out: the
//! environment variables `TUNELAB_COMMIT`, `TUNELAB_RUSTC` and `TUNELAB_CRATES`. Needs no git program; what cannot be
//! found (a source archive has no `.git`) is left out and never stops a build.

#![expect(
    clippy::disallowed_methods,
    reason = "a build script without dependencies; a file that is not there is no error"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The crates whose versions can change a run's numbers.
const RECORDED: [&str; 5] = ["candle-core", "candle-nn", "gemm", "safetensors", "tokenizers"];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=Cargo.lock");
    for (name, value) in [("COMMIT", commit()), ("RUSTC", rustc()), ("CRATES", crates())] {
        if let Some(value) = value {
            println!("cargo:rustc-env=TUNELAB_{name}={value}");
        }
    }
}

/// The commit that is checked out.
fn commit() -> Option<String> {
    let git = git_folder()?;
    let head = watched(&git.join("HEAD"))?;
    // HEAD names a branch and stays the same when that branch moves; its log does not.
    watched(&git.join("logs/HEAD"));
    let Some(branch) = head.strip_prefix("ref: ") else { return Some(head) };
    // A work tree keeps HEAD for itself; its branches are in the main repository's folder.
    let common = watched(&git.join("commondir")).map_or_else(|| git.clone(), |path| git.join(path));
    watched(&common.join(branch)).or_else(|| {
        let packed = watched(&common.join("packed-refs"))?;
        packed.lines().find_map(|line| Some(line.strip_suffix(branch)?.trim().to_string()))
    })
}

fn git_folder() -> Option<PathBuf> {
    let git = Path::new(".git");
    if git.is_dir() {
        return Some(git.to_path_buf());
    }
    Some(PathBuf::from(watched(git)?.strip_prefix("gitdir: ")?))
}

/// The trimmed text of a file that is there; the build script runs again when it changes.
fn watched(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    println!("cargo:rerun-if-changed={}", path.display());
    Some(text.trim().to_string())
}

fn rustc() -> Option<String> {
    let output = Command::new(std::env::var_os("RUSTC")?).arg("--version").output().ok()?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_string())
}

/// `name version` of each recorded crate in Cargo.lock, separated by commas.
fn crates() -> Option<String> {
    let lock = fs::read_to_string("Cargo.lock").ok()?;
    let found = RECORDED.iter().filter_map(|name| {
        let entry = lock.split("[[package]]").find(|entry| entry.contains(&format!("name = \"{name}\"\n")))?;
        let version = entry.lines().find_map(|line| line.strip_prefix("version = \""))?.strip_suffix('"')?;
        Some(format!("{name} {version}"))
    });
    Some(found.collect::<Vec<_>>().join(","))
}
