//! Whether an image file is whole, by its structure: without decoding its pixels.
//!
//! In: a file's bytes. Out: the upright width and height, if the file is of a common kind and surely complete. A PNG is where every
//! chunk up to its end has the right checksum; a JPEG where its segments lead to the end marker and its header can be read. Of the
//! rest, and where anything is in doubt, nothing is said: then the pixels decide. What a JPEG's coded data hide is found where it
//! is decoded.

use flate2::Crc;
use image::ImageFormat;

use super::jpeg;
use super::limits::check_size;
use super::orientation::{image_size, png_chunks};

/// Width and height of the upright image in a file that is whole.
pub(super) fn whole_size(bytes: &[u8]) -> Option<(usize, usize)> {
    let is_whole = match image::guess_format(bytes).ok()? {
        ImageFormat::Jpeg => is_whole_jpeg(bytes),
        ImageFormat::Png => is_whole_png(bytes),
        _ => false,
    };
    let [height, width] = if is_whole { image_size(bytes)? } else { return None };
    check_size((width as u32, height as u32)).ok()?;
    Some((width, height))
}

/// A grey or coloured JPEG of 8 bits, baseline or progressive, up to its end marker.
fn is_whole_jpeg(bytes: &[u8]) -> bool {
    const BASELINE: u8 = 0xC0;
    const PROGRESSIVE: u8 = 0xC2;
    // Precision, height and width of two bytes each, components.
    let is_common = matches!(jpeg::frame(bytes), Some((BASELINE | PROGRESSIVE, [8, _, _, _, _, 1 | 3, ..])));
    is_common && jpeg::is_whole(bytes)
}

/// A PNG with pixels whose chunks, from the header to the end, all have the checksum that follows them.
fn is_whole_png(bytes: &[u8]) -> bool {
    let mut has_pixels = false;
    for (index, (name, data, checksum)) in png_chunks(bytes).enumerate() {
        let mut crc = Crc::new();
        crc.update(name);
        crc.update(data);
        if checksum != Some(crc.sum()) || (index == 0) != (name == b"IHDR") {
            return false;
        }
        match name {
            b"IDAT" => has_pixels = true,
            b"IEND" => return has_pixels,
            _ => {}
        }
    }
    false
}
