//! AdamW over all trained tensors in one launch, behind a norm that takes two. The norm is read
//! back when all is under way, and with it the losses that the gradients are of: a step waits for
//! the card once, and nothing is given out behind that.
//!
//! In: trained tensors of one card, their gradients and moments, and scalars. Out: both changed in
//! place, the norm and the scalars' values.

use crate::cuda::{Fresh, Source, blocks, cast, device, launch, pointer, source, typed};
use crate::moments::{Clipped, Trained};
use crate::shapes::{AdamWConstants, AdamWStep};
use candle_core::{DType, Result, Tensor, bail};
use std::cell::RefCell;

const SOURCE: Source = source!("adamw");
/// Values of a tensor that one block works on, as in `adamw.cu`.
const CHUNK: usize = 1 << 14;
/// Numbers in a row of the kernels' table.
const ROW: usize = 6;

thread_local! {
    // The last step's table. The passes of a graph write their gradients and losses into the same
    // memory each time, so it is the next step's too.
    static TABLE: RefCell<Option<(Vec<i64>, Tensor)>> = const { RefCell::new(None) };
}

/// Whether all trained tensors are f32 on a card.
pub(crate) fn supports(all: &[Trained]) -> bool {
    let tensors = || all.iter().map(|trained| trained.var.as_tensor());
    !all.is_empty() && tensors().all(|var| var.device().is_cuda() && var.dtype() == DType::F32)
}

/// See [`clipped`](crate::adamw::clipped).
#[expect(unsafe_code, reason = "kernel launch")]
pub(crate) fn clipped(all: &[Trained], step: &AdamWStep, max_norm: f64, scalars: &[&Tensor]) -> Result<Clipped> {
    let gradients = gradients(all)?;
    let scalars = scalars.iter().map(|t| cast(&t.contiguous()?, DType::F32)).collect::<Result<Vec<_>>>()?;
    let (rows, chunks) = table(all, &gradients, &scalars)?;
    let Some(dtype) = gradients.first().map(Tensor::dtype) else { bail!("adamw: there are no tensors") };
    let card = device(&rows)?;
    let numbers = 1 + scalars.len();
    let (parts, total) = (Fresh::new(card, DType::F64, chunks)?, Fresh::new(card, DType::F64, numbers)?);
    let behind_rows = pointer(&rows)?.behind(ROW * all.len() * size_of::<i64>());
    let (rows, count) = (pointer(&rows)?.into(), all.len().into());
    let each = blocks((chunks, 1, 1), (256, 1), 0);
    let arguments = [rows, count, parts.pointer()?.into()];
    // SAFETY: the kernel's three parameters; the table has `count` rows, which `table` has checked,
    // and there is a number for each chunk.
    unsafe { launch(card, SOURCE, &typed("gradient_squares", dtype), each, arguments) }?;
    let arguments =
        [parts.pointer()?.into(), chunks.into(), behind_rows.into(), scalars.len().into(), total.pointer()?.into()];
    // SAFETY: the kernel's five parameters; it reads the chunks' numbers and the scalars, whose
    // addresses stand behind the rows, and writes one number more than there are scalars.
    unsafe { launch(card, SOURCE, "sum_squares", blocks((1, 1, 1), (1024, 1), 0), arguments) }?;
    let c = AdamWConstants::new(step);
    let arguments = [
        rows,
        count,
        total.pointer()?.into(),
        numbers.into(),
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
    // SAFETY: the kernel's fourteen parameters; each block changes its chunk of a tensor and of its
    // moments, to which nothing else is done meanwhile.
    unsafe { launch(card, SOURCE, &typed("adamw", dtype), each, arguments) }?;
    let read = total.tensor().to_vec1::<f64>()?;
    let [squares, scalars @ ..] = &read[..] else { bail!("adamw: no norm was read") };
    Ok(Clipped::new(squares.sqrt() * step.gradient_scale, scalars.to_vec()))
}

/// Σ v² of every chunk of the tensors' values, in f64, which have types that kernels read: what two
/// computations of the same are compared by, to the last bit.
#[expect(unsafe_code, reason = "kernel launch")]
pub(super) fn squares(all: &[Tensor]) -> Result<Vec<f64>> {
    let mut found = Vec::new();
    for dtype in [DType::F32, DType::BF16, DType::F16] {
        let of = all.iter().filter(|t| t.dtype() == dtype).map(|t| t.detach().contiguous());
        let of = of.collect::<Result<Vec<_>>>()?;
        let Some(first) = of.first() else { continue };
        let (mut rows, mut chunks) = (Vec::with_capacity(ROW * of.len()), 0);
        for t in &of {
            let n = t.elem_count();
            rows.extend([0, 0, 0, pointer(t)?.address() as i64, n as i64, chunks as i64]);
            chunks += n.div_ceil(CHUNK);
        }
        let card = device(first)?;
        let (rows, parts) =
            (Tensor::from_vec(rows, ROW * of.len(), first.device())?, Fresh::new(card, DType::F64, chunks)?);
        let arguments = [pointer(&rows)?.into(), of.len().into(), parts.pointer()?.into()];
        let each = blocks((chunks, 1, 1), (256, 1), 0);
        // SAFETY: the kernel's three parameters; it reads the rows' last tensors and writes a number
        // for each chunk.
        unsafe { launch(card, SOURCE, &typed("gradient_squares", dtype), each, arguments) }?;
        found.extend(parts.tensor().to_vec1::<f64>()?);
    }
    if let Some(other) = all.iter().find(|t| !matches!(t.dtype(), DType::F32 | DType::BF16 | DType::F16)) {
        bail!("no kernel reads {other:?}");
    }
    Ok(found)
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
/// values, both moments and gradient, the number of values and that of the first chunk. Behind the
/// rows stand the addresses of the scalars.
fn table(all: &[Trained], gradients: &[Tensor], scalars: &[Tensor]) -> Result<(Tensor, usize)> {
    let mut rows = Vec::with_capacity(ROW * all.len() + scalars.len());
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
    for scalar in scalars {
        if scalar.elem_count() != 1 {
            bail!("adamw: {scalar:?} is no scalar");
        }
        rows.push(pointer(scalar)?.address() as i64);
    }
    let device = first.var.device();
    let table = TABLE.with_borrow_mut(|kept| match kept {
        Some((known, table)) if *known == rows && table.device().same_device(device) => Ok(table.clone()),
        _ => {
            let table = Tensor::from_slice(&rows, rows.len(), device)?;
            *kept = Some((rows, table.clone()));
            Ok::<_, candle_core::Error>(table)
        }
    })?;
    Ok((table, chunks))
}
