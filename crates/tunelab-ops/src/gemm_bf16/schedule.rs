//! The loops over a weight's blocks: forward with the weight where it lies, backward with its rows
//! interleaved. While a task computes it asks for the blocks of the next one, so that they need not
//! be waited for.
//!
//! In: a packed weight, and what a block does. Out: every block done, by one thread each.

use crate::cpu::accumulators::{Accumulators, TILE};
use crate::cpu::line_buffer::{LINE_BYTES, LineBuffer};
use crate::cpu::pieces;
use crate::cpu::prefetch::Prefetch;
use crate::gemm::columns::split_range;
use crate::gemm_bf16::operand::Operand;
use crate::gemm_bf16::pack;
use crate::gemm_bf16::packed_weight::{LINES, PackedBf16};
use crate::gemm_bf16::unit::ConfiguredUnit;
use rayon::prelude::*;

/// Tasks for each thread from which on it pays to prefetch.
const TASKS: usize = 4;

/// Whether a task asks for the weight's blocks that the next one reads. A thread's tasks follow one
/// another, but where its share ends the next one's blocks are another thread's, which has them
/// already.
fn prefetches(tasks: usize) -> bool {
    tasks >= TASKS * rayon::current_num_threads()
}

/// What block `number` of `of` asks for at each step of the weight's blocks from line `next` on, if
/// any: together they ask for all of them.
pub(super) fn share(weight: &PackedBf16, next: Option<usize>, number: usize, of: usize) -> Prefetch {
    let Some(next) = next else { return Prefetch::NONE };
    let lines = split_range(0..LINES, of, number);
    Prefetch::one(weight.lines.as_ptr().wrapping_add(next + lines.start).cast(), lines.len())
}

/// Bytes of activations that stay in the second cache while all of a weight passes.
const GROUP: usize = 1 << 20;

/// For each block of outputs and each of `columns` blocks of activations, of `bytes` each: `sum`
/// gets the weight as the left operand, the lines to ask for, the block of outputs and the block of
/// activations.
pub(super) fn forward(
    weight: &PackedBf16,
    columns: usize,
    bytes: usize,
    sum: impl Fn(&ConfiguredUnit, &mut Accumulators, (Operand, Prefetch), usize, usize) + Sync,
) {
    let outputs = weight.output_blocks();
    let each = (GROUP / bytes).min((columns * outputs).div_ceil(pieces(1))).clamp(1, columns);
    let tasks = columns.div_ceil(each) * outputs;
    let looks = prefetches(tasks);
    let task = |task: usize| {
        let (group, output) = (task / outputs, task % outputs);
        let (tiles, mut sums) = (ConfiguredUnit::new(weight.unit), Accumulators::zeros());
        let first = weight.block(output, 0, 0) * LINE_BYTES;
        let a = Operand { lines: &weight.lines, first, row: LINE_BYTES, second: TILE * LINE_BYTES };
        let next = (looks && output + 1 < outputs).then(|| weight.block(output + 1, 0, 0));
        let mine = group * each..columns.min((group + 1) * each);
        for (number, column) in mine.clone().enumerate() {
            sum(&tiles, &mut sums, (a, share(weight, next, number, mine.len())), output, column);
        }
    };
    (0..tasks).into_par_iter().with_max_len(1).for_each(task);
}

/// For each block of inputs and each of `rows` blocks of gradients: `sum` gets the weight as the
/// right operand, the lines to ask for, the block of inputs and the block of gradients.
pub(super) fn backward(
    weight: &PackedBf16,
    rows: usize,
    sum: impl Fn(&ConfiguredUnit, &mut Accumulators, (Operand, Prefetch), usize, usize) + Sync,
) {
    let inputs = weight.input_blocks();
    // Each part interleaves the weight's rows anew.
    let parts = pieces(1).div_ceil(inputs).min(rows);
    let looks = parts == 1 && prefetches(inputs);
    (0..inputs * parts).into_par_iter().with_max_len(1).for_each(|task| {
        let (input, rows) = (task / parts, split_range(0..rows, parts, task % parts));
        let (tiles, mut sums, mut buffer) =
            (ConfiguredUnit::new(weight.unit), Accumulators::zeros(), LineBuffer::new());
        pack::interleaved(&mut buffer, weight, input);
        let lines = buffer.first(weight.output_blocks() * weight.taps() * LINES);
        let b = Operand { lines, first: 0, row: LINE_BYTES, second: TILE * LINE_BYTES };
        let next = (looks && input + 1 < inputs).then(|| weight.block(0, input + 1, 0));
        for row in rows.clone() {
            sum(&tiles, &mut sums, (b, share(weight, next, row - rows.start, rows.len())), input, row);
        }
    });
}
