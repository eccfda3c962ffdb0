//! AdamW over all trained tensors in one launch, behind a norm that takes two and is read back
//! once, when all is under way.
//!
//! In: trained tensors of one card, their gradients and moments. Out: both changed in place, and
//! the norm.

use crate::adamw::moments::Trained;
use crate::cuda::{Fresh, Source, blocks, cast, device, launch, pointer, source, typed};
use crate::shapes::{AdamWConstants, AdamWStep};
use candle_core::{DType, Result, Tensor, bail};

const SOURCE: Source = source!("adamw");
/// Values of a tensor that one block works on, as in `adamw.cu`.
const CHUNK: usize = 1 << 14;
/// Numbers in a row of the kernels' table.
const ROW: usize = 6;

/// Whether all trained tensors are f32 on a card.
pub(crate) fn supports(all: &[Trained]) -> bool {
    let tensors = || all.iter().map(|trained| trained.var.as_tensor());
    !all.is_empty() && tensors().all(|var| var.device().is_cuda() && var.dtype() == DType::F32)
}

/// See [`clipped`](crate::adamw::clipped).
#[expect(unsafe_code, reason = "kernel launch")]
pub(crate) fn clipped(all: &[Trained], step: &AdamWStep, max_norm: f64) -> Result<f64> {
    let gradients = gradients(all)?;
    let (rows, chunks) = table(all, &gradients)?;
    let Some(dtype) = gradients.first().map(Tensor::dtype) else { bail!("adamw: there are no tensors") };
    let card = device(&rows)?;
    let (parts, total) = (Fresh::new(card, DType::F64, chunks)?, Fresh::new(card, DType::F64, 1)?);
    let (rows, count) = (pointer(&rows)?.into(), all.len().into());
    let each = blocks((chunks, 1, 1), (256, 1), 0);
    let arguments = [rows, count, parts.pointer()?.into()];
    // SAFETY: the kernel's three parameters; the table has `count` rows, which `table` has checked,
    // and there is a number for each chunk.
    unsafe { launch(card, SOURCE, &typed("gradient_squares", dtype), each, arguments) }?;
    let arguments = [parts.pointer()?.into(), total.pointer()?.into(), chunks.into()];
    // SAFETY: the kernel's three parameters; it reads the chunks' numbers and writes one.
    unsafe { launch(card, SOURCE, "sum_squares", blocks((1, 1, 1), (1024, 1), 0), arguments) }?;
    let c = AdamWConstants::new(step);
    let arguments = [
        rows,
        count,
        total.pointer()?.into(),
        c.gradient_scale.into(),
        (max_norm as f32).into(),
        c.decay.into(),
        c.beta1.into(),
        c.one_minus_beta1.into(),
        c.beta2.into(),
        c.one_minus_beta2.into(),
        c.rate.into(),
        c.correction.into(),
        c.epsilon.into(),
    ];
    // SAFETY: the kernel's thirteen parameters; each block changes its chunk of a tensor and of its
    // moments, to which nothing else is done meanwhile.
    unsafe { launch(card, SOURCE, &typed("adamw", dtype), each, arguments) }?;
    let squares: f64 = total.tensor().to_vec1::<f64>()?.iter().sum();
    Ok(squares.sqrt() * step.gradient_scale)
}

/// The gradients, contiguous and of one type.
fn gradients(all: &[Trained]) -> Result<Vec<Tensor>> {
    let first = all.first().map(|trained| trained.gradient.dtype());
    let same = all.iter().all(|trained| Some(trained.gradient.dtype()) == first);
    let one = |trained: &Trained| {
        let gradient = if same { trained.gradient.clone() } else { cast(trained.gradient, DType::F32)? };
        gradient.contiguous()
    };
    all.iter().map(one).collect()
}

/// What the kernels know of the tensors, and the number of chunks. A row has the addresses of
/// values, both moments and gradient, the number of values and that of the first chunk.
fn table(all: &[Trained], gradients: &[Tensor]) -> Result<(Tensor, usize)> {
    let mut rows = Vec::with_capacity(ROW * all.len());
    let mut chunks = 0;
    for (trained, gradient) in all.iter().zip(gradients) {
        let (var, [m, v]) = (trained.var.as_tensor(), trained.moments.tensors());
        let n = var.elem_count();
        let moments = [m, v].iter().all(|t| t.elem_count() == n && t.dtype() == DType::F32);
        if gradient.elem_count() != n || !moments {
            bail!("adamw: {n} values, a gradient {gradient:?} and moments {m:?} and {v:?}");
        }
        let addresses = [var, m, v, gradient].map(|t| Ok::<_, candle_core::Error>(pointer(t)?.address()));
        for address in addresses {
            rows.push(address? as i64);
        }
        rows.extend([n as i64, chunks as i64]);
        chunks += n.div_ceil(CHUNK);
    }
    let Some(first) = all.first() else { bail!("adamw: there are no tensors") };
    Ok((Tensor::from_vec(rows, (all.len(), ROW), first.var.device())?, chunks))
}
