//! The order in which pictures are seen, and how many steps that makes.
//!
//! Each epoch is a permutation of its own, drawn from the stream "data order" of the experiment's seed, so an epoch's order
//! depends on nothing before it and a resumed run sees what an uninterrupted one would.

use crate::random::Generator;

/// The batches of epoch `epoch` (from 0): a seeded permutation of `0..n`, cut into runs of `batch_size` (at least 1). The last
/// one may be shorter; every picture is seen exactly once.
pub fn batches(n: usize, batch_size: usize, seed: u64, epoch: usize) -> Vec<Vec<usize>> {
    let order = Generator::stream(seed, "data order", epoch as u64).randperm(n);
    order.chunks(batch_size.max(1)).map(<[usize]>::to_vec).collect()
}

/// Optimizer steps in one epoch: batches, the shorter last one included, in groups of `accumulation`, whose last group may
/// be smaller too: an epoch's end always completes the step.
///
/// ```
/// // 5 pictures in batches of 2 are 3 batches, and with an accumulation of 2 they make 2 steps.
/// assert_eq!(tunelab::data::steps_per_epoch(5, 2, 2), 2);
/// ```
pub fn steps_per_epoch(pictures: usize, batch_size: usize, accumulation: usize) -> usize {
    pictures.div_ceil(batch_size.max(1)).div_ceil(accumulation.max(1))
}
