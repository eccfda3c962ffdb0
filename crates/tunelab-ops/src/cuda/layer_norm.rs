//! Layer normalization: one warp for each row. x is kept for backward, with mean and deviation;
//! weight and bias are f32 for the kernels, whatever their own type.
//!
//! In: tensors of one card. Out: a tensor, noted on the tape.

use crate::cuda::elementwise::row_sums;
use crate::cuda::{Argument, Fresh, NULL, Source, blocks, cast, device, launch, like, long, pointer, source, typed};
use crate::tape::operand;
use candle_core::{D, DType, Result, Tensor, bail};

const SOURCE: Source = source!("layer_norm");
/// Rows, and so warps, of one block.
const ROWS: usize = 4;

/// See [`layer_norm`](crate::layer_norm()).
pub(crate) fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let (x, weight, bias) = (operand(x)?, operand(weight)?, operand(bias)?);
    let c = x.dim(D::Minus1)?;
    if weight.dims() != [c] || bias.dims() != [c] {
        bail!("layer_norm: weight {:?} and bias {:?} for x {:?}", weight.dims(), bias.dims(), x.dims());
    }
    let lines = Lines { rows: x.elem_count() / c, c };
    let of = weight.dtype();
    let parameters = [cast(&weight, DType::F32)?, cast(&bias, DType::F32)?];
    let (y, stats) = lines.forward(&x, &parameters, eps)?;
    let (kept, [weight_values, _]) = (x.clone(), parameters);
    y.node_onto([&x, &weight, &bias], move |dy, [dx, dw, db], so_far| {
        let dx = dx.then(|| lines.backward(&kept, dy, &weight_values, &stats, so_far.take())).transpose()?;
        if !dw && !db {
            return Ok([dx, None, None]);
        }
        let sums = lines.backward_parameters(&kept, dy, &stats)?;
        Ok([dx, Some(cast(&sums.get(0)?, of)?), Some(cast(&sums.get(1)?, of)?)])
    })
}

#[derive(Clone, Copy)]
struct Lines {
    rows: usize,
    c: usize,
}

impl Lines {
    /// y, and mean and 1 / deviation of each row.
    #[expect(unsafe_code, reason = "kernel launch")]
    fn forward(&self, x: &Tensor, [weight, bias]: &[Tensor; 2], eps: f64) -> Result<(Fresh, Tensor)> {
        let y = Fresh::like(x)?;
        let stats = Fresh::new(device(x)?, DType::F32, (self.rows, 2))?;
        let arguments = [
            pointer(x)?.into(),
            pointer(weight)?.into(),
            pointer(bias)?.into(),
            y.pointer()?.into(),
            stats.pointer()?.into(),
            long(self.rows),
            self.c.into(),
            (eps as f32).into(),
        ];
        let over = blocks((self.rows.div_ceil(ROWS), 1, 1), (32 * ROWS, 1), 0);
        // SAFETY: the kernel's eight parameters; x and y have rows * c values, weight and bias c,
        // and stats two a row.
        unsafe { launch(device(x)?, SOURCE, &typed("layer_norm_forward", x.dtype()), over, arguments) }?;
        Ok((y, stats.tensor()))
    }

    /// dx, onto what there is of it.
    #[expect(unsafe_code, reason = "kernel launch")]
    fn backward(
        &self,
        x: &Tensor,
        dy: &Tensor,
        weight: &Tensor,
        stats: &Tensor,
        so_far: Option<Tensor>,
    ) -> Result<Tensor> {
        let so_far = so_far.map(|so_far| like(&so_far, x)).transpose()?;
        let dx = Fresh::like(x)?;
        let arguments = [
            pointer(x)?.into(),
            pointer(dy)?.into(),
            pointer(weight)?.into(),
            pointer(stats)?.into(),
            so_far.as_ref().map_or(Ok(NULL), |so_far| pointer(so_far).map(Argument::from))?,
            dx.pointer()?.into(),
            long(self.rows),
            self.c.into(),
        ];
        let over = blocks((self.rows.div_ceil(ROWS), 1, 1), (32 * ROWS, 1), 0);
        // SAFETY: the kernel's eight parameters; x, dy, dx and what is there of it, which is like x
        // (`like`) or null, have rows * c values, the weight c, and stats two a row.
        unsafe { launch(device(x)?, SOURCE, &typed("layer_norm_backward", x.dtype()), over, arguments) }?;
        Ok(dx.tensor())
    }

    /// dweight and dbias: [2, c], in f32. First of shares of the rows, then of the shares' sums.
    #[expect(unsafe_code, reason = "kernel launch")]
    fn backward_parameters(&self, x: &Tensor, dy: &Tensor, stats: &Tensor) -> Result<Tensor> {
        let share = self.rows.div_ceil(64).max(32);
        let shares = self.rows.div_ceil(share);
        let sums = Fresh::new(device(x)?, DType::F32, (2, shares, self.c))?;
        let arguments = [
            pointer(x)?.into(),
            pointer(dy)?.into(),
            pointer(stats)?.into(),
            sums.pointer()?.into(),
            long(self.rows),
            self.c.into(),
            long(share),
        ];
        let over = blocks((self.c.div_ceil(32), shares, 1), (32, 8), 0);
        // SAFETY: the kernel's seven parameters; x and dy have rows * c values, stats two a row,
        // and sums 2 * shares * c.
        unsafe { launch(device(x)?, SOURCE, &typed("layer_norm_parameters", x.dtype()), over, arguments) }?;
        row_sums(&sums.tensor())
    }
}
