//! Attention that keeps of each query's scores the logarithm of a sum alone, and computes them
//! again for backward, block by block.
//!
//! In: tensors of one card. Out: a tensor, noted on the tape.
//!
//! Heads of up to 160 values are served; what the kernels take for a head is one of a few
//! widths, filled up with zeros.

use crate::cuda::{
    Argument, Fresh, NULL, Pointer, Source, blocks, card, device, launch, of_one_type, pointer, source, typed,
};
use crate::shapes::{AttentionMask, AttentionShape};
use crate::tape::operand;
use candle_core::cuda_backend::cudarc::driver::LaunchConfig;
use candle_core::{DType, Error, Result, Tensor};
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

/// Where q, k and v are.
#[derive(Clone)]
enum Operands {
    /// Each in a tensor of its own.
    Apart([Tensor; 3]),
    /// q, and k and v side by side in rows of both.
    KvPacked(Tensor, Tensor),
    /// All three side by side in rows of all.
    QkvPacked(Tensor),
}

impl Operands {
    /// q or what it is in.
    fn first(&self) -> &Tensor {
        match self {
            Self::Apart([first, ..]) | Self::KvPacked(first, _) | Self::QkvPacked(first) => first,
        }
    }

    /// How many of them have common rows: with q, and with k and v.
    fn beside(&self) -> [usize; 2] {
        match self {
            Self::Apart(_) => [1, 1],
            Self::KvPacked(..) => [1, 2],
            Self::QkvPacked(_) => [3, 3],
        }
    }
}

/// Where q, k and v begin in the tensors that hold them, or their gradients; `step` bytes are a row
/// of one of them.
fn begins<'t>(first: Pointer<'t>, others: [Option<Pointer<'t>>; 2], step: usize) -> [Pointer<'t>; 3] {
    match others {
        [Some(k), Some(v)] => [first, k, v],
        [Some(kv), None] => [first, kv, kv.behind(step)],
        _ => [first, first.behind(step), first.behind(2 * step)],
    }
}

/// See [`attention`](crate::attention()), which has checked the shapes. `None` if no kernel is for
/// heads of this size.
pub(crate) fn attention(q: &Tensor, k: &Tensor, v: &Tensor, of: AttentionShape) -> Result<Option<Tensor>> {
    let Some(kernel) = Kernel::of(of.d, q.dtype()) else { return Ok(None) };
    of_one_type(&[q, k, v])?;
    let (q, k, v) = (operand(q)?, operand(k)?, operand(v)?);
    let work = Work { kernel, of, dtype: q.dtype() };
    let operands = Operands::Apart([q.clone(), k.clone(), v.clone()]);
    work.node(operands, [&q, &k, &v], |work, operands, y, dy, lse, [q, k, v]| {
        let dq = q.then(|| Fresh::like(operands.first())).transpose()?;
        let Operands::Apart([_, keys, values]) = operands else { return Ok([None, None, None]) };
        let dkv = if k || v { Some([Fresh::like(keys)?, Fresh::like(values)?]) } else { None };
        let at = dkv.as_ref().map(|[dk, dv]| Ok::<_, Error>([dk.pointer()?, dv.pointer()?])).transpose()?;
        work.backward(operands, y, dy, lse, dq.as_ref().map(Fresh::pointer).transpose()?, at)?;
        let [dk, dv] = dkv.map_or([None, None], |both| both.map(Some));
        Ok([dq, dk, dv].map(|fresh| fresh.map(Fresh::tensor)))
    })
    .map(Some)
}

/// See [`attention_kv_packed`](crate::attention_kv_packed()), which has checked the shapes.
pub(crate) fn kv_packed(q: &Tensor, kv: &Tensor, of: AttentionShape) -> Result<Option<Tensor>> {
    let Some(kernel) = Kernel::of(of.d, q.dtype()) else { return Ok(None) };
    of_one_type(&[q, kv])?;
    let (q, kv) = (operand(q)?, operand(kv)?);
    let work = Work { kernel, of, dtype: q.dtype() };
    work.node(Operands::KvPacked(q.clone(), kv.clone()), [&q, &kv], |work, operands, y, dy, lse, [q, kv]| {
        let Operands::KvPacked(_, packed) = operands else { return Ok([None, None]) };
        let dq = q.then(|| Fresh::like(operands.first())).transpose()?;
        let dkv = kv.then(|| Fresh::like(packed)).transpose()?;
        let step = work.step();
        let at = dkv.as_ref().map(Fresh::pointer).transpose()?.map(|dk| [dk, dk.behind(step)]);
        work.backward(operands, y, dy, lse, dq.as_ref().map(Fresh::pointer).transpose()?, at)?;
        Ok([dq, dkv].map(|fresh| fresh.map(Fresh::tensor)))
    })
    .map(Some)
}

