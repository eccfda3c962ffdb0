//! The loss of one batch: denoising score matching (Ho et al. 2020), with noise offset, input
//! perturbation (Ning et al. 2023), min-SNR weights (Hang et al. 2023), scheduled pseudo-Huber losses
//! (Khrapov et al. 2024) and prior preservation (Ruiz et al. 2023) where they are asked for.
//!
//! In: clean latents and captions, the UNet. Out: one scalar whose gradient reaches every trained
//! tensor. Each sample has its own timestep. Noise and timesteps come from named streams, so a
//! step's sample depends on its number alone.

use super::examples::Batch;
use super::masked;
use super::texts::TextConditioning;
use crate::config::Train;
use crate::diffusion::{LossFunction, NoiseSchedule};
use crate::error::Result;
use crate::model::conditioning::{tensors_of, with_tensors};
use crate::model::unet::Unet;
use crate::pipeline::Conditioning;
use crate::random::Generator;
use candle_core::{Device, Tensor};
use tunelab_ops as ops;

/// Noise and timesteps of one batch.
pub struct NoiseSample {
    /// [B, C, H, W], standard normal (plus the offset).
    pub noise: Tensor,
    /// What the UNet sees in its place, where its input is perturbed.
    pub input_noise: Option<Tensor>,
    /// One a sample.
    pub timesteps: Vec<usize>,
}

impl NoiseSample {
    /// This noise at these timesteps.
    pub fn fixed(noise: Tensor, timesteps: Vec<usize>) -> Self {
        Self { noise, input_noise: None, timesteps }
    }

    /// Number `draw` of the streams of `seed`, for latents of the given shape. The offset adds to
    /// every channel of a sample one normal number times `noise_offset` (Guttenberg 2023). The input's noise is
    /// this plus `input_perturbation` times other noise (Ning et al. 2023).
    pub fn new(
        dims: &[usize],
        schedule_len: usize,
        train: &Train,
        seed: u64,
        draw: u64,
        device: &Device,
    ) -> Result<Self> {
        let noise = Generator::stream(seed, "noise", draw).randn(dims.iter().product());
        let mut noise = Tensor::from_vec(noise, dims, device)?;
        if train.noise_offset > 0.0 {
            let n = dims[0] * dims[1];
            let offset = Generator::stream(seed, "noise offset", draw).randn(n);
            let offset = Tensor::from_vec(offset, (dims[0], dims[1], 1, 1), device)?;
            noise = noise.broadcast_add(&(offset * train.noise_offset)?)?;
        }
        let input_noise = (train.input_perturbation > 0.0).then(|| -> Result<Tensor> {
            let other = Generator::stream(seed, "input perturbation", draw).randn(noise.elem_count());
            Ok((&noise + (Tensor::from_vec(other, dims, device)? * train.input_perturbation)?)?)
        });
        let timesteps = Generator::stream(seed, "timestep", draw).randint(schedule_len as u64, dims[0]);
        let timesteps = timesteps.into_iter().map(|t| t as usize).collect();
        Ok(Self { noise, input_noise: input_noise.transpose()?, timesteps })
    }
}

/// What predicts, and from what.
#[derive(Clone, Copy)]
pub struct Predictor<'a> {
    /// The noise predictor.
    pub unet: &'a Unet,
    /// Captions to conditioning.
    pub texts: &'a TextConditioning,
    /// How noise is added.
    pub schedule: &'a NoiseSchedule,
    /// Min-SNR weights with this gamma.
    pub snr_gamma: Option<f64>,
    /// What a difference counts.
    pub loss: LossFunction,
}

/// Instance and class losses, before the class loss is weighted.
pub struct Parts {
    /// The mean over the instance half.
    pub instance: Tensor,
    /// The mean over the class half.
    pub prior: Tensor,
    /// Of each sample with its weight, if that was asked for.
    pub each: Vec<Tensor>,
}

/// What the loss of a batch is computed from: all that differs from batch to batch.
#[derive(Clone)]
pub struct UnetBatch {
    /// [B, C, H, W].
    pub noisy_latents: Tensor,
    /// What is to be predicted, of the same shape.
    pub target: Tensor,
    /// [B, channels].
    pub timestep_embedding: Tensor,
    /// The weight of each sample's loss, `[B]`.
    pub loss_weights: Tensor,
    /// The weight of each value's loss, [B, 1, H, W], where the loss is masked.
    pub loss_mask: Option<Tensor>,
    /// The threshold of each sample's pseudo-Huber loss, `[B]`; nothing where it is the squared error.
    pub huber_c: Option<Tensor>,
    /// Of the captions; nothing where the text encoder is trained, which makes it from them.
    pub conditioning: Option<Conditioning>,
    /// The embedded sizes and crops [B, numbers], where the model is conditioned on them.
    pub time_ids: Option<Tensor>,
    /// One a sample.
    pub captions: Vec<String>,
}

impl UnetBatch {
    /// Every tensor, in the one order that there is.
    fn slots(&mut self) -> Vec<&mut Tensor> {
        let Self {
            noisy_latents,
            target,
            timestep_embedding,
            loss_weights,
            loss_mask,
            huber_c,
            conditioning,
            time_ids,
            captions: _,
        } = self;
        let mut slots = vec![noisy_latents, target, timestep_embedding, loss_weights];
        slots.extend(loss_mask);
        slots.extend(huber_c);
        slots.extend(time_ids);
        slots.extend(conditioning.iter_mut().flat_map(Conditioning::slots));
        slots
    }

    /// Its tensors, for whoever records what is computed from them.
    pub fn tensors(&self) -> Vec<Tensor> {
        tensors_of(self, Self::slots)
    }

