//! The table's rows: runs, the figures that were published for the same experiments, their ratios.
//!
//! In: [`Run`]s and the name of a baseline. Out: a [`Table`] of cells, one for each of [`COLUMNS`],
//! and of ratios to the baseline.

use std::collections::BTreeSet;
use std::path::Path;

use super::cell::Cell;
use super::column::{COLUMNS, Subject};
use crate::error::{Error, Result};
use crate::report::runs::Run;

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

/// Whose numbers a row holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A run of this program.
    Run,
    /// A run of this program with another model and other images than its experiment names.
    StandIn,
    /// Figures that were published for the same experiment.
    Reference,
}

/// A row.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Whose numbers it holds.
    pub kind: Kind,
    /// Whether it is what others' ratios refer to: the baseline's own row, and that of its
    /// reference.
    pub is_baseline: bool,
    /// A cell for each column.
    pub cells: Vec<Cell>,
    /// For each column its number divided by the baseline's; `None` where there are no such two.
    pub ratios: Vec<Option<f64>>,
}

impl Table {
    /// The table of `runs` in their order, with ratios to the run called `baseline`, or to the
    /// first.
    ///
    /// # Errors
    /// Wrong input: no run has the baseline's name.
    pub fn new(runs: &[Run], baseline: Option<&str>) -> Result<Self> {
        let Some(first) = runs.first() else { return Ok(Self::default()) };
        let baseline = match baseline {
            Some(name) => find(runs, name)?,
            None => first,
        };
        let (own, reference) = (Row::of_run(baseline), Row::of_reference(baseline));
        let mut rows = Vec::new();
        for run in runs {
            let is_baseline = std::ptr::eq(run, baseline);
            let of_run = [Some(Row::of_run(run).against(Some(&own)))];
            let of_reference = [Row::of_reference(run).map(|row| row.against(reference.as_ref()))];
            rows.extend(of_run.into_iter().chain(of_reference).flatten().map(|row| Row { is_baseline, ..row }));
        }
        let stand_ins = runs.iter().filter_map(|run| Some(run.record.stand_in.as_ref()?.what.clone()));
        let stand_ins = stand_ins.collect::<BTreeSet<_>>().into_iter().collect();
        Ok(Self { rows, baseline: Some(baseline.name().to_string()), stand_ins })
    }
}

impl Row {
    /// A run's row, without ratios.
    pub fn of_run(run: &Run) -> Self {
        let kind = if run.record.stand_in.is_some() { Kind::StandIn } else { Kind::Run };
        Self::new(kind, &Subject::Run(run))
    }

    /// The row of a run's reference, where it has one, without ratios.
    fn of_reference(run: &Run) -> Option<Self> {
        let figures = run.reference()?;
        Some(Self::new(Kind::Reference, &Subject::Reference(run, &figures)))
    }

    fn new(kind: Kind, of: &Subject) -> Self {
        let cells = COLUMNS.iter().map(|column| (column.value)(of)).collect();
        Self { kind, is_baseline: false, cells, ratios: vec![None; COLUMNS.len()] }
    }

    /// The row with its ratios to `baseline`; nothing to compare with gives none, and a stand-in is
    /// compared with stand-ins only.
    fn against(mut self, baseline: Option<&Self>) -> Self {
        let Some(baseline) = baseline.filter(|baseline| baseline.kind == self.kind) else { return self };
        let pairs = COLUMNS.iter().zip(self.cells.iter().zip(&baseline.cells));
        let ratio = |(mine, theirs): (&Cell, &Cell)| mine.ratio(theirs);
        self.ratios = pairs.map(|(column, cells)| column.ratio.and_then(|_| ratio(cells))).collect();
        self
    }

    /// The ratio of the column that the CSV calls `key`.
    pub fn ratio(&self, key: &str) -> Option<f64> {
        self.ratios[COLUMNS.iter().position(|column| column.key == key)?]
    }
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
