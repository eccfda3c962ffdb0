//! Stable Diffusion 2.1's networks and noise schedule, where they differ from 1.5's.
//!
//! In: nothing. Out: configs, for when the model is not on this machine, and for measuring its
//! work.

use super::clip::{Activation, ClipConfig};
use super::sd15;
use super::unet::UnetConfig;
use super::vae::VaeConfig;
use crate::diffusion::NoiseSchedule;
use crate::error::Result;
use std::path::Path;

/// `scheduler/scheduler_config.json`, as far as it is read.
const SCHEDULER: &str = r#"{"_class_name": "DDIMScheduler", "beta_end": 0.012, "beta_schedule": "scaled_linear",
    "beta_start": 0.00085, "num_train_timesteps": 1000, "prediction_type": "v_prediction", "set_alpha_to_one": false,
    "clip_sample": false, "steps_offset": 1}"#;

/// `unet/config.json`.
pub fn unet() -> UnetConfig {
    UnetConfig {
        sample_size: [96; 2],
        num_attention_heads: vec![5, 10, 20, 20],
        cross_attention_dim: 1024,
        use_linear_projection: true,
        ..sd15::unet()
    }
}

/// `vae/config.json`.
pub fn vae() -> VaeConfig {
    sd15::vae()
}

/// `text_encoder/config.json`: OpenCLIP's ViT-H without its last layer.
pub fn text_encoder() -> ClipConfig {
    ClipConfig {
        hidden_size: 1024,
        intermediate_size: 4096,
        num_hidden_layers: 23,
        num_attention_heads: 16,
        hidden_act: Activation::Gelu,
        ..sd15::text_encoder()
    }
}

/// How noise is added.
pub fn schedule() -> Result<NoiseSchedule> {
    NoiseSchedule::from_config(SCHEDULER, Path::new("scheduler/scheduler_config.json"))
}
