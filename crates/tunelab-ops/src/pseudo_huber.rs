//! The pseudo-Huber loss: the mean over samples of weight · mean(√(d² + c²) − c) with d = prediction − target, summed in
//! f64.
//!
//! In: prediction and target of one shape, a weight and a c for each sample. Out: a scalar, noted on the tape. Where d is
//! far below c it is d² / 2c, far above it |d|; it is computed as d² / (√(d² + c²) + c), which does not cancel.

use crate::cpu::host;
use crate::mean_of_pairs::mean_of_pairs;
use crate::tape::{composed, tracked};
use candle_core::{DType, Result, Tensor, bail};

/// Over the samples from `first` on, one for each of the `[n]` weights; `c` is `[n]` too, above 0, both of f32 on the
/// prediction's device. prediction and target are [B, …] of one shape; the target is fixed.
pub fn pseudo_huber_of(
    prediction: &Tensor,
    target: &Tensor,
    first: usize,
    weights: &Tensor,
    c: &Tensor,
) -> Result<Tensor> {
    let samples = prediction.dim(0)?;
    let n = weights.dims1()?;
    let fits = prediction.dims() == target.dims() && c.dims1()? == n;
    if !fits || n == 0 || first + n > samples || tracked(target) {
        let (p, t) = (prediction.dims(), target.dims());
        bail!("pseudo_huber: prediction {p:?}, target {t:?}, {n} weights from sample {first} on, c {:?}", c.dims());
    }
    if !host::is_host_f32(prediction) {
        let dtype = if prediction.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
        let (weights, c) = (weights.to_dtype(dtype)?, c.to_dtype(dtype)?.unsqueeze(1)?);
        return composed(&[prediction, target], |t| {
            let part = |t: &Tensor| t.narrow(0, first, n)?.to_dtype(dtype)?.flatten_from(1);
            let roots = (part(&t[0])? - part(&t[1])?)?.sqr()?.broadcast_add(&c.sqr()?)?.sqrt()?;
            (roots.broadcast_sub(&c)?.mean(1)? * weights)?.mean_all()
        });
    }
    let weights: Vec<f64> = weights.to_vec1::<f32>()?.into_iter().map(f64::from).collect();
    let c: Vec<f32> = c.to_vec1()?;
    mean_of_pairs(
        prediction,
        target,
        first,
        (&weights, c),
        #[inline(always)]
        |d, c| {
            let squared = d * d;
            squared / ((squared + c * c).sqrt() + c)
        },
        (
            1.0,
            #[inline(always)]
            |factor, d, c| factor * d / (d * d + c * c).sqrt(),
        ),
    )
}
