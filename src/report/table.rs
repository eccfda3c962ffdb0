//! The table of finished runs: `table.csv`, `table.md`, `table.tex`, and the form for a terminal.
//!
//! In: [`Run`]s and the name of a baseline. Out: a row for each run, sorted by name or in the order they were given, below it
//! the figures of the report that it repeats (its plan's `[reference]`), and ratios to the baseline: a run's numbers divided
//! by the baseline's, a reference's by those of the baseline's own reference, so that no ratio mixes two machines' clocks. A
//! ratio's column is headed with whose number it refers to. A stand-in is marked, and has ratios to stand-ins only.
//! Without a choice the first row is the baseline. The CSV holds plain numbers in units that its column names say; the other
//! forms are rounded for readers.

mod column;
mod render;
mod row;

use std::collections::BTreeSet;
use std::path::Path;

use crate::error::{Error, Result};
use crate::results::write_atomic;

use super::runs::{Run, Runs};

pub use column::gibibytes;
pub use render::{to_cells, to_csv, to_latex, to_markdown, to_terminal, to_text};
pub use row::{Kind, Ratios, Row};

/// All rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    /// Runs, each followed by its reference.
    pub rows: Vec<Row>,
    /// What the ratios refer to; `None` in an empty table.
    pub baseline: Option<String>,
    /// What the stand-ins among the runs are of, each thing once.
    pub stand_ins: Vec<String>,
}

impl Table {
    /// The table of `runs` in their order, with ratios to the run called `baseline`, or to the first.
    ///
    /// # Errors
    /// Wrong input: no run has the baseline's name.
    pub fn new(runs: &[Run], baseline: Option<&str>) -> Result<Self> {
        let Some(first) = runs.first() else { return Ok(Self::default()) };
        let baseline = match baseline {
            Some(name) => find(runs, name)?,
            None => first,
        };
        let (own, reference) = (Row::of_run(baseline), baseline.reference().map(|r| Row::of_reference(baseline, &r)));
        let mut rows = Vec::new();
        for run in runs {
            rows.push(Row::of_run(run).against(Some(&own)));
            rows.extend(run.reference().map(|figures| Row::of_reference(run, &figures).against(reference.as_ref())));
        }
        let stand_ins = runs.iter().filter_map(|run| Some(run.record.stand_in.as_ref()?.what.clone()));
        let stand_ins = stand_ins.collect::<BTreeSet<_>>().into_iter().collect();
        Ok(Self { rows, baseline: Some(baseline.name().to_string()), stand_ins })
    }

    /// Writes `table.csv`, `table.md` and `table.tex` into `results`.
    pub fn write(&self, results: &Path) -> Result<()> {
        write_atomic(&results.join("table.csv"), to_csv(self)?.as_bytes())?;
        write_atomic(&results.join("table.md"), to_markdown(self).as_bytes())?;
        write_atomic(&results.join("table.tex"), to_latex(self).as_bytes())
    }
}

/// Writes the table of all finished runs in `results` and returns it. A run that cannot be read costs its own row only:
/// `warn` gets the reason.
pub fn write(results: &Path, warn: &mut dyn FnMut(String)) -> Result<Table> {
    let table = Table::new(&Runs::read(results, warn)?.finished, None)?;
    table.write(results)?;
    Ok(table)
}

/// A run by its name or its folder.
fn find<'a>(runs: &'a [Run], name: &str) -> Result<&'a Run> {
    let is_meant = |run: &&Run| run.name() == name || run.path == Path::new(name);
    runs.iter().find(is_meant).ok_or_else(|| {
        let names: Vec<&str> = runs.iter().map(Run::name).collect();
        Error::input(format!("the baseline {name} is not in the table"))
            .hint(format!("its rows are {}", names.join(", ")))
    })
}