/// See [`attention_qkv_packed`](crate::attention_qkv_packed()), which has checked the shapes.
pub(crate) fn qkv_packed(qkv: &Tensor, of: AttentionShape) -> Result<Option<Tensor>> {
    let Some(kernel) = Kernel::of(of.d, qkv.dtype()) else { return Ok(None) };
    let qkv = operand(qkv)?;
    let work = Work { kernel, of, dtype: qkv.dtype() };
    work.node(Operands::QkvPacked(qkv.clone()), [&qkv], |work, operands, y, dy, lse, _| {
        let all = Fresh::like(operands.first())?;
        let [dq, dk, dv] = begins(all.pointer()?, [None, None], work.step());
        work.backward(operands, y, dy, lse, Some(dq), Some([dk, dv]))?;
        Ok([Some(all.tensor())])
    })
    .map(Some)
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

    /// Bytes of a row of q, k or v.
    fn step(&self) -> usize {
        self.of.width() * self.dtype.size_in_bytes()
    }

    fn sizes(&self, operands: &Operands) -> [Argument<'static>; 7] {
        let causal = usize::from(self.of.mask == AttentionMask::Causal);
        let [q_row, kv_row] = operands.beside().map(|beside| beside * self.of.width());
        let Self { of, .. } = self;
        [of.queries, of.keys, of.heads, of.d, causal, q_row, kv_row].map(Argument::from)
    }

    /// Where q, k and v begin.
    fn begins<'t>(&self, operands: &'t Operands) -> Result<[Pointer<'t>; 3]> {
        let others = match operands {
            Operands::Apart([_, k, v]) => [Some(pointer(k)?), Some(pointer(v)?)],
            Operands::KvPacked(_, kv) => [Some(pointer(kv)?), None],
            Operands::QkvPacked(_) => [None, None],
        };
        Ok(begins(pointer(operands.first())?, others, self.step()))
    }

    /// y, noted on the tape.
    fn node<const N: usize>(
        self,
        operands: Operands,
        inputs: [&Tensor; N],
        backward: impl FnOnce(&Self, &Operands, &Tensor, &Tensor, &Tensor, [bool; N]) -> Result<[Option<Tensor>; N]>
        + 'static,
    ) -> Result<Tensor> {
        let (y, lse) = self.forward(&operands)?;
        // The result, which does not exist as a tensor before its node does.
        let result = Rc::new(OnceCell::new());
        let kept = Rc::clone(&result);
        let y = y.node(inputs, move |dy, wanted| {
            let Some(y) = kept.get() else { candle_core::bail!("attention has no result") };
            backward(&self, &operands, y, dy, &lse, wanted)
        })?;
        // Nothing else holds the cell, and it is empty.
        let _ = result.set(y.detach());
        Ok(y)
    }

    /// A number for each query of each head.
    fn lines(&self, like: &Tensor) -> Result<Fresh> {
        Fresh::new(device(like)?, DType::F32, (self.of.batch, self.of.heads, self.of.queries))
    }

    /// y, and the logarithms of the sums.
    #[expect(unsafe_code, reason = "kernel launch")]
    fn forward(&self, operands: &Operands) -> Result<(Fresh, Tensor)> {
        let first = operands.first();
        let AttentionShape { batch, queries, .. } = self.of;
        let y = Fresh::new(device(first)?, self.dtype, (batch, queries, self.of.width()))?;
        let lse = self.lines(first)?;
        let [q, k, v] = self.begins(operands)?;
        let [queries, keys, heads, d, causal, q_row, kv_row] = self.sizes(operands);
        let arguments = [
            q.into(),
            k.into(),
            v.into(),
            y.pointer()?.into(),
            lse.pointer()?.into(),
            queries,
            keys,
            heads,
            d,
            causal,
            q_row,
            kv_row,
        ];
        let (source, name) = self.named("attention");
        let over = self.over(self.of.queries, self.kernel.rows() + 2 * self.kernel.forward, 0);
        // SAFETY: the kernel's twelve parameters; y is [batch, queries, heads * d], q as many rows
        // and k and v [batch, keys] rows of heads * d, as far apart as `sizes` says, lse [batch,
        // heads, queries], and the shared memory holds the tiles of q, k and v.
        unsafe { launch(device(first)?, source, &name, over, arguments) }?;
        Ok((y, lse.tensor()))
    }

    /// Writes dq, and dk and dv, where they are wanted.
    fn backward(
        &self,
        operands: &Operands,
        y: &Tensor,
        dy: &Tensor,
        lse: &Tensor,
        dq: Option<Pointer<'_>>,
        dkv: Option<[Pointer<'_>; 2]>,
    ) -> Result<()> {
        let delta = self.backward_queries(operands, y, dy, lse, dq)?;
        dkv.map_or(Ok(()), |dkv| self.backward_keys(operands, dy, lse, &delta, dkv))
    }

    /// dq if it is wanted, and Σ y dy of each query.
    #[expect(unsafe_code, reason = "kernel launch")]
    fn backward_queries(
        &self,
        operands: &Operands,
        y: &Tensor,
        dy: &Tensor,
        lse: &Tensor,
        dq: Option<Pointer<'_>>,
    ) -> Result<Tensor> {
        let delta = self.lines(dy)?;
        let [q, k, v] = self.begins(operands)?;
        let [queries, keys, heads, d, causal, q_row, kv_row] = self.sizes(operands);
        let arguments = [
            q.into(),
            k.into(),
            v.into(),
            pointer(y)?.into(),
            pointer(dy)?.into(),
            pointer(lse)?.into(),
            delta.pointer()?.into(),
            dq.map_or(NULL, Argument::Pointer),
            queries,
            keys,
            heads,
            d,
            causal,
            q_row,
            kv_row,
        ];
        let (source, name) = self.named("attention_queries");
        let over = self.over(self.of.queries, 2 * (self.kernel.rows() + self.kernel.backward), 0);
        // SAFETY: the kernel's fifteen parameters, of which dq may be null; dy is like y and dq
        // like q, delta is like lse [batch, heads, queries], k and v are [batch, keys] rows of
        // heads * d, rows are as far apart as `sizes` says, and the shared memory holds the tiles
        // of q, dy, k and v.
        unsafe { launch(device(dy)?, source, &name, over, arguments) }?;
        Ok(delta.tensor())
    }

    #[expect(unsafe_code, reason = "kernel launch")]
    fn backward_keys(
        &self,
        operands: &Operands,
        dy: &Tensor,
        lse: &Tensor,
        delta: &Tensor,
        [dk, dv]: [Pointer<'_>; 2],
    ) -> Result<()> {
        let [q, k, v] = self.begins(operands)?;
        let [queries, keys, heads, d, causal, q_row, kv_row] = self.sizes(operands);
        let arguments = [
            q.into(),
            k.into(),
            v.into(),
            pointer(dy)?.into(),
            pointer(lse)?.into(),
            pointer(delta)?.into(),
            dk.into(),
            dv.into(),
            queries,
            keys,
            heads,
            d,
            causal,
            q_row,
            kv_row,
        ];
        let (source, name) = self.named("attention_keys");
        let Kernel { backward, .. } = self.kernel;
        let over = self.over(self.of.keys, 2 * (self.kernel.rows() + backward), 2 * backward);
        // SAFETY: the kernel's fifteen parameters; dk and dv are like k and v [batch, keys] rows of
        // heads * d, q is [batch, queries] such rows and dy like it, rows are as far apart as
        // `sizes` says, lse and delta [batch, heads, queries], and the shared memory holds the
        // tiles of k, v, q and dy and two numbers for each of a tile's queries.
        unsafe { launch(device(dy)?, source, &name, over, arguments) }
    }
}
