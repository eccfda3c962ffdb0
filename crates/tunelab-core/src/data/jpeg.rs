//! A JPEG file's bytes → its pixels, and its segments.
//!
//! In: a whole file, baseline or progressive, its components in one scan or in several, of any subsampling. Out: grey or RGB
//! pixels as Pillow has them. Samples may differ from libjpeg's by a few of 255, because the standard leaves the inverse
//! transform's rounding open. (libjpeg stretches the halved chroma of a picture of four pixels' width and less in another way.)
//!
//! `image` brings zune-jpeg, which decodes baseline files with several scans to green stripes, and others to wrong edges, without
//! an error; so `jpeg-decoder` is asked, which is slower and right.

use image::{DynamicImage, GrayImage, RgbImage};
use jpeg_decoder::{ColorTransform, Decoder, Error, PixelFormat};

use super::icc::{inks_to_srgb, to_srgb};
use super::limits::check_size;

/// Markers of segments that matter here.
const SOI: u8 = 0xD8;
const EOI: u8 = 0xD9;
pub(super) const SOS: u8 = 0xDA;
pub(super) const APP0: u8 = 0xE0;
pub(super) const APP1: u8 = 0xE1;
const APP14: u8 = 0xEE;

/// Decodes a file that begins as a JPEG does. The error is the rest of a sentence that begins with the file's name.
pub(super) fn decode(bytes: &[u8]) -> Result<DynamicImage, String> {
    if !is_whole(bytes) {
        return Err("is cut off: the JPEG data ends before its end marker".to_owned());
    }
    let mut decoder = Decoder::new(bytes);
    decoder.read_info().map_err(|e| undecodable(&e))?;
    let info = decoder.info().ok_or("is damaged: its JPEG data has no frame")?;
    let (width, height) = (u32::from(info.width), u32::from(info.height));
    check_size((width, height))?;
    if let Some(transform) = transform(bytes, info.pixel_format) {
        decoder.set_color_transform(transform);
    }
    let samples = decoder.decode().map_err(|e| undecodable(&e))?;
    let profile = decoder.icc_profile();
    let image = match info.pixel_format {
        PixelFormat::L8 => GrayImage::from_raw(width, height, samples).map(DynamicImage::from),
        PixelFormat::RGB24 => RgbImage::from_raw(width, height, samples).map(DynamicImage::from),
        PixelFormat::CMYK32 => {
            let colors = profile.as_deref().and_then(|profile| inks_to_srgb(&samples, profile));
            let colors = colors.unwrap_or_else(|| on_paper(&samples));
            return RgbImage::from_raw(width, height, colors).map(DynamicImage::from).ok_or_else(too_few);
        }
        PixelFormat::L16 => return Err(unread("samples of more than 8 bits")),
    };
    Ok(to_srgb(image.ok_or_else(too_few)?, profile))
}

fn too_few() -> String {
    "is damaged: its JPEG data has too few pixels".to_owned()
}

fn undecodable(error: &Error) -> String {
    match error {
        Error::Unsupported(what) => unread(&format!("{what:?}")),
        _ => format!("is damaged or cut off: it cannot be decoded as Jpeg ({error})"),
    }
}

fn unread(what: &str) -> String {
    format!("is a JPEG of a kind that is not read ({what}); convert it, say to PNG")
}

/// What the samples mean, by libjpeg's rules: JFIF's marker, then Adobe's, then the components' names. `None` for grey.
fn transform(bytes: &[u8], format: PixelFormat) -> Option<ColorTransform> {
    let header = || segments(bytes).take_while(|(marker, _)| *marker != SOS);
    let adobe = header().filter(|(marker, data)| *marker == APP14 && data.starts_with(b"Adobe"));
    let adobe = adobe.last().and_then(|(_, data)| data.get(11).copied());
    let is_jfif = header().any(|(marker, data)| marker == APP0 && data.starts_with(b"JFIF\0"));
    let frame = frame(bytes).map(|(_, data)| data).unwrap_or_default();
    let name = |component: usize| frame.get(6 + 3 * component).copied();
    let is_named_rgb = [0, 1, 2].map(name) == [Some(b'R'), Some(b'G'), Some(b'B')];
    match (format, adobe) {
        (PixelFormat::L8 | PixelFormat::L16, _) => None,
        (PixelFormat::CMYK32, None | Some(0)) => Some(ColorTransform::CMYK),
        (PixelFormat::CMYK32, Some(_)) => Some(ColorTransform::YCCK),
        (PixelFormat::RGB24, Some(0)) if !is_jfif => Some(ColorTransform::RGB),
        (PixelFormat::RGB24, None) if !is_jfif && is_named_rgb => Some(ColorTransform::RGB),
        (PixelFormat::RGB24, _) => Some(ColorTransform::YCbCr),
    }
}

/// The frame's marker and header, if it comes before the first scan.
pub(super) fn frame(bytes: &[u8]) -> Option<(u8, &[u8])> {
    // 0xC4, 0xC8 and 0xCC are tables and extensions among the frames' markers.
    let is_frame = |marker: u8| (0xC0..=0xCF).contains(&marker) && ![0xC4, 0xC8, 0xCC].contains(&marker);
    segments(bytes).take_while(|(marker, _)| *marker != SOS).find(|(marker, _)| is_frame(*marker))
}

/// CMYK to RGB, with Pillow's rounding.
fn on_paper(samples: &[u8]) -> Vec<u8> {
    let pixels = samples.as_chunks().0.iter();
    pixels
        .flat_map(|&[c, m, y, k]: &[u8; 4]| {
            let light = 255 - k;
            [c, m, y].map(|ink| light - share(ink, light))
        })
        .collect()
}

/// `a * b / 255`, to nearest; never more than either.
pub(super) fn share(a: u8, b: u8) -> u8 {
    let sum = u32::from(a) * u32::from(b) + 128;
    (((sum >> 8) + sum) >> 8) as u8
}

/// The marker segments of a file in order: the marker's second byte and what the segment holds. The first scan's coded data, and
/// all after it, is passed over to the next marker. Ends before a segment that is cut off.
pub(super) fn segments(bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut at = 2;
    std::iter::from_fn(move || {
        loop {
            let &[first, marker] = bytes.get(at..at + 2)? else { return None };
            match (first, marker) {
                // A stuffed zero, a restart or another marker that stands alone.
                (0xFF, 0x00 | 0x01 | 0xD0..=SOI) => at += 2,
                (0xFF, EOI) => {
                    at = bytes.len();
                    return Some((EOI, &bytes[at..]));
                }
                (0xFF, 0x02..=0xFE) => {
                    let length = usize::from(u16::from_be_bytes([*bytes.get(at + 2)?, *bytes.get(at + 3)?]));
                    let data = bytes.get(at + 4..at + 2 + length.max(2));
                    at += 2 + length;
                    return Some((marker, data?));
                }
                // Coded data, or a fill byte before a marker.
                _ => at += 1,
            }
        }
    })
}

/// Whether the end marker is reached when the segments are walked from the start.
///
/// The decoder may fill what is missing with grey and say nothing, and looking at the last two bytes alone is not enough: an
/// embedded thumbnail ends in the same marker, and phones append data after it.
pub(super) fn is_whole(bytes: &[u8]) -> bool {
    segments(bytes).any(|(marker, _)| marker == EOI)
}
