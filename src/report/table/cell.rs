//! One cell of the table: a value as it was recorded, and how readers see it.
//!
//! In: names and numbers of a run. Out: the exact text for the CSV, the rounded one for all other
//! forms, and the number that ratios are taken of.

use crate::numbers::{duration_with_tenths, grouped};
use crate::report::fidelity::Change;

/// A value; its kind says how it is rounded.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Nothing is known.
    Empty,
    /// A name.
    Text(String),
    /// A name that readers see with the mark of a stand-in.
    StandIn(String),
    /// How many.
    Count(u64),
    /// A loss.
    Loss(f32),
    /// Seconds of a whole run: `2 h 05 min`.
    Duration(f64),
    /// Seconds of one step: `0.125`.
    SecondsPerStep(f64),
    /// Mebibytes: `9.00 GiB`.
    Memory(f64),
    /// A metric before and after training: `0.25 → 0.67`.
    Change(Change),
}

impl Cell {
    /// A cell of this kind, or an empty one.
    pub(super) fn some<T>(kind: fn(T) -> Self, value: Option<T>) -> Self {
        value.map_or(Self::Empty, kind)
    }

    /// All digits, nothing added; empty where nothing is known. Of a metric, what it is after
    /// training.
    pub fn exact(&self) -> String {
        match self {
            Self::Empty => String::new(),
            Self::Text(text) | Self::StandIn(text) => text.clone(),
            Self::Count(count) => count.to_string(),
            Self::Loss(loss) => loss.to_string(),
            Self::Duration(number) | Self::SecondsPerStep(number) | Self::Memory(number) => number.to_string(),
            Self::Change(change) => digits(change.tuned),
        }
    }

    /// All digits of a metric before training; empty where it is not known.
    pub fn exact_base(&self) -> String {
        let Self::Change(change) = self else { return String::new() };
        digits(change.base)
    }

    /// Rounded for readers; `None` where nothing is known.
    pub fn rounded(&self) -> Option<String> {
        Some(match self {
            Self::Empty => return None,
            Self::Text(text) => text.clone(),
            Self::StandIn(text) => format!("{text}, STAND-IN"),
            Self::Count(count) => grouped(count),
            Self::Loss(loss) => format!("{loss:.4}"),
            Self::Duration(seconds) => duration_with_tenths(*seconds),
            Self::SecondsPerStep(seconds) => format!("{seconds:.3}"),
            Self::Memory(mib) => gibibytes(*mib),
            Self::Change(change) => return change.words(),
        })
    }

    /// The cell as a number, where it is one.
    fn number(&self) -> Option<f64> {
        match self {
            Self::Empty | Self::Text(_) | Self::StandIn(_) | Self::Change(_) => None,
            Self::Count(count) => Some(*count as f64),
            Self::Loss(loss) => Some(f64::from(*loss)),
            Self::Duration(number) | Self::SecondsPerStep(number) | Self::Memory(number) => Some(*number),
        }
    }

    /// This number divided by `baseline`; `None` where that is no number.
    pub(super) fn ratio(&self, baseline: &Self) -> Option<f64> {
        Some(self.number()? / baseline.number()?).filter(|ratio| ratio.is_finite())
    }
}

fn digits(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// `1078×`, `9.14×`, `0.95×`, `0.017×`: two to three digits, more only before the point.
pub(super) fn times(ratio: f64) -> String {
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
