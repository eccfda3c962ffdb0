//! y = x Wᵀ + b and dx = dy W with a weight of tiles.

use super::super::target::Target;
use super::kernel::{BLOCK, Operand, Steps, TILE, block};
use super::lay;
use super::lines::{BYTES, Spare};
use super::pass;
use super::store::rows;
use super::weight::{LINES, Tiles};

/// y [m, outputs] = x [m, inputs] Wᵀ + b.
///
/// The weight is the left operand and x's rows are columns, so the sums are of yᵀ, and are turned as they are written.
pub(in super::super) fn multiply<'y>(
    y: impl Into<Target<'y>>,
    m: usize,
    x: &[f32],
    weight: &Tiles,
    bias: Option<&[f32]>,
) {
    let (n, k, target) = (weight.outputs, weight.inputs, y.into());
    assert_eq!(target.len(), m * n, "tiles: y has another size");
    let mut laid = Spare::new();
    lay::columns(&mut laid, x, (m, k));
    let second = k / 2 * BYTES;
    let laid = laid.first(m.div_ceil(TILE).next_multiple_of(2) * k / 2);
    let steps = Steps::looking_ahead(k / BLOCK, |step| {
        let left = step * LINES * BYTES;
        ([left, step * TILE * BYTES], left)
    });
    let blocks = m.div_ceil(BLOCK);
    pass::forward(weight, blocks, 2 * second, |tiles, sums, (a, ahead), output, column| {
        let b = Operand { lines: laid, first: column * 2 * second, row: BYTES, second };
        let wide = if column * BLOCK + TILE < m { 2 } else { 1 };
        block(tiles, a, b, (BLOCK, wide), (&steps, ahead), sums);
        let bias = bias.map(|b| &b[output * BLOCK..][..BLOCK]);
        rows(sums, true, target, (n, m), (column * BLOCK, output * BLOCK), bias);
    });
}

/// dx [m, inputs] = dy [m, outputs] W.
pub(in super::super) fn multiply_back<'y>(dx: impl Into<Target<'y>>, m: usize, dy: &[f32], weight: &Tiles) {
    let (n, k, target) = (weight.outputs, weight.inputs, dx.into());
    assert_eq!(target.len(), m * k, "tiles: dx has another size");
    let mut laid = Spare::new();
    lay::rows(&mut laid, dy, (m, n));
    let row = n / BLOCK * BYTES;
    let laid = laid.first(m.next_multiple_of(BLOCK) * n / BLOCK);
    let steps = Steps::looking_ahead(n / BLOCK, |step| {
        ([step * BYTES, step * LINES * BYTES], weight.block(step, 0, 0) * BYTES)
    });
    pass::backward(weight, m.div_ceil(BLOCK), |tiles, sums, (b, ahead), input, number| {
        let first = number * BLOCK;
        let a = Operand { lines: laid, first: first * row, row, second: TILE * row };
        block(tiles, a, b, (BLOCK.min(m - first), 2), (&steps, ahead), sums);
        rows(sums, false, target, (k, m), (first, input * BLOCK), None);
    });
}
