//! The figure of a measure over one key or two.
//!
//! In: runs, a measure, keys. Out: of one key with numbers a line through the means with their deviations, over a logarithmic axis
//! where the values are spaced so; of two, or of one with other values, a heat map with the means in its cells.

use super::grouped::{Grouped, compare, short};
use super::measure::Measure;
use super::spread::Spread;
use crate::error::{Error, Result};
use crate::report::figure::{Axis, Curve, Drawing, Figure, HeatCell, HeatMap, Labels, Marker, Named, Panel, Shape};
use crate::report::plot::PALETTE;
use crate::report::runs::Run;

/// Draws the measure over the keys.
///
/// # Errors
/// Wrong input: there is no run that has it, no run has a key, or there are more than two keys.
pub fn draw(runs: &[&Run], measure: Measure, keys: &[String]) -> Result<Drawing> {
    let grouped = Grouped::new(runs, keys, &[measure])?;
    let means: Vec<(&[String], Spread)> = grouped
        .groups
        .iter()
        .filter_map(|group| Some((group.values.as_slice(), group.spreads.first().copied().flatten()?)))
        .collect();
    if means.is_empty() {
        return Err(Error::input(format!("none of these runs has {}", measure.key()))
            .hint("`tunelab table --all` shows what there is of each run"));
    }
    match keys {
        [key] => match numbers(&means) {
            Some(points) => Ok(Drawing::Curves(line(&points, measure, key))),
            None => Ok(Drawing::Heat(heat(&means, measure, [key, ""]))),
        },
        [across, up] => Ok(Drawing::Heat(heat(&means, measure, [across, up]))),
        _ => Err(Error::input(format!("a figure has one key or two, not {}", keys.len()))
            .hint("the mean is taken over all that is not named")),
    }
}

fn numbers(means: &[(&[String], Spread)]) -> Option<Vec<(f64, Spread)>> {
    let mut points = means
        .iter()
        .map(|(values, spread)| Some((values[0].parse().ok()?, *spread)))
        .collect::<Option<Vec<(f64, _)>>>()?;
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    (points.len() > 1).then_some(points)
}

fn line(points: &[(f64, Spread)], measure: Measure, key: &str) -> Figure {
    let values: Vec<f64> = points.iter().map(|(value, _)| *value).collect();
    let ends =
        |(at, spread): &(f64, Spread)| spread.deviation.map(|sd| [(*at, spread.mean - sd), (*at, spread.mean + sd)]);
    let curve = |points, width, marks| {
        let color = PALETTE[0];
        Curve { name: String::new(), points, color, width, dash: None, marks }
    };
    let mean: Vec<(f64, f64)> = points.iter().map(|(at, spread)| (*at, spread.mean)).collect();
    let bars = points.iter().filter_map(ends).map(|ends| curve(ends.to_vec(), 0.8, None));
    let mut curves: Vec<Curve> = bars.collect();
    let what = if curves.is_empty() { "" } else { "\nmean ± deviation" };
    let shown = curves.iter().flat_map(|curve| &curve.points).chain(&mean).map(|point| point.1).collect::<Vec<_>>();
    curves.push(curve(mean.clone(), 1.1, Some((Marker::Disc, mean))));
    let x = Axis::around(values.iter().copied(), 0.06, is_geometric(&values));
    let y = Axis::around(shown.into_iter(), 0.08, false);
    let panel = Panel { x: Named::new(key, x), y: Named::new(format!("{}{what}", measure.heading()), y), curves };
    Figure { shape: Shape::Wide, panels: vec![panel] }
}

/// Whether ascending values are spaced by about equal ratios rather than by equal differences.
pub fn is_geometric(values: &[f64]) -> bool {
    if values.len() < 2 || values.iter().any(|value| *value <= 0.0) {
        return false;
    }
    let spread = |steps: Vec<f64>| {
        let (low, high) = steps.iter().fold((f64::MAX, 0.0f64), |(low, high), step| (low.min(*step), high.max(*step)));
        high / low
    };
    let of = |step: fn(f64, f64) -> f64| spread(values.windows(2).map(|pair| step(pair[0], pair[1])).collect());
    match values {
        [first, last] => last / first >= 4.0,
        // Logarithms of ratios: 1, 3, 10 is spaced evenly enough.
        _ => of(|a, b| (b / a).ln()) < of(|a, b| b - a),
    }
}

fn heat(means: &[(&[String], Spread)], measure: Measure, [across, up]: [&str; 2]) -> HeatMap {
    let axis = |at: usize| {
        let mut values: Vec<String> =
            means.iter().map(|(values, _)| values.get(at).cloned().unwrap_or_default()).collect();
        values.sort_by(|a, b| compare(a, b));
        values.dedup();
        values
    };
    let (columns, rows) = (axis(0), axis(1));
    let cell = |column: &String, row: &String| {
        let own = |values: &[String]| values[0] == *column && values.get(1).is_none_or(|value| value == row);
        let spread = means.iter().find(|(values, _)| own(values)).map(|(_, spread)| *spread)?;
        let decimals = measure.decimals();
        let mean = format!("{:.decimals$}", spread.mean);
        let below = match spread.deviation {
            Some(deviation) => format!("± {deviation:.decimals$}"),
            None => format!("n = {}", spread.count),
        };
        Some(HeatCell { value: spread.mean, words: vec![mean, below] })
    };
    let cells = rows.iter().map(|row| columns.iter().map(|column| cell(column, row)).collect()).collect();
    let counts: Vec<usize> = means.iter().map(|(_, spread)| spread.count).collect();
    let of = match (counts.iter().min(), counts.iter().max()) {
        (Some(1), Some(1)) | (None, _) | (_, None) => String::new(),
        (Some(low), Some(high)) if low == high => format!(", mean ± deviation of {high} runs"),
        (Some(low), Some(high)) => format!(", mean ± deviation of {low} to {high} runs"),
    };
    HeatMap {
        title: format!("{}{of}; {}", measure.heading(), measure.direction()),
        x: Labels { name: across.to_owned(), values: columns.iter().map(|value| short(value)).collect() },
        y: Labels { name: up.to_owned(), values: rows.iter().map(|value| short(value)).collect() },
        best: measure.best(means.iter().map(|(_, spread)| ((), spread.mean))).map(|((), mean)| mean),
        cells,
        decimals: measure.decimals(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_is_logarithmic_where_values_are_spaced_so() {
        for values in [&[1e-5, 1e-4][..], &[1.0, 2.0, 4.0, 8.0], &[1e-5, 3e-5, 1e-4], &[1.0, 4.0, 16.0]] {
            assert!(is_geometric(values), "{values:?}");
        }
        for values in [&[1.0, 2.0][..], &[1.0, 2.0, 3.0], &[10.0, 20.0, 30.0, 40.0], &[0.0, 1.0, 10.0], &[7.0]] {
            assert!(!is_geometric(values), "{values:?}");
        }
    }
}
