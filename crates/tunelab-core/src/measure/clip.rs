//! CLIP (Radford et al. 2021): both towers and their projections, `CLIPModel` of transformers.
//!
//! In: a folder as `openai/clip-vit-base-patch32`, `pixel_values` and prompts. Out: projected features of images and of
//! texts, which may be compared with each other.

use std::path::Path;

use candle_core::{Device, Tensor};
use candle_transformers::models::clip::text_model::{Activation, ClipTextConfig};
use candle_transformers::models::clip::vision_model::ClipVisionConfig;
use candle_transformers::models::clip::{ClipConfig, ClipModel};
use serde_json::{Value, json};

use super::files::{self, Opened};
use crate::error::{Error, Result};
use crate::metrics::EncoderName;
use crate::model::config::Config;
use crate::model::tokenizer::Tokenizer;

/// What candle's CLIP computes, whatever the file says.
const QUICK_GELU: &str = "quick_gelu";
const EPS: f64 = 1e-5;

/// Refuses what candle would compute as something else.
fn check_tower(tower: &Config) -> Result<()> {
    let act = tower.string("hidden_act", QUICK_GELU)?;
    if act != QUICK_GELU {
        return Err(tower.error("hidden_act", format!("is {act}, and only {QUICK_GELU} is computed")));
    }
    let eps = tower.number("layer_norm_eps", EPS)?;
    if (eps - EPS).abs() > 1e-12 {
        return Err(tower.error("layer_norm_eps", format!("is {eps}, and only {EPS} is computed")));
    }
    Ok(())
}

/// What a folder without `config.json` holds. What it leaves out is as in ViT-B/32, as transformers has it.
fn published(name: EncoderName) -> Value {
    if name != EncoderName::ClipVitL14 {
        return json!({});
    }
    json!({
        "projection_dim": 768,
        "text_config": {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12},
        "vision_config": {
            "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16, "patch_size": 14
        }
    })
}

/// Reads transformers' `CLIPConfig`.
fn sizes(dir: &Path, name: EncoderName) -> Result<ClipConfig> {
    let config = files::config(dir, name, "clip", &published(name))?;
    let (text, vision) = (config.table("text_config")?, config.table("vision_config")?);
    check_tower(&text)?;
    check_tower(&vision)?;
    let projection_dim = config.size("projection_dim", Some(512))?;
    let [text_size, text_heads] = files::heads(&text, 512, 8)?;
    let [vision_size, vision_heads] = files::heads(&vision, 768, 12)?;
    let [image_size, patch_size] = files::patches(&vision, 32)?;
    Ok(ClipConfig {
        text_config: ClipTextConfig {
            vocab_size: text.size("vocab_size", Some(49_408))?,
            embed_dim: text_size,
            activation: Activation::QuickGelu,
            intermediate_size: text.size("intermediate_size", Some(2048))?,
            max_position_embeddings: text.size("max_position_embeddings", Some(77))?,
            pad_with: None,
            num_hidden_layers: text.size("num_hidden_layers", Some(12))?,
            num_attention_heads: text_heads,
            projection_dim,
        },
        vision_config: ClipVisionConfig {
            embed_dim: vision_size,
            activation: Activation::QuickGelu,
            intermediate_size: vision.size("intermediate_size", Some(3072))?,
            num_hidden_layers: vision.size("num_hidden_layers", Some(12))?,
            num_attention_heads: vision_heads,
            projection_dim,
            num_channels: files::CHANNELS,
            image_size,
            patch_size,
        },
        logit_scale_init_value: 2.6592,
        image_size,
    })
}

/// The network and its tokenizer.
pub struct Clip {
    network: ClipModel,
    tokenizer: Option<Tokenizer>,
    device: Device,
    /// Side of the pictures in pixels.
    pub size: usize,
}

impl Clip {
    /// Reads a folder. Its tokenizer is read where `reads_prompts`.
    pub fn open(dir: &Path, name: EncoderName, reads_prompts: bool, device: &Device) -> Result<Self> {
        let config = sizes(dir, name)?;
        let layers = [
            ("text_model.encoder.layers.", config.text_config.num_hidden_layers),
            ("vision_model.encoder.layers.", config.vision_config.num_hidden_layers),
        ];
        let file = Opened::read(dir, name, &layers, device)?;
        file.require("vision_model.embeddings.class_embedding")?;
        let network = ClipModel::new(file.tensors.clone(), &config).map_err(|e| file.unbuilt(&e))?;
        let tokenizer = if reads_prompts { Some(Tokenizer::from_dir(dir)?) } else { None };
        Ok(Self { network, tokenizer, device: device.clone(), size: config.image_size })
    }

    /// `pixel_values` [B, 3, S, S] → [B, projection].
    pub fn image_features(&self, pixel_values: &Tensor) -> Result<Tensor> {
        Ok(self.network.get_image_features(pixel_values)?)
    }

    /// The features of one prompt, and what of it was too long to be read.
    pub fn prompt_features(&self, prompt: &str) -> Result<(Vec<f32>, Option<String>)> {
        let tokenizer =
            self.tokenizer.as_ref().ok_or_else(|| Error::run("the encoder was opened without a tokenizer"))?;
        let encoded = tokenizer.encode(prompt)?;
        Ok((self.text_features(&encoded.ids)?, encoded.cut))
    }

    /// The features of one text's ids. What stands behind its end, the largest id, is left off: attention is causal, so
    /// nothing before the end sees it, and padding cannot be taken for the end.
    pub fn text_features(&self, ids: &[u32]) -> Result<Vec<f32>> {
        let largest = ids.iter().max().ok_or_else(|| Error::run("a text without ids"))?;
        let end = ids.iter().position(|id| id == largest).unwrap_or_default();
        let ids = Tensor::from_slice(&ids[..=end], (1, end + 1), &self.device)?;
        Ok(self.network.get_text_features(&ids)?.squeeze(0)?.to_vec1()?)
    }
}
