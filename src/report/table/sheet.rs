//! The table as readers see it: headings, rounded cells, and only columns that have anything to
//! say.
//!
//! In: a [`Table`]. Out: a [`Sheet`], which [`super::render`] writes in several forms.

use super::cell::times;
use super::column::{Align, COLUMNS, Column};
use super::rows::{Kind, Row, Table};

/// What stands where nothing is known.
pub(super) const NONE: &str = "–";

/// What a metric's cell says.
pub(super) const METRICS: &str = "base → tuned are raw cosines, of prompt a share; of pres lower is better.";

/// A column's heading.
pub(super) struct Heading {
    pub text: String,
    pub align: Align,
}

/// The rounded table: only columns in which at least one row has something; ratios only where there
/// are rows to compare.
pub(super) struct Sheet {
    pub headings: Vec<Heading>,
    pub rows: Vec<(Kind, Vec<String>)>,
    /// What metrics, ratios and the mark of stand-ins mean; empty where there are none.
    pub note: String,
}

/// What is shown of a column: its place in [`COLUMNS`], and whether it is the ratio.
#[derive(Clone, Copy)]
enum Shown {
    Value(usize, &'static str),
    Ratio(usize),
}

impl Sheet {
    pub fn new(table: &Table) -> Self {
        let shown: Vec<Shown> = COLUMNS.iter().enumerate().flat_map(|(at, column)| shown(table, at, column)).collect();
        let baseline = table.baseline.as_deref().unwrap_or_default();
        let heading = |shown: &Shown| match *shown {
            Shown::Value(at, heading) => Heading { text: heading.to_owned(), align: COLUMNS[at].align },
            Shown::Ratio(_) => Heading { text: format!("× {baseline}'s"), align: Align::Right },
        };
        let cells = |row: &Row| shown.iter().map(|shown| cell(row, *shown)).collect();
        let ratios = shown.iter().any(|shown| matches!(shown, Shown::Ratio(_)));
        let is_metric = |shown: &Shown| matches!(*shown, Shown::Value(at, _) if COLUMNS[at].base.is_some());
        let metrics = !table.rows.is_empty() && shown.iter().any(is_metric);
        Self {
            headings: shown.iter().map(heading).collect(),
            rows: table.rows.iter().map(|row| (row.kind, cells(row))).collect(),
            note: notes(table, metrics, ratios),
        }
    }
}

/// A column and its ratio, as far as they say anything.
fn shown(table: &Table, at: usize, column: &Column) -> impl Iterator<Item = Shown> {
    let count = |has: &dyn Fn(&Row) -> bool| table.rows.iter().filter(|row| has(row)).count();
    let compared = count(&|row| row.kind != Kind::Reference) > 1;
    let is_filled = table.rows.is_empty() || count(&|row| row.cells[at].rounded().is_some()) > 0;
    let has_ratios = compared && count(&|row| row.ratios[at].is_some()) > 1;
    let value = column.heading.filter(|_| is_filled).map(|heading| Shown::Value(at, heading));
    value.into_iter().chain(has_ratios.then_some(Shown::Ratio(at)))
}

fn cell(row: &Row, shown: Shown) -> String {
    let text = match shown {
        Shown::Value(at, _) => row.cells[at].rounded(),
        // Its baseline is not that of the rows of runs.
        Shown::Ratio(at) if row.kind == Kind::Reference => row.ratios[at].map(|ratio| format!("{}*", times(ratio))),
        Shown::Ratio(at) => row.ratios[at].map(times),
    };
    text.unwrap_or_else(|| NONE.to_owned())
}

fn notes(table: &Table, metrics: bool, ratios: bool) -> String {
    let metrics = metrics.then(|| METRICS.to_owned());
    let ratios = ratios.then(|| ratio_note(table));
    metrics
        .into_iter()
        .chain(ratios)
        .chain(table.stand_ins.iter().map(|what| format!("STAND-IN: {what}.")))
        .collect::<Vec<_>>()
        .join(" ")
}

fn ratio_note(table: &Table) -> String {
    let baseline = table.baseline.as_deref().unwrap_or_default();
    let has_ratios = |row: &Row| row.ratios.iter().any(Option::is_some);
    let references = table.rows.iter().any(|row| row.kind == Kind::Reference && has_ratios(row));
    let theirs = if references { format!("; * of the number reported for {baseline}") } else { String::new() };
    format!("2.00× is twice and 0.50× half of {baseline}'s number{theirs}.")
}
