//! What becomes of a block's scores: forward their weights, backward their gradients.
//!
//! In: blocks of scores and of the probabilities' gradients. Out: operands of the next products, and what
//! the softmax of a query has come to.
#![expect(unsafe_code, reason = "values are loaded and stored through pointers into rows of 32")]

use crate::attention::pack::{Lengths, put};
use crate::attention::products::Products;
use crate::cpu::accumulators::{Accumulators, BLOCK};
use crate::cpu::line_buffer::CacheLine;
use crate::shapes::AttentionShape;
use crate::simd::isa::{Isa, LANES};

/// The score of a key that a query may not look at: its weight is 0 beside every score that is larger.
const HIDDEN: f32 = -1e37;

/// Hides the scores of the keys from `key` on that the queries from `query` on may not look at.
/// Queries are the rows of `scores` or, if it is `across`, its columns.
pub(super) fn hide(sizes: &AttentionShape, (query, key): (usize, usize), across: bool, scores: &mut Accumulators) {
    if key + BLOCK <= sizes.visible_keys(query) {
        return;
    }
    for i in 0..BLOCK {
        for j in sizes.visible_keys(query + i).saturating_sub(key).min(BLOCK)..BLOCK {
            let (row, column) = if across { (j, i) } else { (i, j) };
            scores.0[row][column] = HIDDEN;
        }
    }
}

/// The softmax of a block of queries over the keys so far: the largest score, and the sum of the
/// weights 2^(score - the largest).
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct Softmax {
    pub top: [f32; BLOCK],
    pub sum: [f32; BLOCK],
}

impl Softmax {
    pub(super) const NONE: Self = Self { top: [HIDDEN; BLOCK], sum: [0.0; BLOCK] };

    /// Takes in some blocks of keys: from their scores, which are to be multiplied with `scale`,
    /// the weights' words on the right, and what all sums so far are to be multiplied with.
    pub(super) fn weights<P: Products>(
        &mut self,
        p: P,
        scores: &[Accumulators],
        scale: f32,
        out: &mut [CacheLine],
    ) -> [f32; BLOCK] {
        let isa = p.isa();
        let mut factors = [0.0; BLOCK];
        p.run(
            #[inline(always)]
            || {
                let (scale, none) = (isa.splat(scale), isa.splat(f32::NEG_INFINITY));
                for (half, out) in out.chunks_exact_mut(Lengths::<P>::CHUNK_WORDS).enumerate() {
                    let mut most = [none; 2];
                    for scores in scores {
                        for rows in scores.0.chunks_exact(2) {
                            most[0] = isa.max(most[0], vector(isa, &rows[0], half));
                            most[1] = isa.max(most[1], vector(isa, &rows[1], half));
                        }
                    }
                    let before = vector(isa, &self.top, half);
                    let top = isa.max(before, isa.mul(isa.max(most[0], most[1]), scale));
                    let factor = p.exp2(isa.sub(before, top));
                    let mut sums = [isa.mul(vector(isa, &self.sum, half), factor), isa.zero()];
                    let rows = scores.iter().flat_map(|scores| scores.0.chunks_exact(P::WORD));
                    for (rows, out) in rows.zip(out) {
                        let mut weights = [isa.zero(); 2];
                        for ((row, weight), sum) in rows.iter().zip(&mut weights).zip(&mut sums) {
                            // The product is rounded before `top` is taken off, as the largest was, whose weight is exactly 1.
                            *weight = p.exp2(isa.sub(isa.mul(vector(isa, row, half), scale), top));
                            *sum = isa.add(*sum, *weight);
                        }
                        put(isa, out, p.columns(weights));
                    }
                    set(isa, &mut self.top, half, top);
                    set(isa, &mut self.sum, half, isa.add(sums[0], sums[1]));
                    set(isa, &mut factors, half, factor);
                }
            },
        );
        factors
    }
}

/// A half of a row.
#[inline(always)]
fn vector<S: Isa>(isa: S, row: &[f32; BLOCK], half: usize) -> S::F32 {
    // SAFETY: 16 values are there.
    unsafe { isa.load(row[half * LANES..][..LANES].as_ptr()) }
}

/// Writes a half of a row.
#[inline(always)]
fn set<S: Isa>(isa: S, row: &mut [f32; BLOCK], half: usize, values: S::F32) {
    // SAFETY: there is room for 16 values.
    unsafe { isa.store(row[half * LANES..][..LANES].as_mut_ptr(), values) };
}

/// Multiplies sums with the factors of their columns.
pub(super) fn rescale<S: Isa>(isa: S, sums: &mut [Accumulators], factors: &[f32; BLOCK]) {
    isa.run(
        #[inline(always)]
        || {
            for row in sums.iter_mut().flat_map(|sums| &mut sums.0) {
                for half in 0..2 {
                    let values = isa.mul(vector(isa, row, half), vector(isa, factors, half));
                    set(isa, row, half, values);
                }
            }
        },
    );
}

/// From a block's scores, which are to be multiplied with `scale`, and the gradients of its probabilities
/// the gradients of the scaled scores: as rows on the left; and on the right the words of the probabilities and of the
/// gradients. `of_query` gives a row's logarithm of its sum and the mean of its gradients.
pub(super) fn gradients<P: Products>(
    p: P,
    [scores, dp]: [&Accumulators; 2],
    scale: f32,
    of_query: impl Fn(usize) -> [f32; 2],
    rows: &mut [CacheLine],
    [p_words, ds_words]: [&mut [CacheLine]; 2],
) {
    let isa = p.isa();
    p.run(
        #[inline(always)]
        || {
            let scale = isa.splat(scale);
            for word in 0..BLOCK / P::WORD {
                let (mut weights, mut ds) = ([[isa.zero(); 2]; 2], [[isa.zero(); 2]; 2]);
                for i in 0..P::WORD {
                    let row = word * P::WORD + i;
                    let [lse, mean] = of_query(row).map(|value| isa.splat(value));
                    for half in 0..2 {
                        let score = isa.mul(vector(isa, &scores.0[row], half), scale);
                        weights[i][half] = p.exp2(isa.sub(score, lse));
                        ds[i][half] = isa.mul(weights[i][half], isa.sub(vector(isa, &dp.0[row], half), mean));
                    }
                    for line in 0..Lengths::<P>::BLOCK_LINES {
                        let words = p.row([ds[i][line * P::WORD], ds[i][1]]);
                        put(isa, &mut rows[row * Lengths::<P>::CHUNK_ROW + line], words);
                    }
                }
                for half in 0..2 {
                    let at = half * Lengths::<P>::CHUNK_WORDS + word;
                    put(isa, &mut p_words[at], p.columns([weights[0][half], weights[1][half]]));
                    put(isa, &mut ds_words[at], p.columns([ds[0][half], ds[1][half]]));
                }
            }
        },
    );
}
