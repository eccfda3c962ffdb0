//! Mean and deviation of a few numbers.
//!
//! In: numbers. Out: their mean, and their standard deviation with n − 1 (numpy's `ddof=1`), which one number alone has not.

/// What several runs have of one number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// How many there are.
    pub count: usize,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation, of the population that they are a sample of.
    pub deviation: Option<f64>,
}

impl Spread {
    /// Of these numbers; `None` where there is none.
    pub fn of(numbers: &[f64]) -> Option<Self> {
        let count = numbers.len();
        if count == 0 {
            return None;
        }
        let mean = numbers.iter().sum::<f64>() / count as f64;
        let squares: f64 = numbers.iter().map(|number| (number - mean).powi(2)).sum();
        let deviation = (count > 1).then(|| (squares / (count - 1) as f64).sqrt());
        Some(Self { count, mean, deviation })
    }

    /// `0.0836 ± 0.0012`, with so many decimals; without a deviation the mean alone.
    pub fn words(&self, decimals: usize) -> String {
        let mean = format!("{:.decimals$}", self.mean);
        self.deviation.map_or(mean.clone(), |deviation| format!("{mean} ± {deviation:.decimals$}"))
    }
}
