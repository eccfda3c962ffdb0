//! The bytes of an experiment's file as text.
//!
//! In: bytes. Out: the text, which is UTF-8; or where and why it is not, in what it is most likely written, and what to do.

use crate::error::{Error, Result};

/// `shown` is the file's name.
pub(super) fn text(bytes: Vec<u8>, shown: &str) -> Result<String> {
    let remedy = "save it as UTF-8: editors ask for the encoding under \"Save as\"";
    if is_utf16(&bytes) {
        return Err(Error::input(format!("{shown} is in UTF-16, and an experiment is text in UTF-8")).hint(remedy));
    }
    String::from_utf8(bytes).map_err(|e| {
        let (good, rest) = e.as_bytes().split_at(e.utf8_error().valid_up_to());
        let good = String::from_utf8_lossy(good);
        let (line, last) = (good.matches('\n').count() + 1, good.rsplit('\n').next().unwrap_or_default());
        let (column, byte) = (last.chars().count() + 1, rest.first().copied().unwrap_or_default());
        // The upper half of Latin-1, which Windows' Western code page shares.
        let letter = if byte >= 0xA0 { format!(", `{}` in Windows-1252", char::from(byte)) } else { String::new() };
        Error::input(format!("{shown}:{line}:{column}: not text in UTF-8 (the byte {byte:02X}{letter})")).hint(remedy)
    })
}

/// A byte-order mark, or zeros in every second place: an experiment begins with letters that have them.
fn is_utf16(bytes: &[u8]) -> bool {
    let zeros = |first: usize| bytes.len() > 3 && bytes.iter().take(8).skip(first).step_by(2).all(|byte| *byte == 0);
    bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) || zeros(0) || zeros(1)
}
