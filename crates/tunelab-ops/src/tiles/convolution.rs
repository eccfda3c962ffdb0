//! Convolutions of 1x1 and 3x3 (one row of zeros around) with a weight of tiles, and their data gradients.

use super::super::target::Target;
use super::grid::Grid;
use super::kernel::{BLOCK, Operand, Steps, TILE, block};
use super::lay;
use super::lines::{BYTES, Spare};
use super::pass;
use super::store::pictures;
use super::weight::{LINES, Tiles};

/// The pictures that a convolution looks at: samples, height and width.
pub(in super::super) type Pictures = (usize, usize, usize);

fn grid((samples, height, width): Pictures, kernel: usize) -> Grid {
    Grid { samples, height, width, border: kernel / 2 }
}

/// y [S, outputs, ⌈H / stride⌉, ⌈W / stride⌉] from x [S, inputs, H, W]. With a stride all sums are computed and most dropped:
/// three convolutions of the UNet have one.
pub(in super::super) fn convolve<'y>(
    y: impl Into<Target<'y>>,
    x: &[f32],
    weight: &Tiles,
    bias: Option<&[f32]>,
    of: Pictures,
    stride: usize,
) {
    let (grid, taps, target) = (grid(of, weight.kernel), weight.taps(), y.into());
    let runs = grid.runs(stride);
    let pixels = of.1.div_ceil(stride) * of.2.div_ceil(stride);
    assert_eq!(target.len(), of.0 * weight.outputs * pixels, "tiles: y has another size");
    let mut laid = Spare::new();
    let plane = lay::planes(&mut laid, x, weight.inputs, &grid);
    let laid = laid.first(plane * weight.inputs / 2);
    let step = |i: usize| {
        let (input, tap) = (i / taps, i % taps);
        let (left, right) = (i * LINES * BYTES, input * TILE * plane * BYTES);
        ([left, right + grid.shift(weight.kernel, tap) * size_of::<u32>()], left)
    };
    let steps = Steps::looking_ahead(weight.input_blocks() * taps, step);
    let blocks = grid.tiles().div_ceil(2);
    pass::forward(weight, blocks, weight.inputs * BLOCK * 2, |tiles, sums, (a, ahead), output, column| {
        let b = Operand { lines: laid, first: column * 2 * BYTES, row: plane * BYTES, second: BYTES };
        let runs = &runs[2 * column..grid.tiles().min(2 * column + 2)];
        block(tiles, a, b, (BLOCK, runs.len()), (&steps, ahead), sums);
        let bias = bias.map(|b| &b[output * BLOCK..][..BLOCK]);
        pictures(sums, false, target, (weight.outputs, pixels), output * BLOCK, runs, bias);
    });
}

/// dx [S, inputs, H, W] from dy [S, outputs, ⌈H / stride⌉, ⌈W / stride⌉].
pub(in super::super) fn convolve_back<'y>(
    dx: impl Into<Target<'y>>,
    dy: &[f32],
    weight: &Tiles,
    of: Pictures,
    stride: usize,
) {
    let (grid, taps, target) = (grid(of, weight.kernel), weight.taps(), dx.into());
    let runs = grid.runs(1);
    assert_eq!(target.len(), of.0 * weight.inputs * of.1 * of.2, "tiles: dx has another size");
    let mut laid = Spare::new();
    let size = (of.1.div_ceil(stride), of.2.div_ceil(stride));
    lay::positions(&mut laid, dy, weight.outputs, &grid, size, stride);
    let row = weight.outputs / BLOCK;
    let laid = laid.first(grid.length() * row);
    let step = |i: usize| {
        // A tap looks back as far as it looks ahead on the way forward.
        let (output, tap) = (i / taps, i % taps);
        let left = (grid.shift(weight.kernel, taps - 1 - tap) * row + output) * BYTES;
        ([left, i * LINES * BYTES], weight.block(output, 0, tap) * BYTES)
    };
    let steps = Steps::looking_ahead(weight.output_blocks() * taps, step);
    pass::backward(weight, grid.tiles().div_ceil(2), |tiles, sums, (b, ahead), input, column| {
        let first = column * BLOCK * row * BYTES;
        let a = Operand { lines: laid, first, row: row * BYTES, second: TILE * row * BYTES };
        let runs = &runs[2 * column..grid.tiles().min(2 * column + 2)];
        block(tiles, a, b, (TILE * runs.len(), 2), (&steps, ahead), sums);
        pictures(sums, true, target, (weight.inputs, of.1 * of.2), input * BLOCK, runs, None);
    });
}
