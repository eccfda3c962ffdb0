//! What is said of a metric in every table: its value before and after training.
//!
//! In: a [`MetricsRecord`], an encoder and a metric's name. Out: a [`Change`], its words with two
//! decimals, and the names and the order of what was measured.

use clap::ValueEnum;

use crate::metrics::{EncoderName, PRES};
use crate::results::{MetricsRecord, SampleSet, SetMetrics};

/// A value before and after training, as far as they are known.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Change {
    /// Of the model as it was loaded.
    pub base: Option<f64>,
    /// Of the model after training.
    pub tuned: Option<f64>,
}

impl Change {
    /// A metric over all prompts, or of one.
    pub fn of(metrics: &MetricsRecord, encoder: &str, metric: &str, prompt: Option<&str>) -> Self {
        let value = |set| Some(metrics.get(set, encoder, metric, prompt)?.value).filter(|value| value.is_finite());
        Self { base: value(SampleSet::Base), tuned: value(SampleSet::Final) }
    }

    /// What it was before training, alone.
    #[must_use]
    pub fn before(self) -> Self {
        Self { base: None, tuned: self.base }
    }

    /// `0.25 → 0.67`; `0.67` without the base model; none where nothing is known.
    pub fn words(self) -> Option<String> {
        let tuned = self.tuned.map(hundredths);
        match self.base {
            Some(base) => Some(format!("{} → {}", hundredths(base), tuned.unwrap_or_else(|| "–".to_owned()))),
            None => tuned,
        }
    }
}

/// Two decimals; what rounds to zero has no sign.
pub(in crate::report) fn hundredths(value: f64) -> String {
    let text = format!("{value:.2}");
    if text == "-0.00" { "0.00".to_owned() } else { text }
}

/// Who measured anything, in the order of [`EncoderName`]; others come behind them, by name.
pub(in crate::report) fn encoders(metrics: &MetricsRecord) -> Vec<&str> {
    let mut names: Vec<&str> = all(metrics).map(|(encoder, ..)| encoder).collect();
    let known = EncoderName::value_variants();
    let place = |name: &str| known.iter().position(|known| known.as_str() == name).unwrap_or(known.len());
    names.sort_by_key(|name| (place(name), *name));
    names.dedup();
    names
}

/// An encoder's metric of subject fidelity.
pub(in crate::report) fn subject(metrics: &MetricsRecord, encoder: &str) -> Option<&'static str> {
    EncoderName::value_variants().iter().map(|name| name.metric()).find(|metric| has(metrics, encoder, metric))
}

/// An encoder's metric of prompt fidelity; DINO has none.
pub(in crate::report) fn prompt(metrics: &MetricsRecord, encoder: &str) -> Option<&'static str> {
    let known = EncoderName::value_variants().iter().filter_map(|name| name.prompt_metric());
    known.into_iter().find(|metric| has(metrics, encoder, metric))
}

/// Whether this was measured of any set.
pub(in crate::report) fn has(metrics: &MetricsRecord, encoder: &str, metric: &str) -> bool {
    all(metrics).any(|(by, what, _)| by == encoder && what == metric)
}

/// The prompts whose images were measured, in the order of the record.
pub(in crate::report) fn prompts(metrics: &MetricsRecord) -> Vec<&str> {
    let mut found = Vec::new();
    for (_, _, prompt) in all(metrics).filter(|(_, metric, _)| *metric != PRES) {
        found.extend(prompt.filter(|prompt| !found.contains(prompt)));
    }
    found
}

/// The sets in the order of their steps; the tuned model's is last.
pub(in crate::report) fn sets(metrics: &MetricsRecord) -> Vec<&SetMetrics> {
    let mut sets: Vec<&SetMetrics> = metrics.sets.iter().collect();
    sets.sort_by_key(|set| (SampleSet::of_folder(&set.set) == Some(SampleSet::Final), set.step));
    sets
}

/// Encoder, metric and prompt of every mean.
fn all(metrics: &MetricsRecord) -> impl Iterator<Item = (&str, &str, Option<&str>)> {
    let means = metrics.sets.iter().flat_map(|set| &set.metrics);
    means.map(|mean| (mean.encoder.as_str(), mean.metric.as_str(), mean.prompt.as_deref()))
}
