//! Euler's method over the noise level: Karras et al., 2022, algorithm 1 of first order and without churn.
//!
//! In: the UNet's answers. Out: the latents at the next noise level. Latents are those of the variance-exploding process,
//! x = x₀ + σ ε, so the UNet's input is scaled. Reference: diffusers' `EulerDiscreteScheduler.from_config`.

use super::config::PredictionType;
use super::schedule::NoiseSchedule;
use super::weighted_sum::weighted_sum;
use super::{sigmas, timesteps, variance_exploding};
use crate::error::Result;
use candle_core::Tensor;

/// One Euler loop.
#[derive(Debug)]
pub(super) struct Euler {
    pub timesteps: Vec<f64>,
    pub init_noise_sigma: f64,
    prediction_type: PredictionType,
    /// σ of each call, then 0.
    sigmas: Vec<f64>,
}

impl Euler {
    pub fn new(schedule: &NoiseSchedule, steps: usize) -> Result<Self> {
        let config = &schedule.config;
        config.euler()?;
        let mut timesteps = timesteps::fractional(schedule, steps)?;
        let mut sigmas: Vec<f64> = timesteps.iter().map(|t| schedule.sigma_at(*t)).collect();
        if config.has_karras_sigmas() {
            (timesteps, sigmas) = sigmas::karras(schedule, &sigmas);
        }
        let highest = sigmas.iter().copied().fold(0.0, f64::max);
        sigmas.push(0.0);
        let init_noise_sigma = config.init_noise_sigma(highest);
        Ok(Self { timesteps, init_noise_sigma, prediction_type: schedule.prediction_type(), sigmas })
    }

    pub fn scale_model_input(&self, x: &Tensor, call: usize) -> Result<Tensor> {
        variance_exploding::scale_model_input(x, self.sigmas[call])
    }

    pub fn step(&self, model_output: &Tensor, call: usize, x: &Tensor) -> Result<Tensor> {
        let (sigma, next) = (self.sigmas[call], self.sigmas[call + 1]);
        let clean = variance_exploding::clean(self.prediction_type, model_output, sigma, x)?;
        // Down the slope (x − x₀) / σ
        let down = (next - sigma) / sigma;
        weighted_sum([(1.0 + down, x), (-down, &clean)])
    }
}
