//! Losses over steps as a figure for one column of a paper.
//!
//! In: panels of curves over one step axis. Out: a [`Drawing`], 3.4 inches wide, whose words are 8 points high: it goes into
//! a two-column page as it is. Legends are above their panel, where they hide no curve.

use super::axis::Axis;
use super::drawing::{Anchor, Drawing, PER_INCH, Place, Shape, width_of};
use super::losses::Point;
use super::text::Colour;
use crate::error::Result;

/// A column of most two-column papers, in points.
const WIDTH: f64 = 3.4 * PER_INCH;
/// The height of one panel's plot, alone and with another.
const ALONE: f64 = 128.0;
const SHARED: f64 = 84.0;
const SIZE: f64 = 8.0;
const LEGEND_SIZE: f64 = 7.5;
const LEGEND_LINE: f64 = 11.0;
/// The piece of a curve in the legend.
const SAMPLE: f64 = 17.0;
const INK: Colour = [38, 38, 38];
const GRID: Colour = [226, 226, 226];
/// Half a marker's width.
const MARKER: f64 = 2.1;

/// The form of a marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Marker {
    Disc,
    Square,
    Triangle,
    Diamond,
    Upside,
}

/// One line of a panel.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// Its name in the legend; without one it is not in it.
    pub name: String,
    /// Steps and losses.
    pub points: Vec<Point>,
    /// The colour.
    pub colour: Colour,
    /// The thickness in points.
    pub width: f64,
    /// Lengths drawn and left out in turn, in points; empty: unbroken.
    pub dash: &'static [f64],
    /// Which points are marked, and how.
    pub marks: Option<(Marker, Vec<Point>)>,
}

/// Curves that share a loss axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    /// What the loss axis shows.
    pub name: &'static str,
    /// The loss axis.
    pub losses: Axis,
    /// The curves, later ones above earlier ones.
    pub curves: Vec<Curve>,
}

/// Draws panels below each other over one step axis.
pub fn draw(steps: Axis, panels: &[Panel]) -> Result<Drawing> {
    let body = if panels.len() > 1 { SHARED } else { ALONE };
    let left = left_margin(panels)?;
    let mut figure = Drawing { width: WIDTH, height: 0.0, shapes: Vec::new() };
    let mut top = 3.0;
    for (index, panel) in panels.iter().enumerate() {
        top = draw_legend(&mut figure, panel, left, top)?;
        let frame = Frame { left, top, right: WIDTH - 9.0, bottom: top + body, steps };
        frame.draw(&mut figure, panel, index + 1 == panels.len());
        top = frame.bottom + 9.0;
    }
    figure.height = top - 9.0 + 30.0;
    Ok(figure)
}

/// Room for the axis' name and its longest number.
fn left_margin(panels: &[Panel]) -> Result<f64> {
    let mut widest = 0.0f64;
    for (_, words) in panels.iter().flat_map(|panel| panel.losses.ticks(MOST_LOSS_TICKS)) {
        widest = widest.max(width_of(&words, SIZE)?);
    }
    Ok(17.0 + widest + 5.0)
}

const MOST_LOSS_TICKS: usize = 5;

/// Names with a piece of their curve, as many in a line as fit; returns where the plot may begin.
fn draw_legend(figure: &mut Drawing, panel: &Panel, left: f64, top: f64) -> Result<f64> {
    let named: Vec<&Curve> = panel.curves.iter().filter(|curve| !curve.name.is_empty()).collect();
    if named.is_empty() {
        return Ok(top + 3.0);
    }
    let (mut x, mut y) = (left, top + LEGEND_LINE / 2.0);
    for curve in named {
        let width = SAMPLE + 4.0 + width_of(&curve.name, LEGEND_SIZE)?;
        if x > left && x + width > WIDTH - 4.0 {
            (x, y) = (left, y + LEGEND_LINE);
        }
        // A hairline could not be seen alone.
        let sample = Curve { width: curve.width.max(0.9), ..curve.clone() };
        figure.shapes.push(sample.line(vec![(x, y), (x + SAMPLE, y)]));
        if let Some((marker, _)) = &curve.marks {
            figure.shapes.push(marker.shape((x + SAMPLE / 2.0, y), curve.colour));
        }
        figure.shapes.push(words((x + SAMPLE + 4.0, y), &curve.name, LEGEND_SIZE, Anchor::Start));
        x += width + 9.0;
    }
    Ok(y + LEGEND_LINE / 2.0 + 3.0)
}

/// Where a panel's plot lies.
struct Frame {
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
    steps: Axis,
}

