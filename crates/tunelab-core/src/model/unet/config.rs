//! The sizes of a UNet, and a clear refusal of the kinds that are not built.
//!
//! In: `unet/config.json`. Out: [`UnetConfig`], its fields named as the file's keys.

use crate::error::Result;
use crate::model::config::Config;
use crate::model::resnet::ResnetSizes;
use crate::model::transformer::TransformerSizes;
use serde_json::json;
use std::path::Path;

/// The sizes of a UNet, from its `config.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct UnetConfig {
    /// Channels of the latents.
    pub in_channels: usize,
    /// Channels of the prediction.
    pub out_channels: usize,
    /// Height and width of the latents that the model was trained on.
    pub sample_size: [usize; 2],
    /// Channels of each level, from the finest.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks of each level.
    pub layers_per_block: Vec<usize>,
    /// Which levels of the way down have attention.
    pub down_attention: Vec<bool>,
    /// Which levels of the way up have attention, from the coarsest.
    pub up_attention: Vec<bool>,
    /// Heads of each level.
    pub num_attention_heads: Vec<usize>,
    /// Transformer blocks of each level.
    pub transformer_layers_per_block: Vec<usize>,
    /// Width of the text states.
    pub cross_attention_dim: usize,
    /// Groups of the group norms.
    pub norm_num_groups: usize,
    /// Epsilon of the residual blocks' norms.
    pub norm_eps: f64,
    /// Cosine before sine in the timestep embedding.
    pub flip_sin_to_cos: bool,
    /// Shift of the timestep embedding's frequencies.
    pub freq_shift: f64,
    /// Linear projections around the transformers.
    pub use_linear_projection: bool,
    /// What the text as one vector and the picture's sizes add to the time embedding: Stable Diffusion XL.
    pub text_time: Option<TextTime>,
}

/// The `text_time` additions to the time embedding (Podell et al. 2023, section 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextTime {
    /// Sines and cosines of each of the time ids: `addition_time_embed_dim`.
    pub time_embed_dim: usize,
    /// Width of the text's vector and of all the time ids' sines and cosines together:
    /// `projection_class_embeddings_input_dim`.
    pub input_dim: usize,
}

/// How many sizes and crops there are.
pub const TIME_IDS: usize = 6;

/// Sizes and crops that a sample is conditioned on: original height and width, top and left of the crop, target height
/// and width, all in pixels.
pub type TimeIds = [usize; TIME_IDS];

impl TextTime {
    /// Numbers of a sample's embedded time ids.
    pub fn time_ids_dim(self) -> usize {
        self.time_embed_dim * TIME_IDS
    }

    /// Width of the text's vector.
    pub fn pooled_dim(self) -> usize {
        self.input_dim - self.time_ids_dim()
    }
}

impl UnetConfig {
    /// Reads `unet/config.json`; refuses options that are not built.
    pub fn read(file: &Path) -> Result<Self> {
        Self::parse(&Config::text(file)?, file)
    }

    /// The same of the file's text.
    pub fn parse(text: &str, file: &Path) -> Result<Self> {
        let c = Config::parse(text, file, &["UNet2DConditionModel"])?;
        refuse_unbuilt(&c)?;
        let block_out_channels = c.sizes("block_out_channels", None, None)?;
        let n = block_out_channels.len();
        let heads_key =
            if c.only("num_attention_heads", &[]).is_ok() { "attention_head_dim" } else { "num_attention_heads" };
        let config = Self {
            in_channels: c.size("in_channels", Some(4))?,
            out_channels: c.size("out_channels", Some(4))?,
            sample_size: c.square_or_pair("sample_size", 64)?,
            layers_per_block: c.sizes("layers_per_block", Some(n), Some(2))?,
            down_attention: attention_levels(&c, "down_block_types", ["CrossAttnDownBlock2D", "DownBlock2D"], n)?,
            up_attention: attention_levels(&c, "up_block_types", ["CrossAttnUpBlock2D", "UpBlock2D"], n)?,
            num_attention_heads: c.sizes(heads_key, Some(n), Some(8))?,
            transformer_layers_per_block: c.sizes("transformer_layers_per_block", Some(n), Some(1))?,
            cross_attention_dim: c.size("cross_attention_dim", Some(1280))?,
            norm_num_groups: c.size("norm_num_groups", Some(32))?,
            norm_eps: c.number("norm_eps", 1e-5)?,
            flip_sin_to_cos: c.flag("flip_sin_to_cos", true)?,
            freq_shift: c.number("freq_shift", 0.0)?,
            use_linear_projection: c.flag("use_linear_projection", false)?,
            text_time: text_time(&c)?,
            block_out_channels,
        };
        if config.block_out_channels.iter().any(|w| w % config.norm_num_groups != 0)
            || !config.block_out_channels[0].is_multiple_of(2)
        {
            return Err(c.error("block_out_channels", "must be even multiples of `norm_num_groups`"));
        }
        if config.block_out_channels.iter().zip(&config.num_attention_heads).any(|(w, h)| w % h != 0) {
            return Err(c.error("attention_head_dim", "must divide `block_out_channels`"));
        }
        Ok(config)
    }

