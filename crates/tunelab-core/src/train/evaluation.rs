//! The evaluation loss: the training loss on fixed pictures, timesteps and noise.
//!
//! A raw diffusion loss depends on the timestep far more than on the model, so it looks as if it
//! never fell. This one is the same each time it is computed: eight pairs of a picture and a
//! timestep, the timesteps spread evenly from low noise to high, each with its own noise, without
//! crops, flips, noise offset, min-SNR weights or another loss than the squared error. It is that of the weights that would be saved:
//! with a moving average, of that. Of several sources each has eight pairs, and the loss is the mean of the sources'.

use super::examples::{Batch, Examples};
use super::objective::{NoiseSample, Predictor};
use crate::diffusion::{LossFunction, NoiseSchedule};
use crate::error::Result;
use crate::model::vae::Vae;
use crate::random::Generator;
use candle_core::Tensor;

/// Pairs of a picture and a timestep.
const PAIRS: usize = 8;

/// The fixed pairs, those of one source behind those of another.
pub struct Evaluation {
    pairs: Vec<(Batch, NoiseSample)>,
    sources: usize,
}

impl Evaluation {
    /// Takes the first pictures of each source in turn; noise comes from the stream "evaluation" of `seed`.
    pub fn new(examples: &Examples, vae: &Vae, schedule: &NoiseSchedule, seed: u64) -> Result<Self> {
        let sources = examples.source_count();
        let pictures: Vec<Vec<usize>> = (0..sources).map(|source| examples.of_source(source)).collect();
        let pair = |n: usize| {
            let (i, of) = (n % PAIRS, &pictures[n / PAIRS]);
            let batch = examples.deterministic_batch(&[of[i % of.len()]], vae)?.unweighted();
            let shape = batch.latents.shape().clone();
            let noise = Generator::stream(seed, "evaluation", n as u64).randn(shape.elem_count());
            let noise = Tensor::from_vec(noise, shape, batch.latents.device())?;
            Ok((batch, NoiseSample::fixed(noise, vec![(2 * i + 1) * schedule.len() / (2 * PAIRS)])))
        };
        Ok(Self { pairs: (0..PAIRS * sources).map(pair).collect::<Result<_>>()?, sources })
    }

    /// The mean squared error over all pairs, of networks without dropout.
    pub fn loss(&self, predictor: Predictor) -> Result<f32> {
        Ok(Self::mean(&self.losses(predictor)?))
    }

    /// The same for each source.
    pub fn losses(&self, predictor: Predictor) -> Result<Vec<f64>> {
        let plain = Predictor { snr_gamma: None, loss: LossFunction::L2, ..predictor };
        let mut losses = Vec::with_capacity(self.sources);
        for pairs in self.pairs.chunks(PAIRS) {
            let mut sum = 0.0;
            for (batch, sample) in pairs {
                sum += f64::from(plain.loss(&plain.prepare(batch, sample)?)?.to_scalar::<f32>()?);
            }
            losses.push(sum / PAIRS as f64);
        }
        Ok(losses)
    }

    /// Of all sources, each counting the same.
    pub fn mean(losses: &[f64]) -> f32 {
        (losses.iter().sum::<f64>() / losses.len().max(1) as f64) as f32
    }
}
