//! An axis for plotters: a range with even or logarithmic distances, the numbers beside it and
//! their words.
//!
//! In: a range or the values to show. Out: an [`Axis`], which plotters takes as a coordinate. Where
//! values lie, and which are marked on an even axis, is plotters' own. On a logarithmic axis
//! plotters marks the powers of ten, of which a loss may pass none; so there they are the powers of
//! ten with 3, or 2 and 5, times them where the powers alone would be too few.

use std::ops::Range;

use plotters::coord::ranged1d::{BoldPoints, KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::{IntoLogRange, LogCoord};

/// As many numbers as fit beside a panel.
const MOST: usize = 6;

/// One axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    range: Range<f64>,
    log: bool,
    /// The marked values, ascending.
    ticks: Vec<f64>,
    /// Digits behind the point; none: as many as each value needs.
    digits: Option<usize>,
}

impl Axis {
    /// From `low` to `high`, which must be larger.
    pub fn linear(low: f64, high: f64) -> Self {
        let range = low..high;
        let ticks = even(&range);
        Self { digits: Some(digits(&ticks, high - low)), range, log: false, ticks }
    }

    /// The same with equal distances for equal ratios; both ends must be positive.
    pub fn log(low: f64, high: f64) -> Self {
        let range = low..high;
        let choices = [&[1.0, 2.0, 5.0][..], &[1.0, 3.0], &[1.0]].map(|mantissas| powers(&range, mantissas));
        let every = choices[2].len().div_ceil(MOST).max(1);
        let sparse: Vec<f64> = choices[2].iter().copied().step_by(every).collect();
        let fitting = choices.into_iter().find(|ticks| (3..=MOST).contains(&ticks.len()));
        match fitting.or_else(|| (every > 1).then_some(sparse)) {
            Some(ticks) => Self { range, log: true, ticks, digits: None },
            None => Self { log: true, ..Self::linear(low, high) },
        }
    }

    /// From 0 to `last`, marked at whole steps only.
    pub fn steps(last: f64) -> Self {
        let mut axis = Self::linear(0.0, last);
        axis.ticks.retain(|step| (step - step.round()).abs() < 1e-6);
        Self { digits: Some(0), ..axis }
    }

    /// Around all values, a share of `pad` of their range wider on both sides; values that are all
    /// the same get a range of their own size. On a logarithmic axis only positive values count.
    pub fn around(values: impl Iterator<Item = f64> + Clone, pad: f64, log: bool) -> Self {
        let to = |value: f64| if log { value.ln() } else { value };
        let back = |value: f64| if log { value.exp() } else { value };
        let values = values.filter(|&value| !log || value > 0.0).map(to);
        let low = values.clone().fold(f64::MAX, f64::min);
        let high = values.fold(f64::MIN, f64::max);
        if low > high {
            return if log { Self::log(0.1, 1.0) } else { Self::linear(0.0, 1.0) };
        }
        let same = if log { 0.1 } else { (0.1 * high.abs()).max(1e-6) };
        let pad = if high > low { pad * (high - low) } else { same };
        let (low, high) = (back(low - pad), back(high + pad));
        if log { Self::log(low, high) } else { Self::linear(low, high) }
    }

    /// The value on the axis that is nearest to `value`; none where the axis has no place for such
    /// values.
    pub fn nearest(&self, value: f64) -> Option<f64> {
        let shown = value.is_finite() && (!self.log || value > 0.0);
        shown.then(|| value.clamp(self.range.start, self.range.end))
    }

    /// The words of all marked values.
    pub fn labels(&self) -> Vec<String> {
        self.ticks.iter().map(|tick| self.format_ext(tick)).collect()
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        if self.log {
            LogCoord::from(self.range.clone().log_scale()).map(value, limit)
        } else {
            RangedCoordf64::from(self.range.clone()).map(value, limit)
        }
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() { Vec::new() } else { self.ticks.clone() }
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        match self.digits {
            // Zero may come as a sum of steps, with a sign.
            Some(digits) => format!("{:.digits$}", if value.abs() < 1e-12 { 0.0 } else { *value }),
            None if (1e-4..1e6).contains(value) => format!("{value}"),
            None => format!("{value:e}"),
        }
    }
}

fn even(range: &Range<f64>) -> Vec<f64> {
    RangedCoordf64::from(range.clone()).key_points(BoldPoints(MOST))
}

/// As few digits as all ticks can be told by exactly.
fn digits(ticks: &[f64], range: f64) -> usize {
    let exact = |digits: &usize| {
        let scale = 10f64.powi(*digits as i32);
        ticks.iter().all(|tick| (tick - (tick * scale).round() / scale).abs() < 1e-4 * range)
    };
    (0..9).find(exact).unwrap_or(9)
}

/// These multiples of powers of ten in `range`.
fn powers(range: &Range<f64>, mantissas: &[f64]) -> Vec<f64> {
    let exponents = range.start.log10().floor() as i32..=range.end.log10().ceil() as i32;
    // Read from decimal text, a value is the nearest to what its words say: 0.3, not
    // 0.30000000000000004.
    let values =
        exponents.flat_map(|exponent| mantissas.iter().filter_map(move |m| format!("{m}e{exponent}").parse().ok()));
    values.filter(|value| (range.start * 0.999..=range.end * 1.001).contains(value)).collect()
}
