//! The picture's autoencoder: diffusers' `AutoencoderKL` (Kingma & Welling 2013; Rombach et al. 2022).
//!
//! In: pictures [B, 3, H, W] in [-1, 1]. Out: mean and deviation of the latents [B, 4, H/8, W/8]; and back. The latents
//! that the UNet sees are samples times `scaling_factor`, which the callers of `encode` and `decode` apply.

use super::build::{Build, Parameters};
use super::config::Config;
use super::layers::{Conv2d, GroupNorm};
use super::resnet::{Downsample, Resnet, ResnetSizes, Upsample};
use super::transformer::Attention;
use crate::error::Result;
use candle_core::Tensor;
use serde_json::json;
use std::path::Path;
use tunelab_ops::{self as ops, Padding};

/// Epsilon of all norms; diffusers fixes it.
const EPS: f64 = 1e-6;

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
    pub channels: Vec<usize>,
    /// Residual blocks of each level of the encoder; the decoder has one more.
    pub layers: usize,
    /// Groups of the norms.
    pub groups: usize,
    /// The UNet's latents are the VAE's times this.
    pub scaling_factor: f64,
    /// Attention between the two middle blocks.
    pub mid_attention: bool,
    /// A 1x1 convolution behind the encoder.
    pub quant_conv: bool,
    /// A 1x1 convolution in front of the decoder.
    pub post_quant_conv: bool,
}

