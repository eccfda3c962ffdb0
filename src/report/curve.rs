//! The loss curve of a run: `loss.png` and `loss.svg`.
//!
//! In: [`Losses`]. Out: two panels over one step axis. Above, the raw loss (thin and light) and its moving average (bold);
//! below, where there is one, the evaluation loss on its own scale. The raw loss of a diffusion model depends far more on
//! the timesteps that a step drew than on what has been learned; the evaluation loss uses the same noise and timesteps
//! every time, so it is the one that shows learning, and on the raw loss's scale it would look flat.
//!
//! Colours are from Okabe and Ito's palette, which colour-blind readers can tell apart.

use std::ops::Range;
use std::path::Path;

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::data::Rgb;
use crate::error::{Error, Result};
use crate::results::{write_atomic, write_png};

use super::losses::{Losses, Point, thin};
use super::text::{Face, REGULAR};

/// The pictures' width in pixels (in the SVG's units).
const WIDTH: u32 = 1600;
/// The height of a picture with both panels.
const HEIGHT: u32 = 1200;
/// The height with the upper panel only.
const HEIGHT_WITHOUT_EVAL: u32 = 800;
/// The PNG is drawn this many times larger and averaged down: plotters draws lines without antialiasing.
const OVERSAMPLING: u32 = 3;
/// Left of the plot: the loss axis' numbers and name.
const MARGIN_LEFT: u32 = 210;
/// Right of the plot: half of the last step's number.
const MARGIN_RIGHT: u32 = 90;
/// More points than this cannot be told apart on the picture.
const MOST_POINTS: usize = 3000;

const FONT: &str = "sans-serif";
/// The size of the numbers and words, in the SVG's units: legible when the picture is half a page wide.
const FONT_SIZE: u32 = 42;
const RAW: RGBColor = RGBColor(158, 193, 222);
const AVERAGE: RGBColor = RGBColor(0, 90, 160);
const EVAL: RGBColor = RGBColor(213, 94, 0);
const GRID: RGBColor = RGBColor(226, 226, 226);
const INK: RGBColor = RGBColor(38, 38, 38);

/// What is drawn on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Surface {
    Pixels,
    Svg,
}

impl Surface {
    /// Multiplies every length.
    fn scale(self) -> u32 {
        match self {
            Self::Pixels => OVERSAMPLING,
            Self::Svg => 1,
        }
    }
}

/// One line of a panel.
struct Curve {
    name: String,
    points: Vec<Point>,
    colour: RGBColor,
    width: u32,
    markers: bool,
}

/// One panel: its curves on their axes.
struct Panel {
    name: &'static str,
    curves: Vec<Curve>,
    steps: Range<f64>,
    losses: Range<f64>,
    /// Whether the numbers and the name of the step axis are below this panel.
    step_axis: bool,
}

/// Writes `loss.png` and `loss.svg` of the run in folder `run`, from its logs.
pub fn write(run: &Path) -> Result<()> {
    let losses = Losses::read(run)?;
    write_png(&run.join("loss.png"), &to_picture(&losses)?, &[])?;
    write_atomic(&run.join("loss.svg"), to_svg(&losses)?.as_bytes())
}

/// The curve as pixels.
pub fn to_picture(losses: &Losses) -> Result<Rgb> {
    let (width, height) = (WIDTH * OVERSAMPLING, height(losses) * OVERSAMPLING);
    let mut pixels = vec![255; 3 * width as usize * height as usize];
    let area = BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area();
    draw(&area, losses, Surface::Pixels)?;
    drop(area);
    Ok(average_down(&pixels, width as usize, OVERSAMPLING as usize))
}

/// The curve as SVG text.
pub fn to_svg(losses: &Losses) -> Result<String> {
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, (WIDTH, height(losses))).into_drawing_area();
    draw(&area, losses, Surface::Svg)?;
    drop(area);
    Ok(svg)
}

fn height(losses: &Losses) -> u32 {
    if losses.eval.is_empty() { HEIGHT_WITHOUT_EVAL } else { HEIGHT }
}

