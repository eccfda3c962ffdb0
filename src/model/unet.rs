//! The noise predictor: diffusers' `UNet2DConditionModel` as Stable Diffusion 1.x and 2.x configure it.
//!
//! In: noisy latents [B, C, H, W], one timestep a sample, text states [B, M, width]. Out: the predicted noise (or
//! velocity) [B, C, H, W]. Follows Rombach et al. 2022 and diffusers' block structure and tensor names.

use super::build::{Build, Parameters};
use super::conditioning::Conditioning;
use super::config::Config;
use super::layers::{Conv2d, GroupNorm, Linear};
use super::lora::Dropout;
use super::recompute::{self, Stage};
use super::resnet::{Downsample, Resnet, ResnetSizes, Upsample};
use super::transformer::{Transformer, TransformerSizes};
use crate::error::{Error, Result};
use candle_core::{DType, Device, Tensor};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use tunelab_ops::{self as ops, Padding};

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
    pub channels: Vec<usize>,
    /// Residual blocks of each level.
    pub layers: Vec<usize>,
    /// Which levels of the way down have attention.
    pub down_attention: Vec<bool>,
    /// Which levels of the way up have attention, from the coarsest.
    pub up_attention: Vec<bool>,
    /// Heads of each level.
    pub heads: Vec<usize>,
    /// Transformer blocks of each level.
    pub transformer_layers: Vec<usize>,
    /// Width of the text states.
    pub text: usize,
    /// Groups of the group norms.
    pub groups: usize,
    /// Epsilon of the residual blocks' norms.
    pub eps: f64,
    /// Cosine before sine in the timestep embedding.
    pub flip_sin_to_cos: bool,
    /// Shift of the timestep embedding's frequencies.
    pub freq_shift: f64,
    /// Linear projections around the transformers.
    pub linear_projection: bool,
}

impl UnetConfig {
    /// Reads `unet/config.json`; refuses options that are not built.
    pub fn read(file: &Path) -> Result<Self> {
        let c = Config::read(file, "UNet2DConditionModel")?;
        refuse_unbuilt(&c)?;
        let channels = c.sizes("block_out_channels", None, None)?;
        let n = channels.len();
        let heads_key =
            if c.only("num_attention_heads", &[]).is_ok() { "attention_head_dim" } else { "num_attention_heads" };
        let config = Self {
            in_channels: c.size("in_channels", Some(4))?,
            out_channels: c.size("out_channels", Some(4))?,
            sample_size: c.square_or_pair("sample_size", 64)?,
            layers: c.sizes("layers_per_block", Some(n), Some(2))?,
            down_attention: attention_levels(&c, "down_block_types", ["CrossAttnDownBlock2D", "DownBlock2D"], n)?,
            up_attention: attention_levels(&c, "up_block_types", ["CrossAttnUpBlock2D", "UpBlock2D"], n)?,
            heads: c.sizes(heads_key, Some(n), Some(8))?,
            transformer_layers: c.sizes("transformer_layers_per_block", Some(n), Some(1))?,
            text: c.size("cross_attention_dim", Some(1280))?,
            groups: c.size("norm_num_groups", Some(32))?,
            eps: c.number("norm_eps", 1e-5)?,
            flip_sin_to_cos: c.flag("flip_sin_to_cos", true)?,
            freq_shift: c.number("freq_shift", 0.0)?,
            linear_projection: c.flag("use_linear_projection", false)?,
            channels,
        };
        if config.channels.iter().any(|w| w % config.groups != 0) || !config.channels[0].is_multiple_of(2) {
            return Err(c.error("block_out_channels", "must be even multiples of `norm_num_groups`"));
        }
        if config.channels.iter().zip(&config.heads).any(|(w, h)| w % h != 0) {
            return Err(c.error("attention_head_dim", "must divide `block_out_channels`"));
        }
        Ok(config)
    }

    fn resnet(&self) -> ResnetSizes {
        ResnetSizes { groups: self.groups, eps: self.eps, time: Some(4 * self.channels[0]) }
    }

