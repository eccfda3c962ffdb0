//! Images side by side, with words: a run's `grid.png` and `steps.png`, `tunelab sample`'s, a data
//! set's.
//!
//! In: rows (a label and images) and headings that each span some columns. Out: one image on
//! white: headings with a rule below them, labels on the left, every image pixel for pixel as it
//! came. Images smaller than their cell are centered in it; all of them enlarged by the same
//! whole number where they are too small to write beside.

use std::path::{Path, PathBuf};

use crate::data::{self, Rgb};
use crate::error::{Error, Result};
use crate::results::{Drawn, PLAN_TOML, SampleSet, slug, write_png};

use super::text::{BOLD, Color, Face, REGULAR};

const PAPER: Color = [255, 255, 255];
const INK: Color = [26, 26, 26];
const RULE: Color = [120, 120, 120];
const LETTERBOX: Color = [238, 238, 238];

/// Columns between those of the base and the tuned model.
const MOST_STEPS: usize = 8;

/// Images are enlarged until a cell is at least this wide or high.
const SMALLEST_CELL: usize = 160;

/// A heading over `span` neighboring columns. A wider gap parts it from the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heading {
    /// The words, in as many lines as they have; empty for none.
    pub text: String,
    /// How many columns it spans, at least 1.
    pub span: usize,
}

/// A row: a label and its images, from the left. A row may have fewer images than the headings
/// span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The words on its left, wrapped; empty for none.
    pub label: String,
    /// The images.
    pub images: Vec<Rgb>,
}

/// Draws the grid. With no images at all it is an error: there is nothing to show.
pub fn grid(headings: &[Heading], rows: &[Row]) -> Result<Rgb> {
    let layout = Layout::new(headings, rows)?;
    let mut canvas = blank(layout.width(), layout.height());
    for (heading, (left, right)) in headings.iter().zip(layout.spans()) {
        layout.draw_heading(&mut canvas, &heading.text, left, right);
    }
    for (index, row) in rows.iter().enumerate() {
        let top = layout.row_top(index);
        layout.draw_label(&mut canvas, index, top);
        for (image, &left) in row.images.iter().zip(&layout.lefts) {
            layout.draw_image(&mut canvas, image, left, top);
        }
    }
    Ok(canvas)
}

/// Makes `grid.png` of a run: a row for each prompt that its plan draws, the base model's
/// images on the left, the tuned model's on the right, under headings that say so if it is a
/// stand-in. A run gets only the sets that it has.
pub fn write_run_grid(run: &Path) -> Result<()> {
    let plan = plan(run)?;
    let Drawn { prompts, images, .. } = drawn(run, &plan)?;
    let mark = if is_stand_in(&plan) { ", STAND-IN" } else { "" };
    let most = images.unwrap_or(usize::MAX);
    let mut sets: Vec<(SampleSet, Vec<Vec<Rgb>>)> = Vec::new();
    let found = SampleSet::found(run)?;
    for set in found.into_iter().filter(|set| !matches!(set, SampleSet::Step(_))) {
        sets.push((set, prompts.iter().map(|p| load_samples(run, set, p, most)).collect::<Result<_>>()?));
    }
    let span = |images: &[Vec<Rgb>]| images.iter().map(Vec::len).max().unwrap_or(0);
    let shown = || sets.iter().filter(|(_, images)| span(images) > 0);
    let headings: Vec<Heading> =
        shown().map(|(set, images)| Heading { text: format!("{}{mark}", set.heading()), span: span(images) }).collect();
    let row = |index: usize| shown().flat_map(|(_, images)| images[index].clone()).collect();
    let rows: Vec<Row> =
        prompts.iter().enumerate().map(|(index, prompt)| Row { label: prompt.clone(), images: row(index) }).collect();
    write_png(&run.join("grid.png"), &grid(&headings, &rows)?, &[])
}

/// Makes `steps.png` of a run with images of steps on the way: a row for each evaluation prompt, a
/// column for each set, the first image of each. Of more than eight such steps eight are shown, as
/// evenly apart as they can be, the first and the last among them. Other runs have none: one of an
/// earlier time is removed.
pub fn write_steps_grid(run: &Path) -> Result<()> {
    let path = run.join("steps.png");
    let plan = plan(run)?;
    let Drawn { prompts, images_every, .. } = drawn(run, &plan)?;
    let sets = thinned(SampleSet::found(run)?.into_iter().filter(|set| set.is_drawn(images_every)).collect());
    if !sets.iter().any(|set| matches!(set, SampleSet::Step(_))) {
        return if path.is_file() { Ok(fs_err::remove_file(&path)?) } else { Ok(()) };
    }
    let mark = if is_stand_in(&plan) { "\nSTAND-IN" } else { "" };
    let heading = |set: &SampleSet| Heading { text: format!("{}{mark}", set.heading()), span: 1 };
    let mut rows = Vec::new();
    for prompt in prompts {
        let mut images = Vec::new();
        for set in &sets {
            images.push(load_samples(run, *set, &prompt, 1)?.pop().unwrap_or_else(missing));
        }
        rows.push(Row { label: prompt, images });
    }
    write_png(&path, &grid(&sets.iter().map(heading).collect::<Vec<_>>(), &rows)?, &[])
}

