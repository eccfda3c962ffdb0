//! What plotters draws a figure on, its units and its words.
//!
//! In: lengths in points (1/72 inch) and text. Out: plotters' whole units and styles. `DejaVu` Sans
//! is registered with plotters from this program's own bytes, so no font has to be installed.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::error::{Error, Result};
use crate::report::text::REGULAR;

/// Fine enough for print. An SVG has as many units to the inch as an image has pixels.
pub const PIXELS_PER_INCH: f64 = 600.0;
/// An image is drawn this many times larger and averaged down: plotters draws lines on pixels
/// without antialiasing.
pub(super) const OVERSAMPLING: u32 = 3;

/// The name in plotters' table of fonts, and what an SVG viewer looks for.
const FONT: &str = "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif";
/// Words are 8 points high; plotters' size is the height from descent to ascent, 1.164 em in this
/// font.
const FONT_SIZE: f64 = 8.0 * 1.164;
pub(super) const INK: RGBColor = RGBColor(38, 38, 38);

/// What is drawn on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surface {
    /// An image, before it is averaged down.
    Pixels,
    /// SVG text.
    Svg,
}

impl Surface {
    /// A length in plotters' units.
    pub(super) fn px(self, points: f64) -> i32 {
        let scale = if self == Self::Pixels { OVERSAMPLING } else { 1 };
        (points * PIXELS_PER_INCH / 72.0).round() as i32 * scale as i32
    }

    /// How far plotters' words must be lowered for their middle to be where it says: on pixels it
    /// centers the em box, of which letters fill the upper part.
    pub(super) fn lowering(self) -> i32 {
        self.px(if self == Self::Pixels { 0.2 * FONT_SIZE } else { 0.06 * FONT_SIZE })
    }

    /// The style of all words.
    pub(super) fn words(self) -> TextStyle<'static> {
        let font = (FONT, f64::from(self.px(FONT_SIZE))).into_font();
        TextStyle::from(font).color(&INK).pos(Pos::new(HPos::Left, VPos::Center))
    }
}

/// Makes the built-in font known to plotters.
pub(super) fn register_font() -> Result<()> {
    let broken = |_| Error::run("the built-in font cannot be read");
    plotters::style::register_font(FONT, FontStyle::Normal, REGULAR).map_err(broken)
}

/// How wide a line of text is, in points. The font must have been registered.
pub(super) fn text_width(text: &str) -> Result<f64> {
    // Measured large: plotters rounds to whole units.
    let (_, (width, _)) = (FONT, 100.0 * FONT_SIZE).into_font().layout_box(text).map_err(failed)?;
    Ok(f64::from(width) / 100.0)
}

pub(super) fn failed(error: impl std::fmt::Display) -> Error {
    Error::run("the figure cannot be drawn").cause(error)
}
