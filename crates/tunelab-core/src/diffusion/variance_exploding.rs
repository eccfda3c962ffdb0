//! What samplers over the noise level σ share: latents of the variance-exploding process, x = x₀ + σ ε.
//!
//! In: latents, σ, the UNet's answer. Out: the UNet's input, and x₀ as the answer has it.

use super::config::PredictionType;
use super::weighted_sum::weighted_sum;
use crate::error::Result;
use candle_core::Tensor;

/// x / √(σ² + 1): back to variance 1.
pub(super) fn scale_model_input(x: &Tensor, sigma: f64) -> Result<Tensor> {
    Ok((x * (1.0 / (sigma * sigma + 1.0).sqrt()))?)
}

/// x₀ from the UNet's answer at σ.
pub(super) fn clean(kind: PredictionType, model_output: &Tensor, sigma: f64, x: &Tensor) -> Result<Tensor> {
    let scale = sigma * sigma + 1.0;
    match kind {
        PredictionType::Epsilon => weighted_sum([(1.0, x), (-sigma, model_output)]),
        PredictionType::VPrediction => weighted_sum([(1.0 / scale, x), (-sigma / scale.sqrt(), model_output)]),
    }
}
