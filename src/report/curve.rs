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
use plotters::prelude::*;

use crate::data::Rgb;
use crate::error::{Error, Result};
use crate::results::{write_atomic, write_png};

use super::losses::{Losses, Point, thin};
use super::text::{BOLD, REGULAR};

/// The pictures' width in pixels (in the SVG's units).
const WIDTH: u32 = 1600;
/// The height of a picture with both panels.
const HEIGHT: u32 = 1200;
/// The height with the upper panel only.
const HEIGHT_WITHOUT_EVAL: u32 = 800;
/// The PNG is drawn this many times larger and averaged down: plotters draws lines without antialiasing.
const OVERSAMPLING: u32 = 3;
/// More points than this cannot be told apart on the picture.
const MOST_POINTS: usize = 3000;

const FONT: &str = "sans-serif";
const RAW: RGBColor = RGBColor(168, 200, 226);
const SMOOTHED: RGBColor = RGBColor(0, 90, 160);
const EVAL: RGBColor = RGBColor(213, 94, 0);
const GRID: RGBColor = RGBColor(226, 226, 226);
const INK: RGBColor = RGBColor(38, 38, 38);

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
    draw(&area, losses, OVERSAMPLING)?;
    drop(area);
    Ok(average_down(&pixels, width as usize, OVERSAMPLING as usize))
}

/// The curve as SVG text.
pub fn to_svg(losses: &Losses) -> Result<String> {
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, (WIDTH, height(losses))).into_drawing_area();
    draw(&area, losses, 1)?;
    drop(area);
    Ok(svg)
}

fn height(losses: &Losses) -> u32 {
    if losses.eval.is_empty() { HEIGHT_WITHOUT_EVAL } else { HEIGHT }
}

/// Draws one panel or both; `scale` multiplies fonts, lines and margins.
fn draw<DB: DrawingBackend>(area: &DrawingArea<DB, Shift>, losses: &Losses, scale: u32) -> Result<()> {
    register_fonts()?;
    area.fill(&WHITE).map_err(failed)?;
    let steps = step_range(losses);
    if losses.eval.is_empty() {
        draw_training(area, losses, steps, true, scale)?;
    } else {
        let (above, below) = area.split_vertically(area.dim_in_pixel().1 * 52 / 100);
        draw_training(&above, losses, steps.clone(), false, scale)?;
        draw_evaluation(&below, losses, steps, scale)?;
    }
    area.present().map_err(failed)
}

fn draw_training<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    losses: &Losses,
    steps: Range<f64>,
    step_axis: bool,
    scale: u32,
) -> Result<()> {
    let smoothed = losses.smoothed();
    let range = raw_range(&losses.raw, &smoothed);
    let mut chart = panel(area, steps, range.clone(), "training loss", step_axis, scale)?;
    let inside = |points: Vec<Point>| points.into_iter().map(move |(x, y)| (x, y.min(range.end)));
    let raw: Vec<Point> = inside(thin(&losses.raw, MOST_POINTS)).collect();
    let bold: Vec<Point> = inside(thin(&smoothed, MOST_POINTS)).collect();
    let name = format!("moving average over {} steps", losses.span());
    line(&mut chart, &raw, RAW, 2 * scale, "each step")?;
    line(&mut chart, &bold, SMOOTHED, 6 * scale, &name)?;
    if let [only] = raw[..] {
        chart.draw_series([Circle::new(only, 9 * scale, SMOOTHED.filled())]).map_err(failed)?;
    }
    legend(&mut chart, scale)
}

fn draw_evaluation<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    losses: &Losses,
    steps: Range<f64>,
    scale: u32,
) -> Result<()> {
    let range = padded(losses.eval.iter().map(|point| point.1));
    let mut chart = panel(area, steps, range, "evaluation loss", true, scale)?;
    let points = thin(&losses.eval, MOST_POINTS);
    line(&mut chart, &points, EVAL, 5 * scale, "same noise and timesteps every time")?;
    // So many markers that they touch would only make the line thicker.
    if points.len() <= 60 {
        let markers = points.iter().map(|&point| Circle::new(point, 9 * scale, EVAL.filled()));
        chart.draw_series(markers).map_err(failed)?;
    }
    legend(&mut chart, scale)
}

