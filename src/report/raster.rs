//! A [`Drawing`] as pixels, antialiased by distance.
//!
//! In: shapes and a resolution. Out: a picture on white. A pixel whose centre lies deep inside a shape is covered, one half a
//! pixel outside is not, and in between the share falls linearly; a line's own pieces are united before they are blended, so
//! that joints do not show.

use crate::data::Rgb;
use crate::error::Result;

use super::drawing::{Anchor, CAPITAL, Drawing, Place, Shape};
use super::text::{Colour, Face, REGULAR};

/// Draws everything at `scale` pixels per point.
pub(super) fn draw(drawing: &Drawing, scale: f64) -> Result<Rgb> {
    let (width, height) = ((drawing.width * scale).round() as usize, (drawing.height * scale).round() as usize);
    let mut canvas = Rgb { width, height, pixels: vec![255; 3 * width * height] };
    for shape in &drawing.shapes {
        match shape {
            Shape::Line { points, width, colour, dash } => {
                let points: Vec<Place> = scaled(points, scale);
                let dash: Vec<f64> = dash.iter().map(|length| length * scale).collect();
                line(&mut canvas, &pieces(&points, &dash), width * scale / 2.0, *colour);
            }
            Shape::Polygon { points, colour } => polygon(&mut canvas, &scaled(points, scale), *colour),
            Shape::Words { at, text, size, anchor, upwards, colour } => {
                let words = Words { at: (at.0 * scale, at.1 * scale), text, em: size * scale, anchor: *anchor };
                words.draw(&mut canvas, *upwards, *colour)?;
            }
        }
    }
    Ok(canvas)
}

fn scaled(points: &[Place], scale: f64) -> Vec<Place> {
    points.iter().map(|(x, y)| (x * scale, y * scale)).collect()
}

/// Two ends of a straight piece.
type Piece = (Place, Place);

/// The straight pieces of a line, cut into dashes where `dash` says so.
fn pieces(points: &[Place], dash: &[f64]) -> Vec<Piece> {
    let straight = points.windows(2).map(|ends| (ends[0], ends[1]));
    if dash.is_empty() {
        // A lone point is a dot.
        return if points.len() == 1 { vec![(points[0], points[0])] } else { straight.collect() };
    }
    let mut out = Vec::new();
    let (mut index, mut left) = (0, dash[0]);
    for (from, to) in straight {
        let length = (to.0 - from.0).hypot(to.1 - from.1);
        let along = |distance: f64| {
            let share = if length > 0.0 { distance / length } else { 0.0 };
            (from.0 + share * (to.0 - from.0), from.1 + share * (to.1 - from.1))
        };
        let mut done = 0.0;
        while done < length {
            let step = left.min(length - done);
            if index % 2 == 0 {
                out.push((along(done), along(done + step)));
            }
            done += step;
            left -= step;
            if left <= 1e-9 {
                index = (index + 1) % dash.len();
                left = dash[index].max(0.5);
            }
        }
    }
    out
}

fn line(canvas: &mut Rgb, pieces: &[Piece], radius: f64, colour: Colour) {
    let corners = || pieces.iter().flat_map(|(a, b)| [*a, *b]);
    let mut mask = Mask::around(canvas, corners(), radius + 1.0);
    for &(a, b) in pieces {
        mask.cover([a, b].into_iter(), radius + 1.0, |pixel| radius - distance(pixel, a, b));
    }
    mask.blend(canvas, colour);
}

/// From a pixel's centre to the nearest place on a piece.
fn distance(pixel: Place, a: Place, b: Place) -> f64 {
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    let squared = dx * dx + dy * dy;
    let along = if squared > 0.0 { ((pixel.0 - a.0) * dx + (pixel.1 - a.1) * dy) / squared } else { 0.0 };
    let along = along.clamp(0.0, 1.0);
    (pixel.0 - a.0 - along * dx).hypot(pixel.1 - a.1 - along * dy)
}

fn polygon(canvas: &mut Rgb, points: &[Place], colour: Colour) {
    let mut mask = Mask::around(canvas, points.iter().copied(), 1.0);
    let edges = || points.iter().zip(points.iter().cycle().skip(1));
    // How deep inside the nearest edge; the corners are clockwise on a screen, whose y grows downwards.
    let depth = |(a, b): (&Place, &Place), pixel: Place| {
        let (dx, dy) = (b.0 - a.0, b.1 - a.1);
        (dx * (pixel.1 - a.1) - dy * (pixel.0 - a.0)) / dx.hypot(dy).max(1e-9)
    };
    mask.cover(points.iter().copied(), 1.0, |pixel| {
        edges().map(|edge| depth(edge, pixel)).fold(f64::INFINITY, f64::min)
    });
    mask.blend(canvas, colour);
}

