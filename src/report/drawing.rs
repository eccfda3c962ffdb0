//! A figure as a list of shapes, drawn as SVG or as pixels.
//!
//! In: lines, discs, polygons and words at places in points (1/72 inch) from the upper left corner. Out: the same figure as
//! SVG text or, antialiased, as a picture of any resolution. Words are measured and drawn with the built-in font; an SVG
//! viewer takes its own where it has no `DejaVu` Sans, and the widths kept free for words fit the usual ones.

use std::fmt::Write;

use crate::data::Rgb;
use crate::error::Result;

use super::raster;
use super::text::{Colour, Face, REGULAR};

/// Points in an inch.
pub const PER_INCH: f64 = 72.0;

/// A place: points to the right and down from the upper left corner.
pub type Place = (f64, f64);

/// Where words lie relative to their place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// They begin there.
    Start,
    /// Their middle is there.
    Middle,
    /// They end there.
    End,
}

/// One thing that is drawn. Later ones cover earlier ones.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// A line through all points with round ends and joints. `dash`: lengths drawn and left out in turn; empty: unbroken.
    Line {
        /// The corners.
        points: Vec<Place>,
        /// The thickness, in points.
        width: f64,
        /// The colour.
        colour: Colour,
        /// Lengths in points.
        dash: Vec<f64>,
    },
    /// A filled convex polygon, its corners clockwise.
    Polygon {
        /// The corners.
        points: Vec<Place>,
        /// The colour.
        colour: Colour,
    },
    /// One line of text, centred on the height of capital letters.
    Words {
        /// The place.
        at: Place,
        /// The text.
        text: String,
        /// The font's size in points.
        size: f64,
        /// Where the text lies relative to its place.
        anchor: Anchor,
        /// Whether it reads from bottom to top.
        upwards: bool,
        /// The colour.
        colour: Colour,
    },
}

/// A figure on white.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawing {
    /// Width in points.
    pub width: f64,
    /// Height in points.
    pub height: f64,
    /// What is drawn, in this order.
    pub shapes: Vec<Shape>,
}

impl Drawing {
    /// The figure as pixels.
    pub fn to_picture(&self, pixels_per_inch: f64) -> Result<Rgb> {
        raster::draw(self, pixels_per_inch / PER_INCH)
    }

    /// The figure as SVG text of the same size on paper.
    pub fn to_svg(&self) -> String {
        let (width, height) = (number(self.width), number(self.height));
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}pt\" height=\"{height}pt\" \
             viewBox=\"0 0 {width} {height}\" font-family=\"DejaVu Sans, Helvetica, Arial, sans-serif\">\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
        );
        for shape in &self.shapes {
            svg += &shape.to_svg();
        }
        svg + "</svg>\n"
    }
}

impl Shape {
    fn to_svg(&self) -> String {
        match self {
            Self::Line { points, width, colour, dash } => {
                let dash: Vec<String> = dash.iter().map(|&length| number(length)).collect();
                let dash =
                    if dash.is_empty() { String::new() } else { format!(" stroke-dasharray=\"{}\"", dash.join(" ")) };
                format!(
                    "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{}\"{dash} \
                     stroke-linejoin=\"round\" stroke-linecap=\"round\"/>\n",
                    places(points),
                    hex(*colour),
                    number(*width)
                )
            }
            Self::Polygon { points, colour } => {
                format!("<polygon points=\"{}\" fill=\"{}\"/>\n", places(points), hex(*colour))
            }
            Self::Words { at, text, size, anchor, upwards, colour } => {
                // Half a capital letter's height below the place.
                let drop = CAPITAL / 2.0 * size;
                let (x, y) = if *upwards { (at.0 + drop, at.1) } else { (at.0, at.1 + drop) };
                let (x, y) = (number(x), number(y));
                let turn = if *upwards { format!(" transform=\"rotate(-90 {x} {y})\"") } else { String::new() };
                format!(
                    "<text x=\"{x}\" y=\"{y}\" font-size=\"{}\" text-anchor=\"{}\" fill=\"{}\"{turn}>{}</text>\n",
                    number(*size),
                    anchor.svg(),
                    hex(*colour),
                    escaped(text)
                )
            }
        }
    }
}

impl Anchor {
    fn svg(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }

    /// The part of the words that lies before the place.
    pub(super) fn before(self) -> f64 {
        match self {
            Self::Start => 0.0,
            Self::Middle => 0.5,
            Self::End => 1.0,
        }
    }
}

/// The height of a capital letter, in em.
pub(super) const CAPITAL: f64 = 0.729;

/// How wide words of this size are, in points.
pub fn width_of(text: &str, size: f64) -> Result<f64> {
    // Measured large, because hinting is none and the width is proportional.
    Ok(f64::from(Face::new(REGULAR, 100.0)?.width(text)) / 100.0 * size)
}

fn places(points: &[Place]) -> String {
    let mut text = String::new();
    for (index, (x, y)) in points.iter().enumerate() {
        let space = if index == 0 { "" } else { " " };
        // Writing to a string cannot fail.
        let _ = write!(text, "{space}{},{}", number(*x), number(*y));
    }
    text
}

/// A hundredth of a point is finer than any print.
fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

fn hex([r, g, b]: Colour) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

fn escaped(text: &str) -> String {
    let plain: String = text.chars().filter(|c| !c.is_control()).collect();
    plain.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
