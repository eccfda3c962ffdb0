//! `y = x Wᵀ + b`: x [..., in], W [out, in], b `[out]` → y [..., out].
//!
//! Backward: dx = dy W, dW = dyᵀ x, db = Σ dy. A frozen weight is owned by the operation and gets no gradient; dx is
//! left out when nothing before x is trained.

use super::gemm::{Dst, Mat, Threads, gemm};
use super::host;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, D, Layout, Result, Shape, Tensor};

/// A linear map of the last axis. `weight` is [out, in]; `bias`, if any, is `[out]`.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    if !host::is_host_f32(x) {
        return portable(x, weight, bias);
    }
    let x = x.contiguous()?;
    let weight = weight.contiguous()?;
    if weight.track_op() || bias.is_some_and(Tensor::track_op) {
        let op = Trained { dx: x.track_op() };
        match bias {
            Some(bias) => x.apply_op3(&weight, &bias.contiguous()?, op),
            None => x.apply_op2(&weight, op),
        }
    } else {
        let bias = bias.map(Tensor::contiguous).transpose()?;
        x.apply_op1(Frozen { weight, bias })
    }
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

/// Weight and bias are frozen.
struct Frozen {
    weight: Tensor,
    bias: Option<Tensor>,
}

/// Weight or bias is trained.
struct Trained {
    /// Whether something before x is trained.
    dx: bool,
}

fn forward(x: &[f32], x_shape: &Shape, w: &[f32], b: Option<&[f32]>) -> Result<(CpuStorage, Shape)> {
    let inner = x_shape.dim(D::Minus1)?;
    let (m, n) = (x.len() / inner, w.len() / inner);
    if n * inner != w.len() {
        candle_core::bail!("linear: x {x_shape:?} does not fit a weight of {} values", w.len());
    }
    let mut y = Vec::with_capacity(m * n);
    match b {
        Some(b) => (0..m).for_each(|_| y.extend_from_slice(b)),
        None => y.resize(m * n, 0.0),
    }
    let how = if b.is_some() { Dst::Add } else { Dst::Write };
    gemm(&mut y, n, (m, n, inner), Mat::rows(x, inner), Mat::rows(w, inner).t(), 1.0, how, Threads::All);
    let mut dims = x_shape.dims().to_vec();
    *dims.last_mut().unwrap_or(&mut 0) = n;
    Ok((CpuStorage::F32(y), dims.into()))
}

/// dx = dy W
fn backward_x(x: &Tensor, weight: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let (n, k) = weight.dims2()?;
    let m = x.elem_count() / k;
    let (w, dy) = (host::values(weight)?, host::values(dy)?);
    let mut dx = vec![0.0; m * k];
    gemm(&mut dx, k, (m, k, n), Mat::rows(&dy, n), Mat::rows(&w, k), 1.0, Dst::Write, Threads::All);
    host::tensor(dx, x.dims())
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

impl CustomOp1 for Frozen {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let w = host::values(&self.weight)?;
        let b = self.bias.as_ref().map(host::values).transpose()?;
        forward(host::slice(x, layout)?, layout.shape(), &w, b.as_deref())
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        backward_x(x, &self.weight, &dy.contiguous()?).map(Some)
    }
}

impl CustomOp2 for Trained {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, w: &CpuStorage, lw: &Layout) -> Result<(CpuStorage, Shape)> {
        forward(host::slice(x, lx)?, lx.shape(), host::slice(w, lw)?, None)
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        let dx = if self.dx { Some(backward_x(x, w, &dy)?) } else { None };
        Ok((dx, Some(backward_weight(x, w, &dy)?)))
    }
}

impl CustomOp3 for Trained {
    fn name(&self) -> &'static str {
        "linear"
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
        forward(host::slice(x, lx)?, lx.shape(), host::slice(w, lw)?, Some(host::slice(b, lb)?))
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
        let dx = if self.dx { Some(backward_x(x, w, &dy)?) } else { None };
        Ok((dx, Some(backward_weight(x, w, &dy)?), Some(backward_bias(w.dim(0)?, &dy)?)))
    }
}
