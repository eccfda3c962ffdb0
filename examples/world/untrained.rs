//! The miniature before its training: a diffusers folder with random weights.
//!
//! In: a seed, and the autoencoder once it is trained. Out: `model_index.json` and the folders of the
//! parts as diffusers and transformers write them. The shape is Stable Diffusion 1's with fewer channels, a VAE that halves
//! twice and texts of 32 tokens.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::Device;
use serde_json::{Value, json};
use tunelab::error::Result;
use tunelab::model::build::{Build, Parameters, Trainable};
use tunelab::model::clip::{ClipConfig, ClipText};
use tunelab::model::unet::{Unet, UnetConfig};
use tunelab::model::vae::{Vae, VaeConfig};
use tunelab::weights::write_safetensors;

use crate::vocabulary::{LENGTH, Vocabulary};

/// Width of the text states.
const TEXT_WIDTH: usize = 128;

/// Writes the whole folder; every network's weights are drawn from `seed`.
pub fn write(folder: &Path, vocabulary: &Vocabulary, seed: u64) -> Result<()> {
    vocabulary.write(&folder.join("tokenizer"))?;
    write_json(&folder.join("model_index.json"), &model_index())?;
    write_json(&folder.join("scheduler/scheduler_config.json"), &scheduler())?;
    for (name, config) in [("unet", unet()), ("vae", vae()), ("text_encoder", text_encoder(vocabulary))] {
        write_json(&folder.join(name).join("config.json"), &config)?;
    }
    let new = || Build::untrained(Trainable::None, seed, &Device::Cpu);
    let config = |name: &str| folder.join(name).join("config.json");
    let (_, unet) = Unet::new(&UnetConfig::read(&config("unet"))?, new())?;
    let (_, vae) = Vae::new(&VaeConfig::read(&config("vae"))?, new())?;
    let (_, text) = ClipText::new(&ClipConfig::read(&config("text_encoder"))?, new())?;
    write_weights(&folder.join("unet/diffusion_pytorch_model.safetensors"), &unet)?;
    write_weights(&folder.join("vae/diffusion_pytorch_model.safetensors"), &vae)?;
    write_weights(&folder.join("text_encoder/model.safetensors"), &text)
}

fn write_weights(file: &Path, parameters: &Parameters) -> Result<()> {
    eprintln!("{}: {} parameters", file.display(), parameters.weight_count());
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    write_safetensors(file, &parameters.weights, &metadata)
}

fn write_json(file: &Path, value: &Value) -> Result<()> {
    if let Some(folder) = file.parent() {
        fs_err::create_dir_all(folder)?;
    }
    Ok(fs_err::write(file, format!("{value:#}\n"))?)
}

fn model_index() -> Value {
    json!({
        "_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.30.0",
        "feature_extractor": [null, null], "image_encoder": [null, null],
        "requires_safety_checker": false, "safety_checker": [null, null],
        "scheduler": ["diffusers", "PNDMScheduler"], "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"], "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"]
    })
}

/// As Stable Diffusion 1.5's.
fn scheduler() -> Value {
    json!({
        "_class_name": "PNDMScheduler", "_diffusers_version": "0.30.0", "beta_end": 0.012,
        "beta_schedule": "scaled_linear", "beta_start": 0.00085, "clip_sample": false, "num_train_timesteps": 1000,
        "prediction_type": "epsilon", "set_alpha_to_one": false, "skip_prk_steps": true, "steps_offset": 1,
        "trained_betas": null
    })
}

fn unet() -> Value {
    json!({
        "_class_name": "UNet2DConditionModel", "_diffusers_version": "0.30.0", "act_fn": "silu",
        "attention_head_dim": 4, "block_out_channels": [64, 96, 112], "cross_attention_dim": TEXT_WIDTH,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        "flip_sin_to_cos": true, "freq_shift": 0, "in_channels": 8, "layers_per_block": 1,
        "norm_eps": 1e-5, "norm_num_groups": 16, "out_channels": 8, "sample_size": 16
    })
}

fn vae() -> Value {
    let kind = |name: &'static str| [name; 3];
    json!({
        "_class_name": "AutoencoderKL", "_diffusers_version": "0.30.0", "act_fn": "silu",
        "block_out_channels": [16, 32, 64], "down_block_types": kind("DownEncoderBlock2D"),
        "up_block_types": kind("UpDecoderBlock2D"), "in_channels": 3, "out_channels": 3, "latent_channels": 8,
        "layers_per_block": 1, "mid_block_add_attention": false, "norm_num_groups": 4, "sample_size": 64,
        "scaling_factor": 0.18215
    })
}

fn text_encoder(vocabulary: &Vocabulary) -> Value {
    let [begin, end] = vocabulary.specials();
    json!({
        "architectures": ["CLIPTextModel"], "model_type": "clip_text_model", "attention_dropout": 0.0,
        "bos_token_id": begin, "eos_token_id": end, "pad_token_id": end, "hidden_act": "quick_gelu",
        "hidden_size": TEXT_WIDTH, "intermediate_size": 4 * TEXT_WIDTH, "layer_norm_eps": 1e-5,
        "max_position_embeddings": LENGTH, "num_attention_heads": 4, "num_hidden_layers": 2,
        "projection_dim": TEXT_WIDTH, "torch_dtype": "float32", "vocab_size": vocabulary.len()
    })
}
