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

/// A word as a POSIX shell reads it back; what needs no quotes has none.
pub fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+=:,@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) && !word.starts_with('=') {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_would_change_is_quoted() {
        for (text, wanted) in [
            ("results/a-b.c", "results/a-b.c"),
            ("Hündchen", "Hündchen"),
            ("a dog", "'a dog'"),
            ("it's $5 \"a\\b\"", r#"'it'\''s $5 "a\b"'"#),
            ("~/x", "'~/x'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(text), wanted);
        }
    }
}
