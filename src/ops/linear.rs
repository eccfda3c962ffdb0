//! `y = x Wᵀ + b`: x [..., in], W [out, in], b `[out]` → y [..., out].
//!
//! Backward: dx = dy W, dW = dyᵀ x, db = Σ dy, each only where it is wanted. x is kept for the weight's gradient alone.

#[cfg(feature = "cuda")]
use super::cuda;
use super::gemm::{Dst, Mat, Threads, gemm};
use super::host;
use super::tape::{composed, node, operand, tracked};
use candle_core::{D, Result, Shape, Tensor};

/// A linear map of the last axis. `weight` is [out, in]; `bias`, if any, is `[out]`.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if cuda::serves(x) {
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
            dx.then(|| backward_x(&dims, &w, dy)).transpose()?,
            kept.map(|x| backward_weight(&x, &w, dy)).transpose()?,
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
    let mut dims = x.dims().to_vec();
    *dims.last_mut().unwrap_or(&mut 0) = out;
    y.reshape(dims)
}

pub(super) fn forward(x: &[f32], x_shape: &Shape, w: &[f32], b: Option<&[f32]>) -> Result<(Vec<f32>, Shape)> {
    let inner = x_shape.dim(D::Minus1)?;
    let (m, n) = (x.len() / inner, w.len() / inner);
    if n * inner != w.len() {
        candle_core::bail!("linear: x {x_shape:?} does not fit a weight of {} values", w.len());
    }
    let mut y = vec![0.0; m * n];
    if !panels::multiply(&mut y, (m, n, inner), x, w, b) {
        multiply(&mut y, (m, n, inner), x, w, b);
    }
    let mut dims = x_shape.dims().to_vec();
    *dims.last_mut().unwrap_or(&mut 0) = n;
    Ok((y, dims.into()))
}

/// y = x Wᵀ + b, into zeros, with x [m, k] and W [n, k]; on any processor.
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

/// The same products from panels of the weight, where the processor can; otherwise nothing is done, and false is returned.
#[cfg(target_arch = "x86_64")]
mod panels {
    use super::super::pack::{Right, Rows, Transposed};
    use super::super::product::{Columns, Left, Plus, Stored, available, product};

    /// Whether yᵀ = W xᵀ is computed, so that the weight is read where it lies: to lay out its transpose pays for many rows of x.
    fn few(m: usize, n: usize, k: usize) -> bool {
        2 * m <= n.min(k)
    }

    pub(super) fn multiply(
        y: &mut [f32],
        (m, n, k): (usize, usize, usize),
        x: &[f32],
        w: &[f32],
        b: Option<&[f32]>,
    ) -> bool {
        if !available() {
            return false;
        }
        if few(m, n, k) {
            let x = Right::Transposed(Transposed { values: x, row: k, columns: m });
            let plus = b.map_or(Plus::Nothing, Plus::Rows);
            product(Stored::Transposed(y), (n, k), Columns::one(m), Left::rows(w, k), &x, plus);
        } else {
            let w = Right::Transposed(Transposed { values: w, row: k, columns: n });
            let plus = b.map_or(Plus::Nothing, Plus::Columns);
            product(Stored::Rows(y), (m, k), Columns::one(n), Left::rows(x, k), &w, plus);
        }
        true
    }

    pub(super) fn multiply_back(dx: &mut [f32], (m, n, k): (usize, usize, usize), dy: &[f32], w: &[f32]) -> bool {
        if !available() {
            return false;
        }
        let w = Right::Rows(Rows { values: w, columns: Columns::one(k), segment: 0 });
        product(Stored::Rows(dx), (m, n), Columns::one(k), Left::rows(dy, n), &w, Plus::Nothing);
        true
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod panels {
    pub(super) fn multiply(_: &mut [f32], _: (usize, usize, usize), _: &[f32], _: &[f32], _: Option<&[f32]>) -> bool {
        false
    }

    pub(super) fn multiply_back(_: &mut [f32], _: (usize, usize, usize), _: &[f32], _: &[f32]) -> bool {
        false
    }
}

/// dx = dy W
pub(super) fn backward_x(dims: &[usize], weight: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let (n, k) = weight.dims2()?;
    let m = dy.elem_count() / n;
    let (w, dy) = (host::values(weight)?, host::values(dy)?);
    let mut dx = vec![0.0; m * k];
    if !panels::multiply_back(&mut dx, (m, n, k), &dy, &w) {
        multiply_back(&mut dx, (m, n, k), &dy, &w);
    }
    host::tensor(dx, dims)
}

/// dW = dyᵀ x
fn backward_weight(x: &Tensor, weight: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let (n, k) = weight.dims2()?;
    let m = x.elem_count() / k;
    let (x, dy) = (host::values(x)?, host::values(dy)?);
    let mut dw = vec![0.0; n * k];
    gemm(&mut dw, k, (n, k, m), Mat::rows(&dy, n).t(), Mat::rows(&x, k), 1.0, Dst::Write, Threads::All);
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
    use super::super::host::checks::{close, values};
    use super::*;

    /// Shapes with and without rests of tiles, vectors and blocks; the last one has enough columns to be shared out by them.
    #[test]
    fn products_of_panels_equal_those_of_the_gemm_crate() {
        for (m, n, k) in
            [(1, 1, 1), (13, 37, 101), (64, 48, 1280), (77, 320, 768), (15, 1100, 33), (16, 4, 320), (10, 300, 1600)]
        {
            let (x, w, b, dy) = (values(m * k, 1), values(n * k, 2), values(n, 3), values(m * n, 4));
            for b in [Some(&b[..]), None] {
                let (mut ours, mut crates) = (vec![0.0; m * n], vec![0.0; m * n]);
                multiply(&mut crates, (m, n, k), &x, &w, b);
                if panels::multiply(&mut ours, (m, n, k), &x, &w, b) {
                    close(&ours, &crates, &format!("y at {m} x {n} x {k}"));
                }
            }
            let (mut ours, mut crates) = (vec![0.0; m * k], vec![0.0; m * k]);
            multiply_back(&mut crates, (m, n, k), &dy, &w);
            if panels::multiply_back(&mut ours, (m, n, k), &dy, &w) {
                close(&ours, &crates, &format!("dx at {m} x {n} x {k}"));
            }
        }
    }

    #[test]
    fn panels_do_not_depend_on_the_number_of_threads() {
        for (m, n, k) in [(70, 130, 1300), (40, 1100, 700), (9, 1700, 300)] {
            let (x, w) = (values(m * k, 1), values(n * k, 2));
            let run = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let mut y = vec![0.0; m * n];
                pool.install(|| panels::multiply(&mut y, (m, n, k), &x, &w, None));
                y
            };
            let one = run(1);
            assert_eq!(one, run(2));
            assert_eq!(one, run(5));
        }
    }
}
