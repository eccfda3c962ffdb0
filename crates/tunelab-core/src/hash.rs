//! SHA-256 in lower-case hexadecimal, the one place where it is computed for names and records.
//!
//! In: bytes, a file, or a list of texts. Out: 64 digits. Whatever is kept and compared (caches,
//! checkpoints, downloads, `run.json`) is named by them.

use std::fmt::Write as _;
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::error::Result;

/// Of bytes in memory.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Of a file's bytes.
pub fn sha256_of_file(path: &Path) -> Result<String> {
    sha256_of_reader(&mut fs_err::File::open(path)?)
}

/// Of all that can be read; in blocks.
pub fn sha256_of_reader(file: &mut impl Read) -> Result<String> {
    let mut hash = Sha256::new();
    let mut block = vec![0; 1 << 20];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(hex(&hash.finalize())),
            n => hash.update(&block[..n]),
        }
    }
}

/// The key of what is computed from `parts`: each part is preceded by its length, so that no two
/// lists of parts run into the same text.
pub fn key(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hex(&hasher.finalize())
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
