//! Which family a model folder is of, and what it is where it is of none.
//!
//! In: the pipeline's class, or the names of the files. Out: the [`Family`], or what people call
//! such a model, for the refusal.

use std::collections::BTreeSet;

use crate::error::{Error, Result};
use crate::pipeline::Family;

/// Beginnings of pipeline classes, the longer ones first, and what they are.
const PIPELINES: [(&str, &str); 19] = [
    ("StableDiffusionXLImg2Img", "the refiner of Stable Diffusion XL"),
    ("StableDiffusionXLInpaint", "an inpainting model of Stable Diffusion XL"),
    ("StableDiffusion3", "Stable Diffusion 3"),
    ("StableDiffusionInpaint", "an inpainting model"),
    ("StableDiffusionInstructPix2Pix", "InstructPix2Pix, which edits pictures"),
    ("StableDiffusionUpscale", "an upscaler"),
    ("StableDiffusionLatentUpscale", "an upscaler"),
    ("StableDiffusionDepth2Img", "a depth-to-image model"),
    ("StableDiffusionImageVariation", "an image-variation model"),
    ("StableDiffusionControlNet", "a model with a ControlNet"),
    ("LatentConsistencyModel", "a latent consistency model"),
    ("Flux", "Flux"),
    ("Kandinsky", "Kandinsky"),
    ("PixArt", "PixArt"),
    ("Sana", "Sana"),
    ("StableCascade", "Stable Cascade"),
    ("Kolors", "Kolors"),
    ("HunyuanDiT", "Hunyuan-DiT"),
    ("QwenImage", "Qwen-Image"),
];

/// What a pipeline of this class is, if it is known and of another kind.
pub(super) fn of_class(class: &str) -> Option<&'static str> {
    PIPELINES.iter().find(|(start, _)| class.starts_with(start)).map(|(_, what)| *what)
}

/// The family of a folder or repository with these files. Errors if there are parts of another
/// kind, before anything of it is read or fetched.
pub(super) fn of_names(names: &BTreeSet<String>, place: &str) -> Result<Family> {
    let has = |folder: &str| names.iter().any(|name| name.starts_with(folder));
    let what = match () {
        () if has("transformer/") => {
            "a model with a transformer in place of the UNet (Stable Diffusion 3, Flux and the like)"
        }
        () if has("text_encoder_2/") && has("text_encoder/") => return Ok(Family::Sdxl),
        () if has("text_encoder_2/") => "the refiner of Stable Diffusion XL",
        () if has("image_encoder/") && !has("text_encoder/") => "an image-variation or video model",
        () => return Ok(Family::Sd1),
    };
    Err(Error::input(format!("{place}: this is {what}, which is not supported")).hint(REMEDY))
}

/// What to take in its place.
pub(super) const REMEDY: &str =
    "take a model of Stable Diffusion 1.x, 2.x or XL, such as stable-diffusion-v1-5/stable-diffusion-v1-5";
