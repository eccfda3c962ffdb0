//! The loops over a weight's blocks: forward with the weight where it lies, backward with its rows interleaved.

use super::kernel::{Configured, Operand, Sums, TILE};
use super::lay;
use super::lines::{BYTES, Spare};
use super::weight::{LINES, Tiles};
use rayon::prelude::*;

/// Bytes of activations that stay in the second cache while all of a weight passes.
const GROUP: usize = 1 << 20;

/// For each block of outputs and each of `columns` blocks of activations, of `bytes` each: `sum` gets the weight as the left
/// operand, the block of outputs and the block of activations.
pub(super) fn forward(
    weight: &Tiles,
    columns: usize,
    bytes: usize,
    sum: impl Fn(&Configured, &mut Sums, Operand, usize, usize) + Sync,
) {
    let each = (GROUP / bytes).clamp(1, columns);
    let task = |task: usize| {
        let (group, output) = (task / weight.output_blocks(), task % weight.output_blocks());
        let (tiles, mut sums) = (Configured::new(), Sums::zeros());
        let first = weight.block(output, 0, 0) * BYTES;
        let a = Operand { lines: &weight.lines, first, row: BYTES, second: TILE * BYTES };
        for column in group * each..columns.min((group + 1) * each) {
            sum(&tiles, &mut sums, a, output, column);
        }
    };
    (0..columns.div_ceil(each) * weight.output_blocks()).into_par_iter().with_max_len(1).for_each(task);
}

/// For each block of inputs and each of `rows` blocks of gradients: `sum` gets the weight as the right operand, the block of
/// inputs and the block of gradients.
pub(super) fn backward(
    weight: &Tiles,
    rows: usize,
    sum: impl Fn(&Configured, &mut Sums, Operand, usize, usize) + Sync,
) {
    (0..weight.input_blocks()).into_par_iter().with_max_len(1).for_each(|input| {
        let (tiles, mut sums, mut spare) = (Configured::new(), Sums::zeros(), Spare::new());
        lay::interleaved(&mut spare, weight, input);
        let lines = spare.first(weight.output_blocks() * weight.taps() * LINES);
        let b = Operand { lines, first: 0, row: BYTES, second: TILE * BYTES };
        for row in 0..rows {
            sum(&tiles, &mut sums, b, input, row);
        }
    });
}