/// Draws one panel or both.
fn draw<DB: DrawingBackend>(area: &DrawingArea<DB, Shift>, losses: &Losses, surface: Surface) -> Result<()> {
    let broken = |_| Error::run("the built-in font cannot be read");
    plotters::style::register_font(FONT, FontStyle::Normal, REGULAR).map_err(broken)?;
    area.fill(&WHITE).map_err(failed)?;
    if losses.eval.is_empty() {
        draw_panel(area, &training_panel(losses, true), surface)?;
    } else {
        let (above, below) = area.split_vertically(area.dim_in_pixel().1 / 2);
        draw_panel(&above, &training_panel(losses, false), surface)?;
        draw_panel(&below, &evaluation_panel(losses), surface)?;
    }
    area.present().map_err(failed)
}

fn training_panel(losses: &Losses, step_axis: bool) -> Panel {
    let range = raw_range(&losses.raw);
    let cut = |points: Vec<Point>| points.into_iter().map(|(step, loss)| (step, loss.min(range.end))).collect();
    let raw = Curve {
        name: "each step".to_string(),
        points: cut(thin(&losses.raw, MOST_POINTS)),
        colour: RAW,
        width: 2,
        markers: false,
    };
    let average = Curve {
        name: format!("moving average over about {} steps", losses.span()),
        points: cut(thin(&losses.smoothed(), MOST_POINTS / 10)),
        colour: AVERAGE,
        width: 6,
        markers: losses.raw.len() == 1,
    };
    Panel { name: "training loss", curves: vec![raw, average], steps: step_range(losses), losses: range, step_axis }
}

fn evaluation_panel(losses: &Losses) -> Panel {
    let curve = Curve {
        name: "same pictures, noise and timesteps every time".to_string(),
        points: thin(&losses.eval, MOST_POINTS),
        colour: EVAL,
        width: 5,
        // So many markers that they touch would only make the line thicker.
        markers: losses.eval.len() <= 60,
    };
    let range = padded(losses.eval.iter().map(|point| point.1));
    Panel { name: "evaluation loss", curves: vec![curve], steps: step_range(losses), losses: range, step_axis: true }
}

/// A legend on top, axes and grid lines below it, then the curves.
fn draw_panel<DB: DrawingBackend>(area: &DrawingArea<DB, Shift>, panel: &Panel, surface: Surface) -> Result<()> {
    let scale = surface.scale();
    let (legend, body) = area.split_vertically(76 * scale);
    draw_legend(&legend, &panel.curves, surface)?;
    let mut chart = ChartBuilder::on(&body)
        .margin_top(8 * scale)
        .margin_right(MARGIN_RIGHT * scale)
        .margin_left(16 * scale)
        .x_label_area_size(if panel.step_axis { 110 * scale } else { 20 * scale })
        .y_label_area_size((MARGIN_LEFT - 16) * scale)
        .build_cartesian_2d(panel.steps.clone(), panel.losses.clone())
        .map_err(failed)?;
    let digits = digits(&panel.losses);
    chart
        .configure_mesh()
        .bold_line_style(GRID.stroke_width(2 * scale))
        .light_line_style(TRANSPARENT)
        .axis_style(INK.stroke_width(3 * scale))
        .set_all_tick_mark_size(10 * scale)
        .label_style((FONT, FONT_SIZE * scale).into_font().color(&INK))
        .axis_desc_style((FONT, (FONT_SIZE + 2) * scale).into_font().color(&INK))
        .x_labels(8)
        .y_labels(6)
        .x_label_formatter(&|step| if panel.step_axis { whole(*step) } else { String::new() })
        .y_label_formatter(&|loss| format!("{loss:.digits$}"))
        .x_desc(if panel.step_axis { "step" } else { "" })
        .y_desc(panel.name)
        .draw()
        .map_err(failed)?;
    panel.curves.iter().try_for_each(|curve| draw_curve(&mut chart, curve, surface))
}

type Chart<'a, DB> = ChartContext<'a, DB, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

fn draw_curve<DB: DrawingBackend>(chart: &mut Chart<'_, DB>, curve: &Curve, surface: Surface) -> Result<()> {
    let Curve { points, colour, width, markers, .. } = curve;
    let width = width * surface.scale();
    let disc = |radius: u32| move |&point: &Point| Circle::new(point, radius, colour.filled());
    match surface {
        Surface::Svg => chart.draw_series([PathElement::new(points.clone(), colour.stroke_width(width))]).map(drop),
        // plotters mitres the joints of a thick line on pixels without a limit: sharp ones become long spikes. So each
        // piece is a line of its own, and a disc rounds each joint.
        Surface::Pixels => {
            let pieces = points.windows(2).map(|ends| PathElement::new(ends.to_vec(), colour.stroke_width(width)));
            chart.draw_series(pieces).map_err(failed)?;
            chart.draw_series(points.iter().map(disc(width / 2))).map(drop)
        }
    }
    .map_err(failed)?;
    if *markers {
        chart.draw_series(points.iter().map(disc(10 * surface.scale()))).map_err(failed)?;
    }
    Ok(())
}

