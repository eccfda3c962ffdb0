//! What every optimizer is given for one step, and clipping by global norm.
//!
//! In: gradients in the order of the trained tensors' names, and the losses. Out: their norm and
//! the factor that clips them. The norm is summed in that order, in f64, so it does not depend on threads or on how
//! tensors are stored.

use crate::error::Result;
use candle_core::{Tensor, Var};
pub use tunelab_ops::adamw::Clipped;
use tunelab_ops::adamw::{CLIP_EPSILON, read, squared_norm};

/// One step over all trained tensors.
pub struct Step<'a> {
    /// The trained tensors.
    pub trained: &'a [&'a Var],
    /// Their gradients.
    pub gradients: &'a [&'a Tensor],
    /// Scalars that are read with the norm; where one is not finite, nothing is changed.
    pub losses: &'a [&'a Tensor],
    /// Of this step.
    pub learning_rate: f64,
    /// Counted from 1.
    pub number: i32,
    /// What every gradient is multiplied with before all else.
    pub gradient_scale: f64,
    /// Then they are scaled down to this global norm.
    pub max_grad_norm: f64,
}

impl Step<'_> {
    /// The losses, and what clipping comes to: for a method that needs the norm before it begins.
    pub fn clip(&self) -> Result<(Clipped, f64)> {
        let losses = read(self.losses)?;
        let ClippedNorm { norm, gradient_scale } =
            clip_grad_norm(self.gradients, self.gradient_scale, self.max_grad_norm)?;
        Ok((Clipped::new(norm, losses), gradient_scale))
    }
}

/// What clipping comes to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClippedNorm {
    /// The gradients' global norm, before clipping and after their multiplication with the gradient
    /// scale.
    pub norm: f64,
    /// What every gradient is multiplied with in all.
    pub gradient_scale: f64,
}

/// The global norm of `gradient_scale` times the gradients, and the factor that brings it down to
/// `max_norm` where it is larger, as torch's `clip_grad_norm_` does.
pub fn clip_grad_norm(gradients: &[&Tensor], gradient_scale: f64, max_norm: f64) -> Result<ClippedNorm> {
    let mut squares = 0.0;
    for gradient in gradients {
        squares += squared_norm(gradient)?;
    }
    let norm = squares.sqrt() * gradient_scale;
    let clip = (max_norm / (norm + CLIP_EPSILON)).min(1.0);
    Ok(ClippedNorm { norm, gradient_scale: clip * gradient_scale })
}
