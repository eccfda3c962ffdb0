//! CLIP (Radford et al. 2021): both towers and their projections, `CLIPModel` of transformers.
//!
//! In: a folder as `openai/clip-vit-base-patch32`, `pixel_values` and prompts. Out: projected features of images and of
//! texts, which may be compared with each other.

use std::path::Path;

use candle_core::{Device, Tensor};
use candle_transformers::models::clip::text_model::{Activation, ClipTextConfig};
use candle_transformers::models::clip::vision_model::ClipVisionConfig;
use candle_transformers::models::clip::{ClipConfig, ClipModel};
use serde::Deserialize;

use super::files::{self, Opened};
use crate::error::{Error, Result};
use crate::metrics::EncoderName;
use crate::model::tokenizer::Tokenizer;

/// What candle's CLIP computes, whatever the file says.
const QUICK_GELU: &str = "quick_gelu";
const EPS: f64 = 1e-5;

/// One tower in `config.json`. transformers leaves out what is as in ViT-B/32.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Tower {
    hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    hidden_act: Option<String>,
    layer_norm_eps: Option<f64>,
    vocab_size: Option<usize>,
    max_position_embeddings: Option<usize>,
    num_channels: Option<usize>,
    image_size: Option<usize>,
    patch_size: Option<usize>,
}

impl Tower {
    /// Refuses what candle would compute as something else.
    fn check(&self, which: &str) -> std::result::Result<(), String> {
        match (&self.hidden_act, self.layer_norm_eps) {
            (Some(act), _) if act != QUICK_GELU => {
                Err(format!("{which}.hidden_act is {act}, and only {QUICK_GELU} is computed"))
            }
            (_, Some(eps)) if (eps - EPS).abs() > 1e-12 => {
                Err(format!("{which}.layer_norm_eps is {eps}, and only {EPS} is computed"))
            }
            _ => Ok(()),
        }
    }
}

#[derive(Debug, Deserialize)]
struct Sizes {
    #[serde(default)]
    model_type: Option<String>,
    #[serde(default)]
    text_config: Tower,
    #[serde(default)]
    vision_config: Tower,
    #[serde(default)]
    projection_dim: Option<usize>,
}

impl Sizes {
    /// The published ones, for a folder without `config.json`.
    fn published(name: EncoderName) -> Self {
        let (mut text, mut vision, mut projection) = (Tower::default(), Tower::default(), 512);
        if name == EncoderName::ClipVitL14 {
            text =
                Tower { hidden_size: Some(768), intermediate_size: Some(3072), num_attention_heads: Some(12), ..text };
            vision = Tower {
                hidden_size: Some(1024),
                intermediate_size: Some(4096),
                num_hidden_layers: Some(24),
                num_attention_heads: Some(16),
                patch_size: Some(14),
                ..vision
            };
            projection = 768;
        }
        Self { model_type: None, text_config: text, vision_config: vision, projection_dim: Some(projection) }
    }

    fn check(&self, name: EncoderName) -> std::result::Result<(), String> {
        if let Some(model_type) = self.model_type.as_ref().filter(|model_type| *model_type != "clip") {
            return Err(format!("a model of the type {model_type}; {name} is a model of the type clip"));
        }
        self.text_config.check("text_config")?;
        self.vision_config.check("vision_config")
    }

    fn config(&self) -> ClipConfig {
        let (text, vision) = (&self.text_config, &self.vision_config);
        let projection_dim = self.projection_dim.unwrap_or(512);
        let image_size = vision.image_size.unwrap_or(224);
        ClipConfig {
            text_config: ClipTextConfig {
                vocab_size: text.vocab_size.unwrap_or(49_408),
                embed_dim: text.hidden_size.unwrap_or(512),
                activation: Activation::QuickGelu,
                intermediate_size: text.intermediate_size.unwrap_or(2048),
                max_position_embeddings: text.max_position_embeddings.unwrap_or(77),
                pad_with: None,
                num_hidden_layers: text.num_hidden_layers.unwrap_or(12),
                num_attention_heads: text.num_attention_heads.unwrap_or(8),
                projection_dim,
            },
            vision_config: ClipVisionConfig {
                embed_dim: vision.hidden_size.unwrap_or(768),
                activation: Activation::QuickGelu,
                intermediate_size: vision.intermediate_size.unwrap_or(3072),
                num_hidden_layers: vision.num_hidden_layers.unwrap_or(12),
                num_attention_heads: vision.num_attention_heads.unwrap_or(12),
                projection_dim,
                num_channels: vision.num_channels.unwrap_or(3),
                image_size,
                patch_size: vision.patch_size.unwrap_or(32),
            },
            logit_scale_init_value: 2.6592,
            image_size,
        }
    }
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
        let sizes = files::config::<Sizes>(dir)?.unwrap_or_else(|| Sizes::published(name));
        let wrong = |what| Error::input(format!("{}: {what}", dir.join(files::CONFIG).display()));
        sizes.check(name).map_err(wrong)?;
        let config = sizes.config();
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
