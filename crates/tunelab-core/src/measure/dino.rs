//! DINO's vision transformer (Caron et al. 2021): `ViTModel` of transformers without its pooler.
//!
//! In: a folder as `facebook/dino-vits16` and `pixel_values`. Out: the class token after the last norm. The pooler that
//! transformers puts behind it was never trained.

#![expect(clippy::disallowed_types, reason = "nothing is differentiated here")]

use std::path::Path;

use candle_core::{Device, Module, Tensor};
use candle_nn::{LayerNorm, layer_norm};
use candle_transformers::models::vit::{Config, Embeddings, Encoder};
use serde_json::json;

use super::files::{self, Opened};
use crate::error::Result;
use crate::metrics::EncoderName;

/// Reads transformers' `ViTConfig`; what the file leaves out is ViT-S/16's.
fn sizes(dir: &Path, name: EncoderName) -> Result<Config> {
    let config = files::config(dir, name, "vit", &json!({}))?;
    let [hidden_size, num_attention_heads] = files::heads(&config, 384, 6)?;
    let [image_size, patch_size] = files::patches(&config, 16)?;
    let hidden_act = config.string("hidden_act", "gelu")?;
    Ok(Config {
        hidden_size,
        num_hidden_layers: config.size("num_hidden_layers", Some(12))?,
        num_attention_heads,
        intermediate_size: config.size("intermediate_size", Some(1536))?,
        hidden_act: serde_json::from_value(json!(hidden_act))
            .map_err(|_| config.error("hidden_act", format!("is {hidden_act}, which is not known")))?,
        layer_norm_eps: config.number("layer_norm_eps", 1e-12)?,
        image_size,
        patch_size,
        num_channels: files::CHANNELS,
        qkv_bias: config.flag("qkv_bias", true)?,
    })
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
        let config = sizes(dir, name)?;
        let file = Opened::read(dir, name, &[("encoder.layer.", config.num_hidden_layers)], device)?;
        let build = || {
            let embeddings = Embeddings::new(&config, false, file.tensors.pp("embeddings"))?;
            let encoder = Encoder::new(&config, file.tensors.pp("encoder"))?;
            let norm = layer_norm(config.hidden_size, config.layer_norm_eps, file.tensors.pp("layernorm"))?;
            Ok(Self { embeddings, encoder, norm, size: config.image_size })
        };
        build().map_err(|e: candle_core::Error| file.unbuilt(&e))
    }

    /// `pixel_values` [B, 3, S, S] → [B, hidden].
    pub fn image_features(&self, pixel_values: &Tensor) -> Result<Tensor> {
        let hidden_states = self.encoder.forward(&self.embeddings.forward(pixel_values, None, false)?)?;
        Ok(self.norm.forward(&hidden_states.narrow(1, 0, 1)?.squeeze(1)?.contiguous()?)?)
    }
}