/// The sets with at most [`MOST_STEPS`] steps among them.
fn thinned(sets: Vec<SampleSet>) -> Vec<SampleSet> {
    let steps: Vec<SampleSet> = sets.iter().copied().filter(|set| matches!(set, SampleSet::Step(_))).collect();
    if steps.len() <= MOST_STEPS {
        return sets;
    }
    let last = MOST_STEPS - 1;
    let at = |index: usize| steps[(index * (steps.len() - 1) + last / 2) / last];
    let shown: Vec<SampleSet> = (0..MOST_STEPS).map(at).collect();
    sets.into_iter().filter(|set| !matches!(set, SampleSet::Step(_)) || shown.contains(set)).collect()
}

/// In the place of an image that is not there: its cell is as empty as the space beside a small
/// one.
fn missing() -> Rgb {
    Rgb { width: 1, height: 1, pixels: LETTERBOX.to_vec() }
}

fn is_stand_in(plan: &toml::Table) -> bool {
    plan.contains_key("stands_in_for")
}

/// A run's plan as data, so that those of earlier versions stay readable.
fn plan(run: &Path) -> Result<toml::Table> {
    let path = run.join(PLAN_TOML);
    let text = fs_err::read_to_string(&path)?;
    toml::from_str(&text).map_err(|e| Error::input(format!("{} is not TOML", path.display())).cause(e))
}

/// What a run's plan draws, of which it must have a list.
fn drawn(run: &Path, plan: &toml::Table) -> Result<Drawn> {
    let listed = plan.get("eval").and_then(|eval| eval.get("prompts")?.as_array());
    if !listed.is_some_and(|prompts| prompts.iter().all(toml::Value::is_str)) {
        return Err(Error::input(format!("{} has no eval.prompts", run.join(PLAN_TOML).display())));
    }
    Ok(Drawn::of(plan))
}

/// The images 0, 1, … of one prompt, as many as there are, at `most` so many: others beside them
/// are a person's own.
fn load_samples(run: &Path, set: SampleSet, prompt: &str, most: usize) -> Result<Vec<Rgb>> {
    let folder = run.join("samples").join(set.folder()).join(slug(prompt));
    let paths = (0..most).map(|index| folder.join(format!("{index}.png"))).take_while(|path: &PathBuf| path.is_file());
    let remedy = "remove the file, and `tunelab run` draws it again";
    paths.map(|path| data::load_image(&path).map_err(|e| e.hint(remedy))).collect()
}

/// Where everything goes, in pixels.
struct Layout {
    /// How many times every image is enlarged.
    zoom: usize,
    /// The size of a cell.
    cell: (usize, usize),
    /// Around the whole, and between label and images.
    margin: usize,
    /// Between neighboring images.
    gap: usize,
    /// The left edge of each column.
    lefts: Vec<usize>,
    /// The columns that each heading spans: first and last.
    spans: Vec<(usize, usize)>,
    /// The labels' lines, a row each.
    labels: Vec<Vec<String>>,
    /// The height that the headings take, nothing where all are empty.
    head: usize,
    words: Face,
    bold: Face,
}

impl Layout {
    fn new(headings: &[Heading], rows: &[Row]) -> Result<Self> {
        let images = || rows.iter().flat_map(|row| &row.images);
        let largest = (images().map(|p| p.width).max(), images().map(|p| p.height).max());
        let (Some(width), Some(height)) = largest else {
            return Err(Error::run("there are no pictures to make a grid of"));
        };
        let zoom = SMALLEST_CELL.div_ceil(width.max(height).max(1));
        let cell = (width * zoom, height * zoom);
        let spans = spans(headings, rows);
        let columns = spans.last().map_or(0, |&(_, last)| last + 1);
        let em = font_size(columns * cell.0, cell.0);
        let (words, bold) = (Face::new(REGULAR, em)?, Face::new(BOLD, em)?);
        let margin = (em * 0.9).round() as usize;
        let gap = (em * 0.35).round().max(2.0) as usize;
        let labels = wrap_labels(&words, rows, cell);
        let widest = labels.iter().flatten().map(|line| words.width(line)).fold(0.0, f32::max).ceil() as usize;
        let images_left = if widest == 0 { margin } else { margin + widest + margin };
        let lefts = lefts(&spans, images_left, cell.0, gap, margin);
        let headed = headings.iter().any(|heading| !heading.text.is_empty());
        let lines = headings.iter().map(|heading| heading.text.split('\n').count()).max().unwrap_or(1);
        let more = (lines - 1) * words.line_height() as usize;
        let head = if headed { (em * 2.1).round() as usize + more } else { 0 };
        Ok(Self { zoom, cell, margin, gap, lefts, spans, labels, head, words, bold })
    }

