//! What a command says: its data on stdout, and words that can be pasted into a shell.
//!
//! In: text. Out: the same on stdout, or in quotes.

use crate::error::{Error, Result};
use std::io::{self, Write};

/// Writes data to stdout. A reader that has gone away (`tunelab plan x | head -1`) wants no more,
/// which is no fault.
pub fn print(text: &str) -> Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Error::run("cannot write to stdout").cause(e)),
        _ => Ok(()),
    }
}

/// A word for a shell.
pub fn quoted(word: &str) -> String {
    let harmless = |c: char| c.is_alphanumeric() || "-_./".contains(c);
    let is_plain = !word.is_empty() && word.chars().all(harmless);
    if is_plain { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}
