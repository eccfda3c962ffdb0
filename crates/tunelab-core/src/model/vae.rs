//! The picture's autoencoder: diffusers' `AutoencoderKL` (Kingma & Welling 2013; Rombach et al.
//! 2022).
//!
//! In: pictures [B, 3, H, W] in [-1, 1]. Out: mean and deviation of the latents [B, 4, H/8, W/8];
//! and back. The latents that the UNet sees are samples times `scaling_factor`, which the callers
//! of `encode` and `decode` apply.

use super::build::{Build, Parameters};
use super::layers::{Conv2d, GroupNorm};
use super::module::Positions;
use super::resnet::{Downsample, Resnet, Upsample};
use super::transformer::Attention;
use crate::error::{Error, Result};
use candle_core::Tensor;
use tunelab_ops::{self as ops, Padding};

mod config;

use config::EPS;
pub use config::VaeConfig;

/// Two residual blocks with attention over all pixels between them.
struct Middle {
    first: Resnet,
    attention: Option<(GroupNorm, Attention)>,
    second: Resnet,
}

impl Middle {
    fn new(build: &Build, config: &VaeConfig, c: usize) -> Result<Self> {
        let at = build.pp("attentions.0");
        let attention = || {
            let norm = GroupNorm::new(&at.pp("group_norm"), config.norm_num_groups, c, EPS)?;
            Ok::<_, Error>((norm, Attention::with_biases(&at, c)?))
        };
        Ok(Self {
            first: Resnet::new(&build.pp("resnets.0"), config.resnet(), c, c)?,
            attention: config.mid_block_add_attention.then(attention).transpose()?,
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
        let deepest = config.deepest();
        let levels = (0..=deepest).map(|i| {
            let build = build.pp("down_blocks").pp(i).over(Positions::Pixels { level: i });
            let outputs = config.block_out_channels[i];
            let inputs = |j: usize| if j == 0 { config.block_out_channels[i.saturating_sub(1)] } else { outputs };
            let resnets = (0..config.layers_per_block)
                .map(|j| Resnet::new(&build.pp("resnets").pp(j), config.resnet(), inputs(j), outputs));
            let resnets = resnets.collect::<Result<_>>()?;
            let padding = Padding { before: 0, after: 1 };
            let downsample = (i < deepest).then(|| Downsample::new(&build, i + 1, outputs, padding)).transpose()?;
            Ok((resnets, downsample))
        });
        let c = config.block_out_channels[deepest];
        let latents = build.over(Positions::Pixels { level: deepest });
        Ok(Self {
            conv_in: Conv2d::same3(&build.pp("conv_in"), config.in_channels, config.block_out_channels[0])?,
            levels: levels.collect::<Result<_>>()?,
            middle: Middle::new(&latents.pp("mid_block"), config, c)?,
            norm_out: GroupNorm::new(&latents.pp("conv_norm_out"), config.norm_num_groups, c, EPS)?,
            conv_out: Conv2d::same3(&latents.pp("conv_out"), c, 2 * config.latent_channels)?,
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
        let deepest = config.deepest();
        let levels = (0..=deepest).map(|i| {
            let level = deepest - i;
            let build = build.pp("up_blocks").pp(i).over(Positions::Pixels { level });
            let outputs = config.block_out_channels[level];
            let below = config.block_out_channels[(level + 1).min(deepest)];
            let resnets = (0..=config.layers_per_block).map(|j| {
                let inputs = if j == 0 { below } else { outputs };
                Resnet::new(&build.pp("resnets").pp(j), config.resnet(), inputs, outputs)
            });
            let resnets = resnets.collect::<Result<_>>()?;
            let upsample = (level > 0).then(|| Upsample::new(&build, level - 1, outputs)).transpose()?;
            Ok((resnets, upsample))
        });
        let (c, finest) = (config.block_out_channels[deepest], config.block_out_channels[0]);
        let latents = build.over(Positions::Pixels { level: deepest });
        Ok(Self {
            conv_in: Conv2d::same3(&latents.pp("conv_in"), config.latent_channels, c)?,
            middle: Middle::new(&latents.pp("mid_block"), config, c)?,
            levels: levels.collect::<Result<_>>()?,
            norm_out: GroupNorm::new(&build.pp("conv_norm_out"), config.norm_num_groups, finest, EPS)?,
            conv_out: Conv2d::same3(&build.pp("conv_out"), finest, config.out_channels)?,
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
    /// Builds the network and returns all of its parameters. Errors if the tensors do not fit the
    /// configuration.
    pub fn new(config: &VaeConfig, build: Build) -> Result<(Self, Parameters)> {
        let z = config.latent_channels;
        let latents = build.over(Positions::Pixels { level: config.deepest() });
        let pointwise =
            |wanted: bool, name: &str, c: usize| wanted.then(|| Conv2d::pointwise(&latents.pp(name), c, c)).transpose();
        let vae = Self {
            config: config.clone(),
            encoder: Encoder::new(&build.pp("encoder"), config)?,
            quant_conv: pointwise(config.use_quant_conv, "quant_conv", 2 * z)?,
            post_quant_conv: pointwise(config.use_post_quant_conv, "post_quant_conv", z)?,
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

    /// Pictures [B, 3, H, W] in [-1, 1] → the distribution of their latents. The logarithm of the
    /// variance is clamped to [-30, 20], as diffusers does.
    pub fn encode(&self, pictures: &Tensor) -> Result<LatentDistribution> {
        let mut h = self.encoder.forward(pictures)?;
        if let Some(conv) = &self.quant_conv {
            h = conv.forward(&h)?;
        }
        let mean = ops::composed(&[&h], |t| t[0].chunk(2, 1)?[0].contiguous())?;
        let std = ops::composed(&[&h], |t| (t[0].chunk(2, 1)?[1].clamp(-30f32, 20f32)? * 0.5)?.exp())?;
        Ok(LatentDistribution { mean, std })
    }

    /// Latents [B, C, H/8, W/8], already divided by `scaling_factor`, → pictures, mostly in
    /// [-1, 1].
    pub fn decode(&self, latents: &Tensor) -> Result<Tensor> {
        match &self.post_quant_conv {
            Some(conv) => self.decoder.forward(&conv.forward(latents)?),
            None => self.decoder.forward(latents),
        }
    }
}
