//! The sizes of a VAE, and a clear refusal of the kinds that are not built.
//!
//! In: `vae/config.json`. Out: [`VaeConfig`], its fields named as the file's keys.

use crate::error::Result;
use crate::model::config::Config;
use crate::model::resnet::ResnetSizes;
use serde_json::json;
use std::path::Path;

/// Epsilon of all norms; diffusers fixes it.
pub(super) const EPS: f64 = 1e-6;

/// More halvings of a picture than any has.
const MOST_LEVELS: usize = 16;

/// The sizes of a VAE, from its `config.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct VaeConfig {
    /// Channels of a picture.
    pub in_channels: usize,
    /// Channels of a decoded picture.
    pub out_channels: usize,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Channels of each level, from the finest.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks of each level of the encoder; the decoder has one more.
    pub layers_per_block: usize,
    /// Groups of the norms.
    pub norm_num_groups: usize,
    /// The UNet's latents are the VAE's times this.
    pub scaling_factor: f64,
    /// Attention between the two middle blocks.
    pub mid_block_add_attention: bool,
    /// A 1x1 convolution behind the encoder.
    pub use_quant_conv: bool,
    /// A 1x1 convolution in front of the decoder.
    pub use_post_quant_conv: bool,
}

impl VaeConfig {
    /// Reads `vae/config.json`; refuses options that are not built.
    pub fn read(file: &Path) -> Result<Self> {
        Self::parse(&Config::text(file)?, file)
    }

    /// The same of the file's text.
    pub fn parse(text: &str, file: &Path) -> Result<Self> {
        let c = Config::parse(text, file, &["AutoencoderKL"])?;
        let block_out_channels = c.sizes("block_out_channels", None, None)?;
        for (key, kind) in [("down_block_types", "DownEncoderBlock2D"), ("up_block_types", "UpDecoderBlock2D")] {
            if c.strings(key)? != vec![kind; block_out_channels.len()] {
                return Err(c.error(key, format!("must be `{kind}` for each entry of `block_out_channels`")));
            }
        }
        c.only("act_fn", &[json!("silu"), json!("swish")])?;
        for key in ["latents_mean", "latents_std", "shift_factor"] {
            c.only(key, &[])?;
        }
        let config = Self {
            in_channels: c.size("in_channels", Some(3))?,
            out_channels: c.size("out_channels", Some(3))?,
            latent_channels: c.size("latent_channels", Some(4))?,
            layers_per_block: c.size("layers_per_block", Some(1))?,
            norm_num_groups: c.size("norm_num_groups", Some(32))?,
            scaling_factor: c.number("scaling_factor", 0.18215)?,
            mid_block_add_attention: c.flag("mid_block_add_attention", true)?,
            use_quant_conv: c.flag("use_quant_conv", true)?,
            use_post_quant_conv: c.flag("use_post_quant_conv", true)?,
            block_out_channels,
        };
        if config.block_out_channels.iter().any(|w| w % config.norm_num_groups != 0) {
            return Err(c.error("block_out_channels", "must be multiples of `norm_num_groups`"));
        }
        if config.block_out_channels.len() > MOST_LEVELS {
            return Err(c.error("block_out_channels", format!("has more than {MOST_LEVELS} entries")));
        }
        if config.in_channels != 3 || config.out_channels != 3 {
            return Err(c.error("in_channels", "and `out_channels` must be 3: pictures are RGB"));
        }
        Ok(config)
    }

    /// Pixels of a picture's side for one of the latents': 8 for Stable Diffusion.
    pub fn downscale(&self) -> usize {
        1 << self.deepest()
    }

    /// The level of the latents: how often they are halved.
    pub(super) fn deepest(&self) -> usize {
        self.block_out_channels.len() - 1
    }

    /// What the residual blocks share.
    pub(super) fn resnet(&self) -> ResnetSizes {
        ResnetSizes { groups: self.norm_num_groups, eps: EPS, temb_channels: None }
    }
}