type Chart<'a, DB> =
    ChartContext<'a, DB, Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::types::RangedCoordf64>>;

/// Axes, labels and grid lines.
fn panel<'a, DB: DrawingBackend>(
    area: &'a DrawingArea<DB, Shift>,
    steps: Range<f64>,
    losses: Range<f64>,
    name: &str,
    step_axis: bool,
    scale: u32,
) -> Result<Chart<'a, DB>> {
    let digits = digits(&losses);
    let mut chart = ChartBuilder::on(area)
        .margin_top(26 * scale)
        .margin_right(50 * scale)
        .margin_left(10 * scale)
        .margin_bottom(4 * scale)
        .x_label_area_size(if step_axis { 110 * scale } else { 24 * scale })
        .y_label_area_size(190 * scale)
        .build_cartesian_2d(steps, losses)
        .map_err(failed)?;
    chart
        .configure_mesh()
        .bold_line_style(GRID.stroke_width(2 * scale))
        .light_line_style(TRANSPARENT)
        .axis_style(INK.stroke_width(3 * scale))
        .set_all_tick_mark_size(10 * scale)
        .label_style((FONT, 42 * scale).into_font().color(&INK))
        .axis_desc_style((FONT, 44 * scale).into_font().style(FontStyle::Bold).color(&INK))
        .x_labels(if step_axis { 8 } else { 8 })
        .y_labels(6)
        .x_label_formatter(&|step| if step_axis { format!("{step:.0}") } else { String::new() })
        .y_label_formatter(&|loss| format!("{loss:.digits$}"))
        .x_desc(if step_axis { "step" } else { "" })
        .y_desc(name)
        .draw()
        .map_err(failed)?;
    Ok(chart)
}

fn line<DB: DrawingBackend>(
    chart: &mut Chart<'_, DB>,
    points: &[Point],
    colour: RGBColor,
    width: u32,
    name: &str,
) -> Result<()> {
    let style = colour.stroke_width(width);
    let series = chart.draw_series(LineSeries::new(points.iter().copied(), style)).map_err(failed)?;
    let length = 6 * width.max(12) as i32;
    series.label(name).legend(move |(x, y)| PathElement::new([(x, y), (x + length, y)], style));
    Ok(())
}

fn legend<'a, DB: DrawingBackend + 'a>(chart: &mut Chart<'a, DB>, scale: u32) -> Result<()> {
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.85))
        .border_style(TRANSPARENT)
        .margin(14 * scale)
        .legend_area_size(90 * scale)
        .label_font((FONT, 40 * scale).into_font().color(&INK))
        .draw()
        .map_err(failed)
}

/// From 0 to the last step.
fn step_range(losses: &Losses) -> Range<f64> {
    let last = losses.raw.iter().chain(&losses.eval).map(|point| point.0).fold(1.0, f64::max);
    0.0..last
}

/// From 0 to the highest raw loss, unless that is an outlier: then to what nearly all steps and the average stay below.
fn raw_range(raw: &[Point], smoothed: &[Point]) -> Range<f64> {
    let mut losses: Vec<f64> = raw.iter().map(|point| point.1).collect();
    losses.sort_by(f64::total_cmp);
    let Some(&highest) = losses.last() else { return 0.0..1.0 };
    let nearly_all = losses[(losses.len() - 1) * 98 / 100];
    let average = smoothed.iter().map(|point| point.1).fold(f64::MIN, f64::max);
    let top = highest.min((1.6 * nearly_all).max(1.2 * average));
    let bottom = losses[0].min(0.0);
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

fn register_fonts() -> Result<()> {
    let broken = |_| Error::run("the built-in font cannot be read");
    plotters::style::register_font(FONT, FontStyle::Normal, REGULAR).map_err(broken)?;
    plotters::style::register_font(FONT, FontStyle::Bold, BOLD).map_err(broken)
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
