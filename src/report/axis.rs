//! An axis: which values it spans, where they lie on it, and which of them are written beside it.
//!
//! In: a range, linear or logarithmic. Out: places from 0 to 1 and ticks with their words. Linear ticks are 1, 2 or 5 times
//! a power of ten apart; logarithmic ones are the powers of ten, and 2 and 5 times them where those alone would be too few.

/// One axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Axis {
    low: f64,
    high: f64,
    log: bool,
}

/// A value and its words.
pub type Tick = (f64, String);

impl Axis {
    /// From `low` to `high`, which must be larger.
    pub fn linear(low: f64, high: f64) -> Self {
        Self { low, high, log: false }
    }

    /// The same with equal distances for equal ratios; both ends must be positive.
    pub fn log(low: f64, high: f64) -> Self {
        Self { low, high, log: true }
    }

    /// Around all values, a share of `pad` of their range wider on both sides; values that are all the same get a range
    /// of their own size.
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
        Self { low: back(low - pad), high: back(high + pad), log }
    }

    /// The largest value.
    pub fn high(&self) -> f64 {
        self.high
    }

    /// Whether a value can be shown at all.
    pub fn can_show(&self, value: f64) -> bool {
        value.is_finite() && (!self.log || value > 0.0)
    }

    /// Where a value lies: 0 at the low end, 1 at the high one; values outside lie on the nearer end.
    pub fn at(&self, value: f64) -> f64 {
        let to = |value: f64| if self.log { value.ln() } else { value };
        let value = value.clamp(self.low, self.high);
        (to(value) - to(self.low)) / (to(self.high) - to(self.low))
    }

    /// At most about `most` values to write beside the axis.
    pub fn ticks(&self, most: usize) -> Vec<Tick> {
        if !self.log {
            return self.even(most);
        }
        let fitting = [&[1.0][..], &[1.0, 3.0], &[1.0, 2.0, 5.0]].map(|mantissas| self.powers(mantissas));
        let enough = fitting.into_iter().rfind(|ticks| (3..=most + 1).contains(&ticks.len()));
        enough.unwrap_or_else(|| if self.high / self.low > 1e3 { self.powers(&[1.0]) } else { self.even(most) })
    }

    fn powers(&self, mantissas: &[f64]) -> Vec<Tick> {
        let exponents = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
        let values = exponents.flat_map(|exponent| mantissas.iter().map(move |m| m * 10f64.powi(exponent)));
        let inside = values.filter(|value| (self.low * 0.999..=self.high * 1.001).contains(value));
        inside.map(|value| (value, plain(value))).collect()
    }

    fn even(&self, most: usize) -> Vec<Tick> {
        let rough = (self.high - self.low) / most.max(1) as f64;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|step| *step >= rough * 0.999);
        let step = step.unwrap_or(10.0 * power);
        let digits = (-step.log10() - 1e-9).ceil().clamp(0.0, 9.0) as usize;
        let (first, last) = ((self.low / step - 1e-6).ceil() as i64, (self.high / step + 1e-6).floor() as i64);
        (first..=last).map(|n| (n as f64 * step, format!("{:.digits$}", n as f64 * step))).collect()
    }
}

/// A power of ten as people write it.
fn plain(value: f64) -> String {
    let exponent = value.log10().floor();
    if !(-4.0..6.0).contains(&exponent) {
        return format!("{value:.0e}");
    }
    format!("{value:.*}", (-exponent).max(0.0) as usize)
}
