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
    /// Of every trained tensor. Where [`Replay::reuses`] says so the next passes write into the
    /// same memory.
    pub gradients: Gradients,
}

/// Both passes; the gradients are of `factor` times the loss.
pub fn run(
    replay: &mut Replay,
    predictor: Predictor,
    optimizer: &Optimizer,
    batch: &UnetBatch,
    prior: Prior,
    factor: f64,
) -> Result<Passed> {
    // Captions that a trained text encoder reads are part of the computation.
    let captions = if batch.conditioning.is_some() { &[][..] } else { &batch.captions[..] };
    let factor = Tensor::new(&[factor as f32], batch.noisy_latents.device())?;
    let inputs = [vec![factor], batch.tensors()].concat();
    let mut made = replay.run(&format!("{prior:?} {captions:?}"), &inputs, |inputs| {
        let (mut losses, tape) = tape::record(|| losses(predictor, &batch.with_tensors(&inputs[1..])?, prior))?;
        let factor = inputs[0].reshape(losses[0].shape())?.to_dtype(losses[0].dtype())?;
        losses.extend(optimizer.gradients_times(&losses[0], factor, tape)?.into_values());
        Ok::<_, Error>(losses)
    })?;
    let gradients = made.split_off(if prior.is_some() { 3 } else { 1 });
    Ok(Passed { losses: made, gradients: optimizer.names().cloned().zip(gradients).collect() })
}

/// The loss, and its parts with prior preservation.
fn losses(predictor: Predictor, batch: &UnetBatch, prior: Prior) -> Result<Vec<Tensor>> {
    let Some((instances, weight)) = prior else {
        return Ok(vec![predictor.loss(batch)?]);
    };
    let parts = predictor.prior_preservation_loss(batch, instances)?;
    let total = ops::add(&parts.instance, &ops::scale(&parts.prior, weight)?)?;
    Ok(vec![total, parts.instance, parts.prior])
}
