//! What becomes of a block's sums: rows of a matrix, or pixels.
//!
//! In: a block's sums. Out: elements of the result, with a bias.
#![expect(
    unsafe_code,
    reason = "vector instructions are called by name; tasks write elements of their own into one result"
)]

use crate::cpu::accumulators::{Accumulators, TILE};
use crate::cpu::disjoint_output::DisjointOutput;
use crate::gemm_bf16::grid::Run;
use crate::simd::Avx512;
use crate::simd::isa::{Isa, first_lanes};
use std::arch::x86_64::{__m512, _mm512_maskz_compress_ps};

impl Accumulators {
    /// The tile that begins there, or its transpose.
    #[inline(always)]
    fn tile(&self, isa: Avx512, row: usize, column: usize, transposed: bool) -> [__m512; TILE] {
        let mut rows = [isa.zero(); TILE];
        for (i, values) in rows.iter_mut().enumerate() {
            // SAFETY: a tile's row is 16 values.
            *values = unsafe { isa.load(self.0[row + i][column..][..TILE].as_ptr()) };
        }
        if transposed { isa.transpose(&rows) } else { rows }
    }
}

/// Writes the sums as part of a matrix of rows of `width`, of which there are `height`, from (row,
/// column) on; `transposed` if the sums' rows are its columns. A bias is for the columns.
pub(super) fn rows(
    isa: Avx512,
    sums: &Accumulators,
    transposed: bool,
    target: DisjointOutput,
    (width, height): (usize, usize),
    (row, column): (usize, usize),
    bias: Option<&[f32]>,
) {
    isa.run(
        #[inline(always)]
        || {
            for (down, right) in [(0, 0), (0, TILE), (TILE, 0), (TILE, TILE)] {
                let (from_row, from_column) = if transposed { (right, down) } else { (down, right) };
                let tile = sums.tile(isa, from_row, from_column, transposed);
                // SAFETY: a bias has 32 values.
                let bias = bias.map_or(isa.zero(), |b| unsafe { isa.load(b[right..][..TILE].as_ptr()) });
                let there = height.saturating_sub(row + down).min(TILE);
                for (i, values) in tile.iter().take(there).enumerate() {
                    let at = target.at((row + down + i) * width + column + right, TILE);
                    // SAFETY: 16 elements are there, and are this task's.
                    unsafe { isa.store(at, isa.add(*values, bias)) };
                }
            }
        },
    );
}

/// Writes the sums as pixels of 32 channels of images of `channels` channels, from `channel` on;
/// `transposed` if the sums' rows are positions. A bias is for the channels. `runs` has an entry
/// for each tile of positions.
#[expect(clippy::too_many_arguments, reason = "a place in images has as many coordinates")]
pub(super) fn images(
    isa: Avx512,
    sums: &Accumulators,
    transposed: bool,
    target: DisjointOutput,
    (channels, pixels): (usize, usize),
    channel: usize,
    runs: &[Vec<Run>],
    bias: Option<&[f32]>,
) {
    isa.run(
        #[inline(always)]
        || {
            for (half, (number, runs)) in
                [0, TILE].into_iter().flat_map(|half| runs.iter().enumerate().map(move |runs| (half, runs)))
            {
                let (row, column) = if transposed { (number * TILE, half) } else { (half, number * TILE) };
                for (i, values) in sums.tile(isa, row, column, transposed).iter().enumerate() {
                    let values = isa.add(*values, isa.splat(bias.map_or(0.0, |b| b[half + i])));
                    for run in runs {
                        let n = run.mask.count_ones() as usize;
                        let at = target.at((run.sample * channels + channel + half + i) * pixels + run.pixel, n);
                        // SAFETY: there is a witness; `n` elements are there, and are this task's.
                        unsafe { isa.store_masked(at, first_lanes(n), _mm512_maskz_compress_ps(run.mask, values)) };
                    }
                }
            }
        },
    );
}
