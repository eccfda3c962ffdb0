//! CLIP's text encoder (Radford et al. 2021): transformers' `CLIPTextModel` and
//! `CLIPTextModelWithProjection`.
//!
//! In: token ids [B, tokens]. Out: the last hidden states after the final layer norm
//! [B, tokens, width], which is what Stable Diffusion 1.x and 2.x condition on; or those before the
//! last layer, and the whole text as one vector, which is what Stable Diffusion XL does. Tensor
//! names are transformers'.

use super::build::{Build, Parameters};
use super::config::Config;
use super::layers::{LayerNorm, Linear};
use super::module::Positions;
use crate::error::{Error, Result};
use candle_core::Tensor;
use serde_json::json;
use std::path::Path;
use tunelab_ops::{self as ops, AttentionMask};

/// The sizes of a text encoder, from its `config.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct ClipConfig {
    /// Token ids.
    pub vocab_size: usize,
    /// Longest text, in tokens.
    pub max_position_embeddings: usize,
    /// Width of the hidden states.
    pub hidden_size: usize,
    /// Width inside the feed-forward layers.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Attention heads.
    pub num_attention_heads: usize,
    /// Epsilon of the layer norms.
    pub layer_norm_eps: f64,
    /// What stands between the two feed-forward layers.
    pub hidden_act: Activation,
    /// Width of the text as one vector; nothing where the model makes none.
    pub projection_dim: Option<usize>,
}

/// The feed-forward activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// x · sigmoid(1.702 x): OpenAI's CLIP.
    QuickGelu,
    /// The exact GELU: OpenCLIP, of Stable Diffusion 2 and XL.
    Gelu,
}

/// Every text encoder's class.
const CLASS: &str = "CLIPTextModel";
/// The class of those whose texts are one vector too.
const CLASS_WITH_PROJECTION: &str = "CLIPTextModelWithProjection";

/// What Stable Diffusion XL reads of a text encoder.
pub struct Penultimate {
    /// What goes into the last layer, [B, tokens, width], without the final layer norm.
    pub hidden_states: Tensor,
    /// The last layer's state of the end token after the final layer norm, projected,
    /// [B, `projection_dim`]; of an encoder with a projection.
    pub pooled: Option<Tensor>,
}

impl ClipConfig {
    /// Reads `text_encoder/config.json`.
    pub fn read(file: &Path) -> Result<Self> {
        Self::parse(&Config::text(file)?, file)
    }

    /// The same of the file's text.
    pub fn parse(text: &str, file: &Path) -> Result<Self> {
        let c = Config::parse(text, file, &[CLASS, CLASS_WITH_PROJECTION])?;
        c.only("hidden_act", &[json!("quick_gelu"), json!("gelu")])?;
        let gelu = c.string("hidden_act", "quick_gelu")? == "gelu";
        let has_projection = c.class() == Some(CLASS_WITH_PROJECTION);
        let projection_dim = has_projection.then(|| c.size("projection_dim", Some(512))).transpose()?;
        let config = Self {
            projection_dim,
            vocab_size: c.size("vocab_size", Some(49408))?,
            max_position_embeddings: c.size("max_position_embeddings", Some(77))?,
            hidden_size: c.size("hidden_size", Some(512))?,
            intermediate_size: c.size("intermediate_size", Some(2048))?,
            num_hidden_layers: c.size("num_hidden_layers", Some(12))?,
            num_attention_heads: c.size("num_attention_heads", Some(8))?,
            layer_norm_eps: c.number("layer_norm_eps", 1e-5)?,
            hidden_act: if gelu { Activation::Gelu } else { Activation::QuickGelu },
        };
        if !config.hidden_size.is_multiple_of(config.num_attention_heads) {
            return Err(c.error("num_attention_heads", "must divide `hidden_size`"));
        }
        Ok(config)
    }

    /// Whether anything of [`Penultimate`] depends on the tensor of this name: without a projection nobody reads the last
    /// layer.
    pub fn penultimate_reads(&self, tensor: &str) -> bool {
        let last = format!("text_model.encoder.layers.{}.", self.num_hidden_layers - 1);
        self.projection_dim.is_some()
            || !(tensor.starts_with(&last) || tensor.starts_with("text_model.final_layer_norm."))
    }
}

struct Layer {
    norm1: LayerNorm,
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
}

impl Layer {
    fn new(build: &Build, c: &ClipConfig) -> Result<Self> {
        let attention = build.pp("self_attn");
        let projection = |name: &str| Linear::new(&attention.pp(name), c.hidden_size, c.hidden_size);
        Ok(Self {
            norm1: LayerNorm::new(&build.pp("layer_norm1"), c.hidden_size, c.layer_norm_eps)?,
            q: projection("q_proj")?,
            k: projection("k_proj")?,
            v: projection("v_proj")?,
            out: projection("out_proj")?,
            norm2: LayerNorm::new(&build.pp("layer_norm2"), c.hidden_size, c.layer_norm_eps)?,
            fc1: Linear::new(&build.pp("mlp.fc1"), c.hidden_size, c.intermediate_size)?,
            fc2: Linear::new(&build.pp("mlp.fc2"), c.intermediate_size, c.hidden_size)?,
        })
    }

