//! Whether an image file is whole, by its structure: without decoding its pixels.
//!
//! In: a file's bytes. Out: the upright width and height, if the file is of a common kind and surely complete. A PNG is where every
//! chunk up to its end has the right checksum; a JPEG where its segments lead to the end marker and its header can be read. Of the
//! rest, and where anything is in doubt, nothing is said: then the pixels decide. What a JPEG's coded data hide is found where it
//! is decoded.

use flate2::Crc;
use image::ImageFormat;
use jpeg_decoder::{Decoder, PixelFormat};

use super::jpeg;
use super::limits::check_size;
use super::orientation::{orientation, turns};

/// Width and height of the upright image in a file that is whole.
pub(super) fn whole_size(bytes: &[u8]) -> Option<(usize, usize)> {
    let format = image::guess_format(bytes).ok()?;
    let (width, height) = match format {
        ImageFormat::Jpeg => jpeg_size(bytes)?,
        ImageFormat::Png => png_size(bytes)?,
        _ => return None,
    };
    check_size((width, height)).ok()?;
    let (width, height) = (width as usize, height as usize);
    Some(if turns(orientation(format, bytes)) { (height, width) } else { (width, height) })
}

/// Of a grey or coloured JPEG, baseline or progressive.
fn jpeg_size(bytes: &[u8]) -> Option<(u32, u32)> {
    const BASELINE: u8 = 0xC0;
    const PROGRESSIVE: u8 = 0xC2;
    let mut markers = jpeg::segments(bytes).map(|(marker, _)| marker);
    // 0xC4, 0xC8 and 0xCC are no frames.
    let frame = markers.find(|marker| matches!(marker, 0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF))?;
    if ![BASELINE, PROGRESSIVE].contains(&frame) || !jpeg::is_whole(bytes) {
        return None;
    }
    let mut decoder = Decoder::new(bytes);
    decoder.read_info().ok()?;
    let info = decoder.info()?;
    let is_common = matches!(info.pixel_format, PixelFormat::L8 | PixelFormat::RGB24);
    is_common.then(|| (u32::from(info.width), u32::from(info.height)))
}

/// Of a PNG whose chunks all have the checksum that follows them.
fn png_size(bytes: &[u8]) -> Option<(u32, u32)> {
    let mut rest = bytes.get(8..)?;
    let mut size = None;
    let mut has_pixels = false;
    loop {
        let (length, after) = rest.split_first_chunk()?;
        let length = u32::from_be_bytes(*length) as usize;
        let named = after.get(..4_usize.checked_add(length)?)?;
        let (checksum, next) = after[named.len()..].split_first_chunk()?;
        let mut crc = Crc::new();
        crc.update(named);
        if crc.sum() != u32::from_be_bytes(*checksum) {
            return None;
        }
        let (name, data) = named.split_at(4);
        match (name, size) {
            (b"IHDR", None) => {
                let number = |at: usize| Some(u32::from_be_bytes(*data.get(at..)?.first_chunk()?));
                size = Some((number(0)?, number(4)?));
            }
            (_, None) => return None,
            (b"IDAT", _) => has_pixels = true,
            (b"IEND", _) => return size.filter(|_| has_pixels),
            _ => {}
        }
        rest = next;
    }
}