    fn transformer(&self, level: usize) -> TransformerSizes {
        TransformerSizes {
            channels: self.channels[level],
            heads: self.heads[level],
            text: self.text,
            layers: self.transformer_layers[level],
            groups: self.groups,
            linear_projection: self.linear_projection,
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
    c.only("addition_embed_type", &[]).map_err(|e| {
        e.hint("Stable Diffusion XL and its refiner have this; take a model of the Stable Diffusion 1.x kind")
    })?;
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

/// For each level whether it is the block with attention.
fn attention_levels(c: &Config, key: &str, [with, without]: [&str; 2], n: usize) -> Result<Vec<bool>> {
    let types = c.texts(key)?;
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

/// One level on the way down.
struct Down {
    stages: Vec<Arc<Stage>>,
    downsample: Option<Downsample>,
}

/// One level on the way up.
struct Up {
    stages: Vec<Arc<Stage>>,
    upsample: Option<Upsample>,
}

/// The network.
pub struct Unet {
    config: UnetConfig,
    conv_in: Conv2d,
    time_1: Linear,
    time_2: Linear,
    down: Vec<Down>,
    middle: [Arc<Stage>; 2],
    up: Vec<Up>,
    norm_out: GroupNorm,
    conv_out: Conv2d,
    dropout: Option<Arc<Dropout>>,
    recompute: bool,
    /// The type that latents and text are computed in, if it is not their own.
    activations: Option<DType>,
}

impl Unet {
    /// Builds the network and returns all of its parameters. Errors if the tensors do not fit the configuration.
    pub fn new(config: &UnetConfig, build: Build) -> Result<(Self, Parameters)> {
        let time = 4 * config.channels[0];
        let unet = Self {
            config: config.clone(),
            conv_in: Conv2d::same3(&build.pp("conv_in"), config.in_channels, config.channels[0])?,
            time_1: Linear::new(&build.pp("time_embedding.linear_1"), config.channels[0], time)?,
            time_2: Linear::new(&build.pp("time_embedding.linear_2"), time, time)?,
            down: (0..config.channels.len()).map(|i| Self::down(config, &build, i)).collect::<Result<_>>()?,
            middle: Self::middle(config, &build.pp("mid_block"))?,
            up: (0..config.channels.len()).map(|i| Self::up(config, &build, i)).collect::<Result<_>>()?,
            norm_out: GroupNorm::new(&build.pp("conv_norm_out"), config.groups, config.channels[0], config.eps)?,
            conv_out: Conv2d::same3(&build.pp("conv_out"), config.channels[0], config.out_channels)?,
            dropout: None,
            recompute: false,
            activations: build.activations(),
        };
        let parameters = build.finish()?;
        Ok((Self { dropout: parameters.dropout().cloned(), ..unet }, parameters))
    }

    /// From now on every forward pass keeps the inputs of the stages only (gradient checkpointing).
    pub fn recompute(&mut self) {
        self.recompute = true;
    }

    fn stage(&self, stage: &Arc<Stage>, x: &Tensor, time: &Tensor, text: &Tensor) -> Result<Tensor> {
        recompute::run(stage, [x, time, text], self.dropout.as_ref(), self.recompute)
    }

    /// The sizes.
    pub fn config(&self) -> &UnetConfig {
        &self.config
    }

    fn down(config: &UnetConfig, build: &Build, level: usize) -> Result<Down> {
        let build = build.pp("down_blocks").pp(level);
        let outputs = config.channels[level];
        let stages = (0..config.layers[level]).map(|j| {
            let inputs = if j == 0 { config.channels[level.saturating_sub(1)] } else { outputs };
            let resnet = Resnet::new(&build.pp("resnets").pp(j), config.resnet(), inputs, outputs)?;
            let attention = config.down_attention[level]
                .then(|| Transformer::new(&build.pp("attentions").pp(j), config.transformer(level)));
            Ok(Arc::new(Stage { resnet, attention: attention.transpose()? }))
        });
        let stages = stages.collect::<Result<_>>()?;
        let coarser = level + 1 < config.channels.len();
        let downsample = coarser.then(|| Downsample::new(&build, outputs, Padding::same(1))).transpose()?;
        Ok(Down { stages, downsample })
    }

    fn middle(config: &UnetConfig, build: &Build) -> Result<[Arc<Stage>; 2]> {
        let level = config.channels.len() - 1;
        let c = config.channels[level];
        let resnet = |j: usize| Resnet::new(&build.pp("resnets").pp(j), config.resnet(), c, c);
        let attention = Transformer::new(&build.pp("attentions.0"), config.transformer(level))?;
        let first = Stage { resnet: resnet(0)?, attention: Some(attention) };
        Ok([Arc::new(first), Arc::new(Stage { resnet: resnet(1)?, attention: None })])
    }

    fn up(config: &UnetConfig, build: &Build, i: usize) -> Result<Up> {
        let build = build.pp("up_blocks").pp(i);
        let last = config.channels.len() - 1;
        let level = last - i;
        let outputs = config.channels[level];
        let below = config.channels[(level + 1).min(last)];
        let above = config.channels[level.saturating_sub(1)];
        let layers = config.layers[level] + 1;
        let stages = (0..layers).map(|j| {
            let inputs = if j == 0 { below } else { outputs };
            let skip = if j + 1 == layers { above } else { outputs };
            let resnet = Resnet::new(&build.pp("resnets").pp(j), config.resnet(), inputs + skip, outputs)?;
            let attention = config.up_attention[i]
                .then(|| Transformer::new(&build.pp("attentions").pp(j), config.transformer(level)));
            Ok(Arc::new(Stage { resnet, attention: attention.transpose()? }))
        });
        let stages = stages.collect::<Result<_>>()?;
        let upsample = (level > 0).then(|| Upsample::new(&build, outputs)).transpose()?;
        Ok(Up { stages, upsample })
    }

    /// `latents` [B, C, H, W], `timesteps` one a sample (0 to 999, may lie between), with their conditioning → prediction.
    pub fn forward(&self, latents: &Tensor, timesteps: &[f64], conditioning: &Conditioning) -> Result<Tensor> {
        self.predict(latents, &self.waves(timesteps, latents.device())?, conditioning)
    }

    /// The sinusoidal embedding of timesteps, [B, channels] in f32: what [`Unet::predict`] wants to know of them.
    pub fn waves(&self, timesteps: &[f64], device: &Device) -> Result<Tensor> {
        let waves = timestep_embedding(timesteps, self.config.channels[0], &self.config);
        Ok(Tensor::from_vec(waves, (timesteps.len(), self.config.channels[0]), device)?)
    }

    /// As [`Unet::forward`], of tensors alone.
    pub fn predict(&self, latents: &Tensor, waves: &Tensor, conditioning: &Conditioning) -> Result<Tensor> {
        let text = &conditioning.hidden_states;
        let samples = latents.dim(0)?;
        if samples != waves.dim(0)? || samples != text.dim(0)? {
            let (l, n, t) = (latents.dims(), waves.dim(0)?, text.dims());
            return Err(Error::run(format!("latents {l:?}, {n} timesteps and text {t:?} differ")));
        }
        let given = latents.dtype();
        let dtype = self.activations.unwrap_or(given);
        let (latents, text) = (&ops::cast(latents, dtype)?, &ops::cast(text, dtype)?);
        let time = self.time(&waves.to_dtype(dtype)?)?;
        let mut x = self.conv_in.forward(latents)?;
        let mut skips = vec![x.clone()];
        for level in &self.down {
            for stage in &level.stages {
                x = self.stage(stage, &x, &time, text)?;
                skips.push(x.clone());
            }
            if let Some(downsample) = &level.downsample {
                x = downsample.forward(&x)?;
                skips.push(x.clone());
            }
        }
        for stage in &self.middle {
            x = self.stage(stage, &x, &time, text)?;
        }
        for level in &self.up {
            for stage in &level.stages {
                let skip = skips.pop().ok_or_else(|| Error::run("the UNet's configuration has too few skips"))?;
                x = self.stage(stage, &ops::cat_channels(&x, &skip)?, &time, text)?;
            }
            if let (Some(upsample), Some(skip)) = (&level.upsample, skips.last()) {
                // To the size of the next skip: it is odd where the latents' size is no multiple of 2 at this level.
                x = upsample.forward(&x, (skip.dim(2)?, skip.dim(3)?))?;
            }
        }
        let prediction = self.conv_out.forward(&self.norm_out.forward_silu(&x)?)?;
        Ok(ops::cast(&prediction, given)?)
    }

    /// SiLU of the time embedding, which every residual block projects: [B, 4 · channels].
    fn time(&self, waves: &Tensor) -> Result<Tensor> {
        let h = ops::silu(&self.time_1.forward(waves)?)?;
        Ok(ops::silu(&self.time_2.forward(&h)?)?)
    }
}

/// Sines and cosines of t · 10000^(-i / (n/2 - shift)), in f32 as torch computes them: so timestep 999 stays 999.
fn timestep_embedding(timesteps: &[f64], n: usize, config: &UnetConfig) -> Vec<f32> {
    let half = n / 2;
    let frequencies: Vec<f32> = (0..half)
        .map(|i| (-(10_000f64.ln() as f32) * i as f32 / (half as f64 - config.freq_shift) as f32).exp())
        .collect();
    let waves = |t: f64| {
        let phases = frequencies.iter().map(move |f| t as f32 * f);
        let (sines, cosines): (Vec<f32>, Vec<f32>) = phases.map(f32::sin_cos).unzip();
        if config.flip_sin_to_cos { [cosines, sines].concat() } else { [sines, cosines].concat() }
    };
    timesteps.iter().flat_map(|&t| waves(t)).collect()
}
