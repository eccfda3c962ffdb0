//! Curves of several runs over each other: `tunelab plot`, and `results/loss.{png,svg}` of the
//! whole tree.
//!
//! In: runs' names and [`Losses`]. Out: a figure with the moving averages of the training losses
//! above and the evaluation losses below. All runs are smoothed over the same span, so that
//! differences are the runs' own. Runs differ in color (Okabe and Ito's palette without its
//! yellow), dash and marker, so that they stay apart in gray print too.

use plotters::style::RGBColor;

use super::curve::{MOST_POINTS, step_axis};
use super::figure::{Axis, Curve, Figure, Marker, Named, Panel, Shape};
use super::losses::{Losses, Point, smooth, thin};
use crate::error::{Error, Result};
use crate::numbers::counted;

pub(super) const PALETTE: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(38, 38, 38),
];
/// Lengths drawn and left out, in points.
pub(super) const DASHES: [Option<(f64, f64)>; 4] = [None, Some((4.0, 2.0)), Some((1.2, 1.2)), Some((8.0, 2.0))];
/// Markers on a curve that has more points than that.
const FEW_MARKS: usize = 7;
/// Up to so many evaluations are marked each.
const MOST_MARKS: usize = 16;

/// Which losses are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossKind {
    /// Training and, where any run has them, evaluation losses.
    Both,
    /// Training losses only.
    Training,
    /// Evaluation losses only.
    Evaluation,
}

/// How they are shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlotOptions {
    /// Which losses.
    pub losses: LossKind,
    /// Whether the loss axes are logarithmic.
    pub log: bool,
    /// Steps that the training losses are averaged over; 1 for the losses as they are; `None` for a
    /// tenth of the longest run.
    pub smoothing: Option<usize>,
}

/// Draws the runs' curves.
///
/// # Errors
/// Wrong input: there is no loss to show.
pub fn draw(runs: &[(String, Losses)], options: PlotOptions) -> Result<Figure> {
    let span = options.smoothing.or_else(|| runs.iter().map(|(_, losses)| losses.span()).max()).unwrap_or(1);
    let average = |losses: &Losses| if span > 1 { settled(smooth(&losses.raw, span)) } else { losses.raw.clone() };
    let training = || runs.iter().map(|(_, losses)| average(losses)).collect::<Vec<_>>();
    let evaluation = || runs.iter().map(|(_, losses)| losses.eval.clone()).collect::<Vec<_>>();
    let steps = step_axis(runs.iter().map(|(_, losses)| losses));
    let mut panels = Vec::new();
    if options.losses != LossKind::Evaluation {
        panels.push(panel(&steps, "training loss", &names(runs), &training(), options.log));
    }
    let evaluated = runs.iter().any(|(_, losses)| !losses.eval.is_empty());
    if options.losses == LossKind::Evaluation || (options.losses == LossKind::Both && evaluated) {
        // One legend serves both panels.
        let names = if panels.is_empty() { names(runs) } else { vec![String::new(); runs.len()] };
        panels.push(panel(&steps, "evaluation loss", &names, &evaluation(), options.log));
    }
    if panels.iter().all(|panel| panel.curves.is_empty()) {
        return Err(Error::input("these runs have no such losses to plot")
            .hint("runs write evaluation losses where their [eval] has `every` above 0"));
    }
    Ok(Figure { shape: Shape::Wide, panels })
}

/// What the legend says of each; of more runs than look different, that there are so many.
fn names(runs: &[(String, Losses)]) -> Vec<String> {
    if runs.len() > PALETTE.len() * DASHES.len() {
        let all = counted(runs.len(), "run");
        return [all].into_iter().chain(vec![String::new(); runs.len() - 1]).collect();
    }
    runs.iter().map(|(name, _)| name.clone()).collect()
}

fn panel(steps: &Named, name: &str, names: &[String], lines: &[Vec<Point>], log: bool) -> Panel {
    let values = lines.iter().flatten().map(|point| point.1);
    let losses = Axis::around(values, 0.08, log);
    let drawn = names.iter().zip(lines).enumerate().filter(|(_, (_, points))| !points.is_empty());
    let curves = drawn.map(|(index, (name, points))| curve(index, name, points)).collect();
    Panel { x: steps.clone(), y: Named::new(name, losses), curves }
}

/// Without the first twentieth of a long curve, where an average is still that of a few steps.
fn settled(mut points: Vec<Point>) -> Vec<Point> {
    points.split_off(if points.len() < 60 { 0 } else { points.len() / 20 })
}

fn curve(index: usize, name: &str, points: &[Point]) -> Curve {
    let points = thin(points, MOST_POINTS / 10);
    Curve {
        name: name.to_string(),
        color: PALETTE[index % PALETTE.len()],
        width: 1.1,
        dash: DASHES[index % DASHES.len()],
        marks: Some((Marker::ALL[index % Marker::ALL.len()], marks(&points, index))),
        points,
    }
}

/// All of a few points; of many some, further along for each later run, so that markers do not lie
/// on each other.
fn marks(points: &[Point], index: usize) -> Vec<Point> {
    if points.len() <= MOST_MARKS {
        return points.to_vec();
    }
    let every = points.len() / FEW_MARKS;
    points.iter().skip((index * every / 4) % every + every / 4).step_by(every).copied().collect()
}
