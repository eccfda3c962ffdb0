//! Biases: added to an image's channels; and their gradients.
//!
//! In: tensors of one card. Out: the same changed in place, or sums.

use crate::cuda::{Fresh, Source, blocks, device, launch, pointer, source, typed};
use candle_core::{DType, Result, Tensor};

const SOURCE: Source = source!("bias");
/// Rows that one block sums.
const SHARE: usize = 256;

/// y [B, C, …] += bias `[C]`, in place.
pub(super) fn add_to_channels(y: &Fresh, bias: &Tensor) -> Result<()> {
    let dims = y.shape.dims();
    add(y, bias, dims[0] * dims[1], dims[2..].iter().product())
}

/// y [rows, columns] += bias `[columns]`, in place.
pub(super) fn add_to_rows(y: &Fresh, bias: &Tensor) -> Result<()> {
    add(y, bias, y.shape.elem_count(), 1)
}

/// Adds a bias in f32 to planes of so many pixels, one value to each, over and over.
#[expect(unsafe_code, reason = "kernel launch")]
fn add(y: &Fresh, bias: &Tensor, planes: usize, pixels: usize) -> Result<()> {
    let channels = bias.elem_count();
    let over = blocks((planes, pixels.div_ceil(1024).min(64), 1), (256, 1), 0);
    let (device, name) = (device(bias)?, typed("add_to_channels", y.dtype()));
    let arguments = [y.pointer()?.into(), pointer(bias)?.into(), channels.into(), pixels.into()];
    // SAFETY: the kernel's four parameters; it writes planes * pixels values of y and reads
    // `channels` of the bias.
    unsafe { launch(device, SOURCE, &name, over, arguments) }
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
