//! One forward and one backward pass: from what a batch asks to its losses and the gradients of all trained tensors.
//!
//! In: a [`Question`], and how its loss is put together. Out: scalars and gradients, of which on a GPU nothing has been read yet.
//! On a CUDA device the passes of batches of one shape are one graph ([`Replay`]).

use super::objective::{Predictor, Question};
use super::optimizer::{Gradients, Optimizer};
use crate::error::{Error, Result};
use crate::ops::replay::Replay;
use crate::ops::{self, tape};
use candle_core::Tensor;

/// How the loss of a batch is put together.
#[derive(Debug, Clone, Copy)]
pub struct Loss {
    /// Instance images of a batch whose other half are class images, and the weight of their loss.
    pub prior: Option<(usize, f64)>,
    /// The gradients are of so many times the loss.
    pub factor: f64,
}

/// What both passes have made.
pub struct Passed {
    /// The loss, and with prior preservation the instance and the class loss.
    pub losses: Vec<Tensor>,
    /// Of every trained tensor. Where [`Replay::reuses`] says so the next passes write into the same memory.
    pub gradients: Gradients,
}

/// Both passes.
pub fn run(
    replay: &mut Replay,
    predictor: Predictor,
    optimizer: &Optimizer,
    question: &Question,
    loss: Loss,
) -> Result<Passed> {
    // Captions that a trained text encoder reads are part of the computation.
    let captions = if question.text.is_some() { &[][..] } else { &question.captions[..] };
    let key = format!("{loss:?} {captions:?}");
    let mut made = replay.run(&key, &question.tensors(), |tensors| {
        let ((share, mut losses), tape) = tape::record(|| {
            let losses = losses(predictor, &question.with(tensors)?, loss)?;
            Ok::<_, Error>((ops::scale(&losses[0], loss.factor)?, losses))
        })?;
        losses.extend(optimizer.gradients(&share, tape)?.into_values());
        Ok::<_, Error>(losses)
    })?;
    let gradients = made.split_off(if loss.prior.is_some() { 3 } else { 1 });
    Ok(Passed { losses: made, gradients: optimizer.names().cloned().zip(gradients).collect() })
}

/// The loss, and its parts with prior preservation.
fn losses(predictor: Predictor, question: &Question, loss: Loss) -> Result<Vec<Tensor>> {
    let Some((instances, weight)) = loss.prior else {
        return Ok(vec![predictor.answer(question)?]);
    };
    let parts = predictor.answer_halves(question, instances)?;
    let total = ops::add(&parts.instance, &ops::scale(&parts.prior, weight)?)?;
    Ok(vec![total, parts.instance, parts.prior])
}
