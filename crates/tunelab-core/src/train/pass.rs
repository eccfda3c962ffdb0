//! One forward and one backward pass: from a batch to its losses and the gradients of all trained
//! tensors.
//!
//! In: a [`UnetBatch`], and what is done with its loss. Out: scalars and gradients, of which on a
//! GPU nothing has been read yet. On a CUDA device the passes of batches of one shape are one graph
//! ([`Replay`]).

use super::objective::{Predictor, UnetBatch};
use super::optimizer::{Gradients, Optimizer};
use crate::error::{Error, Result};
use candle_core::Tensor;
use tunelab_ops::replay::Replay;
use tunelab_ops::{self as ops, tape};

/// Prior preservation: the instance images of a batch whose other half are class images, and the
/// weight of their loss.
pub type Prior = Option<(usize, f64)>;

/// What both passes have made.
pub struct Passed {
    /// The loss, and with prior preservation the instance and the class loss.
    pub losses: Vec<Tensor>,
    /// Each sample's, with its weight, if that was asked for.
    pub each: Vec<Tensor>,
    /// Of every trained tensor. Where [`Replay::reuses`] says so the next passes write into the
    /// same memory.
    pub gradients: Gradients,
}

/// Both passes; the gradients are of `factor` times the loss. With `each`, also every sample's own loss.
pub fn run(
    replay: &mut Replay,
    predictor: Predictor,
    optimizer: &Optimizer,
    batch: &UnetBatch,
    prior: Prior,
    each: bool,
    factor: f64,
) -> Result<Passed> {
    // Captions that a trained text encoder reads are part of the computation.
    let captions = if batch.conditioning.is_some() { &[][..] } else { &batch.captions[..] };
    let factor = Tensor::new(&[factor as f32], batch.noisy_latents.device())?;
    let inputs = [vec![factor], batch.tensors()].concat();
    let mut made = replay.run(&format!("{prior:?} {captions:?}"), &inputs, |inputs| {
        let both = || {
            let (mut losses, tape) =
                tape::record(|| losses(predictor, &batch.with_tensors(&inputs[1..])?, prior, each))?;
            let factor = inputs[0].reshape(losses[0].shape())?.to_dtype(losses[0].dtype())?;
            losses.extend(optimizer.gradients_times(&losses[0], factor, tape)?.into_values());
            Ok::<_, Error>(losses)
        };
        ops::with_rounded(&optimizer.trained(), predictor.unet.activations(), both)
    })?;
    let losses = if prior.is_some() { 3 } else { 1 };
    let samples = if each { batch.noisy_latents.dim(0)? } else { 0 };
    let gradients = made.split_off(losses + samples);
    let each = made.split_off(losses);
    Ok(Passed { losses: made, each, gradients: optimizer.names().cloned().zip(gradients).collect() })
}

/// The loss, its parts with prior preservation, and each sample's if `each`.
fn losses(predictor: Predictor, batch: &UnetBatch, prior: Prior, each: bool) -> Result<Vec<Tensor>> {
    let Some((instances, weight)) = prior else {
        if !each {
            return Ok(vec![predictor.loss(batch)?]);
        }
        let (loss, of_each) = predictor.losses_of_each(batch)?;
        return Ok([vec![loss], of_each].concat());
    };
    let parts = predictor.prior_preservation_losses(batch, instances, each)?;
    let total = ops::add(&parts.instance, &ops::scale(&parts.prior, weight)?)?;
    Ok([vec![total, parts.instance, parts.prior], parts.each].concat())
}
