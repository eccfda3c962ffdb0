//! The loss, in f32 whatever the type of the prediction. Nothing of it is read back here, and
//! nothing brought here.
//!
//! In: tensors of one card. Out: a scalar, noted on the tape.

use crate::cuda::{Fresh, Source, blocks, cast, device, launch, long, over, pointer, source, typed};
use crate::tape::operand;
use candle_core::{DType, Result, Tensor};

const SOURCE: Source = source!("mean_squares");

/// See `mean_squares_of` of `ops`, which has checked shapes and numbers.
#[expect(unsafe_code, reason = "kernel launch")]
pub(crate) fn mean_squares(prediction: &Tensor, target: &Tensor, first: usize, weights: &Tensor) -> Result<Tensor> {
    let (prediction, target) = (operand(prediction)?, cast(&operand(target)?, prediction.dtype())?);
    let (samples, n, dtype) = (prediction.dim(0)?, weights.elem_count(), prediction.dtype());
    let size = prediction.elem_count() / samples;
    let weights = cast(&weights.contiguous()?, DType::F32)?;
    let loss = Fresh::new(device(&prediction)?, DType::F32, ())?;
    let before = first * size * dtype.size_in_bytes();
    let arguments = [
        pointer(&prediction)?.behind(before).into(),
        pointer(&target)?.behind(before).into(),
        pointer(&weights)?.into(),
        loss.pointer()?.into(),
        n.into(),
        long(size),
    ];
    let one = blocks((1, 1, 1), (1024, 1), 0);
    // SAFETY: the kernel's six parameters; prediction and target have n samples of this size from
    // `first` on.
    unsafe { launch(device(&prediction)?, SOURCE, &typed("mean_squares", dtype), one, arguments) }?;
    loss.node([&prediction.clone()], move |dloss, _| {
        let dp = Fresh::like(&prediction)?;
        let arguments = [
            pointer(&prediction)?.into(),
            pointer(&target)?.into(),
            pointer(&weights)?.into(),
            pointer(dloss)?.into(),
            dp.pointer()?.into(),
            samples.into(),
            first.into(),
            n.into(),
            long(size),
        ];
        let (name, over) = (typed("mean_squares_backward", dtype), over(samples * size));
        // SAFETY: the kernel's nine parameters; prediction, target and dp have so many samples of
        // this size, and the loss's gradient is of its type, f32.
        unsafe { launch(device(&prediction)?, SOURCE, &name, over, arguments) }?;
        Ok([Some(dp.tensor())])
    })
}
