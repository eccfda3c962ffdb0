//! What the losses share: the mean over samples of weight · mean(value of each pair), summed in f64, and its gradient.
//!
//! In: prediction and target of one shape, a weight and a constant for each sample, what a pair is worth and how that changes
//! with the prediction. Out: a scalar, noted on the tape.

use crate::cpu::host;
use crate::cpu::vector_math::sum_of_pairs;
use crate::simd::vectorize;
use crate::tape::{node, operand};
use candle_core::{Result, Tensor};
use rayon::prelude::*;

/// Values that are summed in f32.
const BLOCK: usize = 4096;

/// Over the samples from `first` on, one for each of `weights` with its constant c. `value` is of d = prediction − target and
/// c; `slope` is its derivative in d times a factor, of which it gets `scale` times the weight's share, d and c.
pub(crate) fn mean_of_pairs(
    prediction: &Tensor,
    target: &Tensor,
    first: usize,
    (weights, constants): (&[f64], Vec<f32>),
    value: impl Fn(f32, f32) -> f32 + Copy,
    (scale, slope): (f64, impl Fn(f32, f32, f32) -> f32 + Copy + Send + Sync + 'static),
) -> Result<Tensor> {
    let n = weights.len();
    let size = prediction.elem_count() / prediction.dim(0)?;
    let (prediction, target) = (operand(prediction)?, operand(target)?);
    let part = first * size..(first + n) * size;
    let mean = {
        let (p, t) = (&host::values(&prediction)?[part.clone()], &host::values(&target)?[part.clone()]);
        let sum = |((p, t), &c): ((&[f32], &[f32]), &f32)| -> f64 {
            let blocks = p.chunks(BLOCK).zip(t.chunks(BLOCK));
            blocks.map(|(p, t)| f64::from(sum_of_pairs(p, t, |p, t| value(p - t, c)))).sum()
        };
        let pairs = p.chunks_exact(size).zip(t.chunks_exact(size)).zip(&constants);
        let means = pairs.map(|pair| sum(pair) / size as f64);
        means.zip(weights).map(|(mean, weight)| mean * weight).sum::<f64>() / n as f64
    };
    let shares = weights.iter().map(|weight| scale * weight / (size * n) as f64);
    let factors: Vec<(f64, f32)> = shares.zip(constants).collect();
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
                    || dp.iter_mut().zip(p.iter().zip(t)).for_each(|(dp, (p, t))| *dp = slope(factor, p - t, c)),
                );
            });
        Ok([Some(host::tensor(dp, prediction.dims())?)])
    })
}
