//! Losses over steps as a figure for one column of a paper, drawn with plotters.
//!
//! In: panels of curves over one step axis. Out: an image, or SVG text; both 3.4 inches wide with
//! words about 8 points high, so that they go into a two-column page as they are. Legends are above
//! their panel, where they hide no curve. All lengths here are in points (1/72 inch); [`Surface`]
//! turns them into plotters' whole units.

mod axis;
mod line;
mod surface;

use plotters::coord::Shift;
use plotters::coord::ranged1d::ValueFormatter;
use plotters::prelude::*;

use crate::data::Rgb;
use crate::error::Result;

use super::losses::Point;

pub use axis::Axis;
pub use line::{Curve, Marker};
pub use surface::{PIXELS_PER_INCH, Surface};

use surface::{INK, OVERSAMPLING, failed, register_font, text_width};

/// A column of most two-column papers.
const WIDTH: f64 = 244.8;
/// The height of one panel's plot, alone and with another.
const ALONE: f64 = 128.0;
const SHARED: f64 = 84.0;
/// Above a plot: half of the topmost number.
const GAP: f64 = 5.0;
/// Below the last panel: its numbers and the axis' name.
const STEP_AXIS: f64 = 27.0;
/// Below the other panels.
const BETWEEN: f64 = 9.0;
const LEGEND_LINE: f64 = 11.5;
/// The piece of a curve in the legend.
const SAMPLE: f64 = 17.0;
const TICK: f64 = 2.5;
/// Beside the figure's outermost words.
const MARGIN: f64 = 3.5;
const GRID: RGBColor = RGBColor(226, 226, 226);

/// Curves that share a loss axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    /// What the loss axis shows.
    pub name: &'static str,
    /// The loss axis; losses outside are drawn on its nearer end.
    pub losses: Axis,
    /// The curves, later ones above earlier ones.
    pub curves: Vec<Curve>,
}

/// Panels below each other over one step axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// The step axis.
    pub steps: Axis,
    /// The panels, from the top.
    pub panels: Vec<Panel>,
}

impl Figure {
    /// The figure as pixels, [`PIXELS_PER_INCH`] of them.
    ///
    /// # Errors
    /// plotters cannot draw it.
    pub fn to_image(&self) -> Result<Rgb> {
        let layout = Layout::new(self)?;
        let (width, height) = layout.size(self, Surface::Pixels);
        let mut pixels = vec![255; 3 * width as usize * height as usize];
        let area = BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area();
        layout.draw(self, &area, Surface::Pixels)?;
        drop(area);
        let large = image::RgbImage::from_raw(width, height, pixels).ok_or_else(|| failed("its size is wrong"))?;
        let (width, height) = (width / OVERSAMPLING, height / OVERSAMPLING);
        let pixels = image::imageops::thumbnail(&large, width, height).into_raw();
        Ok(Rgb { width: width as usize, height: height as usize, pixels })
    }

    /// The figure as SVG text of the same size on paper.
    ///
    /// # Errors
    /// plotters cannot draw it.
    pub fn to_svg(&self) -> Result<String> {
        let layout = Layout::new(self)?;
        let (width, height) = layout.size(self, Surface::Svg);
        let mut svg = String::new();
        let area = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
        layout.draw(self, &area, Surface::Svg)?;
        drop(area);
        // plotters writes the number of units as the size, which would be CSS pixels.
        let [across, down] = [width, height].map(|units| f64::from(units) / PIXELS_PER_INCH);
        let (units, inches) = (
            format!("width=\"{width}\" height=\"{height}\""),
            format!("width=\"{across:.3}in\" height=\"{down:.3}in\""),
        );
        Ok(svg.replacen(&units, &inches, 1))
    }
}

/// What the panels of a figure have in common; lengths in points.
struct Layout {
    steps: Axis,
    left: f64,
    right: f64,
    body: f64,
    /// The height of each panel's legend.
    legends: Vec<f64>,
}

impl Layout {
    fn new(figure: &Figure) -> Result<Self> {
        register_font()?;
        let mut widest = 0.0f64;
        for label in figure.panels.iter().flat_map(|panel| panel.losses.labels()) {
            widest = widest.max(text_width(&label)?);
        }
        let left = MARGIN + 17.0 + widest;
        let last = figure.steps.labels().pop().unwrap_or_default();
        let right = (text_width(&last)? / 2.0 + 2.0).max(7.0);
        let body = if figure.panels.len() > 1 { SHARED } else { ALONE };
        let height = |panel: &Panel| Ok(legend(&panel.curves, left)?.last().map_or(0.0, |entry| entry.1 + LEGEND_LINE));
        let legends = figure.panels.iter().map(height).collect::<Result<_>>()?;
        Ok(Self { steps: figure.steps.clone(), left, right, body, legends })
    }

    /// The height of a panel, of its legend and of what is below it.
    fn panel_height(&self, index: usize) -> f64 {
        let below = if index + 1 == self.legends.len() { STEP_AXIS } else { BETWEEN };
        self.legends[index] + GAP + self.body + below
    }

