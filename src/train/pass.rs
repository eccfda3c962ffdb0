//! One forward and one backward pass: from what a batch asks to its losses and the gradients of all trained tensors.
//!
//! In: a [`Question`], and what is done with its loss. Out: scalars and gradients, of which on a GPU nothing has been read yet.
//! On a CUDA device the passes of batches of one shape are one graph ([`Replay`]).

use super::objective::{Predictor, Question};
use super::optimizer::{Gradients, Optimizer};
use crate::error::{Error, Result};
use candle_core::Tensor;
use tunelab_ops::replay::Replay;
use tunelab_ops::{self as ops, tape};

/// Prior preservation: the instance images of a batch whose other half are class images, and the weight of their loss.
pub type Prior = Option<(usize, f64)>;

/// What both passes have made.
pub struct Passed {
    /// The loss, and with prior preservation the instance and the class loss.
    pub losses: Vec<Tensor>,
    /// Of every trained tensor. Where [`Replay::reuses`] says so the next passes write into the same memory.
    pub gradients: Gradients,
}

/// Both passes; the gradients are of `factor` times the loss.
pub fn run(
    replay: &mut Replay,
    predictor: Predictor,
    optimizer: &Optimizer,
    question: &Question,
    prior: Prior,
    factor: f64,
) -> Result<Passed> {
    // Captions that a trained text encoder reads are part of the computation.
    let captions = if question.text.is_some() { &[][..] } else { &question.captions[..] };
    let mut inputs = vec![Tensor::new(&[factor as f32], question.noisy.device())?];
    inputs.extend(question.tensors());
    let mut made = replay.run(&format!("{prior:?} {captions:?}"), &inputs, |tensors| {
        let (mut losses, tape) = tape::record(|| losses(predictor, &question.with(&tensors[1..])?, prior))?;
        let factor = tensors[0].reshape(losses[0].shape())?.to_dtype(losses[0].dtype())?;
        losses.extend(optimizer.gradients_times(&losses[0], factor, tape)?.into_values());
        Ok::<_, Error>(losses)
    })?;
    let gradients = made.split_off(if prior.is_some() { 3 } else { 1 });
    Ok(Passed { losses: made, gradients: optimizer.names().cloned().zip(gradients).collect() })
}

/// The loss, and its parts with prior preservation.
fn losses(predictor: Predictor, question: &Question, prior: Prior) -> Result<Vec<Tensor>> {
    let Some((instances, weight)) = prior else {
        return Ok(vec![predictor.answer(question)?]);
    };
    let parts = predictor.answer_halves(question, instances)?;
    let total = ops::add(&parts.instance, &ops::scale(&parts.prior, weight)?)?;
    Ok(vec![total, parts.instance, parts.prior])
}
