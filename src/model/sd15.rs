//! Stable Diffusion 1.5's networks and noise schedule, by the values of its config.json files.
//!
//! In: nothing. Out: configs, for when the model is not on this machine, and for measuring its
//! work.

use super::clip::{Activation, ClipConfig};
use super::unet::UnetConfig;
use super::vae::VaeConfig;
use crate::diffusion::NoiseSchedule;
use crate::error::Result;
use std::path::Path;

/// `scheduler/scheduler_config.json`, as far as it is read.
const SCHEDULER: &str = r#"{"_class_name": "PNDMScheduler", "beta_end": 0.012, "beta_schedule": "scaled_linear",
    "beta_start": 0.00085, "num_train_timesteps": 1000, "skip_prk_steps": true, "steps_offset": 1}"#;

/// `unet/config.json`.
pub fn unet() -> UnetConfig {
    UnetConfig {
        in_channels: 4,
        out_channels: 4,
        sample_size: [64; 2],
        block_out_channels: vec![320, 640, 1280, 1280],
        layers_per_block: vec![2; 4],
        down_attention: vec![true, true, true, false],
        up_attention: vec![false, true, true, true],
        num_attention_heads: vec![8; 4],
        transformer_layers_per_block: vec![1; 4],
        cross_attention_dim: 768,
        norm_num_groups: 32,
        norm_eps: 1e-5,
        flip_sin_to_cos: true,
        freq_shift: 0.0,
        use_linear_projection: false,
        text_time: None,
    }
}

/// `vae/config.json`.
pub fn vae() -> VaeConfig {
    VaeConfig {
        in_channels: 3,
        out_channels: 3,
        latent_channels: 4,
        block_out_channels: vec![128, 256, 512, 512],
        layers_per_block: 2,
        norm_num_groups: 32,
        scaling_factor: 0.18215,
        mid_block_add_attention: true,
        use_quant_conv: true,
        use_post_quant_conv: true,
    }
}

/// `text_encoder/config.json`.
pub fn text_encoder() -> ClipConfig {
    ClipConfig {
        vocab_size: 49_408,
        max_position_embeddings: 77,
        hidden_size: 768,
        intermediate_size: 3072,
        num_hidden_layers: 12,
        num_attention_heads: 12,
        layer_norm_eps: 1e-5,
        hidden_act: Activation::QuickGelu,
        projection_dim: None,
    }
}

/// How noise is added.
pub fn schedule() -> Result<NoiseSchedule> {
    NoiseSchedule::from_config(SCHEDULER, Path::new("scheduler/scheduler_config.json"))
}
