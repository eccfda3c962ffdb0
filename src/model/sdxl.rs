//! The networks and the noise schedule of Stable Diffusion XL's base model (Podell et al. 2023), by
//! the values of its config.json files.
//!
//! In: nothing. Out: configs, for when the model is not on this machine, and for measuring its
//! work.

use super::clip::{Activation, ClipConfig};
use super::sd15;
use super::unet::{TextTime, UnetConfig};
use super::vae::VaeConfig;
use crate::diffusion::NoiseSchedule;
use crate::error::Result;
use std::path::Path;

/// `scheduler/scheduler_config.json`, as far as it is read.
const SCHEDULER: &str = r#"{"_class_name": "EulerDiscreteScheduler", "beta_end": 0.012, "beta_schedule": "scaled_linear",
    "beta_start": 0.00085, "num_train_timesteps": 1000, "prediction_type": "epsilon", "steps_offset": 1,
    "timestep_spacing": "leading", "interpolation_type": "linear", "use_karras_sigmas": false}"#;

/// `unet/config.json`.
pub fn unet() -> UnetConfig {
    UnetConfig {
        sample_size: [128; 2],
        block_out_channels: vec![320, 640, 1280],
        layers_per_block: vec![2; 3],
        down_attention: vec![false, true, true],
        up_attention: vec![true, true, false],
        num_attention_heads: vec![5, 10, 20],
        transformer_layers_per_block: vec![1, 2, 10],
        cross_attention_dim: 2048,
        use_linear_projection: true,
        text_time: Some(TextTime { time_embed_dim: 256, input_dim: 2816 }),
        ..sd15::unet()
    }
}

/// `vae/config.json`.
pub fn vae() -> VaeConfig {
    VaeConfig { scaling_factor: 0.13025, ..sd15::vae() }
}

/// `text_encoder/config.json`: the CLIP of Stable Diffusion 1.x.
pub fn text_encoder() -> ClipConfig {
    sd15::text_encoder()
}

/// `text_encoder_2/config.json`: OpenCLIP's bigG.
pub fn text_encoder_2() -> ClipConfig {
    ClipConfig {
        hidden_size: 1280,
        intermediate_size: 5120,
        num_hidden_layers: 32,
        num_attention_heads: 20,
        hidden_act: Activation::Gelu,
        projection_dim: Some(1280),
        ..sd15::text_encoder()
    }
}

/// How noise is added.
pub fn schedule() -> Result<NoiseSchedule> {
    NoiseSchedule::from_config(SCHEDULER, Path::new("scheduler/scheduler_config.json"))
}