    fn width(&self) -> usize {
        self.lefts.last().map_or(0, |left| left + self.cell.0) + self.margin
    }

    fn height(&self) -> usize {
        self.row_top(self.labels.len()) - self.gap + self.margin
    }

    fn row_top(&self, row: usize) -> usize {
        self.margin + self.head + row * (self.cell.1 + self.gap)
    }

    /// The left and right edge of what each heading spans.
    fn spans(&self) -> impl Iterator<Item = (usize, usize)> {
        self.spans.iter().map(|&(first, last)| (self.lefts[first], self.lefts[last] + self.cell.0))
    }

    fn draw_heading(&self, canvas: &mut Rgb, text: &str, left: usize, right: usize) {
        let fit = |line: &str| self.bold.wrap(line, (right - left) as f32, 1).pop();
        let lines: Vec<String> = text.split('\n').filter_map(fit).collect();
        if lines.is_empty() {
            return;
        }
        let rule = self.margin + self.head - self.gap * 3 / 2;
        for (above, line) in lines.iter().rev().enumerate() {
            let x = (left + right) as f32 / 2.0 - self.bold.width(line) / 2.0;
            let baseline = rule as f32 - self.gap as f32 * 1.4 - above as f32 * self.bold.line_height();
            self.bold.draw(canvas, x.round(), baseline, line, INK);
        }
        let thickness = (self.gap / 5).max(1);
        fill(canvas, (left, rule), (right - left, thickness), RULE);
    }

    /// The label's lines, centered on the height of their row.
    fn draw_label(&self, canvas: &mut Rgb, row: usize, top: usize) {
        let lines = &self.labels[row];
        let line_height = self.words.line_height();
        let middle = top as f32 + self.cell.1 as f32 / 2.0;
        // The first baseline lies three quarters down its line: letters hang more above it than
        // below.
        let first = middle - lines.len() as f32 * line_height / 2.0 + line_height * 0.75;
        for (index, line) in lines.iter().enumerate() {
            self.words.draw(canvas, self.margin as f32, (first + index as f32 * line_height).round(), line, INK);
        }
    }

    fn draw_image(&self, canvas: &mut Rgb, image: &Rgb, left: usize, top: usize) {
        let size = (image.width * self.zoom, image.height * self.zoom);
        if size != self.cell {
            fill(canvas, (left, top), self.cell, LETTERBOX);
        }
        let (left, top) = (left + (self.cell.0 - size.0) / 2, top + (self.cell.1 - size.1) / 2);
        for y in 0..size.1 {
            for x in 0..size.0 {
                let from = 3 * (y / self.zoom * image.width + x / self.zoom);
                let to = 3 * ((top + y) * canvas.width + left + x);
                canvas.pixels[to..to + 3].copy_from_slice(&image.pixels[from..from + 3]);
            }
        }
    }
}

/// Large enough to read when the whole grid is as wide as a page, yet in proportion to one image.
fn font_size(images_width: usize, cell_width: usize) -> f32 {
    let cell = cell_width as f32;
    (images_width as f32 * 0.02).clamp(cell * 0.08, cell * 0.15).max(13.0).round()
}

/// First and last column of each heading; without headings one span over the longest row.
fn spans(headings: &[Heading], rows: &[Row]) -> Vec<(usize, usize)> {
    let mut next = 0;
    let mut spans = Vec::new();
    for heading in headings {
        spans.push((next, next + heading.span.max(1) - 1));
        next += heading.span.max(1);
    }
    let longest = rows.iter().map(|row| row.images.len()).max().unwrap_or(0);
    if longest > next {
        spans.push((next, longest - 1));
    }
    spans
}

/// Labels take at most an image's width and height.
fn wrap_labels(face: &Face, rows: &[Row], cell: (usize, usize)) -> Vec<Vec<String>> {
    let width = cell.0.max(SMALLEST_CELL) as f32 * 0.85;
    let lines = ((cell.1 as f32 / face.line_height()) as usize).max(1);
    rows.iter().map(|row| face.wrap(&row.label, width, lines)).collect()
}

fn lefts(spans: &[(usize, usize)], start: usize, cell: usize, gap: usize, between_spans: usize) -> Vec<usize> {
    let mut left = start;
    let mut lefts = Vec::new();
    for &(first, last) in spans {
        for column in first..=last {
            lefts.push(left);
            left += cell + if column == last { between_spans } else { gap };
        }
    }
    lefts
}

fn blank(width: usize, height: usize) -> Rgb {
    let pixels = std::iter::repeat_n(PAPER, width * height).flatten().collect();
    Rgb { width, height, pixels }
}

fn fill(canvas: &mut Rgb, (left, top): (usize, usize), (width, height): (usize, usize), color: Color) {
    for y in top..top + height {
        let row = &mut canvas.pixels[3 * (y * canvas.width + left)..][..3 * width];
        row.chunks_exact_mut(3).for_each(|pixel| pixel.copy_from_slice(&color));
    }
}
