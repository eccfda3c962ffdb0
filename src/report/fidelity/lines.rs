//! A run's metrics as lines for a terminal.
//!
//! In: a [`MetricsRecord`]. Out: a block for each encoder, at most 100 columns wide: a row for each
//! prompt, one over all prompts with the interval of the tuned value below it, then what is
//! said once of a run.

use crate::cli::terminal::{left, right, shortened, width};
use crate::results::{MetricsRecord, SampleSet};

use super::change::{Change, encoders, has, hundredths, prompt, prompts, sets, subject};

/// Left of every row, and between two columns.
const INDENT: &str = "  ";
/// The longest name of a prompt.
const PROMPT: usize = 52;
/// The longest name of a file.
const FILE: usize = 38;
/// What stands where nothing is known.
const NONE: &str = "–";

/// What a run says at its end; empty where nothing was measured.
pub fn lines(metrics: &MetricsRecord) -> Vec<String> {
    encoders(metrics).into_iter().flat_map(|encoder| block(metrics, encoder)).collect()
}

fn block(metrics: &MetricsRecord, encoder: &str) -> Vec<String> {
    let columns = columns(metrics, encoder);
    let compared = metrics.sets.iter().any(|set| SampleSet::of_folder(&set.set) == Some(SampleSet::Base));
    let what = if compared { "base → tuned, " } else { "" };
    let mut rows = vec![row("", columns.iter().map(|metric| (*metric).to_owned()))];
    let words = |metric: &str, of| Change::of(metrics, encoder, metric, of).words().unwrap_or_else(|| NONE.to_owned());
    for prompt in prompts(metrics) {
        rows.push(row(&shortened(prompt, PROMPT), columns.iter().map(|metric| words(metric, Some(prompt)))));
    }
    rows.push(row("all prompts", columns.iter().map(|metric| words(metric, None))));
    let intervals: Vec<Option<String>> = columns.iter().map(|metric| interval(metrics, encoder, metric)).collect();
    if intervals.iter().any(Option::is_some) {
        let resampled =
            if prompts(metrics).len() > 1 { "95 % of resampled prompts" } else { "95 % of resampled images" };
        rows.push(row(resampled, intervals.into_iter().map(Option::unwrap_or_default)));
    }
    let mut out = vec![format!("fidelity, {what}raw cosines ({encoder})")];
    out.extend(aligned(&rows));
    if has(metrics, encoder, "pres") {
        out.push(format!("{INDENT}pres {} (lower is better)", words("pres", None)));
    }
    out.extend(nearest(metrics, encoder));
    out.extend(best(metrics, encoder));
    out
}

/// What an encoder measured of each prompt.
fn columns<'a>(metrics: &MetricsRecord, encoder: &str) -> Vec<&'a str> {
    let diversity = has(metrics, encoder, "diversity").then_some("diversity");
    [subject(metrics, encoder), prompt(metrics, encoder), diversity].into_iter().flatten().collect()
}

/// `0.61 to 0.72`, of the tuned model and all prompts.
fn interval(metrics: &MetricsRecord, encoder: &str, metric: &str) -> Option<String> {
    let interval = metrics.get(SampleSet::Final, encoder, metric, None)?.interval?;
    Some(format!("{} to {}", hundredths(interval.low), hundredths(interval.high)))
}

fn nearest(metrics: &MetricsRecord, encoder: &str) -> Option<String> {
    let nearest = sets(metrics).into_iter().rev().find_map(|set| set.nearest.get(encoder))?;
    let (image, training) = (shortened(&nearest.image, FILE), shortened(&nearest.training_image, FILE));
    Some(format!("{INDENT}nearest {} ({image} to {training})", hundredths(nearest.cosine)))
}

fn best(metrics: &MetricsRecord, encoder: &str) -> Option<String> {
    let best = metrics.best.as_ref().filter(|best| best.encoder == encoder)?;
    Some(format!("{INDENT}best step by {}: {}, {}", best.by, best.step, hundredths(best.value)))
}

fn row(name: &str, cells: impl Iterator<Item = String>) -> Vec<String> {
    [name.to_owned()].into_iter().chain(cells).collect()
}

/// Names to the left, numbers to the right.
fn aligned(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.first().map_or(0, Vec::len);
    let widest = |column: usize| rows.iter().map(|row| width(&row[column])).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(widest).collect();
    let cell = |(column, cell): (usize, &String)| {
        let width = widths[column];
        if column == 0 { left(cell, width) } else { right(cell, width) }
    };
    let line = |row: &Vec<String>| row.iter().enumerate().map(cell).collect::<Vec<_>>().join(INDENT);
    rows.iter().map(|row| format!("{INDENT}{}", line(row).trim_end())).collect()
}
