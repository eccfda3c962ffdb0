//! `y = x Wᵀ + b`: x [..., in], W [out, in], b `[out]` → y [..., out].
//!
//! In: tensors. Out: a tensor, noted on the tape; and the products alone, on slices, for
//! [`crate::weight`].
//!
//! Backward: dx = dy W, dW = dyᵀ x, db = Σ dy, each only where it is wanted. x is kept for the
//! weight's gradient alone.
#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "results are not cleared before all of them is written")
)]

#[cfg(target_arch = "x86_64")]
mod avx512;

use crate::cpu::host;
#[cfg(target_arch = "x86_64")]
use crate::cpu::uninit_output::fill_uninit;
#[cfg(feature = "cuda")]
use crate::cuda;
use crate::gemm::portable::{Dst, Mat, Threads, gemm};
#[cfg(target_arch = "x86_64")]
use crate::simd::Avx512;
use crate::tape::{composed, node, operand, tracked};
use candle_core::{D, Result, Shape, Tensor};

/// The gradient of a weight with fewer rows or columns than this, such as a LoRA's, is computed in
/// panels: the gemm crate's kernels take many at a time.
#[cfg(target_arch = "x86_64")]
const NARROW: usize = 32;

/// A linear map of the last axis. `weight` is [out, in]; `bias`, if any, is `[out]`.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if cuda::supports(x) {
        return cuda::linear::linear(x, weight, bias);
    }
    if !host::is_host_f32(x) {
        let operands: Vec<&Tensor> = [x, weight].into_iter().chain(bias).collect();
        return composed(&operands, |t| portable(&t[0], &t[1], t.get(2)));
    }
    let (x, weight, bias) = (operand(x)?, operand(weight)?, bias.map(operand).transpose()?);
    let b = bias.as_ref().map(host::values).transpose()?;
    let (y, shape) = forward(&host::values(&x)?, x.shape(), &host::values(&weight)?, b.as_deref())?;
    let (dims, w, kept) = (x.dims().to_vec(), weight.clone(), tracked(&weight).then(|| x.clone()));
    node(y, shape, [Some(&x), Some(&weight), bias.as_ref()], move |dy, [dx, _, db]| {
        Ok([
            dx.then(|| host::tensor(backward_x(&w, dy)?, dims)).transpose()?,
            kept.map(|x| backward_weight(&x, w.dims2()?, &host::values(dy)?)).transpose()?,
            db.then(|| backward_bias(w.dim(0)?, dy)).transpose()?,
        ])
    })
}

/// The same from candle's operations: any device, any type.
fn portable(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (out, inner) = weight.dims2()?;
    let rows = x.elem_count() / inner;
    let y = x.reshape((rows, inner))?.matmul(&weight.t()?)?;
    let y = match bias {
        Some(bias) => y.broadcast_add(bias)?,
        None => y,
    };
    y.reshape(with_last(x.dims(), out))
}

/// These dimensions with another last one.
pub(crate) fn with_last(dims: &[usize], last: usize) -> Vec<usize> {
    let mut dims = dims.to_vec();
    *dims.last_mut().unwrap_or(&mut 0) = last;
    dims
}

pub(crate) fn forward(x: &[f32], x_shape: &Shape, w: &[f32], b: Option<&[f32]>) -> Result<(Vec<f32>, Shape)> {
    let inner = x_shape.dim(D::Minus1)?;
    let (m, n) = (x.len() / inner, w.len() / inner);
    if n * inner != w.len() {
        candle_core::bail!("linear: x {x_shape:?} does not fit a weight of {} values", w.len());
    }
    Ok((forward_rows((m, n, inner), x, w, b), with_last(x_shape.dims(), n).into()))
}

/// x Wᵀ + b, with x [m, k] and W [n, k].
fn forward_rows((m, n, k): (usize, usize, usize), x: &[f32], w: &[f32], b: Option<&[f32]>) -> Vec<f32> {
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = Avx512::detect() {
        // SAFETY: a product writes all of its result.
        return unsafe { fill_uninit(m * n, |y| avx512::multiply(simd, y, (m, n, k), x, w, b)) };
    }
    let mut y = vec![0.0; m * n];
    multiply(&mut y, (m, n, k), x, w, b);
    y
}

/// y += x Wᵀ, with x [m, k] and W [n, k].
pub(crate) fn forward_onto(y: &mut [f32], (m, n, k): (usize, usize, usize), x: &[f32], w: &[f32]) {
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = Avx512::detect() {
        return avx512::multiply_onto(simd, y, (m, n, k), x, w);
    }
    multiply(y, (m, n, k), x, w, None);
}

/// y = x Wᵀ + b, into zeros, or without a bias onto what stands there, with x [m, k] and W [n, k];
/// on any processor.
fn multiply(y: &mut [f32], (m, n, k): (usize, usize, usize), x: &[f32], w: &[f32], b: Option<&[f32]>) {
    if let Some(b) = b {
        y.chunks_exact_mut(n).for_each(|y| y.copy_from_slice(b));
    }
    gemm(y, n, (m, n, k), Mat::rows(x, k), Mat::rows(w, k).t(), 1.0, Dst::Add, Threads::All);
}

