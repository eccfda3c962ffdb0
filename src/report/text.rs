//! Words on images: measured, wrapped and drawn with the built-in font.
//!
//! In: text, a size in pixels per em, a color, an image. Out: the image with the text on it.
//! `DejaVu` Sans is compiled in (assets/font), so the result needs no installed font and is the
//! same everywhere. A character that the font lacks is drawn as an empty box, never left out.

use ab_glyph::{Font, FontRef, GlyphId, PxScaleFont, ScaleFont, point};
use unicode_normalization::UnicodeNormalization;

use crate::data::Rgb;
use crate::error::{Error, Result};

/// `DejaVu` Sans.
pub static REGULAR: &[u8] = include_bytes!("../../assets/font/DejaVuSans.ttf");
/// `DejaVu` Sans Bold.
pub static BOLD: &[u8] = include_bytes!("../../assets/font/DejaVuSans-Bold.ttf");

/// The width of the box for a missing character, in em.
const BOX_EM: f32 = 0.62;
/// The height of that box, in em: about a capital letter's.
const BOX_HEIGHT_EM: f32 = 0.72;

/// A color, red, green and blue.
pub type Color = [u8; 3];

/// A font at one size.
pub struct Face {
    font: PxScaleFont<FontRef<'static>>,
    em: f32,
}

impl Face {
    /// The font in `file` ([`REGULAR`] or [`BOLD`]) at `em` pixels per em.
    pub fn new(file: &'static [u8], em: f32) -> Result<Self> {
        let font =
            FontRef::try_from_slice(file).map_err(|e| Error::run("the built-in font cannot be read").cause(e))?;
        // ab_glyph's scale is the height from descent to ascent, not the em.
        let scale = em * font.height_unscaled() / font.units_per_em().unwrap_or(2048.0);
        Ok(Self { font: font.into_scaled(scale), em })
    }

    /// From one baseline to the next, in pixels.
    pub fn line_height(&self) -> f32 {
        (self.em * 1.3).round()
    }

    /// How wide `text` is, in pixels.
    pub fn width(&self, text: &str) -> f32 {
        self.place(text).last().map_or(0.0, |glyph| glyph.x + self.advance(glyph.id))
    }

    /// Breaks `text` into at most `max_lines` lines of at most `width` pixels; a cut is marked with
    /// `…`.
    pub fn wrap(&self, text: &str, width: f32, max_lines: usize) -> Vec<String> {
        let text = printable(text);
        let mut lines = Vec::new();
        let mut line = String::new();
        for word in text.split_whitespace().flat_map(|word| self.break_word(word, width)) {
            let joined = if line.is_empty() { word.clone() } else { format!("{line} {word}") };
            if self.width(&joined) <= width {
                line = joined;
            } else {
                lines.push(std::mem::replace(&mut line, word));
            }
        }
        lines.push(line);
        lines.retain(|line| !line.is_empty());
        if lines.len() > max_lines {
            lines.truncate(max_lines);
            if let Some(last) = lines.last_mut() {
                *last = self.shorten(last, width);
            }
        }
        lines
    }

    /// Draws one line with its left end at `x` and its baseline at `baseline`; what lies outside
    /// the image is cut off.
    pub fn draw(&self, on: &mut Rgb, x: f32, baseline: f32, text: &str, color: Color) {
        for placed in self.place(&printable(text)) {
            if placed.id == GlyphId(0) {
                self.draw_box(on, x + placed.x, baseline, color);
                continue;
            }
            let glyph = placed.id.with_scale_and_position(self.font.scale(), point(x + placed.x, baseline));
            let Some(outline) = self.font.outline_glyph(glyph) else { continue };
            let corner = outline.px_bounds().min;
            outline.draw(|dx, dy, coverage| {
                blend(on, corner.x as i64 + i64::from(dx), corner.y as i64 + i64::from(dy), color, coverage);
            });
        }
    }

    /// Each character's glyph and its distance from the line's left end, kerned.
    fn place(&self, text: &str) -> Vec<Placed> {
        let mut x = 0.0;
        let mut previous: Option<GlyphId> = None;
        let mut placed = Vec::new();
        for character in text.chars() {
            let id = self.font.glyph_id(character);
            x += previous.map_or(0.0, |previous| self.font.kern(previous, id));
            placed.push(Placed { id, x });
            x += self.advance(id);
            previous = Some(id);
        }
        placed
    }

    fn advance(&self, id: GlyphId) -> f32 {
        if id == GlyphId(0) { self.em * (BOX_EM + 0.12) } else { self.font.h_advance(id) }
    }

    fn draw_box(&self, on: &mut Rgb, x: f32, baseline: f32, color: Color) {
        let (left, right) = ((x + 0.06 * self.em).round() as i64, (x + BOX_EM * self.em).round() as i64);
        let (top, bottom) = ((baseline - BOX_HEIGHT_EM * self.em).round() as i64, baseline.round() as i64);
        let stroke = (self.em / 16.0).round().max(1.0) as i64;
        for y in top..bottom {
            for x in left..right {
                let inside = x >= left + stroke && x < right - stroke && y >= top + stroke && y < bottom - stroke;
                if !inside {
                    blend(on, x, y, color, 1.0);
                }
            }
        }
    }

    /// Parts of a word that each fit: most words whole, long ones (and scripts without spaces) cut
    /// where they must be.
    fn break_word(&self, word: &str, width: f32) -> Vec<String> {
        let mut parts = vec![String::new()];
        for character in word.chars() {
            let part = parts.last().map_or("", String::as_str);
            if !part.is_empty() && self.width(&format!("{part}{character}")) > width {
                parts.push(String::new());
            }
            parts.last_mut().into_iter().for_each(|part| part.push(character));
        }
        parts
    }

    /// The longest beginning of `line` that fits with `…` behind it, of whole words where there is
    /// more than one.
    fn shorten(&self, line: &str, width: f32) -> String {
        let mut kept = line.to_string();
        while self.width(&format!("{kept}…")) > width && !kept.is_empty() {
            kept.truncate(kept.rfind(' ').unwrap_or_else(|| kept.char_indices().next_back().map_or(0, |(at, _)| at)));
        }
        format!("{}…", kept.trim_end())
    }
}

struct Placed {
    id: GlyphId,
    x: f32,
}

/// Text as it can be drawn: composed, control characters as spaces, without the marks that only
/// join or vary others.
fn printable(text: &str) -> String {
    let drawn = text.nfc().filter(|c| !matches!(c, '\u{200b}'..='\u{200f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'));
    drawn.map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn blend(on: &mut Rgb, x: i64, y: i64, color: Color, coverage: f32) {
    if x < 0 || y < 0 || x >= on.width as i64 || y >= on.height as i64 {
        return;
    }
    let at = 3 * (y as usize * on.width + x as usize);
    for (below, above) in on.pixels[at..at + 3].iter_mut().zip(color) {
        let mixed = f32::from(*below) + (f32::from(above) - f32::from(*below)) * coverage.clamp(0.0, 1.0);
        *below = mixed.round() as u8;
    }
}
