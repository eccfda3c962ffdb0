//! Euler's method with ancestral noise: Karras et al., 2022, algorithm 2 in k-diffusion's form.
//!
//! In: the UNet's answer and one generator per picture. Out: the latents at the next noise level. Latents are those of the
//! variance-exploding process, x = x₀ + σ ε, so the UNet's input is scaled. Reference: diffusers'
//! `EulerAncestralDiscreteScheduler.from_config`.

use super::config::PredictionType;
use super::schedule::NoiseSchedule;
use super::weighted_sum::weighted_sum;
use super::{timesteps, variance_exploding};
use crate::error::{Error, Result};
use crate::random::Generator;
use candle_core::{Device, Tensor};

/// One Euler a loop.
#[derive(Debug)]
pub(super) struct EulerA {
    pub timesteps: Vec<f64>,
    pub init_noise_sigma: f64,
    prediction_type: PredictionType,
    /// σ of each call, then 0.
    sigmas: Vec<f64>,
}

impl EulerA {
    pub fn new(schedule: &NoiseSchedule, steps: usize) -> Result<Self> {
        let timesteps = timesteps::fractional(schedule, steps)?;
        let sigmas: Vec<f64> = timesteps.iter().map(|t| schedule.sigma_at(*t)).chain([0.0]).collect();
        let highest = sigmas.iter().copied().fold(0.0, f64::max);
        let init_noise_sigma = schedule.config.init_noise_sigma(highest);
        Ok(Self { timesteps, init_noise_sigma, prediction_type: schedule.prediction_type(), sigmas })
    }

    pub fn scale_model_input(&self, x: &Tensor, call: usize) -> Result<Tensor> {
        variance_exploding::scale_model_input(x, self.sigmas[call])
    }

    pub fn step(&self, model_output: &Tensor, call: usize, x: &Tensor, generators: &mut [Generator]) -> Result<Tensor> {
        let (sigma, next) = (self.sigmas[call], self.sigmas[call + 1]);
        // 1. x₀ from the answer
        let clean = variance_exploding::clean(self.prediction_type, model_output, sigma, x)?;
        // 2. how far to go down, and how much noise to add, so that the variance ends at next²
        let up = (next * next * (sigma * sigma - next * next) / (sigma * sigma)).sqrt();
        let down = (next * next - up * up).max(0.0).sqrt();
        // 3. Euler's step along (x − x₀) / σ, then fresh noise
        let slope = (down - sigma) / sigma;
        let noise = noise_like(model_output, generators)?;
        weighted_sum([(1.0 + slope, x), (-slope, &clean), (up, &noise)])
    }
}

/// Standard normal noise, each picture's from its own generator, drawn on the CPU.
fn noise_like(like: &Tensor, generators: &mut [Generator]) -> Result<Tensor> {
    let dims = like.dims();
    if dims.first() != Some(&generators.len()) {
        return Err(Error::run(format!("{} generators for latents of shape {dims:?}", generators.len())));
    }
    let len = like.elem_count() / generators.len().max(1);
    let values: Vec<f32> = generators.iter_mut().flat_map(|generator| generator.randn(len)).collect();
    Ok(Tensor::from_vec(values, dims, &Device::Cpu)?.to_dtype(like.dtype())?.to_device(like.device())?)
}
