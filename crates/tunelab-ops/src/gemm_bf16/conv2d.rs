//! Convolutions of 1x1 and 3x3 (one row of zeros around) with a weight of tiles, and their data
//! gradients.
//!
//! In: x or dy as slices, a packed weight. Out: y or dx.

use crate::cpu::accumulators::{BLOCK, TILE};
use crate::cpu::disjoint_output::DisjointOutput;
use crate::cpu::line_buffer::{LINE_BYTES, LineBuffer};
use crate::cpu::prefetch::ask_for_result;
use crate::gemm_bf16::epilogue::images;
use crate::gemm_bf16::grid::{Grid, Run};
use crate::gemm_bf16::kernel::block;
use crate::gemm_bf16::operand::{Operand, Steps};
use crate::gemm_bf16::pack;
use crate::gemm_bf16::packed_weight::{LINES, PackedBf16};
use crate::gemm_bf16::schedule;
use crate::simd::isa::LANES;

/// The images that a convolution looks at: samples, height and width.
pub(crate) type Images = (usize, usize, usize);

fn grid((samples, height, width): Images, kernel: usize) -> Grid {
    Grid { samples, height, width, border: kernel / 2 }
}

/// y [S, outputs, ⌈H / stride⌉, ⌈W / stride⌉] from x [S, inputs, H, W]. With a stride all sums are
/// computed and most dropped: three convolutions of the UNet have one.
pub(crate) fn convolve<'y>(
    y: impl Into<DisjointOutput<'y>>,
    x: &[f32],
    weight: &PackedBf16,
    bias: Option<&[f32]>,
    of: Images,
    stride: usize,
) {
    let (grid, taps, target) = (grid(of, weight.kernel), weight.taps(), y.into());
    let runs = grid.runs(stride);
    let pixels = of.1.div_ceil(stride) * of.2.div_ceil(stride);
    assert_eq!(target.len(), of.0 * weight.outputs * pixels, "gemm_bf16: y has another size");
    let mut packed = LineBuffer::new();
    let plane = pack::planes(weight.simd(), &mut packed, x, weight.inputs, &grid);
    let packed = packed.first(plane * weight.inputs / 2);
    let step = |i: usize| {
        let (input, tap) = (i / taps, i % taps);
        let (left, right) = (i * LINES * LINE_BYTES, input * TILE * plane * LINE_BYTES);
        ([left, right + grid.shift(weight.kernel, tap) * size_of::<u32>()], left)
    };
    let steps = Steps::with_prefetch(weight.input_blocks() * taps, step);
    let blocks = grid.tiles().div_ceil(2);
    schedule::forward(weight, blocks, weight.inputs * BLOCK * 2, |tiles, sums, (a, prefetch), output, column| {
        let b = Operand { lines: packed, first: column * 2 * LINE_BYTES, row: plane * LINE_BYTES, second: LINE_BYTES };
        let runs = &runs[2 * column..grid.tiles().min(2 * column + 2)];
        ask_for_images(target, (weight.outputs, pixels), output * BLOCK, runs);
        block(tiles, (a, b), (BLOCK, runs.len()), (&steps, prefetch), (sums, false));
        let bias = bias.map(|b| &b[output * BLOCK..][..BLOCK]);
        images(weight.simd().avx512(), sums, false, target, (weight.outputs, pixels), output * BLOCK, runs, bias);
    });
}

/// dx [S, inputs, H, W] from dy [S, outputs, ⌈H / stride⌉, ⌈W / stride⌉].
pub(crate) fn convolve_back<'y>(
    dx: impl Into<DisjointOutput<'y>>,
    dy: &[f32],
    weight: &PackedBf16,
    of: Images,
    stride: usize,
) {
    let (grid, taps, target) = (grid(of, weight.kernel), weight.taps(), dx.into());
    let runs = grid.runs(1);
    assert_eq!(target.len(), of.0 * weight.inputs * of.1 * of.2, "gemm_bf16: dx has another size");
    let mut packed = LineBuffer::new();
    let size = (of.1.div_ceil(stride), of.2.div_ceil(stride));
    pack::positions(weight.simd(), &mut packed, dy, weight.outputs, &grid, size, stride);
    let row = weight.outputs / BLOCK;
    let packed = packed.first(grid.length() * row);
    let step = |i: usize| {
        // A tap looks back as far as it looks ahead on the way forward.
        let (output, tap) = (i / taps, i % taps);
        let left = (grid.shift(weight.kernel, taps - 1 - tap) * row + output) * LINE_BYTES;
        ([left, i * LINES * LINE_BYTES], weight.block(output, 0, tap) * LINE_BYTES)
    };
    let steps = Steps::with_prefetch(weight.output_blocks() * taps, step);
    schedule::backward(weight, grid.tiles().div_ceil(2), |tiles, sums, (b, prefetch), input, column| {
        let first = column * BLOCK * row * LINE_BYTES;
        let a = Operand { lines: packed, first, row: row * LINE_BYTES, second: TILE * row * LINE_BYTES };
        let runs = &runs[2 * column..grid.tiles().min(2 * column + 2)];
        ask_for_images(target, (weight.inputs, of.1 * of.2), input * BLOCK, runs);
        block(tiles, (a, b), (TILE * runs.len(), 2), (&steps, prefetch), (sums, false));
        images(weight.simd().avx512(), sums, true, target, (weight.inputs, of.1 * of.2), input * BLOCK, runs, None);
    });
}

/// Asks for the pixels of 32 channels from `channel` on that `runs` begin with.
fn ask_for_images(target: DisjointOutput, (channels, pixels): (usize, usize), channel: usize, runs: &[Vec<Run>]) {
    if let Some(run) = runs.iter().flatten().next() {
        let at = target.first().wrapping_add((run.sample * channels + channel) * pixels + run.pixel);
        ask_for_result(at, pixels, BLOCK / LANES, BLOCK);
    }
}
