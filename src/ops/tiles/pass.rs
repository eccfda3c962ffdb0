//! The loops over a weight's blocks: forward with the weight where it lies, backward with its rows interleaved.

use super::kernel::{Ahead, Configured, Operand, Sums, TILE};
use super::lay;
use super::lines::{BYTES, Spare};
use super::weight::{LINES, Tiles};
use rayon::prelude::*;

/// What block `number` of `of` asks for at each step of the weight's block that begins at `first`, if there is one; together they
/// ask for all of it.
fn share(weight: &Tiles, first: Option<usize>, number: usize, of: usize) -> Ahead {
    let Some(first) = first else { return Ahead::NOTHING };
    let (from, to) = (LINES * number / of, LINES * (number + 1) / of);
    Ahead { at: weight.lines.as_ptr().wrapping_add(first + from), lines: to - from }
}

/// Bytes of activations that stay in the second cache while all of a weight passes.
const GROUP: usize = 1 << 20;

/// For each block of outputs and each of `columns` blocks of activations, of `bytes` each: `sum` gets the weight as the left
/// operand, the lines to ask for, the block of outputs and the block of activations.
pub(super) fn forward(
    weight: &Tiles,
    columns: usize,
    bytes: usize,
    sum: impl Fn(&Configured, &mut Sums, (Operand, Ahead), usize, usize) + Sync,
) {
    let each = (GROUP / bytes).clamp(1, columns);
    let task = |task: usize| {
        let (group, output) = (task / weight.output_blocks(), task % weight.output_blocks());
        let (tiles, mut sums) = (Configured::new(), Sums::zeros());
        let first = weight.block(output, 0, 0) * BYTES;
        let a = Operand { lines: &weight.lines, first, row: BYTES, second: TILE * BYTES };
        let columns = group * each..columns.min((group + 1) * each);
        for (number, column) in columns.clone().enumerate() {
            let next = (output + 1 < weight.output_blocks()).then(|| weight.block(output + 1, 0, 0));
            sum(&tiles, &mut sums, (a, share(weight, next, number, columns.len())), output, column);
        }
    };
    (0..columns.div_ceil(each) * weight.output_blocks()).into_par_iter().with_max_len(1).for_each(task);
}

/// For each block of inputs and each of `rows` blocks of gradients: `sum` gets the weight as the right operand, the lines to ask
/// for, the block of inputs and the block of gradients.
pub(super) fn backward(
    weight: &Tiles,
    rows: usize,
    sum: impl Fn(&Configured, &mut Sums, (Operand, Ahead), usize, usize) + Sync,
) {
    (0..weight.input_blocks()).into_par_iter().with_max_len(1).for_each(|input| {
        let (tiles, mut sums, mut spare) = (Configured::new(), Sums::zeros(), Spare::new());
        lay::interleaved(&mut spare, weight, input);
        let lines = spare.first(weight.output_blocks() * weight.taps() * LINES);
        let b = Operand { lines, first: 0, row: BYTES, second: TILE * BYTES };
        for row in 0..rows {
            let next = (input + 1 < weight.input_blocks()).then(|| weight.block(0, input + 1, 0));
            sum(&tiles, &mut sums, (b, share(weight, next, row, rows)), input, row);
        }
    });
}
