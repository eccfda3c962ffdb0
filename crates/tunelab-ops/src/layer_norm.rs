//! Layer normalization over the last axis (Ba et al. 2016): x [..., C] → (x - mean) / sqrt(var +
//! eps) · weight + bias.
//!
//! In: x [..., C], weight and bias `[C]`. Out: a tensor like x, noted on the tape.
//!
//! Backward recomputes mean and variance. dweight and dbias are summed over the rows in order.

use crate::cpu::host;
use crate::cpu::uninit_output::par_fill;
use crate::cpu::vector_math::{moments, sum_of, sum_of_pairs};
#[cfg(feature = "cuda")]
use crate::cuda;
use crate::simd::vectorize;
use crate::tape::{composed, node, operand};
use candle_core::{D, Result, Tensor};

/// Layer normalization; `weight` and `bias` are `[C]`.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if cuda::supports(x) {
        return cuda::layer_norm::layer_norm(x, weight, bias, eps);
    }
    if !host::is_host_f32(x) {
        return composed(&[x, weight, bias], |t| portable(&t[0], &t[1], &t[2], eps));
    }
    let (x, weight, bias) = (operand(x)?, operand(weight)?, operand(bias)?);
    let kernel = Kernel { eps: eps as f32 };
    let y = kernel.forward(&host::values(&x)?, &host::values(&weight)?, &host::values(&bias)?);
    let kept = (x.clone(), weight.clone());
    node(y, x.dims(), [&x, &weight, &bias], move |dy, [dx, dw, db]| {
        let (x, weight, dy) = (host::values(&kept.0)?, host::values(&kept.1)?, host::values(dy)?);
        let c = weight.len();
        let dx = dx.then(|| host::tensor(kernel.backward(&x, &dy, &weight), kept.0.dims())).transpose()?;
        if !dw && !db {
            return Ok([dx, None, None]);
        }
        let (dw, db) = kernel.backward_parameters(&x, &dy, c);
        Ok([dx, Some(host::tensor(dw, c)?), Some(host::tensor(db, c)?)])
    })
}

/// The same from candle's operations: any device, any type.
fn portable(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let centered = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let var = centered.sqr()?.mean_keepdim(D::Minus1)?;
    centered.broadcast_div(&(var + eps)?.sqrt()?)?.broadcast_mul(weight)?.broadcast_add(bias)
}

#[derive(Clone, Copy)]
struct Kernel {
    eps: f32,
}

impl Kernel {
    fn forward(self, x: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f32> {
        let c = weight.len();
        par_fill(x.len(), c, |i, mut y| {
            let x = &x[i * c..][..c];
            vectorize(
                #[inline(always)]
                || {
                    let (mean, rstd) = self.statistics(x);
                    y.write_from(
                        [x, weight, bias],
                        #[inline(always)]
                        |[x, weight, bias]| (x - mean) * rstd * weight + bias,
                    );
                },
            );
        })
    }

    fn backward(self, x: &[f32], dy: &[f32], weight: &[f32]) -> Vec<f32> {
        let c = weight.len();
        par_fill(x.len(), c, |i, mut dx| {
            let [x, dy] = [x, dy].map(|t| &t[i * c..][..c]);
            vectorize(
                #[inline(always)]
                || {
                    let (mean, rstd) = self.statistics(x);
                    let dx = dx.write_from(
                        [dy, weight],
                        #[inline(always)]
                        |[dy, weight]| dy * weight,
                    );
                    let mean_d = sum_of(dx, |d| d) / c as f32;
                    let mean_dx = sum_of_pairs(dx, x, |d, x| d * ((x - mean) * rstd)) / c as f32;
                    for (dx, x) in dx.iter_mut().zip(x) {
                        *dx = rstd * (*dx - mean_d - (x - mean) * rstd * mean_dx);
                    }
                },
            );
        })
    }

    fn backward_parameters(self, x: &[f32], dy: &[f32], c: usize) -> (Vec<f32>, Vec<f32>) {
        let (mut dw, mut db) = (vec![0.0; c], vec![0.0; c]);
        for (x, dy) in x.chunks_exact(c).zip(dy.chunks_exact(c)) {
            let (mean, rstd) = self.statistics(x);
            for ((dw, db), (x, dy)) in dw.iter_mut().zip(&mut db).zip(x.iter().zip(dy)) {
                *dw += dy * ((x - mean) * rstd);
                *db += dy;
            }
        }
        (dw, db)
    }

    #[inline(always)]
    fn statistics(self, row: &[f32]) -> (f32, f32) {
        let (mean, var) = moments(row);
        (mean, 1.0 / (var + self.eps).sqrt())
    }
}
