//! What solvers over λ share: latents of the variance-preserving process, x = α x₀ + σ ε with α² + σ² = 1.
//!
//! In: a schedule, or σ / α of each call. Out: α, σ and λ of a level, and x₀ as the UNet's answer has it.

use super::config::{PredictionType, Spread};
use super::schedule::NoiseSchedule;
use super::timesteps;
use super::weighted_sum::weighted_sum;
use crate::error::Result;
use candle_core::Tensor;

/// One noise level.
#[derive(Debug, Clone, Copy)]
pub(super) struct Level {
    pub alpha: f64,
    pub sigma: f64,
}

impl Level {
    /// From the variance-exploding σ / α.
    pub fn new(ratio: f64) -> Self {
        let alpha = 1.0 / (ratio * ratio + 1.0).sqrt();
        Self { alpha, sigma: ratio * alpha }
    }

    /// The timesteps of the UNet's calls and their noise levels, spread as `spread` says or else where the timesteps are; behind
    /// them the level without noise.
    pub fn all(schedule: &NoiseSchedule, steps: usize, spread: Option<Spread>) -> Result<(Vec<f64>, Vec<Self>)> {
        let (timesteps, sigmas) = if let Some(spread) = spread {
            spread.levels(schedule, steps)?
        } else {
            let timesteps = timesteps::without_last(schedule, steps)?;
            let sigmas = timesteps.iter().map(|t| schedule.sigma_at(*t)).collect();
            (timesteps, sigmas)
        };
        Ok((timesteps, sigmas.into_iter().chain([0.0]).map(Self::new).collect()))
    }

    /// λ = ln(α / σ), half the logarithm of the signal-to-noise ratio; infinite without noise.
    pub fn lambda(self) -> f64 {
        self.alpha.ln() - self.sigma.ln()
    }

    /// x₀ from the UNet's answer.
    pub fn clean(self, kind: PredictionType, model_output: &Tensor, x: &Tensor) -> Result<Tensor> {
        match kind {
            PredictionType::Epsilon => weighted_sum([(1.0 / self.alpha, x), (-self.sigma / self.alpha, model_output)]),
            PredictionType::VPrediction => weighted_sum([(self.alpha, x), (-self.sigma, model_output)]),
        }
    }
}
