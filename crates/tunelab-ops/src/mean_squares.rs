//! The loss: the mean over samples of weight · mean((prediction - target)²), summed in f64.
//!
//! In: prediction and target of one shape, a weight for each sample. Out: a scalar, noted on the
//! tape.

use crate::cpu::host;
#[cfg(feature = "cuda")]
use crate::cuda;
use crate::mean_of_pairs::mean_of_pairs;
use crate::tape::{composed, tracked};
use candle_core::{Result, Tensor, bail};

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
    let unused = vec![0.0; n];
    mean_of_pairs(
        prediction,
        target,
        first,
        (&weights, unused),
        #[inline(always)]
        |d, _| d * d,
        (
            2.0,
            #[inline(always)]
            |factor, d, _| factor * d,
        ),
    )
}
