//! A picture as an encoder wants it: short side resized by Pillow's bicubic filter, centre crop, normalized.
//!
//! In: 8-bit RGB. Out: `pixel_values` [3, S, S], f32. A picture of the judge's own size goes in as [`crate::data::to_tensor`]
//! makes it. DINO follows its authors' evaluation (`Resize(256)`, `CenterCrop(224)`
//! of torchvision) and not the Hugging Face repository's processor, which squeezes a picture to a square; CLIP follows
//! transformers' `CLIPImageProcessorPil`. The two disagree on where the middle of an odd margin is.

use candle_core::{Device, Tensor};

use crate::data::{Rgb, center_crop, center_crop_floor, resize_short_side_bicubic};
use crate::error::Result;

/// What is done to a picture.
#[derive(Debug, Clone, Copy)]
pub struct Preprocessing {
    /// Pixels of the short side for each 224 of the crop.
    short_side: usize,
    /// The middle square; the two differ where a margin is odd.
    crop: fn(&Rgb, usize) -> Rgb,
    mean: [f32; 3],
    std: [f32; 3],
}

/// DINO's (Caron et al. 2021), with the mean and deviation of `ImageNet`.
pub const DINO: Preprocessing =
    Preprocessing { short_side: 256, crop: center_crop, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };

/// CLIP's (Radford et al. 2021).
pub const CLIP: Preprocessing = Preprocessing {
    short_side: 224,
    crop: center_crop_floor,
    mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
    std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
};

/// The judge's: the whole short side, values in [-1, 1].
pub const JUDGE: Preprocessing =
    Preprocessing { short_side: 224, crop: center_crop, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] };

impl Preprocessing {
    /// `pixel_values` [3, `size`, `size`] of one picture.
    pub fn pixel_values(&self, image: &Rgb, size: usize) -> Result<Tensor> {
        let resized = resize_short_side_bicubic(image, (self.short_side * size / 224).max(size));
        let cropped = (self.crop)(&resized, size);
        let plane = |c: usize| {
            let values = cropped.pixels[c..].iter().step_by(3);
            values.map(move |&v| (f32::from(v) / 255.0 - self.mean[c]) / self.std[c])
        };
        let values: Vec<f32> = (0..3).flat_map(plane).collect();
        Ok(Tensor::from_vec(values, (3, size, size), &Device::Cpu)?)
    }
}
