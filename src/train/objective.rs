//! The loss of one batch: denoising score matching (Ho et al. 2020), with noise offset, min-SNR weights (Hang et al. 2023)
//! and prior preservation (Ruiz et al. 2023) where they are asked for.
//!
//! In: clean latents and text states, the UNet. Out: one scalar whose gradient reaches every trained tensor. Each sample has
//! its own timestep. Noise and timesteps come from named streams, so a step's draw depends on its number alone.

use super::examples::Batch;
use super::texts::Texts;
use crate::diffusion::NoiseSchedule;
use crate::error::Result;
use crate::model::unet::Unet;
use crate::ops;
use crate::random::Generator;
use candle_core::{Device, Tensor};

/// Noise and timesteps of one batch.
pub struct Draw {
    /// [B, C, H, W], standard normal (plus the offset).
    pub noise: Tensor,
    /// One a sample.
    pub timesteps: Vec<usize>,
}

impl Draw {
    /// Draw number `draw` of the streams of `seed`, for latents of the given shape. The offset adds to every channel of a
    /// sample one normal number times `noise_offset` (Guttenberg 2023).
    pub fn new(
        dims: &[usize],
        schedule_len: usize,
        noise_offset: f64,
        seed: u64,
        draw: u64,
        device: &Device,
    ) -> Result<Self> {
        let noise = Generator::stream(seed, "noise", draw).randn(dims.iter().product());
        let mut noise = Tensor::from_vec(noise, dims, device)?;
        if noise_offset > 0.0 {
            let n = dims[0] * dims[1];
            let offset = Generator::stream(seed, "noise offset", draw).randn(n);
            let offset = Tensor::from_vec(offset, (dims[0], dims[1], 1, 1), device)?;
            noise = noise.broadcast_add(&(offset * noise_offset)?)?;
        }
        let timesteps = Generator::stream(seed, "timestep", draw).randint(schedule_len as u64, dims[0]);
        Ok(Self { noise, timesteps: timesteps.into_iter().map(|t| t as usize).collect() })
    }
}

/// What predicts, and from what.
#[derive(Clone, Copy)]
pub struct Predictor<'a> {
    /// The noise predictor.
    pub unet: &'a Unet,
    /// Captions to hidden states.
    pub texts: &'a Texts,
    /// How noise is added.
    pub schedule: &'a NoiseSchedule,
    /// Min-SNR weights with this gamma.
    pub snr_gamma: Option<f64>,
}

/// Instance and class losses, before the class loss is weighted.
pub struct Parts {
    /// The mean over the instance half.
    pub instance: Tensor,
    /// The mean over the class half.
    pub prior: Tensor,
}

impl Predictor<'_> {
    /// The mean over the batch of each sample's mean squared error, weighted by min-SNR if that is asked for.
    pub fn loss(&self, batch: &Batch, draw: &Draw) -> Result<Tensor> {
        let pair = self.predict(batch, draw)?;
        self.mean(&pair, 0, &draw.timesteps)
    }

    /// Prior preservation: one forward pass over both halves, [instance; class], and each half's own mean. `draw` is for
    /// the halves together. The min-SNR weights of a half are those of its own timesteps.
    pub fn dreambooth(&self, instance: &Batch, class: &Batch, draw: &Draw) -> Result<Parts> {
        let n = instance.captions.len();
        let both = Batch {
            latents: Tensor::cat(&[&instance.latents, &class.latents], 0)?,
            captions: [instance.captions.clone(), class.captions.clone()].concat(),
        };
        let pair = self.predict(&both, draw)?;
        let (first, second) = draw.timesteps.split_at(n);
        Ok(Parts { instance: self.mean(&pair, 0, first)?, prior: self.mean(&pair, n, second)? })
    }

    /// Prediction and target, [B, C, H, W].
    fn predict(&self, batch: &Batch, draw: &Draw) -> Result<[Tensor; 2]> {
        let noisy = self.schedule.add_noise(&batch.latents, &draw.noise, &draw.timesteps)?;
        let target = self.schedule.target(&batch.latents, &draw.noise, &draw.timesteps)?;
        let timesteps: Vec<f64> = draw.timesteps.iter().map(|&t| t as f64).collect();
        let captions: Vec<&str> = batch.captions.iter().map(String::as_str).collect();
        let prediction = self.unet.forward(&noisy, &timesteps, &self.texts.states(&captions)?)?;
        Ok([prediction, target])
    }

    /// The mean over the samples from `first` on, of which these are the timesteps.
    fn mean(&self, [prediction, target]: &[Tensor; 2], first: usize, timesteps: &[usize]) -> Result<Tensor> {
        let weight = |t: usize| self.snr_gamma.map_or(1.0, |gamma| self.schedule.min_snr_weight(t, gamma));
        let weights: Vec<f64> = timesteps.iter().map(|&t| weight(t)).collect();
        Ok(ops::mean_squares(prediction, target, first, &weights)?)
    }
}
