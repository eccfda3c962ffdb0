//! `y = x Wᵀ + b`: x [..., in], W [out, in], b `[out]` → y [..., out].
//!
//! In: tensors. Out: a tensor, noted on the tape; and the products alone, on slices, for
//! [`crate::weight`].
//!
//! Backward: dx = dy W, dW = dyᵀ x, db = Σ dy, each only where it is wanted. x is kept for the
//! weight's gradient alone.
#![expect(unsafe_code, reason = "results are not cleared before all of them is written")]

mod blocked;

use crate::cpu::host;
use crate::cpu::uninit_output::fill_uninit;
#[cfg(feature = "cuda")]
use crate::cuda;
use crate::gemm::operand::Values;
use crate::gemm::portable::{Dst, Mat, Threads, gemm};
use crate::simd::{Vectors, with_isa};
use crate::tape::{composed, node, operand, tracked};
use candle_core::{D, Result, Shape, Tensor};

/// A linear map of the last axis. `weight` is [out, in]; `bias`, if any, is `[out]`.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if cuda::supports(x) {
        return cuda::linear::linear(x, weight, bias, None);
    }
    if !host::is_host_f32(x) {
        let operands: Vec<&Tensor> = [x, weight].into_iter().chain(bias).collect();
        return composed(&operands, |t| portable(&t[0], &t[1], t.get(2)));
    }
    let (x, weight, bias) = (operand(x)?, operand(weight)?, bias.map(operand).transpose()?);
    let b = bias.as_ref().map(host::values).transpose()?;
    let (y, shape) = forward(&host::values(&x)?, x.shape(), Values::F32(&host::values(&weight)?), b.as_deref())?;
    let (dims, w, kept) = (x.dims().to_vec(), weight.clone(), tracked(&weight).then(|| x.clone()));
    node(y, shape, [Some(&x), Some(&weight), bias.as_ref()], move |dy, [dx, _, db]| {
        Ok([
            dx.then(|| host::tensor(backward_x(Values::F32(&host::values(&w)?), w.dims2()?, dy)?, dims)).transpose()?,
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

pub(crate) fn forward(x: &[f32], x_shape: &Shape, w: Values, b: Option<&[f32]>) -> Result<(Vec<f32>, Shape)> {
    let inner = x_shape.dim(D::Minus1)?;
    let (m, n) = (x.len() / inner, w.len() / inner);
    if n * inner != w.len() {
        candle_core::bail!("linear: x {x_shape:?} does not fit a weight of {} values", w.len());
    }
    Ok((forward_rows((m, n, inner), x, w, b), with_last(x_shape.dims(), n).into()))
}

/// x Wᵀ + b, with x [m, k] and W [n, k].
fn forward_rows((m, n, k): (usize, usize, usize), x: &[f32], w: Values, b: Option<&[f32]>) -> Vec<f32> {
    if let Some(vectors) = Vectors::detect() {
        // SAFETY: a product writes all of its result.
        return with_isa!(vectors, isa => unsafe { fill_uninit(m * n, |y| blocked::multiply(isa, y, (m, n, k), x, w, b)) });
    }
    let mut y = vec![0.0; m * n];
    multiply(&mut y, (m, n, k), x, &w.in_f32(), b);
    y
}

/// y += x Wᵀ, with x [m, k] and W [n, k].
pub(crate) fn forward_onto(y: &mut [f32], (m, n, k): (usize, usize, usize), x: &[f32], w: &[f32]) {
    if let Some(vectors) = Vectors::detect() {
        return with_isa!(vectors, isa => blocked::multiply_onto(isa, y, (m, n, k), x, w.into()));
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
pub(crate) fn backward_x(w: Values, (n, k): (usize, usize), dy: &Tensor) -> Result<Vec<f32>> {
    let (m, dy) = (dy.elem_count() / n, host::values(dy)?);
    if let Some(vectors) = Vectors::detect() {
        // SAFETY: a product writes all of its result.
        let dx = with_isa!(vectors, isa => unsafe { fill_uninit(m * k, |dx| blocked::multiply_back(isa, dx, (m, n, k), &dy, w)) });
        return Ok(dx);
    }
    let mut dx = vec![0.0; m * k];
    multiply_back(&mut dx, (m, n, k), &dy, &w.in_f32());
    Ok(dx)
}

/// dx += dy W, with dy [m, n] and W [n, k].
pub(crate) fn backward_x_onto(dx: &mut [f32], (m, n, k): (usize, usize, usize), dy: &[f32], w: &[f32]) {
    if let Some(vectors) = Vectors::detect() {
        return with_isa!(vectors, isa => blocked::multiply_back_onto(isa, dx, (m, n, k), dy, w.into()));
    }
    gemm(dx, k, (m, k, n), Mat::rows(dy, n), Mat::rows(w, k), 1.0, Dst::Add, Threads::All);
}

/// dW = dyᵀ x
pub(crate) fn backward_weight(x: &Tensor, (n, k): (usize, usize), dy: &[f32]) -> Result<Tensor> {
    let m = x.elem_count() / k;
    let x = host::values(x)?;
    if let Some(vectors) = Vectors::detect().filter(|_| m > 0) {
        // SAFETY: a product writes all of its result.
        let dw = with_isa!(vectors, isa => unsafe { fill_uninit(n * k, |dw| blocked::multiply_weight(isa, dw, (m, n, k), &x, dy)) });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::buffer::Scratch;
    use crate::cpu::checks::{close, values};
    use crate::simd::isa::Isa;
    use half::bf16;

    /// Shapes with and without rests of tiles, vectors and blocks; the last one has enough columns
    /// to be shared out by them.
    #[test]
    fn linear_in_our_kernels_equals_the_gemm_crate() {
        for vectors in Vectors::all() {
            with_isa!(vectors, isa => equals_the_gemm_crate(isa));
        }
    }

    fn equals_the_gemm_crate<S: Isa>(isa: S) {
        for (m, n, k) in
            [(1, 1, 1), (13, 37, 101), (64, 48, 1280), (77, 320, 768), (15, 1100, 33), (16, 4, 320), (10, 300, 1600)]
        {
            let (x, w, b, dy) = (values(m * k, 1), values(n * k, 2), values(n, 3), values(m * n, 4));
            for b in [Some(&b[..]), None] {
                let (mut ours, mut crates) = (vec![0.0; m * n], vec![0.0; m * n]);
                multiply(&mut crates, (m, n, k), &x, &w, b);
                blocked::multiply(isa, &mut ours, (m, n, k), &x, Values::F32(&w), b);
                close(&ours, &crates, &format!("y at {m} x {n} x {k}"));
            }
            let (mut ours, mut crates) = (vec![0.0; m * k], vec![0.0; m * k]);
            multiply_back(&mut crates, (m, n, k), &dy, &w);
            blocked::multiply_back(isa, &mut ours, (m, n, k), &dy, Values::F32(&w));
            close(&ours, &crates, &format!("dx at {m} x {n} x {k}"));
            // A weight in bf16 gives the sums of its upcast values, to the bit.
            let rounded: Vec<bf16> = w.iter().map(|v| bf16::from_f32(*v)).collect();
            let upcast: Vec<f32> = rounded.iter().map(|v| v.to_f32()).collect();
            let both = [Values::Bf16(&rounded), Values::F32(&upcast)];
            let [half, full] = both.map(|w| {
                let (mut y, mut dx) = (vec![0.0; m * n], vec![0.0; m * k]);
                blocked::multiply(isa, &mut y, (m, n, k), &x, w, Some(&b));
                blocked::multiply_back(isa, &mut dx, (m, n, k), &dy, w);
                [y, dx]
            });
            assert!(half == full, "bf16 at {m} x {n} x {k}");
            let (mut ours, mut crates) = (vec![0.0; n * k], vec![0.0; n * k]);
            multiply_weight(&mut crates, (m, n, k), &x, &dy);
            blocked::multiply_weight(isa, &mut ours, (m, n, k), &x, &dy);
            close(&ours, &crates, &format!("dW at {m} x {n} x {k}"));
        }
    }

    /// Large gradients of whole lines are stored past the caches.
    #[test]
    fn gradients_past_the_caches_equal_the_gemm_crate() {
        let (m, n, k) = (21, 1031, 1024);
        let (x, dy, mut crates) = (values(m * k, 1), values(m * n, 4), vec![0.0; n * k]);
        multiply_weight(&mut crates, (m, n, k), &x, &dy);
        for vectors in Vectors::all() {
            let mut scratch = Scratch::new();
            let ours = scratch.first(n * k);
            ours.fill(f32::NAN);
            with_isa!(vectors, isa => blocked::multiply_weight(isa, &mut *ours, (m, n, k), &x, &dy));
            close(ours, &crates, "dW past the caches");
        }
    }

    #[test]
    fn linear_in_our_kernels_does_not_depend_on_the_number_of_threads() {
        for vectors in Vectors::all() {
            for (m, n, k) in [(70, 130, 1300), (40, 1100, 700), (9, 1700, 300)] {
                let (x, w, dy) = (values(m * k, 1), values(n * k, 2), values(m * n, 3));
                let run = |threads: usize| {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                    let (mut y, mut dw) = (vec![0.0; m * n], vec![0.0; n * k]);
                    pool.install(|| {
                        with_isa!(vectors, isa => {
                            blocked::multiply(isa, &mut y, (m, n, k), &x, Values::F32(&w), None);
                            blocked::multiply_weight(isa, &mut dw, (m, n, k), &x, &dy);
                        });
                    });
                    [y, dw]
                };
                let one = run(1);
                assert_eq!(one, run(2));
                assert_eq!(one, run(5));
            }
        }
    }
}
