//! Content hashes: of a file, and of every file that makes a model.
//!
//! In: paths. Out: SHA-256 in lower-case hexadecimal; by the path in the model's folder, as `run.json` records them.
//! Which files make a model is said in one place, [`ModelFiles::inputs`].

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

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

/// SHA-256 of every file that [`ModelFiles::inputs`] lists, by its name there.
pub fn hash_model(files: &ModelFiles) -> Result<BTreeMap<String, String>> {
    files.inputs().into_par_iter().map(|(name, path)| Ok((name, sha256(&path)?))).collect()
}

/// A relative path with `/` on every system, for records and messages. Bytes that are not UTF-8 (`\xe9`), control characters
/// (`\u{a}`) and the backslash itself (`\\`) are escaped, so that no two paths are written alike.
pub fn slashed(path: &Path) -> String {
    path.iter().map(|part| escaped(part.as_encoded_bytes())).collect::<Vec<_>>().join("/")
}

fn escaped(name: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                c if c.is_control() => text.extend(c.escape_unicode()),
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            // Writing into a String cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