    /// The whole figure's width and height in plotters' units.
    fn size(&self, figure: &Figure, surface: Surface) -> (u32, u32) {
        let heights = (0..figure.panels.len()).map(|index| surface.px(self.panel_height(index)));
        (surface.px(WIDTH) as u32, heights.sum::<i32>() as u32)
    }

    fn draw<DB: DrawingBackend>(&self, figure: &Figure, area: &DrawingArea<DB, Shift>, surface: Surface) -> Result<()> {
        area.fill(&WHITE).map_err(failed)?;
        let mut rest = area.clone();
        for (index, panel) in figure.panels.iter().enumerate() {
            let (above, below) = rest.split_vertically(surface.px(self.panel_height(index)));
            let (top, body) = above.split_vertically(surface.px(self.legends[index]));
            self.draw_legend(&top, &panel.curves, surface)?;
            self.draw_panel(&body, panel, index + 1 == figure.panels.len(), surface)?;
            rest = below;
        }
        area.present().map_err(failed)
    }

    fn draw_legend<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        curves: &[Curve],
        surface: Surface,
    ) -> Result<()> {
        for (x, y, curve) in legend(curves, self.left)? {
            let (left, right) = (surface.px(x), surface.px(x + SAMPLE));
            let y = surface.px(y + LEGEND_LINE / 2.0 + 1.0);
            // A hairline could not be seen alone.
            let sample = Curve { width: curve.width.max(0.9), ..curve.clone() };
            let line = sample.line(vec![(left, y), (right, y)], surface);
            for element in line.into_iter().chain(sample.mark((i32::midpoint(left, right), y), surface)) {
                area.draw(&element).map_err(failed)?;
            }
            let at = (surface.px(x + SAMPLE + 4.0), y + surface.lowering());
            area.draw(&Text::new(curve.name.clone(), at, surface.words())).map_err(failed)?;
        }
        Ok(())
    }

    fn draw_panel<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        panel: &Panel,
        last: bool,
        surface: Surface,
    ) -> Result<()> {
        let mut chart = ChartBuilder::on(area)
            .margin_top(surface.px(GAP))
            .margin_right(surface.px(self.right))
            .margin_left(surface.px(MARGIN))
            .margin_bottom(surface.px(if last { MARGIN } else { 0.0 }))
            .x_label_area_size(surface.px(if last { STEP_AXIS - MARGIN } else { BETWEEN }))
            .y_label_area_size(surface.px(self.left - MARGIN))
            .build_cartesian_2d(self.steps.clone(), panel.losses.clone())
            .map_err(failed)?;
        chart
            .configure_mesh()
            .bold_line_style(GRID.stroke_width(surface.px(0.5) as u32))
            .light_line_style(TRANSPARENT)
            .axis_style(INK.stroke_width(surface.px(0.7) as u32))
            .set_all_tick_mark_size(surface.px(TICK))
            .label_style(surface.words())
            .axis_desc_style(surface.words())
            .y_label_offset(surface.lowering())
            .x_label_formatter(&|step| if last { self.steps.format_ext(step) } else { String::new() })
            .y_label_formatter(&|loss| panel.losses.format_ext(loss))
            .x_desc(if last { "step" } else { "" })
            .y_desc(panel.name)
            .draw()
            .map_err(failed)?;
        panel.curves.iter().try_for_each(|curve| draw_curve(area, &mut chart, curve, &panel.losses, surface))
    }
}

type Chart<'a, DB> = ChartContext<'a, DB, Cartesian2d<Axis, Axis>>;

fn draw_curve<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    chart: &mut Chart<'_, DB>,
    curve: &Curve,
    losses: &Axis,
    surface: Surface,
) -> Result<()> {
    let shown = |points: &[Point]| -> Vec<Point> {
        points.iter().filter_map(|&(step, loss)| Some((step, losses.nearest(loss)?))).collect()
    };
    chart.draw_series(curve.line(shown(&curve.points), surface)).map_err(failed)?;
    let (left, top) = area.get_base_pixel();
    for at in curve.marks.iter().flat_map(|(_, points)| shown(points)) {
        // On the panel, not on the chart, which would cut off half a marker on its edge.
        let (x, y) = chart.backend_coord(&at);
        curve.mark((x - left, y - top), surface).map_or(Ok(()), |mark| area.draw(&mark)).map_err(failed)?;
    }
    Ok(())
}

/// Where each named curve is in the legend, in points: as many in a line as fit.
fn legend(curves: &[Curve], left: f64) -> Result<Vec<(f64, f64, &Curve)>> {
    let (mut x, mut y) = (left, 0.0);
    let mut entries = Vec::new();
    for curve in curves.iter().filter(|curve| !curve.name.is_empty()) {
        let width = SAMPLE + 4.0 + text_width(&curve.name)?;
        if x > left && x + width > WIDTH - 2.0 {
            (x, y) = (left, y + LEGEND_LINE);
        }
        entries.push((x, y, curve));
        x += width + 9.0;
    }
    Ok(entries)
}
