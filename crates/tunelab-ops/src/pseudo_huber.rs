//! The pseudo-Huber loss: the mean over samples of weight · mean(√(d² + c²) − c) with d = prediction − target, summed in
//! f64.
//!
//! In: prediction and target of one shape, a weight and a c for each sample. Out: a scalar, noted on the tape. Where d is
//! far below c it is d² / 2c, far above it |d|; it is computed as d² / (√(d² + c²) + c), which does not cancel.

use crate::cpu::host;
use crate::cpu::vector_math::sum_of_pairs;
use crate::simd::vectorize;
use crate::tape::{composed, node, operand, tracked};
use candle_core::{DType, Result, Tensor, bail};
use rayon::prelude::*;

/// Values that are summed in f32.
const BLOCK: usize = 4096;

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
    let size = prediction.elem_count() / samples;
    let weights: Vec<f64> = weights.to_vec1::<f32>()?.into_iter().map(f64::from).collect();
    let c: Vec<f32> = c.to_vec1()?;
    let (prediction, target) = (operand(prediction)?, operand(target)?);
    let part = first * size..(first + n) * size;
    let mean = {
        let (p, t) = (&host::values(&prediction)?[part.clone()], &host::values(&target)?[part.clone()]);
        let losses = |((p, t), &c): ((&[f32], &[f32]), &f32)| -> f64 {
            let loss = |p: f32, t: f32| {
                let squared = (p - t) * (p - t);
                squared / ((squared + c * c).sqrt() + c)
            };
            p.chunks(BLOCK).zip(t.chunks(BLOCK)).map(|(p, t)| f64::from(sum_of_pairs(p, t, loss))).sum()
        };
        let pairs = p.chunks_exact(size).zip(t.chunks_exact(size)).zip(&c);
        let means = pairs.map(|pair| losses(pair) / size as f64);
        means.zip(&weights).map(|(mean, weight)| mean * weight).sum::<f64>() / n as f64
    };
    let factors: Vec<(f64, f32)> = weights.iter().map(|weight| weight / (size * n) as f64).zip(c).collect();
    node(vec![mean as f32], (), [&prediction.clone()], move |dy, _| {
        let dy = f64::from(dy.to_scalar::<f32>()?);
        let mut dp = vec![0.0; prediction.elem_count()];
        let (p, t) = (&host::values(&prediction)?[part.clone()], &host::values(&target)?[part.clone()]);
        dp[part]
            .par_chunks_exact_mut(size)
            .zip(p.par_chunks_exact(size).zip(t.par_chunks_exact(size)))
            .zip(factors)
            .for_each(|((dp, (p, t)), (factor, c))| {
                let factor = (factor * dy) as f32;
                vectorize(
                    #[inline(always)]
                    || {
                        dp.iter_mut().zip(p.iter().zip(t)).for_each(|(dp, (p, t))| {
                            let d = p - t;
                            *dp = factor * d / (d * d + c * c).sqrt();
                        });
                    },
                );
            });
        Ok([Some(host::tensor(dp, prediction.dims())?)])
    })
}
