//! PNG files that say how they were made.
//!
//! In: an 8-bit RGB image and (keyword, text) pairs. Out: a PNG whose text chunks hold them:
//! `tEXt` where the text is Latin-1, `iTXt` otherwise (PNG specification, 11.3.4). The keyword
//! `parameters` and the form of its text are those of AUTOMATIC1111's web interface, which most
//! viewers of generated images read.

use std::path::Path;

use crate::config::SampleParams;
use crate::data::Rgb;
use crate::error::{Error, Result};

use super::files::write_atomic;

/// What made one image.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageMetadata {
    /// What the image should show.
    pub prompt: String,
    /// How it was drawn; the seed is that of this very image.
    pub params: SampleParams,
    /// What drew it in place of what, if its model is a stand-in.
    pub stand_in: Option<String>,
}

impl ImageMetadata {
    /// The text for the keyword `parameters`.
    pub fn parameters(&self) -> String {
        let Self { prompt, params, stand_in } = self;
        let SampleParams { negative_prompt, steps, sampler, karras, guidance_scale, seed, width, height, .. } = params;
        let karras = if *karras { " karras" } else { "" };
        let stand_in = stand_in.as_ref().map_or_else(String::new, |what| format!(", Stand-in: {what}"));
        let negative =
            if negative_prompt.is_empty() { String::new() } else { format!("\nNegative prompt: {negative_prompt}") };
        format!(
            "{prompt}{negative}\nSteps: {steps}, Sampler: {sampler}{karras}, CFG scale: {guidance_scale}, Seed: {seed}, \
             Size: {width}x{height}{stand_in}"
        )
    }
}

/// Writes `image` to `path` with `text` as (keyword, text) pairs; keywords are ASCII of 1 to 79
/// characters.
pub fn write_png(path: &Path, image: &Rgb, text: &[(&str, &str)]) -> Result<()> {
    write(path, image, text, None)
}

/// Writes a figure that is `pixels_per_inch` fine, so that a text program puts it in at its size on
/// paper.
pub fn write_figure(path: &Path, image: &Rgb, pixels_per_inch: f64) -> Result<()> {
    let per_meter = (pixels_per_inch / 0.0254).round() as u32;
    let fine = png::PixelDimensions { xppu: per_meter, yppu: per_meter, unit: png::Unit::Meter };
    write(path, image, &[], Some(fine))
}

/// The bytes of an image's file, without any text.
pub fn png_bytes(image: &Rgb) -> Result<Vec<u8>> {
    encode(image, &[], None).map_err(|e| Error::run("an image cannot be encoded as PNG").cause(e))
}

fn write(path: &Path, image: &Rgb, text: &[(&str, &str)], fine: Option<png::PixelDimensions>) -> Result<()> {
    let bytes = encode(image, text, fine)
        .map_err(|e| Error::run(format!("{} cannot be encoded as PNG", path.display())).cause(e))?;
    write_atomic(path, &bytes)
}

/// The (keyword, text) pairs of a PNG file, in the file's order, `tEXt` before `iTXt`.
pub fn read_text(path: &Path) -> Result<Vec<(String, String)>> {
    let broken = |e: png::DecodingError| Error::input(format!("{} is not a readable PNG", path.display())).cause(e);
    let file = std::io::BufReader::new(fs_err::File::open(path)?);
    let mut reader = png::Decoder::new(file).read_info().map_err(broken)?;
    reader.finish().map_err(broken)?;
    let info = reader.info();
    let latin1 = info.uncompressed_latin1_text.iter().map(|chunk| (chunk.keyword.clone(), chunk.text.clone()));
    let utf8 = info.utf8_text.iter().map(|chunk| Ok((chunk.keyword.clone(), chunk.get_text().map_err(broken)?)));
    latin1.map(Ok).chain(utf8).collect()
}

fn encode(
    image: &Rgb,
    text: &[(&str, &str)],
    fine: Option<png::PixelDimensions>,
) -> std::result::Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, image.width as u32, image.height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_pixel_dims(fine);
    for (keyword, text) in text {
        // A zero byte ends a text chunk; nothing else is forbidden.
        let text = text.replace('\0', "");
        if text.chars().all(|c| u32::from(c) < 256) {
            encoder.add_text_chunk((*keyword).to_string(), text)?;
        } else {
            encoder.add_itxt_chunk((*keyword).to_string(), text)?;
        }
    }
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&image.pixels)?;
    writer.finish()?;
    Ok(bytes)
}
