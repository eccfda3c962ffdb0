//! Stable Diffusion 1.5's networks with random weights.
//!
//! In: nothing but a device and what is trained. Out: networks of the sizes in its config.json files.

use crate::config::Dtype;
use crate::diffusion::NoiseSchedule;
use crate::error::Result;
use crate::model::build::{Build, Parameters, Trained};
use crate::model::clip::{Activation, ClipConfig, ClipText};
use crate::model::unet::{Unet, UnetConfig};
use crate::model::vae::{Vae, VaeConfig};
use candle_core::Device;
use std::path::Path;

/// Seeds the weights, which change no cost.
const SEED: u64 = 1;
/// The longest text, in tokens.
pub const TOKENS: usize = 77;
/// Width of the text's hidden states.
pub const TEXT_WIDTH: usize = 768;
/// Pixels of a picture for one of its latents, in each direction.
pub const DOWNSCALE: usize = 8;
/// Channels of the latents.
pub const LATENT_CHANNELS: usize = 4;
/// `scheduler/scheduler_config.json`, as far as training reads it.
const SCHEDULER: &str = r#"{"_class_name": "PNDMScheduler", "beta_end": 0.012, "beta_schedule": "scaled_linear",
    "beta_start": 0.00085, "num_train_timesteps": 1000, "skip_prk_steps": true, "steps_offset": 1}"#;

/// The noise predictor, with frozen weights of type `dtype`.
pub fn unet(trained: Trained, device: &Device, dtype: Dtype) -> Result<(Unet, Parameters)> {
    Unet::new(&unet_config(), Build::untrained(trained, SEED, device).of_type(dtype))
}

/// Its sizes.
fn unet_config() -> UnetConfig {
    UnetConfig {
        in_channels: LATENT_CHANNELS,
        out_channels: LATENT_CHANNELS,
        sample_size: [64; 2],
        channels: vec![320, 640, 1280, 1280],
        layers: vec![2; 4],
        down_attention: vec![true, true, true, false],
        up_attention: vec![false, true, true, true],
        heads: vec![8; 4],
        transformer_layers: vec![1; 4],
        text: TEXT_WIDTH,
        groups: 32,
        eps: 1e-5,
        flip_sin_to_cos: true,
        freq_shift: 0.0,
        linear_projection: false,
    }
}

/// The autoencoder.
pub fn vae(device: &Device) -> Result<Vae> {
    Ok(Vae::new(&vae_config(), Build::untrained(Trained::Nothing, SEED, device))?.0)
}

/// Its sizes.
pub fn vae_config() -> VaeConfig {
    VaeConfig {
        in_channels: 3,
        out_channels: 3,
        latent_channels: LATENT_CHANNELS,
        channels: vec![128, 256, 512, 512],
        layers: 2,
        groups: 32,
        scaling_factor: 0.18215,
        mid_attention: true,
        quant_conv: true,
        post_quant_conv: true,
    }
}

/// The text encoder.
pub fn text_encoder(device: &Device) -> Result<ClipText> {
    Ok(ClipText::new(&clip_config(), Build::untrained(Trained::Nothing, SEED, device))?.0)
}

/// Its sizes.
pub fn clip_config() -> ClipConfig {
    ClipConfig {
        vocab_size: 49_408,
        positions: TOKENS,
        width: TEXT_WIDTH,
        intermediate: 3072,
        layers: 12,
        heads: 12,
        eps: 1e-5,
        activation: Activation::QuickGelu,
    }
}

/// How noise is added.
pub fn schedule() -> Result<NoiseSchedule> {
    NoiseSchedule::from_config(SCHEDULER, Path::new("scheduler_config.json"))
}
