//! Stable Diffusion 1.5's networks with random weights.
//!
//! In: nothing but a device and what is trained. Out: networks of the sizes in its config.json
//! files.

use crate::error::Result;
use crate::model::Dtype;
use crate::model::build::{Build, Parameters, Trainable};
use crate::model::clip::ClipText;
use crate::model::sd15;
use crate::model::unet::Unet;
use crate::model::vae::Vae;
use candle_core::Device;

/// Seeds the weights, which change no cost.
const SEED: u64 = 1;

/// The noise predictor, with frozen weights of type `dtype`.
pub fn unet(trained: Trainable, device: &Device, dtype: Dtype) -> Result<(Unet, Parameters)> {
    Unet::new(&sd15::unet(), Build::untrained(trained, SEED, device).of_type(dtype))
}

/// The autoencoder.
pub fn vae(device: &Device) -> Result<Vae> {
    Ok(Vae::new(&sd15::vae(), Build::untrained(Trainable::None, SEED, device))?.0)
}

/// The text encoder.
pub fn text_encoder(device: &Device) -> Result<ClipText> {
    Ok(ClipText::new(&sd15::text_encoder(), Build::untrained(Trainable::None, SEED, device))?.0)
}
