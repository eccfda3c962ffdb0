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
use crate::simd::isa::Isa;
use std::arch::x86_64::{
    __m512, _mm512_add_ps, _mm512_load_ps, _mm512_loadu_ps, _mm512_mask_storeu_ps, _mm512_maskz_compress_ps,
    _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
};

impl Accumulators {
    /// The tile that begins there, or its transpose.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn tile(&self, row: usize, column: usize, transposed: bool) -> [__m512; TILE] {
        // SAFETY: rows of 32 are aligned, and so are their halves.
        let rows = std::array::from_fn(|i| unsafe { _mm512_load_ps(self.0[row + i][column..].as_ptr()) });
        if transposed { Avx512::here().transpose(&rows) } else { rows }
    }
}

/// Writes the sums as part of a matrix of rows of `width`, of which there are `height`, from (row,
/// column) on; `transposed` if the sums' rows are its columns. A bias is for the columns.
pub(super) fn rows(
    _: Avx512,
    sums: &Accumulators,
    transposed: bool,
    target: DisjointOutput,
    (width, height): (usize, usize),
    (row, column): (usize, usize),
    bias: Option<&[f32]>,
) {
    #[target_feature(enable = "avx512f")]
    fn body(
        sums: &Accumulators,
        transposed: bool,
        target: DisjointOutput,
        (width, height): (usize, usize),
        (row, column): (usize, usize),
        bias: Option<&[f32]>,
    ) {
        for down in [0, TILE] {
            for right in [0, TILE] {
                let tile = if transposed { sums.tile(right, down, true) } else { sums.tile(down, right, false) };
                // SAFETY: a bias has 32 values.
                let bias =
                    bias.map_or(_mm512_setzero_ps(), |b| unsafe { _mm512_loadu_ps(b[right..][..TILE].as_ptr()) });
                let there = height.saturating_sub(row + down).min(TILE);
                for (i, values) in tile.iter().take(there).enumerate() {
                    let at = target.at((row + down + i) * width + column + right, TILE);
                    // SAFETY: 16 elements are there, and are this task's.
                    unsafe { _mm512_storeu_ps(at, _mm512_add_ps(*values, bias)) };
                }
            }
        }
    }
    // SAFETY: a witness of AVX-512 was given.
    unsafe { body(sums, transposed, target, (width, height), (row, column), bias) };
}

/// Writes the sums as pixels of 32 channels of images of `channels` channels, from `channel` on;
/// `transposed` if the sums' rows are positions. A bias is for the channels. `runs` has an entry
/// for each tile of positions.
#[expect(clippy::too_many_arguments, reason = "a place in images has as many coordinates")]
pub(super) fn images(
    _: Avx512,
    sums: &Accumulators,
    transposed: bool,
    target: DisjointOutput,
    (channels, pixels): (usize, usize),
    channel: usize,
    runs: &[Vec<Run>],
    bias: Option<&[f32]>,
) {
    #[target_feature(enable = "avx512f")]
    fn body(
        sums: &Accumulators,
        transposed: bool,
        target: DisjointOutput,
        (channels, pixels): (usize, usize),
        channel: usize,
        runs: &[Vec<Run>],
        bias: Option<&[f32]>,
    ) {
        for half in [0, TILE] {
            for (number, runs) in runs.iter().enumerate() {
                let positions = number * TILE;
                let tile =
                    if transposed { sums.tile(positions, half, true) } else { sums.tile(half, positions, false) };
                for (i, values) in tile.iter().enumerate() {
                    let bias = bias.map_or(0.0, |b| b[half + i]);
                    let values = _mm512_add_ps(*values, _mm512_set1_ps(bias));
                    for run in runs {
                        let n = run.mask.count_ones() as usize;
                        let at = target.at((run.sample * channels + channel + half + i) * pixels + run.pixel, n);
                        // SAFETY: `n` elements are there, and are this task's.
                        unsafe {
                            let wanted = _mm512_maskz_compress_ps(run.mask, values);
                            _mm512_mask_storeu_ps(at, ((1u32 << n) - 1) as u16, wanted);
                        }
                    }
                }
            }
        }
    }
    // SAFETY: a witness of AVX-512 was given.
    unsafe { body(sums, transposed, target, (channels, pixels), channel, runs, bias) };
}
