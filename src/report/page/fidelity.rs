//! What the images were measured to be: for each run its numbers, and what they mean.
//!
//! In: runs with metrics. Out: blocks; none where no run was measured.

use crate::numbers::grouped;
use crate::report::document::{Block, Grid};
use crate::report::fidelity::{Change, encoders, has, hundredths, prompt, prompts, sets, subject};
use crate::report::runs::Run;
use crate::results::{MetricsRecord, SampleSet, SetMetrics};

use super::data::beginning;
use super::groups::captioned;

pub(super) fn blocks(runs: &[Run]) -> Vec<Block> {
    let measured = runs.iter().filter_map(|run| Some((run, run.record.metrics.as_ref()?)));
    measured.flat_map(|(run, metrics)| of_run(run, metrics)).collect()
}

fn of_run(run: &Run, metrics: &MetricsRecord) -> Vec<Block> {
    let mut out = vec![Block::Table(table(run, metrics))];
    out.push(Block::Text(meaning(metrics)));
    let said = [nearest(metrics), best(metrics)].into_iter().flatten();
    out.extend(said.map(Block::Text));
    out
}

/// A row for each prompt and one for all, a column for each metric by each encoder.
fn table(run: &Run, metrics: &MetricsRecord) -> Grid {
    let columns: Vec<(&str, &str)> = encoders(metrics).into_iter().flat_map(|by| columns(metrics, by)).collect();
    let heading = |(encoder, metric): &(&str, &str)| format!(">{metric} ({encoder})");
    let headings = [captioned(run)].into_iter().chain(columns.iter().map(heading)).collect();
    let row = |name: &str, of: Option<&str>| {
        let cells = columns.iter().map(|(encoder, metric)| cell(metrics, encoder, metric, of));
        [name.to_owned()].into_iter().chain(cells).collect()
    };
    let of_prompts = prompts(metrics).into_iter().map(|prompt| row(prompt, Some(prompt)));
    Grid { headings, rows: of_prompts.chain([row("all prompts", None)]).collect() }
}

fn columns<'a>(metrics: &MetricsRecord, encoder: &'a str) -> Vec<(&'a str, &'static str)> {
    let measured = |metric: &'static str| has(metrics, encoder, metric).then_some(metric);
    let metrics =
        [subject(metrics, encoder), prompt(metrics, encoder), measured("pres"), measured("diversity")].into_iter();
    metrics.flatten().map(|metric| (encoder, metric)).collect()
}

/// `0.25 → 0.67`, over all prompts with the tuned value's interval.
fn cell(metrics: &MetricsRecord, encoder: &str, metric: &str, prompt: Option<&str>) -> String {
    let Some(words) = Change::of(metrics, encoder, metric, prompt).words() else { return "–".to_owned() };
    let tuned = metrics.get(SampleSet::Final, encoder, metric, prompt).filter(|_| prompt.is_none());
    let interval = tuned.and_then(|tuned| tuned.interval);
    interval.map_or(words.clone(), |of| format!("{words} ({} to {})", hundredths(of.low), hundredths(of.high)))
}

/// What the numbers are, and who measured them.
fn meaning(metrics: &MetricsRecord) -> String {
    let mut said = vec!["base → tuned are raw cosines, of prompt a share; of pres lower is better.".to_owned()];
    let photographs = if metrics.references == 1 { "photograph" } else { "photographs" };
    said.push(format!("Compared with {} {photographs} of the subject.", metrics.references));
    if let Some(identifier) = &metrics.identifier {
        said.push(format!("Left out of the prompts: \u{201c}{identifier}\u{201d}."));
    }
    if let Some(class) = metrics.class_prompt.as_ref().filter(|_| metrics.sets.iter().any(has_pres)) {
        said.push(format!("pres is of images of \u{201c}{class}\u{201d}."));
    }
    if metrics.bootstrap > 0 {
        let times = grouped(metrics.bootstrap);
        said.push(format!("In brackets where 95 % of {times} means over resampled prompts lie."));
    }
    let encoders: Vec<String> = metrics
        .encoders
        .iter()
        .map(|(name, from)| {
            let source = if from.source == *name { String::new() } else { format!(" from {}", from.source) };
            format!("{name}{source}, SHA-256 {}", beginning(&from.sha256))
        })
        .collect();
    if !encoders.is_empty() {
        said.push(format!("Measured by {}.", encoders.join("; ")));
    }
    said.join(" ")
}

fn has_pres(set: &SetMetrics) -> bool {
    set.metrics.iter().any(|of| of.metric == "pres")
}

/// Which image is nearest to which training image.
fn nearest(metrics: &MetricsRecord) -> Option<String> {
    let found = encoders(metrics).into_iter().filter_map(|encoder| {
        let nearest = sets(metrics).into_iter().rev().find_map(|set| set.nearest.get(encoder))?;
        let (image, training) = (&nearest.image, &nearest.training_image);
        Some(format!("by {encoder} {image} to {training} ({})", hundredths(nearest.cosine)))
    });
    let found: Vec<String> = found.collect();
    (!found.is_empty()).then(|| format!("Nearest to a training image: {}.", found.join("; ")))
}

fn best(metrics: &MetricsRecord) -> Option<String> {
    let best = metrics.best.as_ref()?;
    let (step, value) = (grouped(best.step), hundredths(best.value));
    Some(format!("The best step by {} ({}) is {step}, with {value}.", best.by, best.encoder))
}
