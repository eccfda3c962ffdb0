//! The loss of one batch: denoising score matching (Ho et al. 2020), with noise offset and min-SNR weights if asked for.
//!
//! In: clean latents and text states, the UNet. Out: one scalar whose gradient reaches every trained tensor. Each sample has
//! its own timestep. Noise and timesteps come from named streams, so a step's draw depends on its number alone.

use super::examples::Batch;
use crate::diffusion::NoiseSchedule;
use crate::error::Result;
use crate::model::unet::Unet;
use crate::plan::Train;
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

/// The mean over the batch of each sample's mean squared error, weighted by min-SNR if `snr_gamma` is set
/// (Hang et al. 2023).
pub fn loss(
    unet: &Unet,
    schedule: &NoiseSchedule,
    batch: &Batch,
    draw: &Draw,
    snr_gamma: Option<f64>,
) -> Result<Tensor> {
    let noisy = schedule.add_noise(&batch.latents, &draw.noise, &draw.timesteps)?;
    let target = schedule.target(&batch.latents, &draw.noise, &draw.timesteps)?;
    let timesteps: Vec<f64> = draw.timesteps.iter().map(|&t| t as f64).collect();
    let prediction = unet.forward(&noisy, &timesteps, &batch.text)?;
    let squares = (prediction - target)?.sqr()?;
    let Some(gamma) = snr_gamma else { return Ok(squares.mean_all()?) };
    let weights: Vec<f32> = draw.timesteps.iter().map(|&t| schedule.min_snr_weight(t, gamma) as f32).collect();
    let weights = Tensor::from_vec(weights, draw.timesteps.len(), squares.device())?;
    Ok((squares.flatten_from(1)?.mean(1)? * weights)?.mean_all()?)
}

/// The loss of training batch number `draw`.
pub fn training_loss(
    unet: &Unet,
    schedule: &NoiseSchedule,
    batch: &Batch,
    train: &Train,
    seed: u64,
    draw: u64,
) -> Result<Tensor> {
    let latents = &batch.latents;
    let draw = Draw::new(latents.dims(), schedule.len(), train.noise_offset, seed, draw, latents.device())?;
    loss(unet, schedule, batch, &draw, train.snr_gamma)
}
