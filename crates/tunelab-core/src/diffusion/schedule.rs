//! The noise schedule: betas, their cumulative products, noising, training targets and loss weights.
//!
//! In: `scheduler_config.json`; clean latents, noise and one timestep per sample. Out: noisy latents, what the UNet should
//! predict, signal-to-noise ratios. Reference: diffusers' DDPM scheduler (Ho et al., 2020) with torch's f32 arithmetic;
//! min-SNR weighting is Hang et al., 2023.

use super::config::{BetaSchedule, Config};
use crate::error::{Error, Result};
use candle_core::{Device, Tensor};
use std::f64::consts::FRAC_PI_2;
use std::path::Path;

pub use super::config::PredictionType;

/// The diffusion process of one model.
#[derive(Debug, Clone)]
pub struct NoiseSchedule {
    pub(super) config: Config,
    prediction_type: PredictionType,
    alphas_cumprod: Vec<f32>,
}

impl NoiseSchedule {
    /// Reads the text of a `scheduler_config.json`; `file` is only named in errors.
    ///
    /// Errors: text that is not such a configuration, a scheduler of another kind of process, an option that changes the
    /// numbers and is not built.
    pub fn from_config(json: &str, file: &Path) -> Result<Self> {
        Self::of(Config::parse(json, file)?)
    }

    fn of(config: Config) -> Result<Self> {
        let mut betas = match &config.trained_betas {
            Some(betas) => betas.clone(),
            None => betas(config.beta_schedule, config.beta_start, config.beta_end, config.num_train_timesteps),
        };
        if config.rescale_betas_zero_snr {
            betas = rescale_to_zero_snr(&betas);
        }
        let alphas_cumprod = cumulative_alphas(&betas);
        Ok(Self { prediction_type: config.prediction()?, config, alphas_cumprod })
    }

    /// diffusers' class that the configuration was written by, if it says so.
    pub fn class_name(&self) -> Option<&str> {
        self.config.class_name.as_deref()
    }

    /// The same process with its betas rescaled so that the last timestep is pure noise (Lin et al., 2023), drawn from that
    /// timestep on: diffusers' `from_config` with `rescale_betas_zero_snr` and the spacing "trailing".
    ///
    /// Errors: a model that predicts ε, which is all of its input at the last timestep and says nothing of x₀.
    pub fn with_zero_terminal_snr(&self) -> Result<Self> {
        if self.prediction_type == PredictionType::Epsilon {
            let file = self.config.file.display();
            let message = format!(
                "zero-terminal SNR needs a model that predicts v, and `prediction_type` is \"epsilon\" in {file}: at the last \
                 timestep ε is the whole input, and the first step of drawing would divide by 0"
            );
            return Err(Error::input(message).hint(
                "leave zero_terminal_snr out, or take a model whose scheduler_config.json has \"v_prediction\"",
            ));
        }
        Self::of(self.config.with_zero_terminal_snr())
    }

    /// The same process, drawn over noise levels that are spread as Karras et al. do.
    pub(super) fn with_karras_sigmas(&self) -> Self {
        Self { config: self.config.with_karras_sigmas(), ..self.clone() }
    }

    /// The number of training timesteps T; timesteps are `0..len()`.
    #[expect(clippy::len_without_is_empty, reason = "a schedule is never empty")]
    pub fn len(&self) -> usize {
        self.alphas_cumprod.len()
    }

    /// ᾱ of every timestep: the share of the signal's variance that is left. Falls from nearly 1 to nearly 0 (to exactly 0
    /// for a schedule with zero terminal signal-to-noise ratio).
    pub fn alphas_cumprod(&self) -> &[f32] {
        &self.alphas_cumprod
    }

    /// What the UNet predicts.
    pub fn prediction_type(&self) -> PredictionType {
        self.prediction_type
    }

    /// The noisy latents √ᾱ x₀ + √(1−ᾱ) ε (Ho et al., eq. 4), with one timestep for each sample of the batch.
    ///
    /// `latents` and `noise` have the same shape [B, …]. Errors: not B timesteps, or one that is not below `len()`.
    pub fn add_noise(&self, latents: &Tensor, noise: &Tensor, timesteps: &[usize]) -> Result<Tensor> {
        let (signal, sigma) = self.coefficients(latents, timesteps)?;
        Ok((latents.broadcast_mul(&signal)? + noise.broadcast_mul(&sigma)?)?)
    }

    /// What the UNet should answer for these noisy latents: ε, or v = √ᾱ ε − √(1−ᾱ) x₀. Shapes and errors as
    /// [`Self::add_noise`].
    pub fn target(&self, latents: &Tensor, noise: &Tensor, timesteps: &[usize]) -> Result<Tensor> {
        let (signal, sigma) = self.coefficients(latents, timesteps)?;
        match self.prediction_type {
            PredictionType::Epsilon => Ok(noise.clone()),
            PredictionType::VPrediction => Ok((noise.broadcast_mul(&signal)? - latents.broadcast_mul(&sigma)?)?),
        }
    }

    /// The signal-to-noise ratio ᾱ / (1 − ᾱ) of a timestep below `len()`.
    pub fn snr(&self, timestep: usize) -> f64 {
        let alpha = self.alpha(timestep);
        alpha / (1.0 - alpha)
    }

