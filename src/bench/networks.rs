//! The sizes of Stable Diffusion 1.5's networks.
//!
//! In: nothing. Out: what its config.json files say, for networks of random weights.

use crate::diffusion::NoiseSchedule;
use crate::error::Result;
use crate::model::clip::{Activation, ClipConfig};
use crate::model::unet::UnetConfig;
use crate::model::vae::VaeConfig;
use crate::pipeline::{Configs, Family};
use crate::weights::PartName;
use std::collections::BTreeMap;
use std::path::Path;

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

/// The sizes of its networks, and how noise is added.
pub fn configs() -> Result<Configs> {
    Ok(Configs {
        family: Family::Sd1,
        unet: unet_config(),
        vae: vae_config(),
        text_encoders: BTreeMap::from([(PartName::TextEncoder, clip_config())]),
        schedule: NoiseSchedule::from_config(SCHEDULER, Path::new("scheduler_config.json"))?,
    })
}

/// The noise predictor.
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
