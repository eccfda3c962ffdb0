//! Attention that keeps of each query's scores the logarithm of a sum alone, and computes them
//! again for backward, block by block.
//!
//! In: tensors of one card. Out: a tensor, noted on the tape.
//!
//! Heads of up to 160 values are served; what the kernels take for a head is one of a few
//! widths, filled up with zeros.

use crate::cuda::{Argument, Fresh, NULL, Source, blocks, card, device, launch, of_one_type, pointer, source, typed};
use crate::shapes::{AttentionMask, AttentionShape};
use crate::tape::operand;
use candle_core::cuda_backend::cudarc::driver::LaunchConfig;
use candle_core::{DType, Result, Tensor};
use std::cell::OnceCell;
use std::rc::Rc;

/// A kernel for heads of up to `width` values: its blocks have 16 rows a warp and walk over so
/// many others at a time.
#[derive(Clone, Copy)]
struct Kernel {
    width: usize,
    warps: usize,
    forward: usize,
    backward: usize,
}

impl Kernel {
    /// Those of `attention_*.cu`.
    fn of(d: usize, dtype: DType) -> Option<Self> {
        let single = dtype == DType::F32;
        let width = [32, 48, 64, 80, 160].into_iter().find(|&width| d <= width)?;
        Some(match (width, single) {
            (160, true) => Self { width, warps: 2, forward: 16, backward: 16 },
            (160, false) => Self { width, warps: 4, forward: 32, backward: 16 },
            (_, true) => Self { width, warps: 4, forward: 32, backward: 32 },
            (_, false) => Self { width, warps: 4, forward: 64, backward: 32 },
        })
    }

    /// Rows of a block.
    fn rows(&self) -> usize {
        16 * self.warps
    }
}

/// See [`attention`](crate::attention()), which has checked the shapes. `None` if no kernel is for
/// heads of this size.
pub(crate) fn attention(q: &Tensor, k: &Tensor, v: &Tensor, of: AttentionShape) -> Result<Option<Tensor>> {
    let Some(kernel) = Kernel::of(of.d, q.dtype()) else { return Ok(None) };
    of_one_type(&[q, k, v])?;
    let (q, k, v) = (operand(q)?, operand(k)?, operand(v)?);
    let work = Work { kernel, of, dtype: q.dtype() };
    let (y, lse) = work.forward([&q, &k, &v])?;
    // The result, which does not exist as a tensor before its node does.
    let result = Rc::new(OnceCell::new());
    let (kept, operands) = (Rc::clone(&result), [q.clone(), k.clone(), v.clone()]);
    let y = y.node([&q, &k, &v], move |dy, wanted| {
        let Some(y) = kept.get() else { candle_core::bail!("attention has no result") };
        work.backward(operands.each_ref(), y, dy, &lse, wanted)
    })?;
    // Nothing else holds the cell, and it is empty.
    let _ = result.set(y.detach());
    Ok(Some(y))
}

#[derive(Clone, Copy)]
struct Work {
    kernel: Kernel,
    of: AttentionShape,
    dtype: DType,
}

impl Work {
    /// The file and the name of a kernel.
    fn named(&self, name: &str) -> (Source, String) {
        let name = format!("{name}_{}", self.kernel.width);
        match self.dtype {
            DType::F32 if card::tf32() => (source!("attention_tf32"), format!("{name}_tf32")),
            DType::F32 => (source!("attention_f32"), typed(&name, self.dtype)),
            DType::BF16 => (source!("attention_bf16"), typed(&name, self.dtype)),
            _ => (source!("attention_f16"), typed(&name, self.dtype)),
        }
    }

    /// Blocks for so many rows, with so many rows of tiles and so many other numbers in shared
    /// memory.
    fn over(&self, rows: usize, tiles: usize, numbers: usize) -> LaunchConfig {
        let row = self.kernel.width * self.dtype.size_in_bytes() + 16;
        let shared = row * tiles + size_of::<f32>() * numbers;
        blocks((rows.div_ceil(self.kernel.rows()), self.of.heads, self.of.batch), (32 * self.kernel.warps, 1), shared)
    }

    fn sizes(&self) -> [Argument<'static>; 5] {
        let causal = usize::from(self.of.mask == AttentionMask::Causal);
        [self.of.queries.into(), self.of.keys.into(), self.of.heads.into(), self.of.d.into(), causal.into()]
    }

    /// A number for each query of each head.
    fn lines(&self, like: &Tensor) -> Result<Fresh> {
        Fresh::new(device(like)?, DType::F32, (self.of.batch, self.of.heads, self.of.queries))
    }

