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

#[cfg(test)]
mod tests {
    use super::*;

    /// numpy 2.4.6: `x = np.round(rng.normal(0.08, 0.004, n), 6)` of one `rng = np.random.default_rng(24)`, `x.mean()`,
    /// `x.std(ddof=1)`.
    #[test]
    fn means_and_deviations_are_numpys() {
        let cases: [(&[f64], f64, Option<f64>); 5] = [
            (&[0.085_403], 0.085_403, None),
            (&[0.081_372, 0.075_348], 0.078_36, Some(0.004_259_611_249_867_774)),
            (&[0.079_252, 0.078_642, 0.079_089], 0.078_994_333_333_333_33, Some(0.000_315_826_429_124_182_1)),
            (
                &[0.082_387, 0.074_884, 0.083_867, 0.075_488, 0.079_246],
                0.079_174_399_999_999_99,
                Some(0.004_010_719_922_906_607),
            ),
            (
                &[0.083_548, 0.082_655, 0.077_236, 0.087_075, 0.081_462, 0.076_182, 0.080_17, 0.076_676, 0.081_737],
                0.080_748_999_999_999_99,
                Some(0.003_589_798_984_622_956_5),
            ),
        ];
        let near = |a: f64, b: f64| (a - b).abs() <= 1e-13 * b.abs();
        for (numbers, mean, deviation) in cases {
            let spread = Spread::of(numbers).unwrap();
            assert!(spread.count == numbers.len() && near(spread.mean, mean), "{spread:?}, {mean}");
            match (spread.deviation, deviation) {
                (Some(own), Some(numpys)) => assert!(near(own, numpys), "{own} {numpys}"),
                (own, numpys) => assert_eq!(own, numpys),
            }
        }
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[0.5]).unwrap().words(4), "0.5000");
        assert_eq!(Spread::of(&[0.5, 1.5]).unwrap().words(3), "1.000 ± 0.707");
    }
}
