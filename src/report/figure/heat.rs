//! A heat map: a cell for each pair of values, colored by its number, with the number in it.
//!
//! In: labels and cells. Out: the same in the size of a figure for one column of a paper. The colors are viridis (van der Walt and
//! Smith), which people see in order whatever colors they tell apart, and in gray print too. The best cell has a frame.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::canvas::{Canvas, MARGIN, WIDTH};
use super::surface::{INK, Surface, failed, register_font, text_width};
use crate::error::Result;

/// viridis at equal distances.
const VIRIDIS: [[u8; 3]; 10] = [
    [68, 1, 84],
    [72, 40, 120],
    [62, 74, 137],
    [49, 104, 142],
    [38, 130, 142],
    [31, 158, 137],
    [53, 183, 121],
    [110, 206, 88],
    [181, 222, 43],
    [253, 231, 37],
];
/// Of cells that are not there.
const NOTHING: RGBColor = RGBColor(236, 236, 236);
const LINE: f64 = 11.0;
/// A cell's height with one line, and with more.
const LOW: f64 = 17.0;
const HIGH: f64 = 29.0;
/// The legend's bar, and before it.
const BAR: f64 = 9.0;
const GAP: f64 = 8.0;
/// Frames around cells.
const FRAME: f64 = 1.6;
/// Shades of the legend.
const SHADES: usize = 60;

/// The values along one side.
#[derive(Debug, Clone, PartialEq)]
pub struct Labels {
    /// What they are of; nothing where there is one value only.
    pub name: String,
    /// From left to right, or from below.
    pub values: Vec<String>,
}

/// What is in a cell.
#[derive(Debug, Clone, PartialEq)]
pub struct HeatCell {
    /// Which color it has.
    pub value: f64,
    /// Lines, the most important first; what does not fit is left out.
    pub words: Vec<String>,
}

/// A heat map.
#[derive(Debug, Clone, PartialEq)]
pub struct HeatMap {
    /// Above it.
    pub title: String,
    /// Below it.
    pub x: Labels,
    /// Beside it.
    pub y: Labels,
    /// Rows from below, each from left to right.
    pub cells: Vec<Vec<Option<HeatCell>>>,
    /// The number of the cell with the frame.
    pub best: Option<f64>,
    /// Of the legend's numbers.
    pub decimals: usize,
}

/// Where everything is, in points.
pub(super) struct HeatLayout<'a> {
    map: &'a HeatMap,
    title: Vec<String>,
    left: f64,
    cell: (f64, f64),
    /// The smallest and the largest number.
    range: (f64, f64),
}

impl<'a> HeatLayout<'a> {
    pub fn new(map: &'a HeatMap) -> Result<Self> {
        register_font()?;
        let numbers = map.cells.iter().flatten().flatten().map(|cell| cell.value);
        let range = numbers.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
        let widest = map.y.values.iter().map(|value| text_width(value)).try_fold(0.0f64, |a, b| b.map(|b| a.max(b)))?;
        let name = if map.y.name.is_empty() { 0.0 } else { LINE + 4.0 };
        let left = MARGIN + name + widest + 5.0;
        let numbers = [range.0, range.1].map(|value| text_width(&format!("{value:.0$}", map.decimals)));
        let [low, high] = numbers;
        let right = GAP + BAR + 3.0 + low?.max(high?) + MARGIN;
        let width = (WIDTH - left - right) / map.x.values.len().max(1) as f64;
        let two = map.cells.iter().flatten().flatten().any(|cell| cell.words.len() > 1);
        let mut layout = Self { map, title: lines(&map.title)?, left, cell: (width, LOW), range };
        if two && layout.fits(1)? {
            layout.cell.1 = HIGH;
        }
        Ok(layout)
    }

