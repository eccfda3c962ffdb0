//! The table of all finished runs: `table.csv`, `table.md`, and the form for a terminal.
//!
//! In: each `run.json` under a results folder. Out: one row a run, sorted by name. The CSV holds plain numbers in units
//! that its column names say; the other two are rounded for readers.

use std::path::Path;

use fs_err as fs;

use crate::error::{Error, Result};
use crate::results::{RUN_JSON, RunRecord, write_atomic};

/// Writes `table.csv` and `table.md` into `results` and returns their rows. A record that cannot be read costs its own
/// row only: `warn` gets the reason.
pub fn write(results: &Path, warn: &mut dyn FnMut(String)) -> Result<Vec<RunRecord>> {
    let records = read(results, warn)?;
    write_atomic(&results.join("table.csv"), to_csv(&records)?.as_bytes())?;
    write_atomic(&results.join("table.md"), to_markdown(&records).as_bytes())?;
    Ok(records)
}

/// The records of all finished runs in `results`, sorted by name.
pub fn read(results: &Path, warn: &mut dyn FnMut(String)) -> Result<Vec<RunRecord>> {
    let mut records: Vec<RunRecord> = Vec::new();
    for entry in fs::read_dir(results)? {
        let path = entry?.path().join(RUN_JSON);
        if !path.is_file() {
            continue;
        }
        match serde_json::from_str(&fs::read_to_string(&path)?) {
            Ok(record) => records.push(record),
            Err(e) => warn(format!("{} is left out of the table: {e}", path.display())),
        }
    }
    records.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(records)
}

/// One row a run, numbers as they are in `run.json`; empty where a run has no such number.
pub fn to_csv(records: &[RunRecord]) -> Result<String> {
    let failed = |e: &dyn std::fmt::Display| Error::run("table.csv cannot be made").cause(e);
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(CSV_COLUMNS).map_err(|e| failed(&e))?;
    for record in records {
        writer.write_record(csv_cells(record)).map_err(|e| failed(&e))?;
    }
    let bytes = writer.into_inner().map_err(|e| failed(&e))?;
    String::from_utf8(bytes).map_err(|e| failed(&e))
}

/// A GitHub table.
pub fn to_markdown(records: &[RunRecord]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let rule =
        format!("|{}\n", HEADINGS.map(|(_, align)| if align == Align::Right { "---:|" } else { "---|" }).concat());
    let rows = records.iter().map(|record| line(&cells(record).map(|cell| cell.replace('|', "\\|"))));
    line(&HEADINGS.map(|(name, _)| name.to_string())) + &rule + &rows.collect::<String>()
}

/// Columns padded with spaces, numbers to the right.
pub fn to_terminal(records: &[RunRecord]) -> String {
    let mut rows = vec![HEADINGS.map(|(name, _)| name.to_string())];
    rows.extend(records.iter().map(cells));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; HEADINGS.len()] = std::array::from_fn(width);
    let line = |row: &[String; HEADINGS.len()]| {
        let padded = row.iter().zip(HEADINGS).zip(widths).map(|((cell, (_, align)), width)| match align {
            Align::Left => format!("{cell:<width$}"),
            Align::Right => format!("{cell:>width$}"),
        });
        format!("{}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

const CSV_COLUMNS: [&str; 14] = [
    "name",
    "method",
    "trained_parameters",
    "total_parameters",
    "images",
    "steps",
    "total_seconds",
    "seconds_per_step",
    "final_loss",
    "eval_loss_first",
    "eval_loss_last",
    "peak_host_mib",
    "peak_device_mib",
    "device",
];

fn csv_cells(record: &RunRecord) -> [String; CSV_COLUMNS.len()] {
    let RunRecord { counts, seconds, loss, peak_memory, .. } = record;
    [
        record.name.clone(),
        record.method.clone(),
        counts.trained_parameters.to_string(),
        counts.total_parameters.to_string(),
        counts.images.to_string(),
        counts.steps.to_string(),
        seconds.total.to_string(),
        seconds.per_step.to_string(),
        text(loss.last),
        text(loss.eval_first),
        text(loss.eval_last),
        text(peak_memory.host_mib),
        text(peak_memory.device_mib),
        record.device.clone(),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Align {
    Left,
    Right,
}

const HEADINGS: [(&str, Align); 10] = [
    ("run", Align::Left),
    ("method", Align::Left),
    ("trained", Align::Right),
    ("total", Align::Right),
    ("time", Align::Right),
    ("s/it", Align::Right),
    ("final loss", Align::Right),
    ("eval loss", Align::Right),
    ("peak memory", Align::Right),
    ("device", Align::Left),
];

/// A row for readers; `–` where a run has no such number.
fn cells(record: &RunRecord) -> [String; HEADINGS.len()] {
    let RunRecord { counts, seconds, loss, peak_memory, .. } = record;
    let rounded = |loss: Option<f32>| loss.map_or_else(none, |loss| format!("{loss:.4}"));
    // Where there is an accelerator, its memory is the scarce one.
    let peak = peak_memory.device_mib.or(peak_memory.host_mib);
    [
        record.name.clone(),
        record.method.clone(),
        grouped(counts.trained_parameters),
        grouped(counts.total_parameters),
        duration(seconds.total),
        format!("{:.3}", seconds.per_step),
        rounded(loss.last),
        rounded(loss.eval_last),
        peak.map_or_else(none, |mib| format!("{:.2} GiB", mib / 1024.0)),
        record.device.clone(),
    ]
}

fn none() -> String {
    "–".to_string()
}

fn text(number: Option<impl ToString>) -> String {
    number.map_or_else(String::new, |number| number.to_string())
}

/// 797184 → `797,184`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let cut = |at: usize| at > 0 && (digits.len() - at).is_multiple_of(3);
    digits.char_indices().map(|(at, digit)| if cut(at) { format!(",{digit}") } else { digit.to_string() }).collect()
}

/// Seconds as `42 s`, `3 min 20 s` or `2 h 05 min`.
fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        ..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole / 60 % 60),
    }
}
