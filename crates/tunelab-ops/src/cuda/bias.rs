//! Biases: added to an image's channels, with what else comes to it; and their gradients.
//!
//! In: tensors of one card. Out: the same changed in place, or sums.

use crate::cuda::{Argument, Fresh, NULL, Source, blocks, device, launch, pointer, source, typed};
use candle_core::{DType, Result, Tensor, bail};

const SOURCE: Source = source!("bias");
/// Rows that one block sums.
const SHARE: usize = 256;

/// y [B, C, …] += bias `[C]` in f32 + shift [B, C] + residual, which is like y; in place, whichever
/// there are.
pub(super) fn add_to_channels(
    y: &Fresh,
    bias: Option<&Tensor>,
    shift: Option<&Tensor>,
    residual: Option<&Tensor>,
) -> Result<()> {
    let dims = y.shape.dims();
    let (planes, channels, pixels) = (dims[0] * dims[1], dims[1], dims[2..].iter().product());
    let fits = |t: Option<&Tensor>, dims: &[usize], dtype| t.is_none_or(|t| t.dims() == dims && t.dtype() == dtype);
    if !(fits(bias, &dims[1..2], DType::F32) && fits(shift, &dims[..2], y.dtype()) && fits(residual, dims, y.dtype())) {
        bail!("an image {dims:?} cannot be added to by {bias:?}, {shift:?} and {residual:?}");
    }
    add(y, [bias, shift, residual], [planes, channels, pixels])
}

/// y [rows, columns] += bias `[columns]` in f32, in place.
pub(super) fn add_to_rows(y: &Fresh, bias: &Tensor) -> Result<()> {
    add(y, [Some(bias), None, None], [y.shape.elem_count(), bias.elem_count(), 1])
}

/// Adds to planes of so many pixels: a bias, one value for each channel over and over, a shift, one
/// for each plane, and a residual, one for each pixel.
#[expect(unsafe_code, reason = "kernel launch")]
fn add(y: &Fresh, added: [Option<&Tensor>; 3], [planes, channels, pixels]: [usize; 3]) -> Result<()> {
    let over = blocks((planes, pixels.div_ceil(1024).min(64), 1), (256, 1), 0);
    let [bias, shift, residual] = added.map(|t| t.map_or(Ok(NULL), |t| pointer(t).map(Argument::from)));
    let arguments = [y.pointer()?.into(), bias?, shift?, residual?, channels.into(), pixels.into()];
    let name = typed("add_to_channels", y.dtype());
    // SAFETY: the kernel's six parameters; it writes planes * pixels values of y and reads as many of
    // the residual, `planes` of the shift and `channels` of the bias, of those that are not null.
    unsafe { launch(&y.storage.device, SOURCE, &name, over, arguments) }
}

/// The sum of dy [B, C, …] over samples and pixels, in f32.
#[expect(unsafe_code, reason = "kernel launch")]
pub(super) fn sum_channels(dy: &Tensor) -> Result<Tensor> {
    let (samples, channels) = (dy.dim(0)?, dy.dim(1)?);
    let pixels = dy.elem_count() / (samples * channels);
    let sums = Fresh::new(device(dy)?, DType::F32, channels)?;
    let arguments = [sums.pointer()?.into(), pointer(dy)?.into(), samples.into(), channels.into(), pixels.into()];
    // SAFETY: the kernel's five parameters; it reads samples * channels * pixels values and writes
    // `channels`.
    unsafe {
        launch(
            device(dy)?,
            SOURCE,
            &typed("sum_channels", dy.dtype()),
            blocks((channels, 1, 1), (256, 1), 0),
            arguments,
        )
    }?;
    Ok(sums.tensor())
}

/// The sum of dy [rows, columns] over the rows, in f32: first of shares of them, then of the
/// shares' sums.
#[expect(unsafe_code, reason = "kernel launch")]
pub(super) fn sum_rows(dy: &Tensor, columns: usize) -> Result<Tensor> {
    let rows = dy.elem_count() / columns;
    let shares = rows.div_ceil(SHARE);
    let sums = Fresh::new(device(dy)?, DType::F32, (shares, columns))?;
    let share = if shares == 1 { rows } else { SHARE };
    let over = blocks((columns.div_ceil(32), shares, 1), (32, 8), 0);
    let arguments = [sums.pointer()?.into(), pointer(dy)?.into(), rows.into(), columns.into(), share.into()];
    // SAFETY: the kernel's five parameters; it reads rows * columns values and writes shares *
    // columns.
    unsafe { launch(device(dy)?, SOURCE, &typed("sum_rows", dy.dtype()), over, arguments) }?;
    let sums = sums.tensor();
    if shares == 1 { sums.reshape(columns) } else { sum_rows(&sums, columns) }
}
