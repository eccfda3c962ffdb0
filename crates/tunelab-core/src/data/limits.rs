//! How large a picture may be.
//!
//! In: the width and the height that a header claims. Out: nothing, or the rest of a sentence that begins with the file's
//! name.

/// More pixels than this are refused before anything is allocated: Pillow's own limit for a "decompression bomb".
pub(super) const MAX_PIXELS: u64 = 178_956_970;

/// A picture longer than this many times its width has no sensible square crop, and resizing it would need gigabytes.
const MAX_ASPECT: u32 = 32;

/// Refuses a header that claims more than any photograph has.
pub(super) fn check_size((width, height): (u32, u32)) -> std::result::Result<(), String> {
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 {
        return Err(format!("has no pixels ({width} x {height})"));
    }
    if pixels > MAX_PIXELS {
        return Err(format!("claims {width} x {height} pixels; at most {MAX_PIXELS} pixels are accepted"));
    }
    if width.max(height) > width.min(height).saturating_mul(MAX_ASPECT) {
        return Err(format!("is {width} x {height} pixels; a side may be at most {MAX_ASPECT} times the other"));
    }
    Ok(())
}
