//! The sum that each sampler's step is.
//!
//! In: weights and tensors of one shape. Out: their weighted sum, added in the order given.

use crate::error::{Error, Result};
use candle_core::Tensor;

/// Σ wᵢ xᵢ.
pub(super) fn weighted_sum<const N: usize>(terms: [(f64, &Tensor); N]) -> Result<Tensor> {
    let mut sum: Option<Tensor> = None;
    for (weight, tensor) in terms {
        let term = (tensor * weight)?;
        sum = Some(match sum {
            Some(sum) => (sum + term)?,
            None => term,
        });
    }
    sum.ok_or_else(|| Error::run("a sum of no terms"))
}
