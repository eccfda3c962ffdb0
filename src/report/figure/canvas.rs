//! What every figure is drawn on: pixels, or SVG text of the same size on paper.
//!
//! In: a layout that knows its size and how it is drawn. Out: the image, averaged down, or the text.

use plotters::coord::Shift;
use plotters::prelude::*;

use super::surface::{OVERSAMPLING, PIXELS_PER_INCH, Surface};
use crate::data::{Rgb, reduce};
use crate::error::Result;

/// A column of most two-column papers.
pub(super) const WIDTH: f64 = 244.8;
/// Beside the figure's outermost words.
pub(super) const MARGIN: f64 = 3.5;

/// What can be drawn as pixels and as SVG.
pub(super) trait Canvas {
    /// The width and height in plotters' units.
    fn size(&self, surface: Surface) -> (u32, u32);

    /// Draws it on an area of that size.
    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, surface: Surface) -> Result<()>;

    fn to_image(&self) -> Result<Rgb> {
        let (width, height) = self.size(Surface::Pixels);
        let mut pixels = vec![255; 3 * width as usize * height as usize];
        let area = BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area();
        self.draw(&area, Surface::Pixels)?;
        drop(area);
        Ok(reduce(Rgb { width: width as usize, height: height as usize, pixels }, OVERSAMPLING as usize))
    }

    fn to_svg(&self) -> Result<String> {
        let (width, height) = self.size(Surface::Svg);
        let mut svg = String::new();
        let area = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
        self.draw(&area, Surface::Svg)?;
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
