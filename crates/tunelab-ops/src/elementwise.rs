//! Sums and multiples, element by element: residuals, factors, masks, and the shift of an image's
//! channels.
//!
//! In: tensors of one shape. Out: another one, noted on the tape.

use crate::cpu::host;
use crate::cpu::uninit_output::par_fill;
use crate::cpu::uninit_output::par_map;
use crate::cpu::vector_math::sum_of;
#[cfg(feature = "cuda")]
use crate::cuda;
use crate::simd::vectorize;
use crate::sum::zip_map;
use crate::tape::{composed, node, operand};
use candle_core::{DType, Result, Tensor, bail};
use rayon::prelude::*;

/// a + b of one shape.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if cuda::supports(a) {
        return cuda::elementwise::add(a, b);
    }
    if !host::is_host_f32(a) {
        return composed(&[a, b], |t| &t[0] + &t[1]);
    }
    let (a, b) = (operand(a)?, operand(b)?);
    node(zip_map(&a, &b, |a, b| a + b)?, a.dims(), [&a, &b], |dy, wanted| Ok(wanted.map(|w| w.then(|| dy.clone()))))
}

/// x · factor.
pub fn scale(x: &Tensor, factor: f64) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if cuda::supports(x) {
        return cuda::elementwise::scale(x, factor);
    }
    if !host::is_host_f32(x) {
        return composed(&[x], |t| &t[0] * factor);
    }
    let x = operand(x)?;
    let times = move |x: &Tensor| each(x, |x| x * factor as f32);
    node(times(&x)?, x.dims(), [&x], move |dy, _| Ok([Some(host::tensor(times(dy)?, dy.dims())?)]))
}

/// x in another type. The gradient goes back in x's own.
pub fn cast(x: &Tensor, dtype: DType) -> Result<Tensor> {
    if x.dtype() == dtype {
        return Ok(x.clone());
    }
    composed(&[x], |t| t[0].to_dtype(dtype))
}

/// x · mask, with one number of the mask for each of x.
pub fn masked(x: &Tensor, mask: Vec<f32>) -> Result<Tensor> {
    let mask = Tensor::from_vec(mask, x.shape(), &candle_core::Device::Cpu)?;
    #[cfg(feature = "cuda")]
    if cuda::supports(x) {
        return cuda::elementwise::masked(x, &mask);
    }
    if !host::is_host_f32(x) {
        return composed(&[x], |t| &t[0] * mask.to_dtype(x.dtype())?.to_device(x.device())?);
    }
    let x = operand(x)?;
    let y = zip_map(&x, &mask, |x, m| x * m)?;
    node(y, x.dims(), [&x], move |dy, _| Ok([Some(host::tensor(zip_map(dy, &mask, |dy, m| dy * m)?, dy.dims())?)]))
}

/// x [B, C, H, W] + shift [B, C], the same for all pixels.
pub fn add_channels(x: &Tensor, shift: &Tensor) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if cuda::supports(x) {
        return cuda::elementwise::add_channels(x, shift);
    }
    if !host::is_host_f32(x) {
        return composed(&[x, shift], |t| t[0].broadcast_add(&t[1].unsqueeze(2)?.unsqueeze(3)?));
    }
    let (x, shift) = (operand(x)?, operand(shift)?);
    let (b, c, h, w) = x.dims4()?;
    if shift.dims() != [b, c] {
        bail!("add_channels: x {:?} and shift {:?}", x.dims(), shift.dims());
    }
    let (xs, shifts) = (host::values(&x)?, host::values(&shift)?);
    let y = par_fill(xs.len(), h * w, |i, mut y| {
        let (x, shift) = (&xs[i * h * w..][..h * w], shifts[i]);
        vectorize(
            #[inline(always)]
            || {
                y.write_from(
                    [x],
                    #[inline(always)]
                    |[x]| x + shift,
                );
            },
        );
    });
    node(y, x.dims(), [&x, &shift], move |dy, [dx, dshift]| {
        let shifts = || {
            let dy = host::values(dy)?;
            let sum = |plane: &[f32]| {
                let mut sum = 0.0;
                vectorize(
                    #[inline(always)]
                    || sum = sum_of(plane, |v| v),
                );
                sum
            };
            host::tensor(dy.par_chunks_exact(h * w).with_min_len(16).map(sum).collect(), (b, c))
        };
        Ok([dx.then(|| dy.clone()), dshift.then(shifts).transpose()?])
    })
}

/// What `f` makes of each value; see [`par_map`].
#[inline(always)]
pub(crate) fn each(x: &Tensor, f: impl Fn(f32) -> f32 + Sync) -> Result<Vec<f32>> {
    Ok(par_map(&host::values(x)?, f))
}
