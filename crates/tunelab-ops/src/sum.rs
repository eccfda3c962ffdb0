//! The sum of two tensors of which nothing is noted: how gradients of several uses are added.
//!
//! In: two tensors of one shape. Out: a third.

use crate::cpu::host;
use crate::cpu::uninit_output::{TASK, chunk, par_fill};
#[cfg(feature = "cuda")]
use crate::cuda;
use crate::simd::vectorize;
use candle_core::{Result, Tensor, bail};

/// a + b
pub(crate) fn sum(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if cuda::supports(a) {
        return cuda::sum::sum(a, b);
    }
    if !host::is_host_f32(a) {
        return a + b;
    }
    host::tensor(zip_map(&a.contiguous()?, &b.contiguous()?, |a, b| a + b)?, a.dims())
}

/// What `f` makes of each two values of contiguous host tensors of one shape. If `f` is more than a
/// few operations it must be marked `#[inline(always)]`; see [`vectorize`].
#[inline(always)]
pub(crate) fn zip_map(a: &Tensor, b: &Tensor, f: impl Fn(f32, f32) -> f32 + Sync) -> Result<Vec<f32>> {
    if a.dims() != b.dims() {
        bail!("tensors of one shape are needed, not {:?} and {:?}", a.dims(), b.dims());
    }
    let (a, b) = (host::values(a)?, host::values(b)?);
    Ok(par_fill(a.len(), TASK, |i, mut y| {
        let [a, b] = [&a, &b].map(|t| chunk(t, i, TASK));
        vectorize(
            #[inline(always)]
            || {
                y.write_from(
                    [a, b],
                    #[inline(always)]
                    |[a, b]| f(a, b),
                );
            },
        );
    }))
}
