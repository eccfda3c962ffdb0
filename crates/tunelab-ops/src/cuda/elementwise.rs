//! Sums and multiples, element by element, and sums of what came apart.
//!
//! In: tensors of one card. Out: a tensor, noted on the tape.

use crate::cuda::sum::{SOURCE, pair};
use crate::cuda::{Fresh, blocks, device, launch, long, of_one_type, over, pointer, typed};
use crate::tape::operand;
use candle_core::{DType, Result, Tensor, bail};

/// See [`add`](crate::add()).
pub(crate) fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (a, b) = (operand(a)?, operand(b)?);
    pair("add", &a, &b)?.node([&a, &b], |dy, wanted| Ok(wanted.map(|w| w.then(|| dy.clone()))))
}

/// x · mask
pub(crate) fn masked(x: &Tensor, mask: &Tensor) -> Result<Tensor> {
    let x = operand(x)?;
    let mask = mask.to_device(x.device())?.to_dtype(x.dtype())?;
    pair("multiply", &x, &mask)?.node([&x], move |dy, _| Ok([Some(pair("multiply", dy, &mask)?.tensor())]))
}

/// See [`scale`](crate::scale()).
pub(crate) fn scale(x: &Tensor, factor: f64) -> Result<Tensor> {
    let x = operand(x)?;
    times(&x, factor)?.node([&x], move |dy, _| Ok([Some(times(dy, factor)?.tensor())]))
}

#[expect(unsafe_code, reason = "kernel launch")]
fn times(x: &Tensor, factor: f64) -> Result<Fresh> {
    let (y, n) = (Fresh::like(x)?, x.elem_count());
    let arguments = [pointer(x)?.into(), y.pointer()?.into(), long(n), (factor as f32).into()];
    // SAFETY: the kernel's four parameters; it reads n values of x and writes as many of y.
    unsafe { launch(device(x)?, SOURCE, &typed("scale", x.dtype()), over(n), arguments) }?;
    Ok(y)
}

/// See [`add_channels`](crate::add_channels()).
#[expect(unsafe_code, reason = "kernel launch")]
pub(crate) fn add_channels(x: &Tensor, shift: &Tensor) -> Result<Tensor> {
    let (x, shift) = (operand(x)?, operand(shift)?);
    of_one_type(&[&x, &shift])?;
    let (b, c, h, w) = x.dims4()?;
    if shift.dims() != [b, c] {
        bail!("add_channels: x {:?} and shift {:?}", x.dims(), shift.dims());
    }
    let (planes, pixels, dtype) = (b * c, h * w, x.dtype());
    let y = Fresh::like(&x)?;
    let over = blocks((planes, pixels.div_ceil(1024).min(64), 1), (256, 1), 0);
    let arguments = [pointer(&x)?.into(), pointer(&shift)?.into(), y.pointer()?.into(), pixels.into()];
    // SAFETY: the kernel's four parameters; x and y have planes * pixels values and the shift has
    // one a plane.
    unsafe { launch(device(&x)?, SOURCE, &typed("add_shift", dtype), over, arguments) }?;
    y.node([&x, &shift], move |dy, [dx, dshift]| {
        Ok([dx.then(|| dy.clone()), dshift.then(|| plane_sums(dy)).transpose()?])
    })
}

/// The sums of x [B, C, H, W] over its pixels: [B, C].
#[expect(unsafe_code, reason = "kernel launch")]
pub(super) fn plane_sums(x: &Tensor) -> Result<Tensor> {
    let (b, c, h, w) = x.dims4()?;
    let (sums, pixels) = (Fresh::new(device(x)?, x.dtype(), (b, c))?, h * w);
    let over = blocks((b * c, 1, 1), (if pixels < 1024 { 64 } else { 256 }, 1), 0);
    let arguments = [pointer(x)?.into(), sums.pointer()?.into(), pixels.into()];
    // SAFETY: the kernel's three parameters; it reads b * c * pixels values and writes one a plane.
    unsafe { launch(device(x)?, SOURCE, &typed("plane_sums", x.dtype()), over, arguments) }?;
    Ok(sums.tensor())
}

/// The sums over the middle axis of x [outer, rows, columns], f32, in the order of the rows.
#[expect(unsafe_code, reason = "kernel launch")]
pub(super) fn row_sums(x: &Tensor) -> Result<Tensor> {
    let (outer, rows, columns) = x.dims3()?;
    if rows == 1 {
        return x.squeeze(1);
    }
    let sums = Fresh::new(device(x)?, DType::F32, (outer, columns))?;
    let over = blocks(((outer * columns).div_ceil(128), 1, 1), (128, 1), 0);
    let arguments = [pointer(x)?.into(), sums.pointer()?.into(), outer.into(), rows.into(), columns.into()];
    // SAFETY: the kernel's five parameters; it reads outer * rows * columns values and writes outer
    // * columns.
    unsafe { launch(device(x)?, SOURCE, "row_sums", over, arguments) }?;
    Ok(sums.tensor())
}
