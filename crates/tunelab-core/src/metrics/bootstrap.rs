//! How far a mean over few prompts can be trusted: the percentile bootstrap (Efron & Tibshirani 1993, chapter 13).
//!
//! In: the values of each prompt's images. Out: the bounds that hold the middle 95 % of the means of prompts drawn with
//! replacement. The prompts are drawn, not the images: those of one prompt are alike.

use serde::{Deserialize, Serialize};

use crate::random::Generator;

/// The share of resampled means below the lower bound, in percent, and that below the upper one.
const PERCENTILES: [f64; 2] = [2.5, 97.5];

/// The bounds of a 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The lower bound.
    pub low: f64,
    /// The upper bound.
    pub high: f64,
}

/// `times` draws of `n` groups with replacement, the same for every metric.
pub fn resampled(n: usize, times: usize) -> Vec<Vec<usize>> {
    let mut generator = Generator::stream(0, "bootstrap", 0);
    (0..times).map(|_| generator.randint(n as u64, n).into_iter().map(|i| i as usize).collect()).collect()
}

/// The interval of the mean of all values, `groups` being the values of each prompt; each of `draws` names groups by their
/// numbers. `None` of fewer than two groups, of which nothing can be said, and without draws.
pub fn interval(groups: &[Vec<f64>], draws: &[Vec<usize>]) -> Option<Interval> {
    if groups.len() < 2 || draws.is_empty() {
        return None;
    }
    let sums: Vec<(f64, usize)> = groups.iter().map(|group| (group.iter().sum(), group.len())).collect();
    let mean = |draw: &Vec<usize>| {
        let add = |(sum, count): (f64, usize), &index: &usize| (sum + sums[index].0, count + sums[index].1);
        let (sum, count) = draw.iter().fold((0.0, 0), add);
        sum / count as f64
    };
    bounds(draws.iter().map(mean).collect())
}

/// The interval of what a statistic is of each draw. `None` of nothing.
pub fn bounds(mut values: Vec<f64>) -> Option<Interval> {
    values.sort_by(f64::total_cmp);
    let [low, high] = PERCENTILES.map(|percent| (!values.is_empty()).then(|| percentile(&values, percent)));
    Some(Interval { low: low?, high: high? })
}

/// As `numpy.percentile`: linear between the two nearest of the sorted values.
fn percentile(sorted: &[f64], percent: f64) -> f64 {
    let place = percent / 100.0 * (sorted.len() - 1) as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (sorted[above] - sorted[below]) * (place - place.floor())
}
