//! Trained tensors rounded to a shorter type once for a whole computation, small ones many by one
//! kernel.
//!
//! In: trained tensors of one card. Out: what [`cast`](crate::cuda::cast) has of them while a
//! computation runs. A LoRA has two small tensors in every module, each used forward and backward:
//! rounded where they are used they are more launches than its products. Of a network whose weights
//! are all trained it is the memory that they are read from: each is rounded when it is first used,
//! forward, and had again backward.

use crate::cuda::{Fresh, Source, blocks, device, launch, pointer, source, typed};
use candle_core::{DType, Result, Tensor, TensorId, bail};
use std::cell::RefCell;
use std::collections::HashMap;

const SOURCE: Source = source!("rounded");
/// Values that one block works on, as in `rounded.cu`. Each tensor begins at a multiple of it.
const CHUNK: usize = 1 << 10;
/// Tensors that take more than this are rounded each when it is first used, so that those of a layer
/// that is never reached take no memory.
const MOST: usize = 256 << 20;
/// Tensors of one launch: their table has to be among what a capture finds on the card, which candle
/// keeps up to 4096 bytes of at a time.
const TOGETHER: usize = 4096 / (3 * size_of::<i64>());

thread_local! {
    // Nothing of those that are still to be rounded when they are first used.
    static ROUNDED: RefCell<HashMap<TensorId, Option<Tensor>>> = RefCell::default();
}

/// Forgets what is rounded, also where the computation fails.
struct Forget;

impl Drop for Forget {
    fn drop(&mut self) {
        ROUNDED.take();
    }
}

/// Runs `f`, during which the trained tensors, as they are now, are had in `dtype`.
pub(crate) fn with_rounded<T, E: From<candle_core::Error>>(
    trained: &[&Tensor],
    dtype: DType,
    f: impl FnOnce() -> std::result::Result<T, E>,
) -> std::result::Result<T, E> {
    let chunks: usize = trained.iter().map(|t| t.elem_count().div_ceil(CHUNK)).sum();
    let all = trained.iter().all(|t| t.device().is_cuda() && t.dtype() == DType::F32 && t.is_contiguous());
    if trained.is_empty() || !all {
        return f();
    }
    let _forget = Forget;
    ROUNDED.set(if chunks * CHUNK * dtype.size_in_bytes() > MOST {
        trained.iter().map(|t| (t.id(), None)).collect()
    } else {
        rounded(trained, chunks, dtype)?
    });
    f()
}

/// This tensor in this type, if it is rounded for a computation.
pub(super) fn of(t: &Tensor, dtype: DType) -> Result<Option<Tensor>> {
    match ROUNDED.with_borrow(|all| all.get(&t.id()).cloned()) {
        None => Ok(None),
        Some(Some(rounded)) => Ok((rounded.dtype() == dtype).then_some(rounded)),
        Some(None) => {
            let rounded = t.detach().to_dtype(dtype)?;
            ROUNDED.with_borrow_mut(|all| all.insert(t.id(), Some(rounded.clone())));
            Ok(Some(rounded))
        }
    }
}

/// All of them, one behind the other in one piece of memory.
#[expect(unsafe_code, reason = "kernel launch")]
fn rounded(trained: &[&Tensor], chunks: usize, dtype: DType) -> Result<HashMap<TensorId, Option<Tensor>>> {
    let Some(first) = trained.first() else { bail!("there is nothing to round") };
    let card = device(first)?;
    let to = Fresh::new(card, dtype, chunks * CHUNK)?;
    let mut begins = Vec::with_capacity(trained.len());
    let mut before = 0;
    for together in trained.chunks(TOGETHER) {
        let mut rows = Vec::with_capacity(3 * together.len());
        let mut chunks = 0;
        for t in together {
            begins.push((before + chunks) * CHUNK);
            rows.extend([pointer(t)?.address() as i64, t.elem_count() as i64, chunks as i64]);
            chunks += t.elem_count().div_ceil(CHUNK);
        }
        let n = rows.len();
        let rows = Tensor::from_vec(rows, n, first.device())?;
        let begin = to.pointer()?.behind(before * CHUNK * dtype.size_in_bytes());
        let arguments = [pointer(&rows)?.into(), together.len().into(), begin.into()];
        let over = blocks((chunks, 1, 1), (256, 1), 0);
        // SAFETY: the kernel's three parameters; the table has as many rows as is said, of
        // contiguous tensors of f32, and from `begin` on there is room for their chunks.
        unsafe { launch(card, SOURCE, &typed("rounded", dtype), over, arguments) }?;
        before += chunks;
    }
    let to = to.tensor();
    let view = |(t, begin): (&&Tensor, usize)| {
        let rounded = to.narrow(0, begin, t.elem_count())?.reshape(t.shape())?;
        Ok::<_, candle_core::Error>((t.id(), Some(rounded)))
    };
    trained.iter().zip(begins).map(view).collect()
}
