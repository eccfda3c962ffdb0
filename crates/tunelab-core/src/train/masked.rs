//! The loss of a batch whose images have masks.
//!
//! In: prediction, target, the weight of each sample and of each place. Out: the mean over the samples of
//! weight · mean(mask · loss), as one scalar on the tape. The mean is over all places, whatever the mask leaves out, as
//! kohya's sd-scripts and OneTrainer (unless `normalize_masked_area_loss`) have it: so a place counts as much in an image with a small
//! mask as in one with a large one, and a mask that is white all over changes nothing.

use crate::error::Result;
use candle_core::{DType, Tensor};
use tunelab_ops as ops;

/// Over the `n` samples from `first` on of `prediction`; `target` [n, C, H, W], `weights` [n] and `mask` [n, 1, H, W] are of these
/// alone. With `c` [n] the loss is the pseudo-Huber loss √(d² + c²) − c, else d².
pub(super) fn mean(
    prediction: &Tensor,
    target: &Tensor,
    first: usize,
    weights: &Tensor,
    mask: &Tensor,
    c: Option<&Tensor>,
) -> Result<Tensor> {
    let n = weights.dim(0)?;
    let dtype = if prediction.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
    let to = |t: &Tensor| t.to_dtype(dtype);
    let (target, weights, mask) = (to(target)?, to(weights)?, to(mask)?);
    let c = c.map(|c| to(c)?.reshape((n, 1, 1, 1))).transpose()?;
    Ok(ops::composed(&[prediction], |t| {
        let squares = (t[0].narrow(0, first, n)?.to_dtype(dtype)? - &target)?.sqr()?;
        let losses = match &c {
            // As √(d² + c²) − c, but without cancelling.
            Some(c) => {
                let roots = squares.broadcast_add(&c.sqr()?)?.sqrt()?.broadcast_add(c)?;
                (squares / roots)?
            }
            None => squares,
        };
        (losses.broadcast_mul(&mask)?.flatten_from(1)?.mean(1)? * &weights)?.mean_all()
    })?)
}