impl Frame {
    fn draw(&self, figure: &mut Drawing, panel: &Panel, with_steps: bool) {
        let out = &mut figure.shapes;
        for (value, label) in panel.losses.ticks(MOST_LOSS_TICKS) {
            let y = self.bottom - panel.losses.at(value) * (self.bottom - self.top);
            out.push(rule((self.left, y), (self.right, y), 0.5, GRID));
            out.push(rule((self.left - 2.5, y), (self.left, y), 0.7, INK));
            out.push(words((self.left - 4.5, y), &label, SIZE, Anchor::End));
        }
        for (value, label) in self.step_ticks() {
            let x = self.left + self.steps.at(value) * (self.right - self.left);
            out.push(rule((x, self.top), (x, self.bottom), 0.5, GRID));
            out.push(rule((x, self.bottom), (x, self.bottom + 2.5), 0.7, INK));
            if with_steps {
                out.push(words((x, self.bottom + 9.0), &label, SIZE, Anchor::Middle));
            }
        }
        for curve in &panel.curves {
            out.extend(self.curve(curve, &panel.losses));
        }
        out.push(rule((self.left, self.top), (self.left, self.bottom), 0.7, INK));
        out.push(rule((self.left, self.bottom), (self.right, self.bottom), 0.7, INK));
        let name = words((7.0, f64::midpoint(self.top, self.bottom)), panel.name, SIZE, Anchor::Middle);
        out.push(upwards(name));
        if with_steps {
            out.push(words((f64::midpoint(self.left, self.right), self.bottom + 21.0), "step", SIZE, Anchor::Middle));
        }
    }

    /// Whole steps only.
    fn step_ticks(&self) -> Vec<(f64, String)> {
        let whole = |value: f64| (value - value.round()).abs() < 1e-6;
        let ticks = self.steps.ticks(6).into_iter().filter(|(value, _)| whole(*value));
        ticks.map(|(value, _)| (value, format!("{value:.0}"))).collect()
    }

    fn curve(&self, curve: &Curve, losses: &Axis) -> Vec<Shape> {
        let place = |&(step, loss): &Point| {
            let x = self.left + self.steps.at(step) * (self.right - self.left);
            (x, self.bottom - losses.at(loss) * (self.bottom - self.top))
        };
        let shown = |points: &[Point]| -> Vec<Place> {
            points.iter().filter(|point| losses.can_show(point.1)).map(place).collect()
        };
        let mut shapes = vec![curve.line(shown(&curve.points))];
        if let Some((marker, points)) = &curve.marks {
            shapes.extend(shown(points).into_iter().map(|at| marker.shape(at, curve.colour)));
        }
        shapes
    }
}

impl Curve {
    fn line(&self, points: Vec<Place>) -> Shape {
        Shape::Line { points, width: self.width, colour: self.colour, dash: self.dash.to_vec() }
    }
}

impl Marker {
    /// Every marker, in the order in which curves get them.
    pub const ALL: [Self; 5] = [Self::Disc, Self::Square, Self::Triangle, Self::Diamond, Self::Upside];

    fn shape(self, (x, y): Place, colour: Colour) -> Shape {
        let corners: Vec<Place> = match self {
            Self::Disc => (0..24).map(|n| (f64::from(n) * std::f64::consts::TAU / 24.0).sin_cos()).collect(),
            Self::Square => vec![(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
            Self::Triangle => vec![(0.0, -1.15), (1.1, 0.8), (-1.1, 0.8)],
            Self::Diamond => vec![(0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)],
            Self::Upside => vec![(-1.1, -0.8), (1.1, -0.8), (0.0, 1.15)],
        };
        // The disc's sine and cosine run clockwise from the top when the cosine points up.
        let up = if self == Self::Disc { -1.0 } else { 1.0 };
        let points = corners.into_iter().map(|(dx, dy)| (x + MARKER * dx, y + MARKER * up * dy)).collect();
        Shape::Polygon { points, colour }
    }
}

fn rule(from: Place, to: Place, width: f64, colour: Colour) -> Shape {
    Shape::Line { points: vec![from, to], width, colour, dash: Vec::new() }
}

fn words(at: Place, text: &str, size: f64, anchor: Anchor) -> Shape {
    Shape::Words { at, text: text.to_string(), size, anchor, upwards: false, colour: INK }
}

fn upwards(shape: Shape) -> Shape {
    match shape {
        Shape::Words { at, text, size, anchor, colour, .. } => {
            Shape::Words { at, text, size, anchor, colour, upwards: true }
        }
        other => other,
    }
}