    /// The min-SNR-γ weight of a sample's loss at a timestep below `len()`: min(SNR, γ) / SNR for ε, min(SNR, γ) / (SNR + 1)
    /// for v (Hang et al., section 3.4), so that easy timesteps do not drown the others.
    pub fn min_snr_weight(&self, timestep: usize, gamma: f64) -> f64 {
        let snr = self.snr(timestep);
        match self.prediction_type {
            PredictionType::Epsilon if snr <= gamma => 1.0,
            PredictionType::Epsilon => gamma / snr,
            PredictionType::VPrediction => snr.min(gamma) / (snr + 1.0),
        }
    }

    /// ᾱ of a timestep below `len()`.
    pub(super) fn alpha(&self, timestep: usize) -> f64 {
        f64::from(self.alphas_cumprod[timestep])
    }

    /// The variance-exploding σ = √((1−ᾱ)/ᾱ) at a timestep, which may lie between two training timesteps, rounded to f32.
    pub(super) fn sigma_at(&self, timestep: f64) -> f64 {
        let sigma = |t: usize| {
            // Where ᾱ is exactly 0, σ would be infinite; diffusers puts f16's smallest number in its place.
            let alpha = if self.alpha(t) > 0.0 { self.alpha(t) } else { 2.0_f64.powi(-24) };
            ((1.0 - alpha) / alpha).sqrt()
        };
        let below = (timestep.floor() as usize).min(self.len() - 1);
        let above = (below + 1).min(self.len() - 1);
        let part = timestep - below as f64;
        f64::from((sigma(below) + part * (sigma(above) - sigma(below))) as f32)
    }

    /// √ᾱ and √(1−ᾱ) of each sample, shaped [B, 1, …] to be multiplied with `like`.
    fn coefficients(&self, like: &Tensor, timesteps: &[usize]) -> Result<(Tensor, Tensor)> {
        let batch = like.dims().first().copied().unwrap_or(0);
        if timesteps.len() != batch {
            return Err(Error::run(format!("{} timesteps for a batch of {batch} samples", timesteps.len())));
        }
        if let Some(t) = timesteps.iter().find(|t| **t >= self.len()) {
            return Err(Error::run(format!("timestep {t} is not below {}", self.len())));
        }
        let column = |value: fn(f32) -> f32| -> Result<Tensor> {
            let values: Vec<f32> = timesteps.iter().map(|t| value(self.alphas_cumprod[*t]).sqrt()).collect();
            let mut shape = vec![1; like.rank()];
            shape[0] = batch;
            Ok(Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(like.dtype())?.to_device(like.device())?)
        };
        Ok((column(|alpha| alpha)?, column(|alpha| 1.0 - alpha)?))
    }
}

/// The betas of a named schedule over `len` timesteps.
fn betas(schedule: BetaSchedule, start: f64, end: f64, len: usize) -> Vec<f32> {
    match schedule {
        BetaSchedule::Linear => linspace(start as f32, end as f32, len),
        // Latent diffusion's own schedule: linear in √β.
        BetaSchedule::ScaledLinear => {
            linspace(start.sqrt() as f32, end.sqrt() as f32, len).into_iter().map(|root| root * root).collect()
        }
        BetaSchedule::SquaredCosine => {
            let at = |i: usize| squared_cosine(i as f64 / len as f64);
            (0..len).map(|i| (1.0 - at(i + 1) / at(i)).min(0.999) as f32).collect()
        }
    }
}

/// The cosine schedule's ᾱ at time 0..=1 (Nichol and Dhariwal, 2021, eq. 17), before it is divided by its value at 0.
fn squared_cosine(time: f64) -> f64 {
    ((time + 0.008) / 1.008 * FRAC_PI_2).cos().powi(2)
}

/// `len` numbers from `start` to `end`. As in torch, the second half is counted back from the end, so both ends are exact.
fn linspace(start: f32, end: f32, len: usize) -> Vec<f32> {
    let step = (end - start) / (len - 1) as f32;
    (0..len).map(|i| if i < len / 2 { start + step * i as f32 } else { end - step * (len - 1 - i) as f32 }).collect()
}

/// The running product of 1 − β. torch adds up f32 products in f64 on the CPU and rounds each result.
fn cumulative_alphas(betas: &[f32]) -> Vec<f32> {
    let mut product = 1.0_f64;
    betas
        .iter()
        .map(|beta| {
            product *= f64::from(1.0 - beta);
            product as f32
        })
        .collect()
}

/// Shifts and scales √ᾱ so that the last timestep is pure noise (Lin et al., 2023, algorithm 1).
fn rescale_to_zero_snr(betas: &[f32]) -> Vec<f32> {
    let roots: Vec<f32> = cumulative_alphas(betas).into_iter().map(f32::sqrt).collect();
    let (first, last) = (roots[0], roots[roots.len() - 1]);
    let scale = first / (first - last);
    let alphas_cumprod: Vec<f32> = roots.iter().map(|root| ((root - last) * scale).powi(2)).collect();
    let later = alphas_cumprod.windows(2).map(|pair| 1.0 - pair[1] / pair[0]);
    std::iter::once(1.0 - alphas_cumprod[0]).chain(later).collect()
}