    fn forward(&self, x: &Tensor, c: &ClipConfig) -> Result<Tensor> {
        let h = self.norm1.forward(x)?;
        let (q, k, v) = (self.q.forward(&h)?, self.k.forward(&h)?, self.v.forward(&h)?);
        let x = ops::add(
            &self.out.forward(&ops::attention(&q, &k, &v, c.num_attention_heads, AttentionMask::Causal)?)?,
            x,
        )?;
        let h = self.fc1.forward(&self.norm2.forward(&x)?)?;
        let h = match c.hidden_act {
            Activation::QuickGelu => ops::quick_gelu(&h)?,
            Activation::Gelu => ops::gelu(&h)?,
        };
        Ok(ops::add(&self.fc2.forward(&h)?, &x)?)
    }
}

/// The network.
pub struct ClipText {
    config: ClipConfig,
    tokens: Tensor,
    positions: Tensor,
    layers: Vec<Layer>,
    norm: LayerNorm,
    text_projection: Option<Linear>,
}

impl ClipText {
    /// Builds the network and returns all of its parameters. Errors if the tensors do not fit the
    /// configuration.
    pub fn new(config: &ClipConfig, build: Build) -> Result<(Self, Parameters)> {
        let root = build.pp("text_model").over(Positions::Tokens);
        let embeddings = root.pp("embeddings");
        let text_projection = build.pp("text_projection").over(Positions::Sample);
        let projection = |width: usize| Linear::no_bias(&text_projection, config.hidden_size, width);
        let text = Self {
            config: config.clone(),
            tokens: embeddings.get(&[config.vocab_size, config.hidden_size], "token_embedding.weight")?,
            positions: embeddings
                .get(&[config.max_position_embeddings, config.hidden_size], "position_embedding.weight")?,
            layers: (0..config.num_hidden_layers)
                .map(|i| Layer::new(&root.pp("encoder.layers").pp(i), config))
                .collect::<Result<_>>()?,
            norm: LayerNorm::new(&root.pp("final_layer_norm"), config.hidden_size, config.layer_norm_eps)?,
            text_projection: config.projection_dim.map(projection).transpose()?,
        };
        Ok((text, build.finish()?))
    }

    /// The sizes.
    pub fn config(&self) -> &ClipConfig {
        &self.config
    }

    /// Ids of B texts, each of the same length of at most `positions`, → [B, length, width].
    pub fn forward(&self, ids: &[Vec<u32>]) -> Result<Tensor> {
        self.norm.forward(&self.run(&self.layers, self.embed(ids)?)?)
    }

    /// The same texts as Stable Diffusion XL reads them.
    pub fn penultimate(&self, ids: &[Vec<u32>]) -> Result<Penultimate> {
        let layers = self.layers.len().saturating_sub(1);
        let hidden_states = self.run(&self.layers[..layers], self.embed(ids)?)?;
        let Some(projection) = &self.text_projection else { return Ok(Penultimate { hidden_states, pooled: None }) };
        let last = self.norm.forward(&self.run(&self.layers[layers..], hidden_states.clone())?)?;
        let pooled = projection.forward(&end_states(&last, ids)?)?;
        Ok(Penultimate { hidden_states, pooled: Some(pooled) })
    }

    fn run(&self, layers: &[Layer], mut x: Tensor) -> Result<Tensor> {
        for layer in layers {
            x = layer.forward(&x, &self.config)?;
        }
        Ok(x)
    }

    fn embed(&self, ids: &[Vec<u32>]) -> Result<Tensor> {
        let length = ids.first().map_or(0, Vec::len);
        let wrong =
            ids.iter().any(|i| i.len() != length) || length == 0 || length > self.config.max_position_embeddings;
        if wrong || ids.iter().flatten().any(|&id| id as usize >= self.config.vocab_size) {
            return Err(Error::input(format!(
                "the tokenizer's texts do not fit the text encoder ({} positions, {} tokens)",
                self.config.max_position_embeddings, self.config.vocab_size
            ))
            .hint(
                "take tokenizer/ and text_encoder/ from the same repository; added tokens need their rows in the text encoder",
            ));
        }
        Ok(ops::embedding(ids, &self.tokens, &self.positions)?)
    }
}

/// Of each text's states [B, tokens, width] that of its end token, [B, width]: the first with the highest id, as
/// transformers has it for configurations whose `eos_token_id` is 2.
fn end_states(states: &Tensor, ids: &[Vec<u32>]) -> Result<Tensor> {
    let (_, tokens, _) = states.dims3()?;
    let of = |ids: &Vec<u32>| {
        let highest = ids.iter().max();
        let end = ids.iter().position(|id| Some(id) == highest);
        (0..tokens).map(move |at| if Some(at) == end { 1f32 } else { 0.0 })
    };
    let chosen: Vec<f32> = ids.iter().flat_map(of).collect();
    let chosen = Tensor::from_vec(chosen, (ids.len(), tokens, 1), states.device())?.to_dtype(states.dtype())?;
    Ok(ops::composed(&[states], |t| t[0].broadcast_mul(&chosen)?.sum(1))?)
}