    /// Whether every cell's line of this number fits.
    fn fits(&self, line: usize) -> Result<bool> {
        for words in self.map.cells.iter().flatten().flatten().filter_map(|cell| cell.words.get(line)) {
            if text_width(words)? > self.cell.0 - 3.0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn top(&self) -> f64 {
        MARGIN + LINE * self.title.len() as f64 + 3.0
    }

    fn bottom(&self) -> f64 {
        let names = if self.map.x.name.is_empty() { 1.0 } else { 2.0 };
        LINE * names + 4.0 + MARGIN
    }

    /// The name of the rows; of a key that is longer than they are high its last word.
    fn y_name(&self) -> Result<&str> {
        let name = self.map.y.name.as_str();
        let is_long = text_width(name)? > self.cell.1 * self.map.cells.len() as f64;
        Ok(name.rsplit('.').next().filter(|_| is_long).unwrap_or(name))
    }

    fn shade(&self, value: f64) -> [u8; 3] {
        let (low, high) = self.range;
        color(if high > low { (value - low) / (high - low) } else { 0.5 })
    }
}

impl Canvas for HeatLayout<'_> {
    fn size(&self, surface: Surface) -> (u32, u32) {
        let height = self.top() + self.cell.1 * self.map.cells.len() as f64 + self.bottom();
        (surface.px(WIDTH) as u32, surface.px(height) as u32)
    }

    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, surface: Surface) -> Result<()> {
        let map = self.map;
        area.fill(&WHITE).map_err(failed)?;
        let at = |x: f64, y: f64| (surface.px(x), surface.px(y));
        let centered = surface.words().pos(Pos::new(HPos::Center, VPos::Center));
        let to_left = surface.words().pos(Pos::new(HPos::Right, VPos::Center));
        let lowered = |x: f64, y: f64| (surface.px(x), surface.px(y) + surface.lowering());
        let say = |text: &str, style: &TextStyle, x: f64, y: f64| {
            area.draw(&Text::new(text.to_owned(), lowered(x, y), style.clone())).map_err(failed)
        };
        let (top, (width, height)) = (self.top(), self.cell);
        let end = (self.left + width * map.x.values.len() as f64, top + height * map.cells.len() as f64);
        for (index, line) in self.title.iter().enumerate() {
            say(line, &surface.words(), MARGIN, MARGIN + LINE * (index as f64 + 0.5))?;
        }
        let shown: Vec<bool> = [0, 1].map(|line| self.fits(line)).into_iter().collect::<Result<_>>()?;
        for (row, cells) in map.cells.iter().enumerate() {
            let above = end.1 - height * (row + 1) as f64;
            for (column, cell) in cells.iter().enumerate() {
                let x = self.left + width * column as f64;
                let corners = [at(x, above), at(x + width, above + height)];
                let fill = cell.as_ref().map_or(NOTHING, |cell| rgb(self.shade(cell.value)));
                area.draw(&Rectangle::new(corners, fill.filled())).map_err(failed)?;
                area.draw(&Rectangle::new(corners, WHITE.stroke_width(surface.px(0.6) as u32))).map_err(failed)?;
                let Some(cell) = cell else {
                    say("–", &centered, x + width / 2.0, above + height / 2.0)?;
                    continue;
                };
                let ink = if is_dark(self.shade(cell.value)) { WHITE } else { INK };
                let words: Vec<&String> = cell
                    .words
                    .iter()
                    .enumerate()
                    .filter(|(line, _)| shown.get(*line) == Some(&true))
                    .map(|(_, w)| w)
                    .collect();
                for (line, text) in words.iter().enumerate() {
                    let y = above + height / 2.0 + LINE * (line as f64 - (words.len() - 1) as f64 / 2.0);
                    say(text, &centered.clone().color(&ink), x + width / 2.0, y)?;
                }
            }
            let label = map.y.values.get(row).map_or("", String::as_str);
            say(label, &to_left, self.left - 4.0, above + height / 2.0)?;
        }
        self.frame(area, end, surface)?;
        for (column, label) in map.x.values.iter().enumerate() {
            say(label, &centered, self.left + width * (column as f64 + 0.5), end.1 + 3.0 + LINE / 2.0)?;
        }
        say(&map.x.name, &centered, f64::midpoint(self.left, end.0), end.1 + 3.0 + LINE * 1.5)?;
        let turned = surface.words().transform(FontTransform::Rotate270).pos(Pos::new(HPos::Center, VPos::Top));
        area.draw_text(self.y_name()?, &turned, at(MARGIN, f64::midpoint(top, end.1))).map_err(failed)?;
        self.legend(area, (top, end), surface)?;
        area.present().map_err(failed)
    }
}

