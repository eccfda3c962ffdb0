//! DINO's vision transformer (Caron et al. 2021): `ViTModel` of transformers without its pooler.
//!
//! In: a folder as `facebook/dino-vits16` and `pixel_values`. Out: the class token after the last norm. The pooler that
//! transformers puts behind it was never trained.

#![expect(clippy::disallowed_types, reason = "nothing is differentiated here")]

use std::path::Path;

use candle_core::{Device, Module, Tensor};
use candle_nn::{Activation, LayerNorm, layer_norm};
use candle_transformers::models::vit::{Config, Embeddings, Encoder};
use serde::Deserialize;

use super::files::{self, Opened};
use crate::error::{Error, Result};
use crate::metrics::EncoderName;

/// transformers' `ViTConfig`; what the file leaves out is ViT-S/16's.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct Sizes {
    model_type: String,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    hidden_act: Activation,
    layer_norm_eps: f64,
    image_size: usize,
    patch_size: usize,
    num_channels: usize,
    qkv_bias: bool,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            model_type: "vit".into(),
            hidden_size: 384,
            num_hidden_layers: 12,
            num_attention_heads: 6,
            intermediate_size: 1536,
            hidden_act: Activation::Gelu,
            layer_norm_eps: 1e-12,
            image_size: 224,
            patch_size: 16,
            num_channels: 3,
            qkv_bias: true,
        }
    }
}

/// The network.
pub struct Dino {
    embeddings: Embeddings,
    encoder: Encoder,
    norm: LayerNorm,
    /// Side of the pictures in pixels.
    pub size: usize,
}

impl Dino {
    /// Reads a folder.
    pub fn open(dir: &Path, device: &Device) -> Result<Self> {
        let name = EncoderName::DinoVits16;
        let sizes = files::config::<Sizes>(dir)?.unwrap_or_default();
        if sizes.model_type != "vit" {
            let what = format!("{}: a model of the type {}", dir.join(files::CONFIG).display(), sizes.model_type);
            return Err(Error::input(what).hint(format!("{name} is a model of the type vit")));
        }
        let file = Opened::read(dir, name, &[("encoder.layer.", sizes.num_hidden_layers)], device)?;
        let size = sizes.image_size;
        let config = Config {
            hidden_size: sizes.hidden_size,
            num_hidden_layers: sizes.num_hidden_layers,
            num_attention_heads: sizes.num_attention_heads,
            intermediate_size: sizes.intermediate_size,
            hidden_act: sizes.hidden_act,
            layer_norm_eps: sizes.layer_norm_eps,
            image_size: size,
            patch_size: sizes.patch_size,
            num_channels: sizes.num_channels,
            qkv_bias: sizes.qkv_bias,
        };
        let build = || {
            let embeddings = Embeddings::new(&config, false, file.tensors.pp("embeddings"))?;
            let encoder = Encoder::new(&config, file.tensors.pp("encoder"))?;
            let norm = layer_norm(config.hidden_size, config.layer_norm_eps, file.tensors.pp("layernorm"))?;
            Ok(Self { embeddings, encoder, norm, size })
        };
        build().map_err(|e: candle_core::Error| file.unbuilt(&e))
    }

    /// `pixel_values` [B, 3, S, S] → [B, hidden].
    pub fn image_features(&self, pixel_values: &Tensor) -> Result<Tensor> {
        let hidden_states = self.encoder.forward(&self.embeddings.forward(pixel_values, None, false)?)?;
        Ok(self.norm.forward(&hidden_states.narrow(1, 0, 1)?.squeeze(1)?.contiguous()?)?)
    }
}
