//! y = x Wᵀ + b and dx = dy W with a weight of tiles.
//!
//! In: x or dy as slices, a packed weight. Out: y or dx.

use crate::cpu::accumulators::{BLOCK, TILE};
use crate::cpu::disjoint_output::DisjointOutput;
use crate::cpu::line_buffer::{LINE_BYTES, LineBuffer};
use crate::cpu::prefetch::ask_for_result;
use crate::gemm_bf16::epilogue::rows;
use crate::gemm_bf16::kernel::block;
use crate::gemm_bf16::operand::{Operand, Steps};
use crate::gemm_bf16::pack;
use crate::gemm_bf16::packed_weight::{LINES, PackedBf16};
use crate::gemm_bf16::schedule;
use crate::simd::isa::LANES;

/// y [m, outputs] = x [m, inputs] Wᵀ + b.
///
/// The weight is the left operand and x's rows are columns, so the sums are of yᵀ, and are
/// transposed as they are written.
pub(crate) fn multiply<'y>(
    y: impl Into<DisjointOutput<'y>>,
    m: usize,
    x: &[f32],
    weight: &PackedBf16,
    bias: Option<&[f32]>,
) {
    let (n, k, target) = (weight.outputs, weight.inputs, y.into());
    assert_eq!(target.len(), m * n, "gemm_bf16: y has another size");
    let mut packed = LineBuffer::new();
    pack::columns(weight.simd(), &mut packed, x, (m, k));
    let second = k / 2 * LINE_BYTES;
    let packed = packed.first(m.div_ceil(TILE).next_multiple_of(2) * k / 2);
    let steps = Steps::with_prefetch(k / BLOCK, |step| {
        let left = step * LINES * LINE_BYTES;
        ([left, step * TILE * LINE_BYTES], left)
    });
    let blocks = m.div_ceil(BLOCK);
    schedule::forward(weight, blocks, 2 * second, |tiles, sums, (a, prefetch), output, column| {
        let b = Operand { lines: packed, first: column * 2 * second, row: LINE_BYTES, second };
        let wide = if column * BLOCK + TILE < m { 2 } else { 1 };
        let at = target.first().wrapping_add(column * BLOCK * n + output * BLOCK);
        ask_for_result(at, n, BLOCK / LANES, BLOCK.min(m - column * BLOCK));
        block(tiles, (a, b), (BLOCK, wide), (&steps, prefetch), (sums, false));
        let bias = bias.map(|b| &b[output * BLOCK..][..BLOCK]);
        rows(weight.simd().avx512(), sums, true, target, (n, m), (column * BLOCK, output * BLOCK), bias);
    });
}

/// dx [m, inputs] = dy [m, outputs] W.
pub(crate) fn multiply_back<'y>(dx: impl Into<DisjointOutput<'y>>, m: usize, dy: &[f32], weight: &PackedBf16) {
    let (n, k, target) = (weight.outputs, weight.inputs, dx.into());
    assert_eq!(target.len(), m * k, "gemm_bf16: dx has another size");
    let mut packed = LineBuffer::new();
    pack::rows(weight.simd(), &mut packed, dy, (m, n));
    let row = n / BLOCK * LINE_BYTES;
    let packed = packed.first(m.next_multiple_of(BLOCK) * n / BLOCK);
    let steps = Steps::with_prefetch(n / BLOCK, |step| {
        ([step * LINE_BYTES, step * LINES * LINE_BYTES], weight.block(step, 0, 0) * LINE_BYTES)
    });
    schedule::backward(weight, m.div_ceil(BLOCK), |tiles, sums, (b, prefetch), input, number| {
        let first = number * BLOCK;
        let a = Operand { lines: packed, first: first * row, row, second: TILE * row };
        let at = target.first().wrapping_add(first * k + input * BLOCK);
        ask_for_result(at, k, BLOCK / LANES, BLOCK.min(m - first));
        block(tiles, (a, b), (BLOCK.min(m - first), 2), (&steps, prefetch), (sums, false));
        rows(weight.simd().avx512(), sums, false, target, (k, m), (first, input * BLOCK), None);
    });
}
