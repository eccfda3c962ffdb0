//! Heun's method over the noise level: Karras et al., 2022, algorithm 1 without churn.
//!
//! In: the UNet's answers, two a step but for the last one. Out: the latents at the next noise level. Latents are those of
//! the variance-exploding process, x = x₀ + σ ε, so the UNet's input is scaled. Reference: diffusers'
//! `HeunDiscreteScheduler.from_config`.

use super::config::{Config, PredictionType};
use super::schedule::NoiseSchedule;
use super::weighted_sum::weighted_sum;
use super::{sigmas, timesteps, variance_exploding};
use crate::error::Result;
use candle_core::Tensor;

/// One Heun loop.
#[derive(Debug)]
pub(super) struct Heun {
    pub timesteps: Vec<f64>,
    pub init_noise_sigma: f64,
    prediction_type: PredictionType,
    clip: Option<f64>,
    /// σ of each call, then 0: every level but the first and the last stands twice.
    sigmas: Vec<f64>,
    /// After a step's first call: the latents that it began with, and the slope there.
    first: Option<(Tensor, Tensor)>,
}

impl Heun {
    pub fn new(schedule: &NoiseSchedule, steps: usize) -> Result<Self> {
        let config = &schedule.config;
        refuse(config)?;
        let mut timesteps = timesteps::fractional(schedule, steps)?;
        let mut sigmas: Vec<f64> = timesteps.iter().map(|t| schedule.sigma_at(*t)).collect();
        if config.has_karras_sigmas() {
            (timesteps, sigmas) = sigmas::karras(schedule, &sigmas);
        }
        let highest = sigmas.iter().copied().fold(0.0, f64::max);
        Ok(Self {
            init_noise_sigma: config.init_noise_sigma(highest),
            prediction_type: schedule.prediction_type(),
            clip: (config.clip_sample == Some(true)).then_some(config.clip_sample_range),
            sigmas: twice_but_first(&sigmas).chain([0.0]).collect(),
            timesteps: twice_but_first(&timesteps).collect(),
            first: None,
        })
    }

    pub fn scale_model_input(&self, x: &Tensor, call: usize) -> Result<Tensor> {
        variance_exploding::scale_model_input(x, self.sigmas[call])
    }

    pub fn step(&mut self, model_output: &Tensor, call: usize, x: &Tensor) -> Result<Tensor> {
        let sigma = self.sigmas[call];
        let slope = self.slope(model_output, sigma, x)?;
        if let Some((latents, first_slope)) = self.first.take() {
            // Algorithm 1, line 8: the step again, with the mean of the slopes at its two ends
            let h = sigma - self.sigmas[call - 1];
            return weighted_sum([(1.0, &latents), (h / 2.0, &first_slope), (h / 2.0, &slope)]);
        }
        // line 5: Euler's step
        let next = self.sigmas[call + 1];
        let stepped = weighted_sum([(1.0, x), (next - sigma, &slope)])?;
        // line 6: down to 0 it stays
        self.first = (next > 0.0).then(|| (x.clone(), slope));
        Ok(stepped)
    }

    /// dx/dσ = (x − x₀) / σ.
    fn slope(&self, model_output: &Tensor, sigma: f64, x: &Tensor) -> Result<Tensor> {
        let clean = variance_exploding::clean(self.prediction_type, model_output, sigma, x)?;
        let clean = match self.clip {
            Some(range) => clean.clamp(-range, range)?,
            None => clean,
        };
        weighted_sum([(1.0 / sigma, x), (-1.0 / sigma, &clean)])
    }
}

/// Refuses what this is not built for.
fn refuse(config: &Config) -> Result<()> {
    let options = [
        ("rescale_betas_zero_snr", config.rescale_betas_zero_snr),
        ("use_exponential_sigmas", config.use_exponential_sigmas == Some(true)),
        ("use_beta_sigmas", config.use_beta_sigmas == Some(true)),
    ];
    if let Some((key, _)) = options.into_iter().find(|(_, set)| *set) {
        return Err(config.unsupported(key, "true, with heun").hint("use another sampler"));
    }
    config.check_sigma_range()
}

/// The first number once, all others twice.
fn twice_but_first(numbers: &[f64]) -> impl Iterator<Item = f64> {
    numbers.iter().enumerate().flat_map(|(i, number)| std::iter::repeat_n(*number, if i == 0 { 1 } else { 2 }))
}