/// A piece of each curve and its name, from the left end of the axis; above the panel, where it hides no curve.
fn draw_legend<DB: DrawingBackend>(area: &DrawingArea<DB, Shift>, curves: &[Curve], surface: Surface) -> Result<()> {
    let scale = surface.scale();
    // plotters' font size is the height from descent to ascent: 1.164 em for this font.
    let face = Face::new(REGULAR, (FONT_SIZE * scale) as f32 / 1.164)?;
    let unit = scale as i32;
    // On pixels plotters centres the em box, which puts the letters above the middle of the line.
    let lower = if surface == Surface::Pixels { 5 * unit } else { 0 };
    let (mut x, y) = ((MARGIN_LEFT as i32 + 10) * unit, 46 * unit);
    for curve in curves {
        let style = curve.colour.stroke_width((curve.width + 1) * scale);
        area.draw(&PathElement::new([(x, y), (x + 60 * unit, y)], style)).map_err(failed)?;
        if curve.markers {
            area.draw(&Circle::new((x + 30 * unit, y), 10 * scale, curve.colour.filled())).map_err(failed)?;
        }
        let words = (FONT, FONT_SIZE * scale).into_font().color(&INK).pos(Pos::new(HPos::Left, VPos::Center));
        area.draw(&Text::new(curve.name.as_str(), (x + 76 * unit, y + lower), words)).map_err(failed)?;
        x += face.width(&curve.name) as i32 + 140 * unit;
    }
    Ok(())
}

/// The label of a whole step; none between two steps.
fn whole(step: f64) -> String {
    if (step - step.round()).abs() < 1e-6 { format!("{step:.0}") } else { String::new() }
}

/// From 0 to the last step.
fn step_range(losses: &Losses) -> Range<f64> {
    let last = losses.raw.iter().chain(&losses.eval).map(|point| point.0).fold(1.0, f64::max);
    0.0..last
}

/// From 0 to the highest loss, unless that is an outlier: then to well above what 98 of 100 steps stay below.
fn raw_range(raw: &[Point]) -> Range<f64> {
    let mut losses: Vec<f64> = raw.iter().map(|point| point.1).collect();
    losses.sort_by(f64::total_cmp);
    let Some(&highest) = losses.last() else { return 0.0..1.0 };
    let nearly_all = losses[((losses.len() - 1) * 98).div_ceil(100)];
    let (bottom, top) = (losses[0].min(0.0), highest.min(1.6 * nearly_all));
    if top > bottom { bottom..top * 1.05 } else { bottom..bottom + 1.0 }
}

/// All values and a little more on both sides; values that are all the same get a range of their own size.
fn padded(values: impl Iterator<Item = f64> + Clone) -> Range<f64> {
    let low = values.clone().fold(f64::MAX, f64::min);
    let high = values.fold(f64::MIN, f64::max);
    let pad = if high > low { 0.12 * (high - low) } else { (0.1 * high.abs()).max(1e-6) };
    low - pad..high + pad
}

/// Digits behind the point so that neighbouring labels differ.
fn digits(range: &Range<f64>) -> usize {
    let step = (range.end - range.start) / 6.0;
    (1.0 - step.log10()).floor().clamp(0.0, 9.0) as usize
}

/// Replaces each square of `by` × `by` pixels by its average.
fn average_down(pixels: &[u8], width: usize, by: usize) -> Rgb {
    let (out_width, out_height) = (width / by, pixels.len() / 3 / width / by);
    let mut out = Vec::with_capacity(3 * out_width * out_height);
    for y in 0..out_height {
        for x in 0..3 * out_width {
            let (column, channel) = (x / 3 * by, x % 3);
            let square = (0..by * by).map(|i| pixels[3 * ((y * by + i / by) * width + column + i % by) + channel]);
            out.push((square.map(usize::from).sum::<usize>() / (by * by)) as u8);
        }
    }
    Rgb { width: out_width, height: out_height, pixels: out }
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::run("the loss curve cannot be drawn").cause(error)
}
