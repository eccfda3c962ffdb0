//! Masks: where in an image the loss counts.
//!
//! In: `x.mask.png` beside `x.jpg`, of the same size, white where the loss counts and black or transparent where it does not; or an image's alpha
//! channel, if anything in it is transparent. Out: a [`Mask`], resized and cropped as its image, and averaged down to latents (as kohya's sd-scripts: their mode
//! "area"). A mask that is black all over is an error: nothing would be learned from its image.

use super::image::{Rgb, decode_with_alpha, read_picture};
use super::picture::Picture;
use super::shapes::Cut;
use super::transform::flip;
use crate::error::{Error, Result};

/// A mask, resized with its image; grey.
#[derive(Debug, Clone)]
pub struct Mask {
    resized: Rgb,
    cut: Cut,
}

impl Mask {
    /// The mask of a picture that is cut so; `None`: it has none. What is wrong is the rest of a sentence that begins with
    /// the name of the file.
    ///
    /// # Errors
    /// The file cannot be read or has another size, or the mask is black all over or, where the middle is trained alone, there.
    pub fn of(picture: &Picture, cut: Cut, center_crop: bool) -> Result<Option<Self>> {
        let name = || picture.mask_file().unwrap_or_else(|| picture.file()).display().to_string();
        let fault = |reason: String| Error::input(format!("`{}` {reason}", name())).hint(HINT);
        let Some(mask) = load(picture).map_err(fault)? else { return Ok(None) };
        if mask.pixels.iter().all(|&value| value == 0) {
            return Err(fault("is black all over as a mask: nothing would be learned from its image".to_owned()));
        }
        let mask = Self { resized: cut.resize(&mask), cut };
        if center_crop && mask.cut.crop(&mask.resized, cut.center()).pixels.iter().all(|&value| value == 0) {
            return Err(fault("is black in all of its image that is trained, the centre crop".to_owned()));
        }
        Ok(Some(mask))
    }

    /// The centre crop's.
    pub fn centered(&self, flipped: bool, downscale: usize) -> Vec<f32> {
        self.at(self.cut.center(), flipped, downscale)
    }

    /// The mask of the crop at `corner`, averaged over squares of `downscale` pixels: `[h, w]` row by row, from 0 to 1.
    pub fn at(&self, corner: [usize; 2], flipped: bool, downscale: usize) -> Vec<f32> {
        let part = self.cut.crop(&self.resized, corner);
        let part = if flipped { flip(&part) } else { part };
        let (rows, columns) = (part.height / downscale, part.width / downscale);
        let mut means = Vec::with_capacity(rows * columns);
        for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
            let mut sum = 0_u32;
            for y in row * downscale..(row + 1) * downscale {
                let start = (y * part.width + column * downscale) * 3;
                sum += part.pixels[start..start + 3 * downscale].iter().step_by(3).map(|&v| u32::from(v)).sum::<u32>();
            }
            means.push(sum as f32 / (255 * downscale * downscale) as f32);
        }
        means
    }
}

/// The remedy for a mask.
const HINT: &str = "paint white what is to be learned, in a file `x.mask.png` of the size of `x.jpg`, or remove the mask: an image \
                    without one counts everywhere";

/// A mask as it lies there, of its picture's size.
fn load(picture: &Picture) -> std::result::Result<Option<Rgb>, String> {
    let (width, height) = (picture.width, picture.height);
    let Some(file) = picture.mask_file() else {
        let (_, alpha) = decode_with_alpha(&read_picture(picture.file())?)?;
        // Some formats state an opacity whether anything is transparent or not.
        let alpha = alpha.filter(|alpha| alpha.iter().any(|&a| a != 255));
        return Ok(alpha.map(|alpha| Rgb { width, height, pixels: alpha.iter().flat_map(|a| [*a; 3]).collect() }));
    };
    let (mask, alpha) = decode_with_alpha(&read_picture(file)?)?;
    if (mask.width, mask.height) != (width, height) {
        return Err(format!("is {} x {} pixels, and its image is {width} x {height}", mask.width, mask.height));
    }
    let grey = mask.pixels.as_chunks::<3>().0.iter().map(|&rgb| luminance(rgb));
    // It was laid on white; what is transparent in a mask is black.
    let opacity = alpha.into_iter().flatten().chain(std::iter::repeat(255));
    let grey = grey.zip(opacity).flat_map(|(grey, opacity)| [grey.saturating_sub(255 - opacity); 3]).collect();
    Ok(Some(Rgb { pixels: grey, ..mask }))
}

/// Grey as Pillow's `convert("L")` has it.
fn luminance([r, g, b]: [u8; 3]) -> u8 {
    ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as u8
}