    /// y, and the logarithms of the sums.
    #[expect(unsafe_code, reason = "kernel launch")]
    fn forward(&self, [q, k, v]: [&Tensor; 3]) -> Result<(Fresh, Tensor)> {
        let (y, lse) = (Fresh::like(q)?, self.lines(q)?);
        let [queries, keys, heads, d, causal] = self.sizes();
        let arguments = [
            pointer(q)?.into(),
            pointer(k)?.into(),
            pointer(v)?.into(),
            y.pointer()?.into(),
            lse.pointer()?.into(),
            queries,
            keys,
            heads,
            d,
            causal,
        ];
        let (source, name) = self.named("attention");
        let over = self.over(self.of.queries, self.kernel.rows() + 2 * self.kernel.forward, 0);
        // SAFETY: the kernel's ten parameters; q and y are [batch, queries, heads * d], k and v
        // [batch, keys, heads * d], lse [batch, heads, queries], and the shared memory holds the
        // tiles of q, k and v.
        unsafe { launch(device(q)?, source, &name, over, arguments) }?;
        Ok((y, lse.tensor()))
    }

    /// dq, dk and dv where they are wanted.
    fn backward(
        &self,
        operands: [&Tensor; 3],
        y: &Tensor,
        dy: &Tensor,
        lse: &Tensor,
        wanted: [bool; 3],
    ) -> Result<[Option<Tensor>; 3]> {
        let (dq, delta) = self.backward_queries(operands, y, dy, lse, wanted[0])?;
        if !wanted[1] && !wanted[2] {
            return Ok([dq, None, None]);
        }
        let [dk, dv] = self.backward_keys(operands, dy, lse, &delta)?;
        Ok([dq, Some(dk), Some(dv)])
    }

    /// dq if it is wanted, and Σ y dy of each query.
    #[expect(unsafe_code, reason = "kernel launch")]
    fn backward_queries(
        &self,
        [q, k, v]: [&Tensor; 3],
        y: &Tensor,
        dy: &Tensor,
        lse: &Tensor,
        wanted: bool,
    ) -> Result<(Option<Tensor>, Tensor)> {
        let delta = self.lines(q)?;
        let dq = wanted.then(|| Fresh::like(q)).transpose()?;
        let dq_pointer = dq.as_ref().map(Fresh::pointer).transpose()?;
        let [queries, keys, heads, d, causal] = self.sizes();
        let arguments = [
            pointer(q)?.into(),
            pointer(k)?.into(),
            pointer(v)?.into(),
            pointer(y)?.into(),
            pointer(dy)?.into(),
            pointer(lse)?.into(),
            delta.pointer()?.into(),
            dq_pointer.map_or(NULL, Argument::Pointer),
            queries,
            keys,
            heads,
            d,
            causal,
        ];
        let (source, name) = self.named("attention_queries");
        let over = self.over(self.of.queries, 2 * (self.kernel.rows() + self.kernel.backward), 0);
        // SAFETY: the kernel's thirteen parameters, of which dq may be null; dy and dq are like q
        // and y, delta is like lse [batch, heads, queries],
        // k and v are [batch, keys, heads * d], and the shared memory holds the tiles
        // of q, dy, k and v.
        unsafe { launch(device(q)?, source, &name, over, arguments) }?;
        Ok((dq.map(Fresh::tensor), delta.tensor()))
    }

    #[expect(unsafe_code, reason = "kernel launch")]
    fn backward_keys(&self, [q, k, v]: [&Tensor; 3], dy: &Tensor, lse: &Tensor, delta: &Tensor) -> Result<[Tensor; 2]> {
        let (dk, dv) = (Fresh::like(k)?, Fresh::like(v)?);
        let [queries, keys, heads, d, causal] = self.sizes();
        let arguments = [
            pointer(q)?.into(),
            pointer(k)?.into(),
            pointer(v)?.into(),
            pointer(dy)?.into(),
            pointer(lse)?.into(),
            pointer(delta)?.into(),
            dk.pointer()?.into(),
            dv.pointer()?.into(),
            queries,
            keys,
            heads,
            d,
            causal,
        ];
        let (source, name) = self.named("attention_keys");
        let Kernel { backward, .. } = self.kernel;
        let over = self.over(self.of.keys, 2 * (self.kernel.rows() + backward), 2 * backward);
        // SAFETY: the kernel's thirteen parameters; dk and dv are like k and v [batch, keys, heads
        // * d], q and dy [batch, queries, heads * d], lse and delta [batch, heads, queries], and
        // the shared memory holds the tiles of k, v, q and dy and two numbers for each of a tile's
        // queries.
        unsafe { launch(device(q)?, source, &name, over, arguments) }?;
        Ok([dk.tensor(), dv.tensor()])
    }
}
