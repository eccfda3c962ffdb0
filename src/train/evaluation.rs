//! The evaluation loss: the training loss on fixed pictures, timesteps and noise.
//!
//! A raw diffusion loss depends on the timestep far more than on the model, so it looks as if it never fell. This one is
//! the same question each time it is asked: eight pairs of a picture and a timestep, the timesteps spread evenly
//! from low noise to high, each with its own noise, without crops, flips, noise offset or min-SNR weights. It is asked of the
//! weights that would be saved: with a moving average, of that.

use super::examples::Examples;
use super::objective::{Draw, Predictor};
use crate::diffusion::NoiseSchedule;
use crate::error::Result;
use crate::model::vae::Vae;
use crate::random::Generator;
use candle_core::Tensor;

/// Pairs of a picture and a timestep.
const PAIRS: usize = 8;

/// The fixed question.
pub struct Evaluation {
    pairs: Vec<(super::examples::Batch, Draw)>,
}

impl Evaluation {
    /// Takes the first pictures in turn; noise comes from the stream "evaluation" of `seed`.
    pub fn new(examples: &Examples, vae: &Vae, schedule: &NoiseSchedule, seed: u64) -> Result<Self> {
        let pair = |i: usize| {
            let batch = examples.still(&[i % examples.len()], vae)?;
            let shape = batch.latents.shape().clone();
            let noise = Generator::stream(seed, "evaluation", i as u64).randn(shape.elem_count());
            let noise = Tensor::from_vec(noise, shape, batch.latents.device())?;
            Ok((batch, Draw { noise, timesteps: vec![(2 * i + 1) * schedule.len() / (2 * PAIRS)] }))
        };
        Ok(Self { pairs: (0..PAIRS).map(pair).collect::<Result<_>>()? })
    }

    /// The mean squared error over all pairs, of networks without dropout.
    pub fn loss(&self, predictor: Predictor) -> Result<f32> {
        let plain = Predictor { snr_gamma: None, ..predictor };
        let mut sum = 0.0;
        for (batch, draw) in &self.pairs {
            sum += f64::from(plain.loss(batch, draw)?.to_scalar::<f32>()?);
        }
        Ok((sum / PAIRS as f64) as f32)
    }
}
