//! Which way up a picture is stored, and how large it is upright.
//!
//! In: a file's bytes. Out: height and width of the upright image by its header; and the turn that sets it upright, found where Pillow's `exif_transpose` finds it: EXIF in the
//! format's own place, in PNG else the text chunk `Raw profile type exif`; and only where EXIF says nothing of it,
//! `tiff:Orientation` of XMP. In PNG all of them may stand behind the pixels. What cannot be read counts as not there: a bad tag must
//! not lose a good picture.

use std::borrow::Cow;
use std::io::Cursor;

use image::metadata::Orientation;
use image::{ImageDecoder, ImageFormat, ImageReader};

use super::jpeg::{APP1, SOS, segments};

/// The most bytes that a compressed text may have; Pillow's own limit.
const MAX_TEXT: usize = 1 << 20;

/// What a file holds of metadata; EXIF and XMP as they lie there.
#[derive(Default)]
struct Metadata<'a> {
    exif: Option<Cow<'a, [u8]>>,
    /// PNG only: EXIF as hexadecimal text, as `ImageMagick` writes it.
    raw_profile: Option<Cow<'a, [u8]>>,
    xmp: Option<Cow<'a, [u8]>>,
}

/// Height and width of an upright image, by what its file's header claims.
pub fn image_size(bytes: &[u8]) -> Option<[usize; 2]> {
    let format = image::guess_format(bytes).ok()?;
    let (width, height) = if format == ImageFormat::Jpeg {
        let mut decoder = jpeg_decoder::Decoder::new(bytes);
        decoder.read_info().ok()?;
        let info = decoder.info()?;
        (u32::from(info.width), u32::from(info.height))
    } else {
        ImageReader::with_format(Cursor::new(bytes), format).into_decoder().ok()?.dimensions()
    };
    let [height, width] = [height as usize, width as usize];
    Some(if turns(orientation(format, bytes)) { [width, height] } else { [height, width] })
}

/// The turn that sets the picture upright.
pub(super) fn orientation(format: ImageFormat, bytes: &[u8]) -> Orientation {
    let found = match format {
        ImageFormat::Jpeg => jpeg(bytes),
        ImageFormat::Png => png(bytes),
        ImageFormat::WebP => webp(bytes),
        // A TIFF file is what EXIF is laid out as.
        ImageFormat::Tiff => Metadata { exif: Some(bytes.into()), ..Metadata::default() },
        _ => Metadata::default(),
    };
    let exif = found.exif.or_else(|| found.raw_profile.and_then(|text| from_hexadecimal(&text)).map(Cow::Owned));
    let number = exif.and_then(|exif| in_exif(&exif)).or_else(|| found.xmp.and_then(|xmp| in_xmp(&xmp)));
    let number = number.and_then(|number| u8::try_from(number).ok());
    number.and_then(Orientation::from_exif).unwrap_or(Orientation::NoTransforms)
}

/// Whether width and height change places.
pub(super) fn turns(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(orientation, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH)
}

/// EXIF may be spread over several segments, each with the prefix.
fn jpeg(bytes: &[u8]) -> Metadata<'_> {
    let mut found = Metadata::default();
    for (_, data) in segments(bytes).take_while(|(marker, _)| *marker != SOS).filter(|(marker, _)| *marker == APP1) {
        if let Some(part) = data.strip_prefix(b"Exif\0\0") {
            found.exif.get_or_insert_default().to_mut().extend(part);
        } else if let Some(xmp) = data.strip_prefix(b"http://ns.adobe.com/xap/1.0/\0") {
            found.xmp = Some(xmp.into());
        }
    }
    found
}

/// The last chunk of a kind wins.
fn png(bytes: &[u8]) -> Metadata<'_> {
    let mut found = Metadata::default();
    let (mut is_animated, mut has_pixels) = (false, false);
    for (name, data, _) in png_chunks(bytes) {
        match name {
            b"eXIf" => found.exif = Some(data.into()),
            b"tEXt" | b"zTXt" | b"iTXt" => {
                let Some((keyword, text)) = png_text(*name, data) else { continue };
                match keyword {
                    b"exif" if name == b"tEXt" => found.exif = Some(text),
                    b"Raw profile type exif" => found.raw_profile = Some(text),
                    b"XML:com.adobe.xmp" => found.xmp = Some(text),
                    _ => {}
                }
            }
            // More than one frame.
            b"acTL" => is_animated = data.first_chunk().is_some_and(|n| u32::from_be_bytes(*n) > 1),
            b"IDAT" => has_pixels = true,
            b"fcTL" if is_animated && has_pixels => break,
            _ => {}
        }
    }
    found
}

/// The chunks of a PNG: name, data and the checksum behind them if that is there, up to its end or where it is cut off.
pub(super) fn png_chunks(bytes: &[u8]) -> impl Iterator<Item = (&[u8; 4], &[u8], Option<u32>)> {
    let mut rest = bytes.get(8..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk()?;
        let (name, after) = after.split_first_chunk()?;
        let data = after.get(..u32::from_be_bytes(*length) as usize)?;
        let checksum = after[data.len()..].first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
        rest = after.get(data.len() + 4..).unwrap_or_default();
        Some((name, data, checksum))
    })
}

