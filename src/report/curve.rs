//! The loss curve of a run: `loss.png` and `loss.svg`.
//!
//! In: [`Losses`]. Out: two panels over one step axis. Above, the raw loss (thin and light) and its
//! moving average (bold), with the averages of the loss's instance and prior parts where a run has
//! those (DreamBooth); below, where there is one, the evaluation loss on its own scale. The raw
//! loss of a diffusion model depends far more on the timesteps that a step drew than on what has
//! been learned; the evaluation loss uses the same noise and timesteps every time, so it is the one
//! that shows learning, and on the raw loss's scale it would look flat.
//!
//! Colors are from Okabe and Ito's palette, which color-blind readers can tell apart.

use std::path::Path;

use plotters::style::RGBColor;

use crate::data::Rgb;
use crate::error::Result;
use crate::results::{write_atomic, write_figure};

use super::figure::{Axis, Curve, Figure, Marker, Named, PIXELS_PER_INCH, Panel, Shape};
use super::losses::{Losses, Point, smooth, thin};

/// More points than this cannot be told apart on the image.
pub(super) const MOST_POINTS: usize = 3000;

const RAW: RGBColor = RGBColor(158, 193, 222);
const AVERAGE: RGBColor = RGBColor(0, 90, 160);
const EVAL: RGBColor = RGBColor(213, 94, 0);
const INSTANCE: RGBColor = RGBColor(0, 158, 115);
const PRIOR: RGBColor = RGBColor(204, 121, 167);

/// Writes `loss.png` and `loss.svg` of the run in folder `run`, from its logs.
pub fn write(run: &Path) -> Result<()> {
    let figure = draw(&Losses::read(run)?);
    write_figure(&run.join("loss.png"), &figure.to_image()?, PIXELS_PER_INCH)?;
    write_atomic(&run.join("loss.svg"), figure.to_svg()?.as_bytes())
}

/// The curve as pixels.
pub fn to_image(losses: &Losses) -> Result<Rgb> {
    draw(losses).to_image()
}

/// The curve as SVG text.
pub fn to_svg(losses: &Losses) -> Result<String> {
    draw(losses).to_svg()
}

fn draw(losses: &Losses) -> Figure {
    let steps = step_axis([losses].into_iter());
    let mut panels = vec![training_panel(losses, steps.clone())];
    if !losses.eval.is_empty() {
        panels.push(evaluation_panel(losses, steps));
    }
    Figure { shape: Shape::Wide, panels }
}

fn training_panel(losses: &Losses, steps: Named) -> Panel {
    let curve = |name: &str, points, color, width| Curve {
        name: name.to_string(),
        points,
        color,
        width,
        dash: None,
        marks: None,
    };
    let span = losses.span();
    let average = |points: &[Point]| thin(&smooth(points, span), MOST_POINTS / 10);
    let mut curves = vec![curve("each step", thin(&losses.raw, MOST_POINTS), RAW, 0.4)];
    for (name, part, color) in [("instance", &losses.instance, INSTANCE), ("prior", &losses.prior, PRIOR)] {
        if !part.is_empty() {
            curves.push(curve(name, average(part), color, 0.8));
        }
    }
    let name = format!("average over about {span} steps");
    let mut bold = curve(&name, average(&losses.raw), AVERAGE, 1.3);
    if losses.raw.len() == 1 {
        bold.marks = Some((Marker::Disc, bold.points.clone()));
    }
    curves.push(bold);
    Panel { x: steps, y: Named::new("training loss", raw_axis(losses)), curves }
}

fn evaluation_panel(losses: &Losses, steps: Named) -> Panel {
    let points = thin(&losses.eval, MOST_POINTS);
    // So many markers that they touch would only make the line thicker.
    let marks = (losses.eval.len() <= 40).then(|| (Marker::Disc, points.clone()));
    let name = "same noise and timesteps each time".to_string();
    let curve = Curve { name, points, color: EVAL, width: 1.2, dash: None, marks };
    let axis = Axis::around(losses.eval.iter().map(|point| point.1), 0.12, false);
    Panel { x: steps, y: Named::new("evaluation loss", axis), curves: vec![curve] }
}

/// From 0 to the last step of all.
pub(super) fn step_axis<'a>(losses: impl Iterator<Item = &'a Losses>) -> Named {
    let steps = losses.flat_map(|losses| losses.raw.iter().chain(&losses.eval)).map(|point| point.0);
    Named::new("step", Axis::steps(steps.fold(1.0, f64::max)))
}

/// From 0 to the highest loss, unless that is an outlier: then to well above what 98 of 100 steps
/// stay below. A part of the loss may be higher than the loss's own outline.
fn raw_axis(losses: &Losses) -> Axis {
    let mut values: Vec<f64> = losses.raw.iter().map(|point| point.1).collect();
    values.sort_by(f64::total_cmp);
    let Some(&highest) = values.last() else { return Axis::linear(0.0, 1.0) };
    let nearly_all = values[((values.len() - 1) * 98).div_ceil(100)];
    let (bottom, top) = (values[0].min(0.0), highest.min(1.6 * nearly_all));
    if top > bottom { Axis::linear(bottom, top + 0.05 * (top - bottom)) } else { Axis::linear(bottom, bottom + 1.0) }
}