    /// The same batch of other tensors: the inverse of [`UnetBatch::tensors`]. Errors unless they
    /// are as many.
    pub fn with_tensors(&self, tensors: &[Tensor]) -> Result<Self> {
        with_tensors(self, Self::slots, tensors)
    }
}

impl Predictor<'_> {
    /// A batch with its noise, for the UNet.
    pub fn prepare(&self, batch: &Batch, sample: &NoiseSample) -> Result<UnetBatch> {
        let device = batch.latents.device();
        let timesteps: Vec<f64> = sample.timesteps.iter().map(|&t| t as f64).collect();
        let pseudo_huber = |t: usize| self.loss.pseudo_huber(self.schedule, t);
        let weight = |(&t, of_source): (&usize, &f64)| {
            let snr = self.snr_gamma.map_or(1.0, |gamma| self.schedule.min_snr_weight(t, gamma));
            (of_source * snr * pseudo_huber(t).map_or(1.0, |(factor, _)| factor)) as f32
        };
        let loss_weights: Vec<f32> = sample.timesteps.iter().zip(&batch.weights).map(weight).collect();
        let threshold = |&t: &usize| Some(pseudo_huber(t)?.1 as f32);
        let huber_c: Option<Vec<f32>> = sample.timesteps.iter().map(threshold).collect();
        let conditioning = match self.texts {
            TextConditioning::Cached(_) | TextConditioning::Drawn(_) => Some(self.texts.of(&batch.captions)?),
            TextConditioning::Trained(..) => None,
        };
        let input_noise = sample.input_noise.as_ref().unwrap_or(&sample.noise);
        Ok(UnetBatch {
            noisy_latents: self.schedule.add_noise(&batch.latents, input_noise, &sample.timesteps)?,
            target: self.schedule.target(&batch.latents, &sample.noise, &sample.timesteps)?,
            timestep_embedding: self.unet.timestep_embedding(&timesteps, device)?,
            loss_weights: Tensor::new(loss_weights, device)?,
            loss_mask: batch.loss_mask.clone(),
            huber_c: huber_c.map(|c| Tensor::new(c, device)).transpose()?,
            conditioning,
            time_ids: self.unet.time_ids_embedding(&batch.time_ids, device)?,
            captions: batch.captions.clone(),
        })
    }

    /// The mean over the batch of each sample's mean squared error or pseudo-Huber loss, weighted by
    /// min-SNR if that is asked for.
    pub fn loss(&self, batch: &UnetBatch) -> Result<Tensor> {
        let samples = batch.noisy_latents.dim(0)?;
        Self::mean(batch, &self.predict(batch)?, 0, samples)
    }

    /// Prior preservation: one forward pass over both halves, [instance; class], of which the first
    /// has `instances` samples, and each half's own mean. The min-SNR weights of a half are those
    /// of its own timesteps.
    pub fn prior_preservation_loss(&self, batch: &UnetBatch, instances: usize) -> Result<Parts> {
        self.prior_preservation_losses(batch, instances, false)
    }

    /// As [`Self::prior_preservation_loss`], with each sample's own loss if `each`.
    pub fn prior_preservation_losses(&self, batch: &UnetBatch, instances: usize, each: bool) -> Result<Parts> {
        let prediction = self.predict(batch)?;
        let classes = batch.noisy_latents.dim(0)? - instances;
        Ok(Parts {
            each: if each { Self::each(batch, &prediction)? } else { Vec::new() },
            instance: Self::mean(batch, &prediction, 0, instances)?,
            prior: Self::mean(batch, &prediction, instances, classes)?,
        })
    }

    /// The loss, and each sample's own with its weight, of one forward pass.
    pub fn losses_of_each(&self, batch: &UnetBatch) -> Result<(Tensor, Vec<Tensor>)> {
        let (prediction, samples) = (self.predict(batch)?, batch.noisy_latents.dim(0)?);
        Ok((Self::mean(batch, &prediction, 0, samples)?, Self::each(batch, &prediction)?))
    }

    fn each(batch: &UnetBatch, prediction: &Tensor) -> Result<Vec<Tensor>> {
        (0..batch.noisy_latents.dim(0)?).map(|i| Self::mean(batch, prediction, i, 1)).collect()
    }

    fn predict(&self, batch: &UnetBatch) -> Result<Tensor> {
        let conditioning = match &batch.conditioning {
            Some(conditioning) => conditioning.clone(),
            None => self.texts.of(&batch.captions)?,
        };
        let conditioning = Conditioning { time_ids: batch.time_ids.clone(), ..conditioning };
        self.unet.predict(&batch.noisy_latents, &batch.timestep_embedding, &conditioning)
    }

    /// The mean over the `n` samples from `first` on; where the loss is masked, each value times its weight.
    fn mean(batch: &UnetBatch, prediction: &Tensor, first: usize, n: usize) -> Result<Tensor> {
        let weights = batch.loss_weights.narrow(0, first, n)?;
        if let Some(mask) = &batch.loss_mask {
            let c = batch.huber_c.as_ref().map(|c| c.narrow(0, first, n)).transpose()?;
            let (target, mask) = (batch.target.narrow(0, first, n)?, mask.narrow(0, first, n)?);
            return masked::mean(prediction, &target, first, &weights, &mask, c.as_ref());
        }
        Ok(match &batch.huber_c {
            Some(c) => ops::pseudo_huber_of(prediction, &batch.target, first, &weights, &c.narrow(0, first, n)?)?,
            None => ops::mean_squares_of(prediction, &batch.target, first, &weights)?,
        })
    }
}
