//! The table of all checks: filled row by row, told on stderr as they come, and printed as a whole at the end.

use std::fmt;
use tunelab::error::Result;
use tunelab_ops::chosen::Chosen;

/// What was seen of one check.
pub enum Seen {
    /// The largest difference, relative to the largest value, and how much is allowed.
    Difference(f64, f64),
    /// A training: whether it is as it should be, and its numbers.
    Outcome(bool, String),
}

/// The rows so far.
#[derive(Default)]
pub struct Table {
    rows: Vec<[String; 4]>,
    failed: usize,
    convolutions: Vec<Chosen>,
}

impl Table {
    /// Adds a row; an error fails the check, and the next one goes on.
    pub fn row(&mut self, what: &str, dtype: &str, seen: Result<Seen>) {
        let (good, text) = match seen {
            // Not a number is no small difference.
            Ok(Seen::Difference(difference, limit)) => {
                (difference < limit, format!("differs by {difference:.1e} of {limit:.0e}"))
            }
            Ok(Seen::Outcome(good, text)) => (good, text),
            Err(error) => (false, error.line()),
        };
        self.failed += usize::from(!good);
        let row = [if good { "ok" } else { "FAILED" }.to_owned(), what.to_owned(), dtype.to_owned(), text];
        eprintln!("{}", row.join("  "));
        self.rows.push(row);
    }

    /// Adds what the convolutions were computed with.
    pub fn convolutions(&mut self, all: Vec<Chosen>) {
        self.convolutions = all;
    }

    /// Checks that failed.
    pub fn failed(&self) -> usize {
        self.failed
    }

    /// All checks.
    pub fn len(&self) -> usize {
        self.rows.len()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| | check | type | seen |\n|---|---|---|---|")?;
        self.rows.iter().try_for_each(|row| writeln!(f, "| {} |", row.join(" | ")))?;
        writeln!(f, "\n{} of {} checks passed", self.len() - self.failed, self.len())?;
        self.convolutions.iter().try_for_each(|of| writeln!(f, "cuDNN: {of}"))
    }
}
