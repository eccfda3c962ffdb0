//! What a command says on stdout.
//!
//! In: text. Out: the same on stdout.

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
