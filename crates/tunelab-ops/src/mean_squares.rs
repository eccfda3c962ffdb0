//! The loss: the mean over samples of weight · mean((prediction - target)²), summed in f64.
//!
//! In: prediction and target of one shape, a weight for each sample. Out: a scalar, noted on the
//! tape.

use crate::cpu::host;
use crate::cpu::vector_math::sum_of_pairs;
#[cfg(feature = "cuda")]
use crate::cuda;
use crate::simd::vectorize;
use crate::tape::{composed, node, operand, tracked};
use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

/// Values that are summed in f32.
const BLOCK: usize = 4096;

/// Over the samples from `first` on, one for each weight. prediction and target are [B, …] of one
/// shape; the target is fixed.
pub fn mean_squares(prediction: &Tensor, target: &Tensor, first: usize, weights: &[f64]) -> Result<Tensor> {
    let weights: Vec<f32> = weights.iter().map(|&weight| weight as f32).collect();
    mean_squares_of(prediction, target, first, &Tensor::new(weights, prediction.device())?)
}

/// The same with weights `[n]` of f32 on the prediction's device.
pub fn mean_squares_of(prediction: &Tensor, target: &Tensor, first: usize, weights: &Tensor) -> Result<Tensor> {
    let samples = prediction.dim(0)?;
    let n = weights.dims1()?;
    if prediction.dims() != target.dims() || n == 0 || first + n > samples || tracked(target) {
        let (p, t) = (prediction.dims(), target.dims());
        bail!("mean_squares: prediction {p:?}, target {t:?}, {n} weights from sample {first} on");
    }
    let size = prediction.elem_count() / samples;
    #[cfg(feature = "cuda")]
    if cuda::supports(prediction) {
        return cuda::mean_squares::mean_squares(prediction, target, first, weights);
    }
    if !host::is_host_f32(prediction) {
        let weights = weights.to_dtype(prediction.dtype())?;
        return composed(&[prediction, target], |t| {
            let squares = (t[0].narrow(0, first, n)? - t[1].narrow(0, first, n)?)?.sqr()?;
            (squares.flatten_from(1)?.mean(1)? * weights)?.mean_all()
        });
    }
    let weights: Vec<f64> = weights.to_vec1::<f32>()?.into_iter().map(f64::from).collect();
    let (prediction, target) = (operand(prediction)?, operand(target)?);
    let part = first * size..(first + n) * size;
    let mean = {
        let (p, t) = (&host::values(&prediction)?[part.clone()], &host::values(&target)?[part.clone()]);
        let squares = |(p, t): (&[f32], &[f32])| -> f64 {
            let blocks = p.chunks(BLOCK).zip(t.chunks(BLOCK));
            blocks.map(|(p, t)| f64::from(sum_of_pairs(p, t, |p, t| (p - t) * (p - t)))).sum()
        };
        let means = p.chunks_exact(size).zip(t.chunks_exact(size)).map(|pair| squares(pair) / size as f64);
        means.zip(&weights).map(|(mean, weight)| mean * weight).sum::<f64>() / n as f64
    };
    let factors: Vec<f64> = weights.iter().map(|weight| 2.0 * weight / (size * n) as f64).collect();
    node(vec![mean as f32], (), [&prediction.clone()], move |dy, _| {
        let dy = f64::from(dy.to_scalar::<f32>()?);
        let mut dp = vec![0.0; prediction.elem_count()];
        let (p, t) = (&host::values(&prediction)?[part.clone()], &host::values(&target)?[part.clone()]);
        dp[part]
            .par_chunks_exact_mut(size)
            .zip(p.par_chunks_exact(size).zip(t.par_chunks_exact(size)))
            .zip(factors)
            .for_each(|((dp, (p, t)), factor)| {
                let factor = (factor * dy) as f32;
                vectorize(
                    #[inline(always)]
                    || dp.iter_mut().zip(p.iter().zip(t)).for_each(|(dp, (p, t))| *dp = factor * (p - t)),
                );
            });
        Ok([Some(host::tensor(dp, prediction.dims())?)])
    })
}
