//! Losses over steps, metrics, and what came of sweeps, as a figure for one column of a paper, drawn with plotters.
//!
//! In: panels of curves; neighbors with the same x axis have it once. Out: an image, or SVG text; both 3.4 inches wide with
//! words about 8 points high, so that they go into a two-column page as they are. Legends are above
//! their panel, where they hide no curve. All lengths here are in points (1/72 inch); [`Surface`]
//! turns them into plotters' whole units.

mod axis;
mod canvas;
mod heat;
mod line;
mod surface;

use plotters::coord::Shift;
use plotters::coord::ranged1d::ValueFormatter;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::data::Rgb;
use crate::error::Result;

use super::losses::Point;

pub use axis::Axis;
pub use heat::{HeatCell, HeatMap, Labels};
pub use line::{Curve, Marker};
pub use surface::{PIXELS_PER_INCH, Surface};

use canvas::{Canvas, MARGIN, WIDTH};
use heat::HeatLayout;
use surface::{INK, failed, register_font, text_width};

/// The height of one panel's plot, alone and with another.
const ALONE: f64 = 128.0;
const SHARED: f64 = 84.0;
/// The same of a figure whose two axes are of one kind.
const TALL_ALONE: f64 = 168.0;
const TALL_SHARED: f64 = 136.0;
/// Above a plot: half of the topmost number.
const GAP: f64 = 5.0;
/// Below a panel with an x axis: its numbers and its name.
const X_AXIS: f64 = 27.0;
/// A second line of a y axis' name.
const NAME_LINE: f64 = 11.0;
/// Below the other panels.
const BETWEEN: f64 = 9.0;
const LEGEND_LINE: f64 = 11.5;
/// The piece of a curve in the legend.
const SAMPLE: f64 = 17.0;
/// A marker there without its line.
const MARK: f64 = 6.0;
const TICK: f64 = 2.5;
const GRID: RGBColor = RGBColor(226, 226, 226);

/// An axis and what it shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    /// The words beside it; a y axis' may be two lines.
    pub name: String,
    /// The axis.
    pub axis: Axis,
}

/// Curves that share their axes.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    /// From left to right.
    pub x: Named,
    /// From below; values outside are drawn on its nearer end.
    pub y: Named,
    /// The curves, later ones above earlier ones.
    pub curves: Vec<Curve>,
}

/// How high a plot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// For values over steps.
    Wide,
    /// For two values of one kind against each other.
    Tall,
}

/// Panels below each other.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// How high each panel is.
    pub shape: Shape,
    /// The panels, from the top.
    pub panels: Vec<Panel>,
}

impl Named {
    /// An axis with its words.
    pub fn new(name: impl Into<String>, axis: Axis) -> Self {
        Self { name: name.into(), axis }
    }
}

impl Figure {
    /// The figure as pixels, [`PIXELS_PER_INCH`] of them.
    ///
    /// # Errors
    /// plotters cannot draw it.
    pub fn to_image(&self) -> Result<Rgb> {
        Laid { layout: Layout::new(self)?, figure: self }.to_image()
    }

    /// The figure as SVG text of the same size on paper.
    ///
    /// # Errors
    /// plotters cannot draw it.
    pub fn to_svg(&self) -> Result<String> {
        Laid { layout: Layout::new(self)?, figure: self }.to_svg()
    }
}

/// Curves, or a heat map.
#[derive(Debug, Clone, PartialEq)]
pub enum Drawing {
    /// Curves.
    Curves(Figure),
    /// A heat map.
    Heat(HeatMap),
}

impl Drawing {
    /// As [`Figure::to_image`].
    ///
    /// # Errors
    /// plotters cannot draw it.
    pub fn to_image(&self) -> Result<Rgb> {
        match self {
            Self::Curves(figure) => figure.to_image(),
            Self::Heat(map) => HeatLayout::new(map)?.to_image(),
        }
    }

    /// As [`Figure::to_svg`].
    ///
    /// # Errors
    /// plotters cannot draw it.
    pub fn to_svg(&self) -> Result<String> {
        match self {
            Self::Curves(figure) => figure.to_svg(),
            Self::Heat(map) => HeatLayout::new(map)?.to_svg(),
        }
    }
}

/// A figure with its layout.
struct Laid<'a> {
    layout: Layout,
    figure: &'a Figure,
}

impl Canvas for Laid<'_> {
    fn size(&self, surface: Surface) -> (u32, u32) {
        self.layout.size(self.figure, surface)
    }

    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, surface: Surface) -> Result<()> {
        self.layout.draw(self.figure, area, surface)
    }
}

/// What the panels of a figure have in common; lengths in points.
struct Layout {
    left: f64,
    right: f64,
    body: f64,
    /// The height of each panel's legend.
    legends: Vec<f64>,
    /// Whether each panel has an x axis of its own below it.
    named: Vec<bool>,
}