impl VaeConfig {
    /// Reads `vae/config.json`; refuses options that are not built.
    pub fn read(file: &Path) -> Result<Self> {
        let c = Config::read(file, "AutoencoderKL")?;
        let channels = c.sizes("block_out_channels", None, None)?;
        for (key, kind) in [("down_block_types", "DownEncoderBlock2D"), ("up_block_types", "UpDecoderBlock2D")] {
            if c.texts(key)? != vec![kind; channels.len()] {
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
            layers: c.size("layers_per_block", Some(1))?,
            groups: c.size("norm_num_groups", Some(32))?,
            scaling_factor: c.number("scaling_factor", 0.18215)?,
            mid_attention: c.flag("mid_block_add_attention", true)?,
            quant_conv: c.flag("use_quant_conv", true)?,
            post_quant_conv: c.flag("use_post_quant_conv", true)?,
            channels,
        };
        if config.channels.iter().any(|w| w % config.groups != 0) {
            return Err(c.error("block_out_channels", "must be multiples of `norm_num_groups`"));
        }
        if config.in_channels != 3 || config.out_channels != 3 {
            return Err(c.error("in_channels", "and `out_channels` must be 3: pictures are RGB"));
        }
        Ok(config)
    }

    /// Pixels of a picture's side for one of the latents': 8 for Stable Diffusion.
    pub fn downscale(&self) -> usize {
        1 << (self.channels.len() - 1)
    }

    fn resnet(&self) -> ResnetSizes {
        ResnetSizes { groups: self.groups, eps: EPS, time: None }
    }
}

/// Two residual blocks with attention over all pixels between them.
struct Middle {
    first: Resnet,
    attention: Option<(GroupNorm, Attention)>,
    second: Resnet,
}

impl Middle {
    fn new(build: &Build, config: &VaeConfig, c: usize) -> Result<Self> {
        let at = build.pp("attentions.0");
        let attention = config.mid_attention.then(|| {
            Ok::<_, crate::error::Error>((
                GroupNorm::new(&at.pp("group_norm"), config.groups, c, EPS)?,
                Attention::with_biases(&at, c)?,
            ))
        });
        Ok(Self {
            first: Resnet::new(&build.pp("resnets.0"), config.resnet(), c, c)?,
            attention: attention.transpose()?,
            second: Resnet::new(&build.pp("resnets.1"), config.resnet(), c, c)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = self.first.forward(x, None)?;
        if let Some((norm, attention)) = &self.attention {
            let (_, _, h, w) = x.dims4()?;
            let rows = attention.forward(&ops::to_rows(&norm.forward(&x)?)?, None)?;
            x = ops::add(&ops::to_image(&rows, (h, w))?, &x)?;
        }
        self.second.forward(&x, None)
    }
}

struct Encoder {
    conv_in: Conv2d,
    levels: Vec<(Vec<Resnet>, Option<Downsample>)>,
    middle: Middle,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl Encoder {
    fn new(build: &Build, config: &VaeConfig) -> Result<Self> {
        let n = config.channels.len();
        let levels = (0..n).map(|i| {
            let build = build.pp("down_blocks").pp(i);
            let outputs = config.channels[i];
            let inputs = |j: usize| if j == 0 { config.channels[i.saturating_sub(1)] } else { outputs };
            let resnets = (0..config.layers)
                .map(|j| Resnet::new(&build.pp("resnets").pp(j), config.resnet(), inputs(j), outputs));
            let downsample =
                (i + 1 < n).then(|| Downsample::new(&build, outputs, Padding { before: 0, after: 1 })).transpose()?;
            Ok((resnets.collect::<Result<_>>()?, downsample))
        });
        let c = config.channels[n - 1];
        Ok(Self {
            conv_in: Conv2d::same3(&build.pp("conv_in"), config.in_channels, config.channels[0])?,
            levels: levels.collect::<Result<_>>()?,
            middle: Middle::new(&build.pp("mid_block"), config, c)?,
            norm_out: GroupNorm::new(&build.pp("conv_norm_out"), config.groups, c, EPS)?,
            conv_out: Conv2d::same3(&build.pp("conv_out"), c, 2 * config.latent_channels)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = self.conv_in.forward(x)?;
        for (resnets, downsample) in &self.levels {
            for resnet in resnets {
                x = resnet.forward(&x, None)?;
            }
            if let Some(downsample) = downsample {
                x = downsample.forward(&x)?;
            }
        }
        let x = self.middle.forward(&x)?;
        self.conv_out.forward(&self.norm_out.forward_silu(&x)?)
    }
}

struct Decoder {
    conv_in: Conv2d,
    middle: Middle,
    levels: Vec<(Vec<Resnet>, Option<Upsample>)>,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl Decoder {
    fn new(build: &Build, config: &VaeConfig) -> Result<Self> {
        let last = config.channels.len() - 1;
        let levels = (0..=last).map(|i| {
            let build = build.pp("up_blocks").pp(i);
            let outputs = config.channels[last - i];
            let below = config.channels[(last - i + 1).min(last)];
            let resnets = (0..=config.layers).map(|j| {
                let inputs = if j == 0 { below } else { outputs };
                Resnet::new(&build.pp("resnets").pp(j), config.resnet(), inputs, outputs)
            });
            let upsample = (i < last).then(|| Upsample::new(&build, outputs)).transpose()?;
            Ok((resnets.collect::<Result<_>>()?, upsample))
        });
        let c = config.channels[last];
        Ok(Self {
            conv_in: Conv2d::same3(&build.pp("conv_in"), config.latent_channels, c)?,
            middle: Middle::new(&build.pp("mid_block"), config, c)?,
            levels: levels.collect::<Result<_>>()?,
            norm_out: GroupNorm::new(&build.pp("conv_norm_out"), config.groups, config.channels[0], EPS)?,
            conv_out: Conv2d::same3(&build.pp("conv_out"), config.channels[0], config.out_channels)?,
        })
    }

    fn forward(&self, z: &Tensor) -> Result<Tensor> {
        let mut x = self.middle.forward(&self.conv_in.forward(z)?)?;
        for (resnets, upsample) in &self.levels {
            for resnet in resnets {
                x = resnet.forward(&x, None)?;
            }
            if let Some(upsample) = upsample {
                let (_, _, h, w) = x.dims4()?;
                x = upsample.forward(&x, (2 * h, 2 * w))?;
            }
        }
        self.conv_out.forward(&self.norm_out.forward_silu(&x)?)
    }
}

/// The network.
pub struct Vae {
    config: VaeConfig,
    encoder: Encoder,
    quant_conv: Option<Conv2d>,
    post_quant_conv: Option<Conv2d>,
    decoder: Decoder,
    parameter_count: usize,
}

/// A normal distribution over latents, before `scaling_factor`.
pub struct LatentDistribution {
    /// [B, C, H/8, W/8]
    pub mean: Tensor,
    /// Standard deviation, of the same shape.
    pub std: Tensor,
}

impl Vae {
    /// Builds the network and returns all of its parameters. Errors if the tensors do not fit the configuration.
    pub fn new(config: &VaeConfig, build: Build) -> Result<(Self, Parameters)> {
        let z = config.latent_channels;
        let pointwise =
            |wanted: bool, name: &str, c: usize| wanted.then(|| Conv2d::pointwise(&build.pp(name), c, c)).transpose();
        let vae = Self {
            config: config.clone(),
            encoder: Encoder::new(&build.pp("encoder"), config)?,
            quant_conv: pointwise(config.quant_conv, "quant_conv", 2 * z)?,
            post_quant_conv: pointwise(config.post_quant_conv, "post_quant_conv", z)?,
            decoder: Decoder::new(&build.pp("decoder"), config)?,
            parameter_count: 0,
        };
        let parameters = build.finish()?;
        Ok((Self { parameter_count: parameters.weight_count(), ..vae }, parameters))
    }

    /// The sizes.
    pub fn config(&self) -> &VaeConfig {
        &self.config
    }

    /// Numbers in all of its tensors.
    pub fn parameter_count(&self) -> usize {
        self.parameter_count
    }

    /// Pictures [B, 3, H, W] in [-1, 1] → the distribution of their latents. The logarithm of the variance is clamped
    /// to [-30, 20], as diffusers does.
    pub fn encode(&self, pictures: &Tensor) -> Result<LatentDistribution> {
        let mut h = self.encoder.forward(pictures)?;
        if let Some(conv) = &self.quant_conv {
            h = conv.forward(&h)?;
        }
        let mean = ops::composed(&[&h], |t| t[0].chunk(2, 1)?[0].contiguous())?;
        let std = ops::composed(&[&h], |t| (t[0].chunk(2, 1)?[1].clamp(-30f32, 20f32)? * 0.5)?.exp())?;
        Ok(LatentDistribution { mean, std })
    }

    /// Latents [B, C, H/8, W/8], already divided by `scaling_factor`, → pictures, mostly in [-1, 1].
    pub fn decode(&self, latents: &Tensor) -> Result<Tensor> {
        match &self.post_quant_conv {
            Some(conv) => self.decoder.forward(&conv.forward(latents)?),
            None => self.decoder.forward(latents),
        }
    }
}