/// A text chunk's keyword, and its text if that can be unpacked.
fn png_text(chunk: [u8; 4], data: &[u8]) -> Option<(&[u8], Cow<'_, [u8]>)> {
    let (keyword, rest) = split_at_zero(data)?;
    let unpack = |packed: &[u8]| fdeflate::decompress_to_vec_bounded(packed, MAX_TEXT).ok().map(Cow::Owned);
    let text = match &chunk {
        b"tEXt" => Some(rest.into()),
        b"zTXt" => unpack(rest.strip_prefix(&[0])?),
        _ => {
            let (&[is_packed, method], rest) = rest.split_first_chunk()?;
            let (_language, rest) = split_at_zero(rest)?;
            let (_translated, text) = split_at_zero(rest)?;
            match (is_packed, method) {
                (0, _) => Some(text.into()),
                (_, 0) => unpack(text),
                _ => None,
            }
        }
    };
    Some((keyword, text?))
}

fn split_at_zero(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let zero = bytes.iter().position(|&byte| byte == 0)?;
    Some((&bytes[..zero], &bytes[zero + 1..]))
}

/// The first chunk of a kind wins, if the file's header says that there is one.
fn webp(bytes: &[u8]) -> Metadata<'_> {
    const EXIF: u8 = 0x08;
    const XMP: u8 = 0x04;
    let mut found = Metadata::default();
    let mut announced = 0;
    for (name, data) in webp_chunks(bytes) {
        match name {
            b"VP8X" => announced = data.first().copied().unwrap_or(0),
            b"EXIF" if announced & EXIF != 0 => found.exif = found.exif.or(Some(data.into())),
            b"XMP " if announced & XMP != 0 => found.xmp = found.xmp.or(Some(data.into())),
            _ => {}
        }
    }
    found
}

/// The chunks of a WebP file: name and data.
fn webp_chunks(bytes: &[u8]) -> impl Iterator<Item = (&[u8; 4], &[u8])> {
    let mut rest = bytes.get(12..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (name, after) = rest.split_first_chunk()?;
        let (length, after) = after.split_first_chunk()?;
        let data = after.get(..u32::from_le_bytes(*length) as usize)?;
        rest = after.get(data.len().next_multiple_of(2)..).unwrap_or_default();
        Some((name, data))
    })
}

/// What `Raw profile type exif` spells: three lines of heading, then hexadecimal digits in lines.
fn from_hexadecimal(text: &[u8]) -> Option<Vec<u8>> {
    let lines = text.split(|&byte| byte == b'\n').skip(3);
    let digits: Option<Vec<u8>> = lines
        .flatten()
        .filter(|byte| !byte.is_ascii_whitespace())
        .map(|&byte| char::from(byte).to_digit(16).map(|digit| digit as u8))
        .collect();
    let digits = digits?;
    let (pairs, rest) = digits.as_chunks();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]: &[u8; 2]| high << 4 | low).collect())
}

/// The tag "orientation" of EXIF's first directory: TIFF, whose prefix some writers repeat. A value of an unusual type counts
/// as upright, as in Pillow, and XMP is not asked.
fn in_exif(exif: &[u8]) -> Option<u32> {
    const ORIENTATION: u16 = 0x0112;
    const PREFIX: &[u8] = b"Exif\0\0";
    let tiff = exif.strip_prefix(PREFIX).unwrap_or(exif);
    let tiff = tiff.strip_prefix(PREFIX).unwrap_or(tiff);
    let is_little = match tiff.get(..4)? {
        b"II*\0" | b"II\0*" => true,
        b"MM\0*" | b"MM*\0" => false,
        _ => return None,
    };
    let short = |at: usize| {
        let bytes = tiff.get(at..)?.first_chunk()?;
        Some(if is_little { u16::from_le_bytes(*bytes) } else { u16::from_be_bytes(*bytes) })
    };
    let long = |at: usize| {
        let bytes = tiff.get(at..)?.first_chunk()?;
        Some(if is_little { u32::from_le_bytes(*bytes) } else { u32::from_be_bytes(*bytes) })
    };
    let directory = long(4)? as usize;
    let mut found = None;
    for entry in (0..usize::from(short(directory)?)).map(|index| directory + 2 + 12 * index) {
        let (Some(tag), Some(kind), Some(count)) = (short(entry), short(entry + 2), long(entry + 4)) else { break };
        if tag != ORIENTATION || count == 0 {
            continue;
        }
        // What has no room in the entry lies elsewhere.
        let place =
            |size: u32| if u64::from(size) * u64::from(count) > 4 { long(entry + 8) } else { Some(entry as u32 + 8) };
        let value = match kind {
            3 | 8 => place(2).and_then(|at| short(at as usize)).map(u32::from),
            4 | 9 | 13 => place(4).and_then(|at| long(at as usize)),
            1..=12 | 16 => Some(1),
            _ => None,
        };
        found = found.or(value);
    }
    found
}

/// The digit behind the first `tiff:Orientation="` or `tiff:Orientation>`.
fn in_xmp(xmp: &[u8]) -> Option<u32> {
    const NAME: &[u8] = b"tiff:Orientation";
    let after = (0..xmp.len()).filter_map(|at| xmp[at..].strip_prefix(NAME));
    let mut digits = after.filter_map(|rest| {
        let value = rest.strip_prefix(b"=\"").or_else(|| rest.strip_prefix(b">"))?;
        char::from(*value.first()?).to_digit(10)
    });
    digits.next()
}
