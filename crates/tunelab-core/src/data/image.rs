//! An image file's bytes → upright 8-bit RGB.
//!
//! PNG, JPEG (baseline, progressive, CMYK) and WebP, told apart by their first bytes and never by the file's name. What
//! comes out is what Pillow's `exif_transpose` followed by a paste on white and `convert("RGB")` gives: turned upright, alpha
//! flattened on white, grey replicated, 16 bits rounded to 8, palettes looked up, colour profiles turned into sRGB.
//! (Pillow itself saturates 16-bit grey; here it is scaled.)

use std::io::{Cursor, Read};
use std::path::Path;

use image::codecs::tiff::TiffDecoder;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use super::folder::{open, unreadable};
use super::icc::to_srgb;
use super::jpeg;
use super::limits::{MAX_PIXELS, check_size};
use super::orientation::orientation;
use crate::error::{Error, Result};

/// The remedy for one bad picture.
pub(super) const BROKEN_HINT: &str =
    "replace or remove the file; `skip_broken = true` in [dataset] leaves out files that cannot be read";

/// So many bytes tell every format.
const BEGINNING: u64 = 256;

/// A decoded picture: interleaved 8-bit RGB, row by row from the top, no padding.
#[derive(Clone, PartialEq, Eq)]
pub struct Rgb {
    /// Pixels in a row; at least 1.
    pub width: usize,
    /// Rows; at least 1.
    pub height: usize,
    /// `3 * width * height` bytes.
    pub pixels: Vec<u8>,
}

/// Without the pixels, which would fill screens.
impl std::fmt::Debug for Rgb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rgb({} x {})", self.width, self.height)
    }
}

/// Reads and decodes one image file. Every way in which it can fail is an input error that names the file.
pub fn load_image(path: &Path) -> Result<Rgb> {
    let image = read_picture(path).and_then(|bytes| decode(&bytes));
    image.map_err(|reason| Error::input(format!("`{}` {reason}", path.display())).hint(BROKEN_HINT))
}

/// The bytes of an image file. Of one that does not begin as a picture no more than the beginning is read: a film may be larger
/// than the memory. The error is the rest of a sentence that begins with the file's name.
pub(super) fn read_picture(path: &Path) -> std::result::Result<Vec<u8>, String> {
    let (mut file, _) = open(path)?;
    let mut bytes = Vec::new();
    file.by_ref().take(BEGINNING).read_to_end(&mut bytes).map_err(|e| unreadable(&e))?;
    format_of(&bytes)?;
    file.read_to_end(&mut bytes).map_err(|e| unreadable(&e))?;
    Ok(bytes)
}

/// Decodes a file's bytes. The error is the rest of a sentence that begins with the file's name.
pub(super) fn decode(bytes: &[u8]) -> std::result::Result<Rgb, String> {
    Ok(decode_with_alpha(bytes)?.0)
}

/// As [`decode`], with the opacity of each pixel where the file states it.
pub(super) fn decode_with_alpha(bytes: &[u8]) -> std::result::Result<(Rgb, Option<Vec<u8>>), String> {
    let format = format_of(bytes)?;
    let mut image = if format == ImageFormat::Jpeg { jpeg::decode(bytes)? } else { by_format(format, bytes)? };
    image.apply_orientation(orientation(format, bytes));
    let alpha = image.color().has_alpha().then(|| image.to_rgba8().pixels().map(|pixel| pixel.0[3]).collect());
    Ok((flatten(image), alpha))
}

/// The formats that are read, as words.
pub(super) const FORMATS: &str = "PNG, JPEG, WebP, BMP, GIF and TIFF";

/// One of those that are read, by the first bytes.
fn format_of(bytes: &[u8]) -> std::result::Result<ImageFormat, String> {
    match image::guess_format(bytes).map_err(|_| unknown_format(bytes))? {
        format @ (ImageFormat::Jpeg
        | ImageFormat::Png
        | ImageFormat::WebP
        | ImageFormat::Bmp
        | ImageFormat::Gif
        | ImageFormat::Tiff) => Ok(format),
        ImageFormat::Avif => Err(refused("AVIF")),
        other => Err(refused(&format!("{other:?}"))),
    }
}

fn refused(format: &str) -> String {
    format!("is a {format} file; pictures are read from {FORMATS}, so convert it, say to PNG")
}

/// All but JPEG; of several frames or pages the first.
fn by_format(format: ImageFormat, bytes: &[u8]) -> std::result::Result<DynamicImage, String> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits());
    let mut decoder = reader.into_decoder().map_err(|e| undecodable(format, &e))?;
    check_size(decoder.dimensions())?;
    let profile = match format {
        ImageFormat::Tiff => tiff_profile(bytes),
        _ => decoder.icc_profile().ok().flatten(),
    };
    Ok(to_srgb(DynamicImage::from_decoder(decoder).map_err(|e| undecodable(format, &e))?, profile))
}

/// A TIFF file's colour profile. A decoder that was given limits does not find it.
fn tiff_profile(bytes: &[u8]) -> Option<Vec<u8>> {
    TiffDecoder::new(Cursor::new(bytes)).ok()?.icc_profile().ok()?
}

/// Bounds on side buffers of the decoders; the picture itself is bounded by [`check_size`].
fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_PIXELS * 8);
    limits
}

fn undecodable(format: ImageFormat, cause: &dyn std::fmt::Display) -> String {
    format!("is damaged or cut off: it cannot be decoded as {format:?} ({cause})")
}

fn unknown_format(bytes: &[u8]) -> String {
    match bytes.get(4..12) {
        _ if bytes.is_empty() => "is empty".to_owned(),
        _ if bytes.starts_with(b"version https://git-lfs") => {
            "is a Git LFS pointer and not the picture itself; run `git lfs pull` in its folder".to_owned()
        }
        Some(b"ftypheic" | b"ftypheix" | b"ftypmif1" | b"ftypmsf1") => refused("HEIC"),
        Some(b"ftypavif" | b"ftypavis") => refused("AVIF"),
        _ => format!("is not an image: it does not begin as files of {FORMATS} do"),
    }
}

fn flatten(image: DynamicImage) -> Rgb {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let pixels = if image.color().has_alpha() {
        image.into_rgba8().pixels().flat_map(|p| [0, 1, 2].map(|c| over_white(p.0[c], p.0[3]))).collect()
    } else {
        image.into_rgb8().into_raw()
    };
    Rgb { width, height, pixels }
}

/// `value` with opacity `alpha` on white, with the rounding of Pillow's paste: a division by 255 to nearest.
fn over_white(value: u8, alpha: u8) -> u8 {
    let sum = u32::from(value) * u32::from(alpha) + 255 * (255 - u32::from(alpha)) + 128;
    (((sum >> 8) + sum) >> 8) as u8
}
