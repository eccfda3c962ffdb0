//! Activations, element by element; backward computes the function again from its argument.
//!
//! In: tensors of one card. Out: a tensor, noted on the tape.

use crate::cuda::{Fresh, Source, device, launch, long, over, pointer, source, typed};
use crate::tape::operand;
use candle_core::{D, Result, Tensor};

const SOURCE: Source = source!("activation");

/// An activation of one argument: `silu`, `gelu` or `quick_gelu`.
#[expect(unsafe_code, reason = "kernel launch")]
pub(crate) fn apply(name: &'static str, x: &Tensor) -> Result<Tensor> {
    let x = operand(x)?;
    let (n, dtype) = (x.elem_count(), x.dtype());
    let y = Fresh::like(&x)?;
    let arguments = [pointer(&x)?.into(), y.pointer()?.into(), long(n)];
    // SAFETY: the kernel's three parameters; it reads n values of x and writes as many of y.
    unsafe { launch(device(&x)?, SOURCE, &typed(&format!("{name}_forward"), dtype), over(n), arguments) }?;
    let kept = x.clone();
    y.node([&x], move |dy, _| {
        let dx = Fresh::like(&kept)?;
        let arguments = [pointer(&kept)?.into(), pointer(dy)?.into(), dx.pointer()?.into(), long(n)];
        // SAFETY: the kernel's four parameters; it reads n values of x and of dy and writes as many
        // of dx.
        unsafe { launch(device(dy)?, SOURCE, &typed(&format!("{name}_backward"), dtype), over(n), arguments) }?;
        Ok([Some(dx.tensor())])
    })
}

/// See [`geglu`](crate::geglu()).
#[expect(unsafe_code, reason = "kernel launch")]
pub(crate) fn geglu(x: &Tensor) -> Result<Tensor> {
    let x = operand(x)?;
    let width = x.dim(D::Minus1)? / 2;
    let rows = x.elem_count() / (2 * width);
    let mut dims = x.dims().to_vec();
    *dims.last_mut().unwrap_or(&mut 0) = width;
    let y = Fresh::new(device(&x)?, x.dtype(), dims)?;
    let (over, dtype) = (over(rows * width), x.dtype());
    let arguments = [pointer(&x)?.into(), y.pointer()?.into(), long(rows), long(width)];
    // SAFETY: the kernel's four parameters; x has rows * 2 * width values and y half of them.
    unsafe { launch(device(&x)?, SOURCE, &typed("geglu_forward", dtype), over, arguments) }?;
    let kept = x.clone();
    y.node([&x], move |dy, _| {
        let dx = Fresh::like(&kept)?;
        let arguments = [pointer(&kept)?.into(), pointer(dy)?.into(), dx.pointer()?.into(), long(rows), long(width)];
        // SAFETY: the kernel's five parameters; x and dx have rows * 2 * width values and dy half
        // of them.
        unsafe { launch(device(dy)?, SOURCE, &typed("geglu_backward", dtype), over, arguments) }?;
        Ok([Some(dx.tensor())])
    })
}
