//! Layer normalisation over the last axis (Ba et al. 2016): x [..., C] → (x - mean) / sqrt(var + eps) · weight + bias.
//!
//! Backward recomputes mean and variance. dweight and dbias are summed over the rows in order.

use super::host;
use super::vector::{moments, sum_of, sum_of_pairs};
use candle_core::{CpuStorage, CustomOp1, CustomOp3, D, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

/// Layer normalisation; `weight` and `bias` are `[C]`.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    if !host::is_host_f32(x) {
        return portable(x, weight, bias, eps);
    }
    let x = x.contiguous()?;
    let (weight, bias) = (weight.contiguous()?, bias.contiguous()?);
    let op = Kernel { eps: eps as f32 };
    if weight.track_op() || bias.track_op() {
        x.apply_op3(&weight, &bias, op)
    } else {
        x.apply_op1(Frozen { op, weight, bias })
    }
}

/// The same from candle's operations: any device, any type.
fn portable(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let var = centred.sqr()?.mean_keepdim(D::Minus1)?;
    centred.broadcast_div(&(var + eps)?.sqrt()?)?.broadcast_mul(weight)?.broadcast_add(bias)
}

#[derive(Clone, Copy)]
struct Kernel {
    eps: f32,
}

/// Weight and bias are frozen.
struct Frozen {
    op: Kernel,
    weight: Tensor,
    bias: Tensor,
}

impl Kernel {
    fn forward(self, x: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f32> {
        let c = weight.len();
        let mut y = vec![0.0; x.len()];
        x.par_chunks_exact(c).zip(y.par_chunks_exact_mut(c)).with_min_len(16).for_each(|(x, y)| {
            host::vectorised(|| {
                let (mean, rstd) = self.statistics(x);
                for (y, (x, (w, b))) in y.iter_mut().zip(x.iter().zip(weight.iter().zip(bias))) {
                    *y = (x - mean) * rstd * w + b;
                }
            });
        });
        y
    }

    fn backward(self, x: &[f32], dy: &[f32], weight: &[f32]) -> Vec<f32> {
        let c = weight.len();
        let mut dx = vec![0.0; x.len()];
        let rows = x.par_chunks_exact(c).zip(dy.par_chunks_exact(c)).zip(dx.par_chunks_exact_mut(c));
        rows.with_min_len(16).for_each(|((x, dy), dx)| {
            host::vectorised(|| {
                let (mean, rstd) = self.statistics(x);
                for (dx, (dy, w)) in dx.iter_mut().zip(dy.iter().zip(weight)) {
                    *dx = dy * w;
                }
                let mean_d = sum_of(dx, |d| d) / c as f32;
                let mean_dx = sum_of_pairs(dx, x, |d, x| d * ((x - mean) * rstd)) / c as f32;
                for (dx, x) in dx.iter_mut().zip(x) {
                    *dx = rstd * (*dx - mean_d - (x - mean) * rstd * mean_dx);
                }
            });
        });
        dx
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

impl CustomOp1 for Frozen {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let y = self.op.forward(host::slice(x, layout)?, &host::values(&self.weight)?, &host::values(&self.bias)?);
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let dy = dy.contiguous()?;
        let dx = self.op.backward(&host::values(x)?, &host::values(&dy)?, &host::values(&self.weight)?);
        host::tensor(dx, x.dims()).map(Some)
    }
}

impl CustomOp3 for Kernel {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
        b: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let y = self.forward(host::slice(x, lx)?, host::slice(w, lw)?, host::slice(b, lb)?);
        Ok((CpuStorage::F32(y), lx.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _b: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        let (xs, dys, weight) = (host::values(x)?, host::values(&dy)?, host::values(w)?);
        let c = weight.len();
        let dx = self.backward(&xs, &dys, &weight);
        let (dw, db) = self.backward_parameters(&xs, &dys, c);
        Ok((Some(host::tensor(dx, x.dims())?), Some(host::tensor(dw, c)?), Some(host::tensor(db, c)?)))
    }
}