/// dx = dy W; on any processor.
fn multiply_back(dx: &mut [f32], (m, n, k): (usize, usize, usize), dy: &[f32], w: &[f32]) {
    gemm(dx, k, (m, k, n), Mat::rows(dy, n), Mat::rows(w, k), 1.0, Dst::Write, Threads::All);
}

/// dW = dyᵀ x; on any processor.
fn multiply_weight(dw: &mut [f32], (m, n, k): (usize, usize, usize), x: &[f32], dy: &[f32]) {
    gemm(dw, k, (n, k, m), Mat::rows(dy, n).t(), Mat::rows(x, k), 1.0, Dst::Write, Threads::All);
}

/// dx = dy W
pub(crate) fn backward_x(weight: &Tensor, dy: &Tensor) -> Result<Vec<f32>> {
    let (n, k) = weight.dims2()?;
    let m = dy.elem_count() / n;
    let (w, dy) = (host::values(weight)?, host::values(dy)?);
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = Avx512::detect() {
        // SAFETY: a product writes all of its result.
        return Ok(unsafe { fill_uninit(m * k, |dx| avx512::multiply_back(simd, dx, (m, n, k), &dy, &w)) });
    }
    let mut dx = vec![0.0; m * k];
    multiply_back(&mut dx, (m, n, k), &dy, &w);
    Ok(dx)
}

/// dx += dy W, with dy [m, n] and W [n, k].
pub(crate) fn backward_x_onto(dx: &mut [f32], (m, n, k): (usize, usize, usize), dy: &[f32], w: &[f32]) {
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = Avx512::detect() {
        return avx512::multiply_back_onto(simd, dx, (m, n, k), dy, w);
    }
    gemm(dx, k, (m, k, n), Mat::rows(dy, n), Mat::rows(w, k), 1.0, Dst::Add, Threads::All);
}

/// dW = dyᵀ x
pub(crate) fn backward_weight(x: &Tensor, (n, k): (usize, usize), dy: &[f32]) -> Result<Tensor> {
    let m = x.elem_count() / k;
    let x = host::values(x)?;
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = Avx512::detect().filter(|_| n.min(k) < NARROW) {
        // SAFETY: a product writes all of its result.
        let dw = unsafe { fill_uninit(n * k, |dw| avx512::multiply_weight(simd, dw, (m, n, k), &x, dy)) };
        return host::tensor(dw, (n, k));
    }
    let mut dw = vec![0.0; n * k];
    multiply_weight(&mut dw, (m, n, k), &x, dy);
    host::tensor(dw, (n, k))
}

/// db = the sum of dy over all rows, in the order of the rows.
fn backward_bias(n: usize, dy: &Tensor) -> Result<Tensor> {
    let dy = host::values(dy)?;
    let mut db = vec![0.0f32; n];
    for row in dy.chunks_exact(n) {
        for (sum, v) in db.iter_mut().zip(row) {
            *sum += v;
        }
    }
    host::tensor(db, n)
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::cpu::checks::{close, values};

    /// Shapes with and without rests of tiles, vectors and blocks; the last one has enough columns
    /// to be shared out by them.
    #[test]
    fn linear_in_avx512_equals_the_gemm_crate() {
        let Some(simd) = Avx512::detect() else { return };
        for (m, n, k) in
            [(1, 1, 1), (13, 37, 101), (64, 48, 1280), (77, 320, 768), (15, 1100, 33), (16, 4, 320), (10, 300, 1600)]
        {
            let (x, w, b, dy) = (values(m * k, 1), values(n * k, 2), values(n, 3), values(m * n, 4));
            for b in [Some(&b[..]), None] {
                let (mut ours, mut crates) = (vec![0.0; m * n], vec![0.0; m * n]);
                multiply(&mut crates, (m, n, k), &x, &w, b);
                avx512::multiply(simd, &mut ours, (m, n, k), &x, &w, b);
                close(&ours, &crates, &format!("y at {m} x {n} x {k}"));
            }
            let (mut ours, mut crates) = (vec![0.0; m * k], vec![0.0; m * k]);
            multiply_back(&mut crates, (m, n, k), &dy, &w);
            avx512::multiply_back(simd, &mut ours, (m, n, k), &dy, &w);
            close(&ours, &crates, &format!("dx at {m} x {n} x {k}"));
            let (mut ours, mut crates) = (vec![0.0; n * k], vec![0.0; n * k]);
            multiply_weight(&mut crates, (m, n, k), &x, &dy);
            avx512::multiply_weight(simd, &mut ours, (m, n, k), &x, &dy);
            close(&ours, &crates, &format!("dW at {m} x {n} x {k}"));
        }
    }

    #[test]
    fn linear_in_avx512_does_not_depend_on_the_number_of_threads() {
        let Some(simd) = Avx512::detect() else { return };
        for (m, n, k) in [(70, 130, 1300), (40, 1100, 700), (9, 1700, 300)] {
            let (x, w) = (values(m * k, 1), values(n * k, 2));
            let run = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let mut y = vec![0.0; m * n];
                pool.install(|| avx512::multiply(simd, &mut y, (m, n, k), &x, &w, None));
                y
            };
            let one = run(1);
            assert_eq!(one, run(2));
            assert_eq!(one, run(5));
        }
    }
}
