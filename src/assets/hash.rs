//! Content hashes: of a file, and of every file that makes a model.
//!
//! In: paths. Out: SHA-256 in lower-case hexadecimal; by the path in the model's folder, as `run.json` records them.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::ModelFiles;
use crate::error::Result;

/// The SHA-256 of a file's bytes.
pub fn sha256(path: &Path) -> Result<String> {
    sha256_of(&mut fs_err::File::open(path)?)
}

/// The SHA-256 of all that can be read; in blocks.
pub(super) fn sha256_of(file: &mut impl Read) -> Result<String> {
    let mut hash = Sha256::new();
    let mut block = vec![0; 1 << 20];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(hex(&hash.finalize())),
            n => hash.update(&block[..n]),
        }
    }
}

/// SHA-256 of every file that makes the model, by its path in the model's folder.
pub fn hash_model(files: &ModelFiles) -> Result<BTreeMap<String, String>> {
    let parts = [&files.unet, &files.vae, &files.text_encoder];
    let mut paths: Vec<PathBuf> = parts.iter().flat_map(|p| p.weights.iter().chain([&p.config])).cloned().collect();
    paths.push(files.scheduler_config.clone());
    for name in ["tokenizer.json", "vocab.json", "merges.txt"] {
        paths.extend(Some(files.tokenizer.join(name)).filter(|path| path.is_file()));
    }
    let named = |path: &PathBuf| {
        let name = path.strip_prefix(&files.root).unwrap_or(path);
        Ok((slashed(name), sha256(path)?))
    };
    paths.par_iter().map(named).collect()
}

/// The first file that is another one than was recorded, or is there only once.
pub fn changed_file<'a>(
    recorded: &'a BTreeMap<String, String>,
    found: &'a BTreeMap<String, String>,
) -> Option<&'a str> {
    let names = recorded.keys().chain(found.keys());
    names.map(String::as_str).find(|name| recorded.get(*name) != found.get(*name))
}

/// A path as it is written on every system.
pub fn slashed(path: &Path) -> String {
    path.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/")
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