/// How far each pixel of a rectangle is covered, 0 to 1.
struct Mask {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
    cover: Vec<f32>,
}

impl Mask {
    /// The part of the canvas around some places.
    fn around(canvas: &Rgb, places: impl Iterator<Item = Place>, margin: f64) -> Self {
        let (left, top, right, bottom) = bounds(places, margin, (0, 0), (canvas.width, canvas.height));
        let (width, height) = (right - left, bottom - top);
        Self { left, top, width, height, cover: vec![0.0; width * height] }
    }

    /// Covers what lies at a `depth` (in pixels) inside a shape near `places`.
    fn cover(&mut self, places: impl Iterator<Item = Place>, margin: f64, depth: impl Fn(Place) -> f64) {
        let ends = (self.left + self.width, self.top + self.height);
        let (left, top, right, bottom) = bounds(places, margin, (self.left, self.top), ends);
        for y in top..bottom {
            for x in left..right {
                let covered = (depth((x as f64 + 0.5, y as f64 + 0.5)) + 0.5).clamp(0.0, 1.0) as f32;
                let cell = &mut self.cover[(y - self.top) * self.width + x - self.left];
                *cell = cell.max(covered);
            }
        }
    }

    fn blend(&self, canvas: &mut Rgb, colour: Colour) {
        for (index, &covered) in self.cover.iter().enumerate().filter(|(_, covered)| **covered > 0.0) {
            let (x, y) = (self.left + index % self.width, self.top + index / self.width);
            let at = 3 * (y * canvas.width + x);
            for (below, above) in canvas.pixels[at..at + 3].iter_mut().zip(colour) {
                let (from, to) = (f32::from(*below), f32::from(above));
                *below = (from + (to - from) * covered).round() as u8;
            }
        }
    }
}

/// Left, top, right and bottom of the pixels around some places, within two corners.
fn bounds(
    places: impl Iterator<Item = Place>,
    margin: f64,
    low: (usize, usize),
    high: (usize, usize),
) -> (usize, usize, usize, usize) {
    let (mut left, mut top, mut right, mut bottom) = (f64::MAX, f64::MAX, f64::MIN, f64::MIN);
    for (x, y) in places {
        (left, top) = (left.min(x), top.min(y));
        (right, bottom) = (right.max(x), bottom.max(y));
    }
    let whole = |value: f64, low: usize, high: usize| (value.max(0.0) as usize).clamp(low, high);
    let (left, top) = (whole(left - margin, low.0, high.0), whole(top - margin, low.1, high.1));
    let (right, bottom) = (whole((right + margin).ceil(), left, high.0), whole((bottom + margin).ceil(), top, high.1));
    (left, top, right, bottom)
}

/// One line of text in pixels.
struct Words<'a> {
    at: Place,
    text: &'a str,
    em: f64,
    anchor: Anchor,
}

impl Words<'_> {
    fn draw(&self, canvas: &mut Rgb, upwards: bool, colour: Colour) -> Result<()> {
        let face = Face::new(REGULAR, self.em as f32)?;
        let width = f64::from(face.width(self.text));
        let before = self.anchor.before() * width;
        if !upwards {
            let baseline = (self.at.1 + CAPITAL / 2.0 * self.em).round();
            face.draw(canvas, (self.at.0 - before) as f32, baseline as f32, self.text, colour);
            return Ok(());
        }
        let (columns, rows) = (width.ceil() as usize + 2, (2.0 * self.em).ceil() as usize);
        let mut strip = Rgb { width: columns, height: rows, pixels: vec![255; 3 * columns * rows] };
        let baseline = (rows as f64 / 2.0 + CAPITAL / 2.0 * self.em).round();
        face.draw(&mut strip, 1.0, baseline as f32, self.text, colour);
        let left = (self.at.0 - rows as f64 / 2.0).round() as i64;
        let bottom = (self.at.1 + before).round() as i64;
        turn_upwards(&strip, canvas, left, bottom);
        Ok(())
    }
}

/// Copies what is not white, turned so that the left end is at the bottom.
fn turn_upwards(strip: &Rgb, canvas: &mut Rgb, left: i64, bottom: i64) {
    for (index, pixel) in strip.pixels.chunks_exact(3).enumerate() {
        let (along, down) = ((index % strip.width) as i64, (index / strip.width) as i64);
        let (x, y) = (left + down, bottom - along);
        let inside = (0..canvas.width as i64).contains(&x) && (0..canvas.height as i64).contains(&y);
        if inside && pixel != [255, 255, 255] {
            let at = 3 * (y as usize * canvas.width + x as usize);
            canvas.pixels[at..at + 3].copy_from_slice(pixel);
        }
    }
}