impl HeatLayout<'_> {
    /// Around the best cell.
    fn frame<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        end: (f64, f64),
        surface: Surface,
    ) -> Result<()> {
        let (width, height) = self.cell;
        for (row, cells) in self.map.cells.iter().enumerate() {
            for column in
                (0..cells.len()).filter(|at| cells[*at].as_ref().is_some_and(|c| Some(c.value) == self.map.best))
            {
                let (x, y) = (self.left + width * column as f64, end.1 - height * (row + 1) as f64);
                let half = FRAME / 2.0;
                let sides = [
                    [(x, y), (x + width, y + FRAME)],
                    [(x, y + height - FRAME), (x + width, y + height)],
                    [(x, y), (x + FRAME, y + height)],
                    [(x + width - FRAME, y), (x + width, y + height)],
                ];
                for side in sides {
                    let corners = side.map(|(x, y)| (surface.px(x), surface.px(y)));
                    area.draw(&Rectangle::new(corners, RGBColor(213, 94, 0).filled())).map_err(failed)?;
                }
                let inside = [(x + FRAME, y + FRAME), (x + width - FRAME, y + height - FRAME)];
                let corners = inside.map(|(x, y)| (surface.px(x), surface.px(y)));
                area.draw(&Rectangle::new(corners, WHITE.stroke_width(surface.px(half * 0.75) as u32)))
                    .map_err(failed)?;
            }
        }
        Ok(())
    }

    fn legend<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        (top, end): (f64, (f64, f64)),
        surface: Surface,
    ) -> Result<()> {
        let (x, height) = (end.0 + GAP, end.1 - top);
        let edge = |index: usize| surface.px(end.1 - height * index as f64 / SHADES as f64);
        for index in 0..SHADES {
            let fill = rgb(color((index as f64 + 0.5) / SHADES as f64));
            let corners = [(surface.px(x), edge(index + 1)), (surface.px(x + BAR), edge(index))];
            area.draw(&Rectangle::new(corners, fill.filled())).map_err(failed)?;
        }
        for (value, y) in [(self.range.1, top + LINE / 2.0), (self.range.0, end.1 - LINE / 2.0)] {
            let text = format!("{value:.0$}", self.map.decimals);
            let place = (surface.px(x + BAR + 3.0), surface.px(y) + surface.lowering());
            area.draw(&Text::new(text, place, surface.words())).map_err(failed)?;
        }
        Ok(())
    }
}

/// The title in lines that are no wider than the figure.
fn lines(title: &str) -> Result<Vec<String>> {
    let mut lines = vec![String::new()];
    for word in title.split(' ') {
        let last = lines.last().cloned().unwrap_or_default();
        let longer = if last.is_empty() { word.to_owned() } else { format!("{last} {word}") };
        if text_width(&longer)? > WIDTH - 2.0 * MARGIN && !last.is_empty() {
            lines.push(word.to_owned());
        } else if let Some(last) = lines.last_mut() {
            *last = longer;
        }
    }
    Ok(lines)
}

/// viridis at a share from 0 to 1.
fn color(share: f64) -> [u8; 3] {
    let place = share.clamp(0.0, 1.0) * (VIRIDIS.len() - 1) as f64;
    let below = (place as usize).min(VIRIDIS.len() - 2);
    let rest = place - below as f64;
    let mix = |part: usize| {
        let (a, b) = (f64::from(VIRIDIS[below][part]), f64::from(VIRIDIS[below + 1][part]));
        (a + (b - a) * rest).round() as u8
    };
    [mix(0), mix(1), mix(2)]
}

fn rgb([red, green, blue]: [u8; 3]) -> RGBColor {
    RGBColor(red, green, blue)
}

/// Whether white words can be read on it.
fn is_dark([red, green, blue]: [u8; 3]) -> bool {
    0.299 * f64::from(red) + 0.587 * f64::from(green) + 0.114 * f64::from(blue) < 140.0
}
