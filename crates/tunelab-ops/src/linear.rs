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
    let (m, n) = (x.len() / inner.max(1), w.len() / inner.max(1));
    if n == 0 || n * inner != w.len() {
        candle_core::bail!("linear: x {x_shape:?} does not fit a weight of {} values", w.len());
    }
    Ok((forward_rows((m, n, inner), x, w, b), with_last(x_shape.dims(), n).into()))
}

/// x Wᵀ + b, with x [m, k] and W [n, k].
fn forward_rows(sizes: (usize, usize, usize), x: &[f32], w: Values, b: Option<&[f32]>) -> Vec<f32> {
    let multiply = |y: &mut [_]| with_isa!(Vectors::detect(), isa => blocked::multiply(isa, y, sizes, x, w, b));
    // SAFETY: a product writes all of its result.
    unsafe { fill_uninit(sizes.0 * sizes.1, multiply) }
}

/// y += x Wᵀ, with x [m, k] and W [n, k].
pub(crate) fn forward_onto(y: &mut [f32], sizes: (usize, usize, usize), x: &[f32], w: &[f32]) {
    with_isa!(Vectors::detect(), isa => blocked::multiply_onto(isa, y, sizes, x, w.into()));
}

/// dx = dy W
pub(crate) fn backward_x(w: Values, (n, k): (usize, usize), dy: &Tensor) -> Result<Vec<f32>> {
    let (m, dy) = (dy.elem_count() / n, host::values(dy)?);
    let multiply =
        |dx: &mut [_]| with_isa!(Vectors::detect(), isa => blocked::multiply_back(isa, dx, (m, n, k), &dy, w));
    // SAFETY: a product writes all of its result.
    Ok(unsafe { fill_uninit(m * k, multiply) })
}

/// dx += dy W, with dy [m, n] and W [n, k].
pub(crate) fn backward_x_onto(dx: &mut [f32], sizes: (usize, usize, usize), dy: &[f32], w: &[f32]) {
    with_isa!(Vectors::detect(), isa => blocked::multiply_back_onto(isa, dx, sizes, dy, w.into()));
}

/// dW = dyᵀ x
pub(crate) fn backward_weight(x: &Tensor, (n, k): (usize, usize), dy: &[f32]) -> Result<Tensor> {
    let (m, x) = (x.elem_count() / k, host::values(x)?);
    if m == 0 {
        return host::tensor(vec![0.0; n * k], (n, k));
    }
    let multiply =
        |dw: &mut [_]| with_isa!(Vectors::detect(), isa => blocked::multiply_weight(isa, dw, (m, n, k), &x, dy));
    // SAFETY: a product writes all of its result.
    host::tensor(unsafe { fill_uninit(n * k, multiply) }, (n, k))
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

    /// C = A · B, summed in f64.
    fn product(
        (m, n, k): (usize, usize, usize),
        a: impl Fn(usize, usize) -> f32,
        b: impl Fn(usize, usize) -> f32,
    ) -> Vec<f32> {
        let sum = |i, j| (0..k).map(|l| f64::from(a(i, l)) * f64::from(b(l, j))).sum::<f64>() as f32;
        (0..m * n).map(|at| sum(at / n, at % n)).collect()
    }

    /// Shapes with and without rests of tiles, vectors and blocks; the last one has enough columns
    /// to be shared out by them.
    #[test]
    fn linear_equals_its_definition() {
        for vectors in Vectors::all() {
            with_isa!(vectors, isa => equals_its_definition(isa));
        }
    }

    fn equals_its_definition<S: Isa>(isa: S) {
        for (m, n, k) in
            [(1, 1, 1), (13, 37, 101), (64, 48, 1280), (77, 320, 768), (15, 1100, 33), (16, 4, 320), (10, 300, 1600)]
        {
            let (x, w, b, dy) = (values(m * k, 1), values(n * k, 2), values(n, 3), values(m * n, 4));
            for b in [Some(&b[..]), None] {
                let (mut y, mut want) =
                    (vec![f32::NAN; m * n], product((m, n, k), |i, l| x[i * k + l], |l, j| w[j * k + l]));
                blocked::multiply(isa, &mut y, (m, n, k), &x, Values::F32(&w), b);
                want.iter_mut().enumerate().for_each(|(at, y)| *y += b.map_or(0.0, |b| b[at % n]));
                close(&y, &want, &format!("y at {m} x {n} x {k}"));
            }
            let mut dx = vec![f32::NAN; m * k];
            blocked::multiply_back(isa, &mut dx, (m, n, k), &dy, Values::F32(&w));
            let want = product((m, k, n), |i, l| dy[i * n + l], |l, j| w[l * k + j]);
            close(&dx, &want, &format!("dx at {m} x {n} x {k}"));
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
            let mut dw = vec![f32::NAN; n * k];
            blocked::multiply_weight(isa, &mut dw, (m, n, k), &x, &dy);
            let want = product((n, k, m), |i, l| dy[l * n + i], |l, j| x[l * k + j]);
            close(&dw, &want, &format!("dW at {m} x {n} x {k}"));
        }
    }

    /// Large gradients of whole lines are stored past the caches.
    #[test]
    fn gradients_past_the_caches_equal_their_definition() {
        let (m, n, k) = (21, 1031, 1024);
        let (x, dy) = (values(m * k, 1), values(m * n, 4));
        let want = product((n, k, m), |i, l| dy[l * n + i], |l, j| x[l * k + j]);
        for vectors in Vectors::all() {
            let mut scratch = Scratch::new();
            let ours = scratch.first(n * k);
            ours.fill(f32::NAN);
            with_isa!(vectors, isa => blocked::multiply_weight(isa, &mut *ours, (m, n, k), &x, &dy));
            close(ours, &want, "dW past the caches");
        }
    }

    #[test]
    fn linear_does_not_depend_on_the_number_of_threads() {
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
