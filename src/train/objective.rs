//! The loss of one batch: denoising score matching (Ho et al. 2020), with noise offset, min-SNR weights (Hang et al. 2023)
//! and prior preservation (Ruiz et al. 2023) where they are asked for.
//!
//! In: clean latents and text states, the UNet. Out: one scalar whose gradient reaches every trained tensor. Each sample has
//! its own timestep. Noise and timesteps come from named streams, so a step's draw depends on its number alone.

use super::examples::Batch;
use super::texts::Texts;
use crate::diffusion::NoiseSchedule;
use crate::error::{Error, Result};
use crate::model::unet::Unet;
use crate::random::Generator;
use candle_core::{Device, Tensor};
use tunelab_ops as ops;

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

/// What predicts, and from what.
#[derive(Clone, Copy)]
pub struct Predictor<'a> {
    /// The noise predictor.
    pub unet: &'a Unet,
    /// Captions to hidden states.
    pub texts: &'a Texts,
    /// How noise is added.
    pub schedule: &'a NoiseSchedule,
    /// Min-SNR weights with this gamma.
    pub snr_gamma: Option<f64>,
}

/// Instance and class losses, before the class loss is weighted.
pub struct Parts {
    /// The mean over the instance half.
    pub instance: Tensor,
    /// The mean over the class half.
    pub prior: Tensor,
}

/// The tensors that the loss of a batch is computed from: all that differs from batch to batch.
pub struct Question {
    /// Latents with noise, [B, C, H, W].
    pub noisy: Tensor,
    /// What is to be predicted, of the same shape.
    pub target: Tensor,
    /// The embedding of the timesteps, [B, channels].
    pub waves: Tensor,
    /// The weight of each sample's loss, [B].
    pub weights: Tensor,
    /// Hidden states [B, tokens, width]; nothing where the text encoder is trained, which makes them from the captions.
    pub text: Option<Tensor>,
    /// One a sample.
    pub captions: Vec<String>,
}

impl Question {
    /// Its tensors.
    pub fn tensors(&self) -> Vec<Tensor> {
        let always = [&self.noisy, &self.target, &self.waves, &self.weights];
        always.into_iter().chain(&self.text).cloned().collect()
    }

    /// The same question of other tensors. Errors unless they are as many.
    pub fn with(&self, tensors: &[Tensor]) -> Result<Self> {
        let [noisy, target, waves, weights, text @ ..] = tensors else {
            return Err(Error::run(format!("{} tensors are no question", tensors.len())));
        };
        let [noisy, target, waves, weights] = [noisy, target, waves, weights].map(Tensor::clone);
        Ok(Self { noisy, target, waves, weights, text: text.first().cloned(), captions: self.captions.clone() })
    }
}

impl Predictor<'_> {
    /// The mean over the batch of each sample's mean squared error, weighted by min-SNR if that is asked for.
    pub fn loss(&self, batch: &Batch, draw: &Draw) -> Result<Tensor> {
        self.answer(&self.question(batch, draw)?)
    }

    /// What is asked of the networks by a batch and its draw.
    pub fn question(&self, batch: &Batch, draw: &Draw) -> Result<Question> {
        let device = batch.latents.device();
        let timesteps: Vec<f64> = draw.timesteps.iter().map(|&t| t as f64).collect();
        let weight = |&t: &usize| self.snr_gamma.map_or(1.0, |gamma| self.schedule.min_snr_weight(t, gamma)) as f32;
        let weights: Vec<f32> = draw.timesteps.iter().map(weight).collect();
        let text = match self.texts {
            Texts::Fixed(_) => Some(self.text(&batch.captions)?),
            Texts::Trained(..) => None,
        };
        Ok(Question {
            noisy: self.schedule.add_noise(&batch.latents, &draw.noise, &draw.timesteps)?,
            target: self.schedule.target(&batch.latents, &draw.noise, &draw.timesteps)?,
            waves: self.unet.timestep_embedding(&timesteps, device)?,
            weights: Tensor::new(weights, device)?,
            text,
            captions: batch.captions.clone(),
        })
    }

    /// The same of both halves, [instance; class], of prior preservation; `draw` is for the halves together.
    pub fn question_of_halves(&self, instance: &Batch, class: &Batch, draw: &Draw) -> Result<Question> {
        let both = Batch {
            latents: Tensor::cat(&[&instance.latents, &class.latents], 0)?,
            captions: [instance.captions.clone(), class.captions.clone()].concat(),
        };
        self.question(&both, draw)
    }

    /// The loss of a question.
    pub fn answer(&self, question: &Question) -> Result<Tensor> {
        let samples = question.noisy.dim(0)?;
        Self::mean(question, &self.predict(question)?, 0, samples)
    }

    /// Prior preservation: one forward pass over both halves, of which the first has `instances` samples, and each half's own
    /// mean. The min-SNR weights of a half are those of its own timesteps.
    pub fn answer_halves(&self, question: &Question, instances: usize) -> Result<Parts> {
        let prediction = self.predict(question)?;
        let classes = question.noisy.dim(0)? - instances;
        Ok(Parts {
            instance: Self::mean(question, &prediction, 0, instances)?,
            prior: Self::mean(question, &prediction, instances, classes)?,
        })
    }

    fn predict(&self, question: &Question) -> Result<Tensor> {
        let text = match &question.text {
            Some(text) => text.clone(),
            None => self.text(&question.captions)?,
        };
        self.unet.predict(&question.noisy, &question.waves, &text)
    }

    fn text(&self, captions: &[String]) -> Result<Tensor> {
        self.texts.states(&captions.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The mean over the `n` samples from `first` on.
    fn mean(question: &Question, prediction: &Tensor, first: usize, n: usize) -> Result<Tensor> {
        let weights = question.weights.narrow(0, first, n)?;
        Ok(ops::mean_squares_of(prediction, &question.target, first, &weights)?)
    }
}