    /// Width of the time embedding.
    pub(super) fn temb_channels(&self) -> usize {
        4 * self.block_out_channels[0]
    }

    /// What the residual blocks share.
    pub(super) fn resnet(&self) -> ResnetSizes {
        ResnetSizes { groups: self.norm_num_groups, eps: self.norm_eps, temb_channels: Some(self.temb_channels()) }
    }

    /// Of the transformers of one level.
    pub(super) fn transformer(&self, level: usize) -> TransformerSizes {
        TransformerSizes {
            channels: self.block_out_channels[level],
            heads: self.num_attention_heads[level],
            cross_attention_dim: self.cross_attention_dim,
            layers: self.transformer_layers_per_block[level],
            groups: self.norm_num_groups,
            use_linear_projection: self.use_linear_projection,
        }
    }
}

/// Options whose other values would need code that is not here.
fn refuse_unbuilt(c: &Config) -> Result<()> {
    let absent = [
        "class_embed_type",
        "encoder_hid_dim",
        "encoder_hid_dim_type",
        "num_class_embeds",
        "time_cond_proj_dim",
        "time_embedding_dim",
        "time_embedding_act_fn",
        "timestep_post_act",
        "cross_attention_norm",
        "reverse_transformer_layers_per_block",
    ];
    for key in absent {
        c.only(key, &[])?;
    }
    for key in ["center_input_sample", "dual_cross_attention", "only_cross_attention", "resnet_skip_time_act"] {
        c.off(key)?;
    }
    c.only("mid_block_only_cross_attention", &[json!(false)])?;
    c.only("act_fn", &[json!("silu"), json!("swish")])?;
    c.only("attention_type", &[json!("default")])?;
    c.only("conv_in_kernel", &[json!(3)])?;
    c.only("conv_out_kernel", &[json!(3)])?;
    c.only("downsample_padding", &[json!(1)])?;
    c.only("dropout", &[json!(0), json!(0.0)])?;
    c.only("mid_block_scale_factor", &[json!(1), json!(1.0)])?;
    c.only("mid_block_type", &[json!("UNetMidBlock2DCrossAttn")])?;
    c.only("resnet_out_scale_factor", &[json!(1), json!(1.0)])?;
    c.only("resnet_time_scale_shift", &[json!("default")])?;
    c.only("time_embedding_type", &[json!("positional")])
}

/// What Stable Diffusion XL adds to the time embedding.
fn text_time(c: &Config) -> Result<Option<TextTime>> {
    const KEY: &str = "addition_embed_type";
    const INPUTS: &str = "projection_class_embeddings_input_dim";
    c.only(KEY, &[json!("text_time")])?;
    if c.string(KEY, "")?.is_empty() {
        return Ok(None);
    }
    let text_time =
        TextTime { time_embed_dim: c.size("addition_time_embed_dim", None)?, input_dim: c.size(INPUTS, None)? };
    if !text_time.time_embed_dim.is_multiple_of(2) {
        return Err(c.error("addition_time_embed_dim", "must be even"));
    }
    if text_time.input_dim <= text_time.time_ids_dim() {
        let least = text_time.time_ids_dim();
        return Err(c
            .error(INPUTS, format!("must be more than {least}, six times `addition_time_embed_dim`"))
            .hint("the refiner of Stable Diffusion XL has five sizes; take the base model"));
    }
    Ok(Some(text_time))
}

/// For each level whether it is the block with attention.
fn attention_levels(c: &Config, key: &str, [with, without]: [&str; 2], n: usize) -> Result<Vec<bool>> {
    let types = c.strings(key)?;
    if types.len() != n {
        return Err(c.error(key, format!("has {} entries, but `block_out_channels` has {n}", types.len())));
    }
    types
        .iter()
        .map(|t| match t.as_str() {
            t if t == with => Ok(true),
            t if t == without => Ok(false),
            other => Err(c
                .error(key, format!("has `{other}`, which is not supported"))
                .hint(format!("supported are {with} and {without}"))),
        })
        .collect()
}
