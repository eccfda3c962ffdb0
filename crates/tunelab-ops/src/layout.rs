//! Moving values about: images to rows of pixels and back, and one image's channels behind
//! another's.
//!
//! In: images or rows. Out: the same values in another order, noted on the tape.

use crate::cpu::host;
use crate::cpu::uninit_output::UninitOutput;
use crate::cpu::uninit_output::par_fill;
#[cfg(feature = "cuda")]
use crate::cuda;
use crate::gemm::transpose;
use crate::simd::{Vectors, with_isa};
use crate::tape::{composed, node, operand};
use candle_core::{Result, Tensor, bail};

/// Side of the squares that are transposed at once: one line of the cache.
const TILE: usize = 16;

/// [B, C, H, W] → [B, H·W, C]
pub fn to_rows(x: &Tensor) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if cuda::supports(x) {
        return cuda::layout::to_rows(x);
    }
    if !host::is_host_f32(x) {
        return composed(&[x], |t| t[0].flatten_from(2)?.transpose(1, 2)?.contiguous());
    }
    let x = operand(x)?;
    let (b, c, h, w) = x.dims4()?;
    node(transposed(&x, c, h * w)?, (b, h * w, c), [&x], move |dy, _| {
        Ok([Some(host::tensor(transposed(dy, h * w, c)?, (b, c, h, w))?)])
    })
}

/// [B, H·W, C] → [B, C, H, W]
pub fn to_image(x: &Tensor, (height, width): (usize, usize)) -> Result<Tensor> {
    let (b, pixels, c) = x.dims3()?;
    if pixels != height * width {
        bail!("to_image: {pixels} rows are no image of {height}x{width}");
    }
    #[cfg(feature = "cuda")]
    if cuda::supports(x) {
        return cuda::layout::to_image(x, (height, width));
    }
    if !host::is_host_f32(x) {
        return composed(&[x], |t| t[0].transpose(1, 2)?.contiguous()?.reshape((b, c, height, width)));
    }
    let x = operand(x)?;
    node(transposed(&x, pixels, c)?, (b, c, height, width), [&x], move |dy, _| {
        Ok([Some(host::tensor(transposed(dy, c, pixels)?, (b, pixels, c))?)])
    })
}

/// Every matrix [n, m] of x as its transpose [m, n].
fn transposed(x: &Tensor, n: usize, m: usize) -> Result<Vec<f32>> {
    let (x, vectors) = (host::values(x)?, Vectors::detect());
    // A part is some rows of one transpose.
    let rows = if m.is_multiple_of(TILE) { TILE } else { 1 };
    Ok(par_fill(x.len(), rows * n, |i, mut y| {
        let x = &x[i * rows / m * m * n + i * rows % m..];
        let whole = if rows == TILE { n / TILE * TILE } else { 0 };
        let mut y: [UninitOutput; TILE] = std::array::from_fn(|row| y.front(if row < rows { n } else { 0 }));
        for first in (0..whole).step_by(TILE) {
            let tile = with_isa!(vectors, isa => transpose::transposed_16x16(isa, &x[first * m..], m));
            y.iter_mut().zip(&tile).for_each(|(y, tile)| y.copy(tile));
        }
        for (row, y) in y.iter_mut().enumerate().take(rows) {
            y.write(n - whole, |j| x[(whole + j) * m + row]);
        }
    }))
}

/// a [B, C, H, W] and b [B, C', H, W] → [B, C + C', H, W]
pub fn cat_channels(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if cuda::supports(a) {
        return cuda::layout::cat_channels(a, b);
    }
    if !host::is_host_f32(a) {
        return composed(&[a, b], |t| Tensor::cat(&[&t[0], &t[1]], 1));
    }
    let (a, b) = (operand(a)?, operand(b)?);
    let ((samples, of_a, h, w), (_, of_b, ..)) = (a.dims4()?, b.dims4()?);
    if b.dims() != [samples, of_b, h, w] {
        bail!("cat_channels: {:?} and {:?}", a.dims(), b.dims());
    }
    let (plane, of_both) = (h * w, of_a + of_b);
    let y = {
        let (a, b) = (host::values(&a)?, host::values(&b)?);
        par_fill(samples * of_both * plane, plane, |i, mut y| {
            let (sample, channel) = (i / of_both, i % of_both);
            let from = match channel.checked_sub(of_a) {
                None => &a[(sample * of_a + channel) * plane..],
                Some(channel) => &b[(sample * of_b + channel) * plane..],
            };
            y.copy(&from[..plane]);
        })
    };
    node(y, (samples, of_both, h, w), [&a, &b], move |dy, wanted| {
        let dy = host::values(dy)?;
        let part = |first: usize, channels: usize| {
            let part = par_fill(samples * channels * plane, plane, |i, mut part| {
                let at = i / channels * of_both + first + i % channels;
                part.copy(&dy[at * plane..][..plane]);
            });
            host::tensor(part, (samples, channels, h, w))
        };
        Ok([wanted[0].then(|| part(0, of_a)).transpose()?, wanted[1].then(|| part(of_a, of_b)).transpose()?])
    })
}
