//! The table's columns as readers see them: headings, rounded cells, and which columns have anything to say.

use super::Table;
use super::row::{Kind, Row};
use crate::numbers::{duration_with_tenths, grouped};

/// Which side a column's cells keep to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// A column.
struct Column {
    heading: &'static str,
    align: Align,
    /// Whether it repeats the column before it as a ratio; its heading then names the baseline.
    is_ratio: bool,
    cell: fn(&Row) -> Option<String>,
}

/// A column's heading.
pub(super) struct Heading {
    pub text: String,
    pub align: Align,
    /// Whether it repeats the column before it as a ratio.
    pub is_ratio: bool,
}

/// The rounded table: only columns in which at least one row has something; ratios only where there are rows to compare.
pub(super) struct Sheet {
    pub headings: Vec<Heading>,
    pub rows: Vec<(Kind, Vec<String>)>,
    /// What the ratios and the mark of stand-ins mean; empty where there are none.
    pub note: String,
}

impl Sheet {
    pub fn new(table: &Table) -> Self {
        let compared = table.rows.iter().filter(|row| row.kind != Kind::Reference).count() > 1;
        let has = |column: &&Column| {
            let filled = table.rows.iter().filter(|row| (column.cell)(row).is_some()).count();
            if column.is_ratio { compared && filled > 1 } else { filled > 0 || table.rows.is_empty() }
        };
        let columns: Vec<&Column> = COLUMNS.iter().filter(has).collect();
        let cell = |row: &Row, column: &Column| match (column.cell)(row) {
            // Its baseline is not that of the rows of runs.
            Some(ratio) if column.is_ratio && row.kind == Kind::Reference => format!("{ratio}*"),
            Some(cell) => cell,
            None => NONE.to_string(),
        };
        let cells = |row: &Row| columns.iter().map(|column| cell(row, column)).collect();
        let ratios = columns.iter().any(|column| column.is_ratio);
        let baseline = table.baseline.as_deref().unwrap_or_default();
        let heading = |column: &&Column| Heading {
            text: if column.is_ratio { format!("× {baseline}'s") } else { column.heading.to_owned() },
            align: column.align,
            is_ratio: column.is_ratio,
        };
        Self {
            headings: columns.iter().map(heading).collect(),
            rows: table.rows.iter().map(|row| (row.kind, cells(row))).collect(),
            note: notes(table, ratios),
        }
    }
}

fn notes(table: &Table, ratios: bool) -> String {
    let ratios = ratios.then(|| ratio_note(table));
    ratios
        .into_iter()
        .chain(table.stand_ins.iter().map(|what| format!("STAND-IN: {what}.")))
        .collect::<Vec<_>>()
        .join(" ")
}

fn ratio_note(table: &Table) -> String {
    let baseline = table.baseline.as_deref().unwrap_or_default();
    let references = table.rows.iter().any(|row| row.kind == Kind::Reference && row.ratios != super::Ratios::default());
    let theirs = if references { format!("; * of the number reported for {baseline}") } else { String::new() };
    format!("2.00× is twice and 0.50× half of {baseline}'s number{theirs}.")
}

const NONE: &str = "–";

const fn left(heading: &'static str, cell: fn(&Row) -> Option<String>) -> Column {
    Column { heading, align: Align::Left, is_ratio: false, cell }
}

const fn right(heading: &'static str, cell: fn(&Row) -> Option<String>) -> Column {
    Column { heading, align: Align::Right, is_ratio: false, cell }
}

const fn ratio(cell: fn(&Row) -> Option<String>) -> Column {
    Column { heading: "", align: Align::Right, is_ratio: true, cell }
}

const COLUMNS: [Column; 17] = [
    left("run", |row| Some(row.name.clone())),
    left("method", |row| Some(method(row))),
    right("trained parameters", |row| row.trained_parameters.map(grouped)),
    ratio(|row| row.ratios.trained_parameters.map(times)),
    right("total parameters", |row| row.total_parameters.map(grouped)),
    right("training time", |row| row.training_seconds.map(duration_with_tenths)),
    ratio(|row| row.ratios.training_seconds.map(times)),
    right("total time", |row| row.total_seconds.map(duration_with_tenths)),
    right("s/it", |row| row.seconds_per_step.map(|seconds| format!("{seconds:.3}"))),
    ratio(|row| row.ratios.seconds_per_step.map(times)),
    right("final loss", |row| row.final_loss.map(|loss| format!("{loss:.4}"))),
    right("eval loss", |row| row.eval_loss_last.map(|loss| format!("{loss:.4}"))),
    right("host memory", |row| row.peak_host_mib.map(gibibytes)),
    ratio(|row| row.ratios.peak_host.map(times)),
    right("GPU memory", |row| row.peak_device_mib.map(gibibytes)),
    ratio(|row| row.ratios.peak_device.map(times)),
    left("device", |row| row.device.clone()),
];

/// A stand-in is marked on its row, whatever its name is.
fn method(row: &Row) -> String {
    if row.kind == Kind::StandIn { format!("{}, STAND-IN", row.method) } else { row.method.clone() }
}

/// `1078×`, `9.14×`, `0.95×`, `0.017×`: two to three digits, more only before the point.
fn times(ratio: f64) -> String {
    let digits = match ratio {
        99.95.. => 0,
        9.995.. => 1,
        0.0995.. => 2,
        _ => 3,
    };
    format!("{ratio:.digits$}×")
}

/// Mebibytes as `9.00 GiB`.
pub fn gibibytes(mib: f64) -> String {
    format!("{:.2} GiB", mib / 1024.0)
}