impl Layout {
    fn new(figure: &Figure) -> Result<Self> {
        register_font()?;
        let mut widest = 0.0f64;
        let mut right = 7.0f64;
        for panel in &figure.panels {
            for label in panel.y.axis.labels() {
                widest = widest.max(text_width(&label)?);
            }
            let last = panel.x.axis.labels().pop().unwrap_or_default();
            right = right.max(text_width(&last)? / 2.0 + 2.0);
        }
        let second = figure.panels.iter().any(|panel| panel.y.name.contains('\n'));
        let left = MARGIN + 17.0 + widest + if second { NAME_LINE } else { 0.0 };
        let body = match (figure.shape, figure.panels.len()) {
            (Shape::Wide, ..=1) => ALONE,
            (Shape::Wide, _) => SHARED,
            (Shape::Tall, ..=1) => TALL_ALONE,
            (Shape::Tall, _) => TALL_SHARED,
        };
        let height = |panel: &Panel| Ok(legend(&panel.curves, left)?.last().map_or(0.0, |entry| entry.1 + LEGEND_LINE));
        let legends = figure.panels.iter().map(height).collect::<Result<_>>()?;
        let below = figure.panels.iter().skip(1).map(Some).chain([None]);
        let named = figure.panels.iter().zip(below).map(|(panel, below)| below.is_none_or(|below| below.x != panel.x));
        Ok(Self { left, right, body, legends, named: named.collect() })
    }

    /// The height of a panel, of its legend and of what is below it.
    fn panel_height(&self, index: usize) -> f64 {
        let below = if self.named[index] { X_AXIS } else { BETWEEN };
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
            self.draw_panel(&body, panel, self.named[index], surface)?;
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
            let (left, right) = (surface.px(x), surface.px(x + sample_width(curve)));
            let y = surface.px(y + LEGEND_LINE / 2.0 + 1.0);
            // A hairline could not be seen alone.
            let sample = Curve { width: curve.width.max(0.9), ..curve.clone() };
            let ends = if curve.points.is_empty() { Vec::new() } else { vec![(left, y), (right, y)] };
            for element in
                sample.line(ends, surface).into_iter().chain(sample.mark((i32::midpoint(left, right), y), surface))
            {
                area.draw(&element).map_err(failed)?;
            }
            let at = (surface.px(x + sample_width(curve) + 4.0), y + surface.lowering());
            area.draw(&Text::new(curve.name.clone(), at, surface.words())).map_err(failed)?;
        }
        Ok(())
    }

    fn draw_panel<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        panel: &Panel,
        named: bool,
        surface: Surface,
    ) -> Result<()> {
        let Panel { x, y, .. } = panel;
        let (first, second) = y.name.split_once('\n').unwrap_or((&y.name, ""));
        let mut chart = ChartBuilder::on(area)
            .margin_top(surface.px(GAP))
            .margin_right(surface.px(self.right))
            .margin_left(surface.px(MARGIN))
            .margin_bottom(surface.px(if named { MARGIN } else { 0.0 }))
            .x_label_area_size(surface.px(if named { X_AXIS - MARGIN } else { BETWEEN }))
            .y_label_area_size(surface.px(self.left - MARGIN))
            .build_cartesian_2d(x.axis.clone(), y.axis.clone())
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
            .x_label_formatter(&|value| if named { x.axis.format_ext(value) } else { String::new() })
            .y_label_formatter(&|value| y.axis.format_ext(value))
            .x_desc(if named { x.name.as_str() } else { "" })
            .y_desc(first)
            .draw()
            .map_err(failed)?;
        if !second.is_empty() {
            // As plotters draws the first line, and beside it.
            let words = surface.words().transform(FontTransform::Rotate270).pos(Pos::new(HPos::Center, VPos::Top));
            let at = (surface.px(MARGIN + NAME_LINE), surface.px(GAP + self.body / 2.0));
            area.draw_text(second, &words, at).map_err(failed)?;
        }
        panel.curves.iter().try_for_each(|curve| draw_curve(area, &mut chart, curve, &y.axis, surface))
    }
}

type Chart<'a, DB> = ChartContext<'a, DB, Cartesian2d<Axis, Axis>>;

fn draw_curve<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    chart: &mut Chart<'_, DB>,
    curve: &Curve,
    y: &Axis,
    surface: Surface,
) -> Result<()> {
    let shown = |points: &[Point]| -> Vec<Point> {
        points.iter().filter_map(|&(at, value)| Some((at, y.nearest(value)?))).collect()
    };
    chart.draw_series(curve.line(shown(&curve.points), surface)).map_err(failed)?;
    let (left, top) = area.get_base_pixel();
    for at in curve.marks.iter().flat_map(|(_, points)| shown(points)) {
        // On the panel, not on the chart, which would cut off half a marker on its edge.
        let (x, y) = chart.backend_coord(&at);
        let mark = curve.mark((x - left, y - top), surface);
        mark.iter().try_for_each(|element| area.draw(element)).map_err(failed)?;
    }
    Ok(())
}

fn sample_width(curve: &Curve) -> f64 {
    if curve.points.is_empty() { MARK } else { SAMPLE }
}

/// Where each named curve is in the legend, in points: as many in a line as fit.
fn legend(curves: &[Curve], left: f64) -> Result<Vec<(f64, f64, &Curve)>> {
    let (mut x, mut y) = (left, 0.0);
    let mut entries = Vec::new();
    for curve in curves.iter().filter(|curve| !curve.name.is_empty()) {
        let width = sample_width(curve) + 4.0 + text_width(&curve.name)?;
        if x > left && x + width > WIDTH - 2.0 {
            (x, y) = (left, y + LEGEND_LINE);
        }
        entries.push((x, y, curve));
        x += width + 9.0;
    }
    Ok(entries)
}
