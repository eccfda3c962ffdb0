//! The noise predictor: diffusers' `UNet2DConditionModel` as Stable Diffusion 1.x, 2.x and XL
//! configure it.
//!
//! In: noisy latents [B, C, H, W], one timestep a sample, the text encoders' hidden states
//! [B, M, width], and for XL the text as one vector and the time ids. Out: the predicted noise (or
//! velocity) [B, C, H, W]. Follows Rombach et al. 2022, Podell et al. 2023 and diffusers' block
//! structure and tensor names.

use super::build::{Build, Parameters};
use super::conditioning::Conditioning;
use super::layers::{Conv2d, GroupNorm, Linear};
use super::lora::Dropout;
use super::module::Positions;
use super::recompute::{self, Stage};
use super::resnet::{Downsample, Resnet, Upsample};
use super::transformer::Transformer;
use crate::error::{Error, Result};
use candle_core::{DType, Device, Tensor};
use std::sync::Arc;
use tunelab_ops::{self as ops, Padding};

mod config;

pub use config::{TIME_IDS, TextTime, TimeIds, UnetConfig};

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
    linear_1: Linear,
    linear_2: Linear,
    /// Of the text's vector and the time ids.
    add_embedding: Option<[Linear; 2]>,
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
    /// The type that latents and text are computed in, if it is not their own.
    pub fn activations(&self) -> Option<DType> {
        self.activations
    }

    /// Builds the network and returns all of its parameters. Errors if the tensors do not fit the
    /// configuration.
    pub fn new(config: &UnetConfig, build: Build) -> Result<(Self, Parameters)> {
        let (levels, channels, temb) =
            (config.block_out_channels.len(), config.block_out_channels[0], config.temb_channels());
        let time_embedding = build.pp("time_embedding").over(Positions::Sample);
        let add_embedding = build.pp("add_embedding").over(Positions::Sample);
        let add_embedding = |text_time: TextTime| -> Result<[Linear; 2]> {
            let first = Linear::new(&add_embedding.pp("linear_1"), text_time.input_dim, temb)?;
            Ok([first, Linear::new(&add_embedding.pp("linear_2"), temb, temb)?])
        };
        let unet = Self {
            config: config.clone(),
            conv_in: Conv2d::same3(&build.pp("conv_in"), config.in_channels, channels)?,
            linear_1: Linear::new(&time_embedding.pp("linear_1"), channels, temb)?,
            linear_2: Linear::new(&time_embedding.pp("linear_2"), temb, temb)?,
            add_embedding: config.text_time.map(add_embedding).transpose()?,
            down: (0..levels).map(|i| Self::down(config, &build, i)).collect::<Result<_>>()?,
            middle: Self::middle(config, &build.pp("mid_block"))?,
            up: (0..levels).map(|i| Self::up(config, &build, i)).collect::<Result<_>>()?,
            norm_out: GroupNorm::new(&build.pp("conv_norm_out"), config.norm_num_groups, channels, config.norm_eps)?,
            conv_out: Conv2d::same3(&build.pp("conv_out"), channels, config.out_channels)?,
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

    fn stage(&self, stage: &Arc<Stage>, x: &Tensor, temb: &Tensor, text: &Tensor) -> Result<Tensor> {
        recompute::run(stage, [x, temb, text], self.dropout.as_ref(), self.recompute)
    }

    /// The sizes.
    pub fn config(&self) -> &UnetConfig {
        &self.config
    }

    fn down(config: &UnetConfig, build: &Build, level: usize) -> Result<Down> {
        let build = build.pp("down_blocks").pp(level).over(Positions::Pixels { level });
        let outputs = config.block_out_channels[level];
        let stages = (0..config.layers_per_block[level]).map(|j| {
            let inputs = if j == 0 { config.block_out_channels[level.saturating_sub(1)] } else { outputs };
            let resnet = Resnet::new(&build.pp("resnets").pp(j), config.resnet(), inputs, outputs)?;
            let attention = config.down_attention[level]
                .then(|| Transformer::new(&build.pp("attentions").pp(j), config.transformer(level)));
            Ok(Arc::new(Stage { resnet, attention: attention.transpose()? }))
        });
        let stages = stages.collect::<Result<_>>()?;
        let coarser = level + 1 < config.block_out_channels.len();
        let downsample = coarser.then(|| Downsample::new(&build, level + 1, outputs, Padding::same(1))).transpose()?;
        Ok(Down { stages, downsample })
    }

    fn middle(config: &UnetConfig, build: &Build) -> Result<[Arc<Stage>; 2]> {
        let level = config.block_out_channels.len() - 1;
        let c = config.block_out_channels[level];
        let build = build.over(Positions::Pixels { level });
        let resnet = |j: usize| Resnet::new(&build.pp("resnets").pp(j), config.resnet(), c, c);
        let attention = || Transformer::new(&build.pp("attentions.0"), config.transformer(level));
        let first = Stage { resnet: resnet(0)?, attention: Some(attention()?) };
        Ok([Arc::new(first), Arc::new(Stage { resnet: resnet(1)?, attention: None })])
    }

    fn up(config: &UnetConfig, build: &Build, i: usize) -> Result<Up> {
        let last = config.block_out_channels.len() - 1;
        let level = last - i;
        let build = build.pp("up_blocks").pp(i).over(Positions::Pixels { level });
        let outputs = config.block_out_channels[level];
        let below = config.block_out_channels[(level + 1).min(last)];
        let above = config.block_out_channels[level.saturating_sub(1)];
        let layers = config.layers_per_block[level] + 1;
        let stages = (0..layers).map(|j| {
            let inputs = if j == 0 { below } else { outputs };
            let skip = if j + 1 == layers { above } else { outputs };
            let resnet = Resnet::new(&build.pp("resnets").pp(j), config.resnet(), inputs + skip, outputs)?;
            let attention = config.up_attention[i]
                .then(|| Transformer::new(&build.pp("attentions").pp(j), config.transformer(level)));
            Ok(Arc::new(Stage { resnet, attention: attention.transpose()? }))
        });
        let stages = stages.collect::<Result<_>>()?;
        let upsample = (level > 0).then(|| Upsample::new(&build, level - 1, outputs)).transpose()?;
        Ok(Up { stages, upsample })
    }

    /// `noisy_latents` [B, C, H, W], `timesteps` one a sample (0 to 999, may lie between),
    /// their conditioning → prediction.
    pub fn forward(&self, noisy_latents: &Tensor, timesteps: &[f64], conditioning: &Conditioning) -> Result<Tensor> {
        let embedding = self.timestep_embedding(timesteps, noisy_latents.device())?;
        self.predict(noisy_latents, &embedding, conditioning)
    }

    /// The sinusoidal embedding of timesteps, [B, channels] in f32: what [`Unet::predict`] wants to
    /// know of them.
    pub fn timestep_embedding(&self, timesteps: &[f64], device: &Device) -> Result<Tensor> {
        let channels = self.config.block_out_channels[0];
        let embedding = sinusoids(timesteps, channels, &self.config);
        Ok(Tensor::from_vec(embedding, (timesteps.len(), channels), device)?)
    }

    /// The sinusoidal embedding of the samples' time ids, [B, numbers] in f32: a model's that is conditioned on them; nothing
    /// for any other.
    pub fn time_ids_embedding(&self, time_ids: &[TimeIds], device: &Device) -> Result<Option<Tensor>> {
        let Some(text_time) = self.config.text_time else { return Ok(None) };
        let ids: Vec<f64> = time_ids.iter().flatten().map(|&id| id as f64).collect();
        let embedding = sinusoids(&ids, text_time.time_embed_dim, &self.config);
        Ok(Some(Tensor::from_vec(embedding, (time_ids.len(), text_time.time_ids_dim()), device)?))
    }

    /// As [`Unet::forward`], of tensors alone.
    pub fn predict(
        &self,
        noisy_latents: &Tensor,
        timestep_embedding: &Tensor,
        conditioning: &Conditioning,
    ) -> Result<Tensor> {
        let encoder_hidden_states = &conditioning.hidden_states;
        let samples = noisy_latents.dim(0)?;
        if samples != timestep_embedding.dim(0)? || samples != encoder_hidden_states.dim(0)? {
            let (l, n, t) = (noisy_latents.dims(), timestep_embedding.dim(0)?, encoder_hidden_states.dims());
            return Err(Error::run(format!("latents {l:?}, {n} timesteps and text {t:?} differ")));
        }
        let given = noisy_latents.dtype();
        let dtype = self.activations.unwrap_or(given);
        let (latents, text) = (&ops::cast(noisy_latents, dtype)?, &ops::cast(encoder_hidden_states, dtype)?);
        let temb = self.temb(&timestep_embedding.to_dtype(dtype)?, conditioning)?;
        let mut x = self.conv_in.forward(latents)?;
        let mut skips = vec![x.clone()];
        for level in &self.down {
            for stage in &level.stages {
                x = self.stage(stage, &x, &temb, text)?;
                skips.push(x.clone());
            }
            if let Some(downsample) = &level.downsample {
                x = downsample.forward(&x)?;
                skips.push(x.clone());
            }
        }
        for stage in &self.middle {
            x = self.stage(stage, &x, &temb, text)?;
        }
        for level in &self.up {
            for stage in &level.stages {
                let skip = skips.pop().ok_or_else(|| Error::run("the UNet's configuration has too few skips"))?;
                x = ops::cat_channels(&x, &skip)?;
                drop(skip);
                x = self.stage(stage, &x, &temb, text)?;
            }
            if let (Some(upsample), Some(skip)) = (&level.upsample, skips.last()) {
                // To the size of the next skip: it is odd where the latents' size is no multiple of
                // 2 at this level.
                x = upsample.forward(&x, (skip.dim(2)?, skip.dim(3)?))?;
            }
        }
        let prediction = self.conv_out.forward(&self.norm_out.forward_silu(&x)?)?;
        Ok(ops::cast(&prediction, given)?)
    }

    /// SiLU of the time embedding, which every residual block projects: [B, 4 · channels].
    fn temb(&self, timestep_embedding: &Tensor, conditioning: &Conditioning) -> Result<Tensor> {
        let h = ops::silu(&self.linear_1.forward(timestep_embedding)?)?;
        let temb = self.linear_2.forward(&h)?;
        let Some([linear_1, linear_2]) = &self.add_embedding else { return Ok(ops::silu(&temb)?) };
        let (Some(pooled), Some(time_ids)) = (&conditioning.pooled, &conditioning.time_ids) else {
            return Err(Error::run("the UNet wants the text as one vector and time ids"));
        };
        let dtype = temb.dtype();
        let added = [ops::cast(pooled, dtype)?, ops::cast(time_ids, dtype)?];
        let added = ops::composed(&[&added[0], &added[1]], |t| Tensor::cat(&[&t[0], &t[1]], 1))?;
        let added = linear_2.forward(&ops::silu(&linear_1.forward(&added)?)?)?;
        Ok(ops::silu(&ops::add(&temb, &added)?)?)
    }
}

/// Sines and cosines of t · 10000^(-i / (n/2 - shift)), in f32 as torch computes them: so timestep
/// 999 stays 999.
fn sinusoids(timesteps: &[f64], n: usize, config: &UnetConfig) -> Vec<f32> {
    let half = n / 2;
    let frequencies: Vec<f32> = (0..half)
        .map(|i| (-(10_000f64.ln() as f32) * i as f32 / (half as f64 - config.freq_shift) as f32).exp())
        .collect();
    let of = |t: f64| {
        let phases = frequencies.iter().map(move |f| t as f32 * f);
        let (sines, cosines): (Vec<f32>, Vec<f32>) = phases.map(f32::sin_cos).unzip();
        if config.flip_sin_to_cos { [cosines, sines].concat() } else { [sines, cosines].concat() }
    };
    timesteps.iter().flat_map(|&t| of(t)).collect()
}
