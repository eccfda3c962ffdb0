//! DDIM without added noise (η = 0): Song et al., 2021, formula 12.
//!
//! In: the UNet's answer at timestep t. Out: the latents one step earlier. Reference: diffusers' `DDIMScheduler` made from
//! the model's own configuration.

use super::config::PredictionType;
use super::schedule::NoiseSchedule;
use super::timesteps;
use super::weighted_sum::weighted_sum;
use crate::error::Result;
use candle_core::Tensor;

/// One DDIM loop.
#[derive(Debug)]
pub(super) struct Ddim {
    pub timesteps: Vec<f64>,
    prediction_type: PredictionType,
    /// ᾱ at each call, and after its step.
    alphas: Vec<(f64, f64)>,
    clip: Option<f64>,
}

impl Ddim {
    pub fn new(schedule: &NoiseSchedule, steps: usize) -> Result<Self> {
        let timesteps = timesteps::whole(schedule, steps)?;
        let config = &schedule.config;
        let final_alpha = if config.set_alpha_to_one.unwrap_or(true) { 1.0 } else { schedule.alpha(0) };
        let stride = schedule.len() / steps;
        let alphas = timesteps.iter().map(|t| {
            let t = *t as usize;
            (schedule.alpha(t), t.checked_sub(stride).map_or(final_alpha, |earlier| schedule.alpha(earlier)))
        });
        let alphas: Vec<(f64, f64)> = alphas.collect();
        if schedule.prediction_type() == PredictionType::Epsilon && alphas.iter().any(|(alpha, _)| *alpha == 0.0) {
            // Pure noise says nothing about x₀: step 1 would divide by zero.
            return Err(config
                .unsupported("rescale_betas_zero_snr", "true, with `prediction_type` \"epsilon\"")
                .hint("use another sampler (euler_a or dpmpp_2m), or another `timestep_spacing` than \"trailing\""));
        }
        let clip = config.clip_sample.unwrap_or(true).then_some(config.clip_sample_range);
        Ok(Self { alphas, timesteps, prediction_type: schedule.prediction_type(), clip })
    }

    pub fn step(&self, model_output: &Tensor, call: usize, x: &Tensor) -> Result<Tensor> {
        let (alpha, alpha_next) = self.alphas[call];
        let (signal, sigma) = (alpha.sqrt(), (1.0 - alpha).sqrt());
        // 1. "predicted x₀" of formula 12, and the noise that goes with it
        let (clean, noise) = match self.prediction_type {
            PredictionType::Epsilon => {
                (weighted_sum([(1.0 / signal, x), (-sigma / signal, model_output)])?, model_output.clone())
            }
            PredictionType::VPrediction => (
                weighted_sum([(signal, x), (-sigma, model_output)])?,
                weighted_sum([(sigma, x), (signal, model_output)])?,
            ),
        };
        // 2. the clipped x₀ is used below, but ε stays that of the unclipped one, as in the reference
        let clean = match self.clip {
            Some(range) => clean.clamp(-range, range)?,
            None => clean,
        };
        // 3. formula 12 with σ = 0: √ᾱ' x₀ + √(1−ᾱ') ε
        weighted_sum([(alpha_next.sqrt(), &clean), ((1.0 - alpha_next).sqrt(), &noise)])
    }
}
