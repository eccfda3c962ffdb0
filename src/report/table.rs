//! The table of finished runs: `table.csv`, `table.md`, `table.tex`, and the form for a terminal.
//!
//! In: [`Run`](super::runs::Run)s and the name of a baseline. Out: a row for each run, sorted by
//! name or in the order they were given, below it the figures of the report that it repeats (its
//! plan's `[reference]`), and ratios to the baseline: a run's numbers divided by the baseline's, a
//! reference's by those of the baseline's own reference, so that no ratio mixes two machines'
//! clocks. In files a ratio's column is headed with whose number it refers to; on a terminal it
//! stands under its number. A stand-in is marked, and has ratios to stand-ins only. Without a choice
//! the first row is the baseline. The CSV and JSON hold plain numbers in units that their names say;
//! the other forms are rounded for readers.

mod cell;
mod column;
mod field;
mod page;
mod render;
mod rows;
mod sheet;
mod terminal;

use std::path::Path;

use crate::error::Result;
use crate::results::write_atomic;

use super::runs::Runs;

pub use cell::{Cell, gibibytes};
pub use field::Field;
pub use page::{mark, to_page};
pub use render::{to_cells, to_csv, to_json, to_latex, to_markdown};
pub use rows::{Kind, Row, Table};
pub use terminal::{View, to_terminal, to_text};

impl Table {
    /// Writes `table.csv`, `table.md` and `table.tex` into `results`.
    pub fn write(&self, results: &Path) -> Result<()> {
        write_atomic(&results.join("table.csv"), to_csv(self)?.as_bytes())?;
        write_atomic(&results.join("table.md"), to_markdown(self).as_bytes())?;
        write_atomic(&results.join("table.tex"), to_latex(self).as_bytes())
    }
}

/// Writes the table of all finished runs in `results` and returns it. A run that cannot be read
/// costs its own row only: `warn` gets the reason.
pub fn write(results: &Path, warn: &mut dyn FnMut(String)) -> Result<Table> {
    let table = Table::new(&Runs::read(results, warn)?.finished, None)?;
    table.write(results)?;
    Ok(table)
}
