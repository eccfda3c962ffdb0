//! 3x3 convolution between zeros, with stride 1, by Winograd's algorithm F(4x4, 3x3): 36
//! multiplications for 16 pixels where there were 144.
//!
//! In: images and filters as slices. Out: the result's images.
//!
//! The image is covered by tiles of 4x4 results (`tiling`), each of which depends on 6x6 pixels.
//! `input_transform`, `filter_transform` and `output_transform` are linear maps to and from 36
//! planes (`transforms` says by which numbers), in each of which the convolution is a
//! product of matrices (`batched_gemm`): [m, tiles] =
//! filters [m, k] · pixels [k, tiles]. The pixels are transformed once for all results; the filters
//! and sums block by block, in memory that stays in the second cache, so there is no transformed
//! copy of a weight, and while a block is computed the next one's filters are fetched. Where there
//! are few tiles, filters are transformed halfway (`small_tiles`). The gradient of x is the same
//! with the filters rotated by 180 degrees and read across; that of the filters is
//! `weight_gradient`. The error is about twice that of plain products.
//!
//! Blocks depend on the shapes alone, so each number is summed in one order, whatever the number of
//! threads. Reference: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2016).
#![expect(unsafe_code, reason = "the tasks write to one image each pixels of their own")]

mod batched_gemm;
mod filter_transform;
mod input_transform;
mod output_transform;
mod pieces;
mod small_tiles;
#[cfg(test)]
mod tests;
mod tiling;
mod transforms;
mod weight_gradient;

use crate::conv2d::winograd::batched_gemm::{Products, STEPS, plane, room};
pub(super) use crate::conv2d::winograd::filter_transform::{FilterValue, Filters};
use crate::conv2d::winograd::output_transform::Sums;
pub(super) use crate::conv2d::winograd::tiling::Images;
use crate::conv2d::winograd::tiling::{PLANES, Tiling};
pub(super) use crate::conv2d::winograd::weight_gradient::weight_gradient;
use crate::cpu::buffer::Scratch;
use crate::cpu::disjoint_output::DisjointOutput;
use crate::cpu::pieces;
use crate::gemm::columns::split_range;
use crate::simd::isa::{Isa, LANES};
use rayon::prelude::*;
use std::ops::Range;

/// Result channels of a task at most.
const MAX_ROWS: usize = 3 * LANES;
/// Channels that are summed in one go at most.
const MAX_DEPTH: usize = 32;
/// Vectors of 16 tiles of a task at most.
const MAX_CHUNK: usize = 4;
/// Values of transformed pixels that are kept at once (16 MiB), or those of a chunk.
const MAX_VALUES: usize = 4 << 20;

/// y [S, m, h, w] = x [S, k, h, w] * filters + bias
pub(super) fn convolve<'y, S: Isa, T: FilterValue>(
    isa: S,
    of: Images,
    x: &[f32],
    filters: Filters<T>,
    bias: Option<&[f32]>,
    y: impl Into<DisjointOutput<'y>>,
) {
    let target = y.into();
    let (m, k) = filters.sizes();
    assert!(m * k * of.values(1) > 0, "winograd: nothing to compute");
    assert_eq!(x.len(), of.values(k), "winograd: x has another size");
    assert_eq!(target.len(), of.values(m), "winograd: y has another size");
    assert!(bias.is_none_or(|b| b.len() == m), "winograd: the bias has another size");
    let tiling = Tiling::new(of);
    let vectors = tiling.tiles().div_ceil(LANES);
    let chunk = vectors.div_ceil(vectors.div_ceil(MAX_CHUNK));
    let most = if tiling.tiles() <= small_tiles::MAX_TILES { small_tiles::DEPTH } else { MAX_DEPTH };
    let depth = k.div_ceil(k.div_ceil(most)).next_multiple_of(STEPS);
    let job = Job { isa, tiling, filters, bias, m, k, depth, chunk };
    // Parts of whole vectors of rows, of which two threads get equally many, and more threads two each, as long as there are so many.
    let least = pieces(1).div_ceil(vectors.div_ceil(chunk));
    let parts = m.div_ceil(MAX_ROWS).max(least).next_multiple_of(2).min(m.div_ceil(LANES));
    let rows = |i: usize| {
        let vectors = split_range(0..m.div_ceil(LANES), parts, i);
        vectors.start * LANES..m.min(vectors.end * LANES)
    };
    let together = (MAX_VALUES / job.pixels()).max(1) * chunk;
    let (mut scratch, mut packed) = (Scratch::new(), Scratch::new());
    for first in (0..vectors).step_by(together) {
        let chunks = together.min(vectors - first).div_ceil(chunk);
        let tiles = |n: usize| (first + n * chunk) * LANES..tiling.tiles().min((first + (n + 1) * chunk) * LANES);
        let pixels = scratch.first(chunks * job.pixels());
        pixels.par_chunks_mut(job.piece()).enumerate().with_max_len(1).for_each(|(i, out)| {
            let depths = job.depths(i % job.blocks());
            isa.run(
                #[inline(always)]
                || tiling.transform_input(isa, x, (k, depths), tiles(i / job.blocks()), out, job.vector()),
            );
        });
        let pixels = &*pixels;
        if tiling.tiles() <= small_tiles::MAX_TILES {
            let packed = packed.first(job.blocks() * job.packed());
            packed.par_chunks_mut(job.packed()).enumerate().with_max_len(1).for_each(|(i, out)| {
                let (pixels, depth) = (&pixels[i * job.piece()..][..job.piece()], job.depths(i).len());
                for group in small_tiles::groups::<S>(tiling.tiles()) {
                    let out = &mut out[group.start * PLANES * job.depth..group.end * PLANES * job.depth];
                    small_tiles::packed(pixels, depth, &group, out);
                }
            });
            let packed = &*packed;
            (0..parts).into_par_iter().with_max_len(1).for_each(|i| job.small_tiles(rows(i), packed, target));
            return;
        }
        (0..chunks * parts).into_par_iter().with_max_len(1).for_each(|task| {
            let (i, n) = (task / chunks, task % chunks);
            let pixels = &pixels[n * job.pixels()..][..job.pixels()];
            job.results(rows(i), tiles(n), pixels, target);
        });
    }
}

/// One convolution.
struct Job<'a, S, T> {
    isa: S,
    tiling: Tiling,
    filters: Filters<'a, T>,
    bias: Option<&'a [f32]>,
    m: usize,
    k: usize,
    /// Channels of a block of k.
    depth: usize,
    /// Vectors of 16 tiles of a task at most.
    chunk: usize,
}

impl<S: Isa, T: FilterValue> Job<'_, S, T> {
    /// Blocks of k.
    fn blocks(&self) -> usize {
        self.k.div_ceil(self.depth)
    }

    /// The channels of a block; none behind the last.
    fn depths(&self, block: usize) -> Range<usize> {
        (block * self.depth).min(self.k)..self.k.min((block + 1) * self.depth)
    }

    /// How many values the transformed pixels of 16 tiles and a block of k take.
    fn vector(&self) -> usize {
        room(self.depth) * LANES
    }

    /// The same for a chunk.
    fn piece(&self) -> usize {
        self.chunk * self.vector()
    }

    /// The same for a chunk and all of k.
    fn pixels(&self) -> usize {
        self.blocks() * self.piece()
    }

    /// How many values the pixels of few tiles and a block of k take.
    fn packed(&self) -> usize {
        self.depth * PLANES * self.tiling.tiles()
    }

    /// The results of some channels in all tiles, which are few.
    fn small_tiles(&self, rows: Range<usize>, pixels: &[f32], y: DisjointOutput) {
        let tiles = self.tiling.tiles();
        let (mut filters, mut sums) = (Scratch::new(), Scratch::new());
        let filters = filters.first(small_tiles::filters::<S>(self.depth));
        let sums = sums.first(PLANES * tiles * LANES);
        let of_group = |group: &Range<usize>| group.start * PLANES * LANES..group.end * PLANES * LANES;
        for first in rows.clone().step_by(LANES) {
            let some = first..rows.end.min(first + LANES);
            for block in 0..self.blocks() {
                let depths = self.depths(block);
                let coming = if block + 1 < self.blocks() {
                    self.filters.pieces(&some, &self.depths(block + 1))
                } else {
                    self.filters.pieces(&(some.end..rows.end.min(some.end + LANES)), &self.depths(0))
                };
                let pixels = &pixels[block * self.packed()..][..self.packed()];
                let steps = depths.len();
                let mut prefetch = coming.all();
                let lines = prefetch.share(small_tiles::times::<S>(steps) * small_tiles::groups::<S>(tiles).count());
                self.isa.run(
                    #[inline(always)]
                    || self.filters.for_few_tiles(self.isa, &some, &depths, filters),
                );
                for group in small_tiles::groups::<S>(tiles) {
                    let (tiles, pixels) = (group.len(), &pixels[group.start * PLANES * self.depth..]);
                    let sums = &mut sums[of_group(&group)];
                    let block = small_tiles::Block { filters, pixels, steps, tiles, sums, first: block == 0 };
                    self.isa.run(
                        #[inline(always)]
                        || block.sum(self.isa, &mut prefetch, lines),
                    );
                }
            }
            for group in small_tiles::groups::<S>(tiles) {
                let sums = Sums { values: &sums[of_group(&group)], tile: LANES, plane: group.len() * LANES };
                self.write(some.clone(), group, sums, y);
            }
        }
    }

    /// Writes the results of up to 16 channels in up to 16 tiles, which no other task has.
    fn write(&self, channels: Range<usize>, tiles: Range<usize>, sums: Sums, y: DisjointOutput) {
        let mut bias = [0.0; LANES];
        if let Some(values) = self.bias {
            bias[..channels.len()].copy_from_slice(&values[channels.clone()]);
        }
        let channels = (channels.start, channels.len(), self.m);
        self.isa.run(
            #[inline(always)]
            // SAFETY: y was measured; no other task has these channels' pixels in these tiles.
            || unsafe { self.tiling.transform_output(self.isa, sums, &bias, tiles, channels, y.first()) },
        );
    }

    /// The results of some channels in the tiles of a chunk.
    fn results(&self, rows: Range<usize>, tiles: Range<usize>, pixels: &[f32], y: DisjointOutput) {
        let (width, vectors) = (rows.len().next_multiple_of(LANES), tiles.len().div_ceil(LANES));
        let plane = plane(width, tiles.len());
        let (mut filters, mut sums) = (Scratch::new(), Scratch::new());
        let (filters, sums) = (filters.first(room(self.depth) * width), sums.first(PLANES * plane));
        for block in 0..self.blocks() {
            let depths = self.depths(block);
            self.isa.run(
                #[inline(always)]
                || self.filters.transform(self.isa, &rows, &depths, filters),
            );
            let coming = self.filters.pieces(&rows, &self.depths(block + 1));
            let pixels = &pixels[block * self.piece()..][..self.piece()];
            let (vector, tiles, steps, first) = (self.vector(), tiles.len(), depths.len(), block == 0);
            Products { filters, width, pixels, vector, tiles, steps, first }.add_to(self.isa, sums, coming);
        }
        for at in (0..rows.len()).step_by(LANES) {
            let channels = rows.start + at..rows.end.min(rows.start + at + LANES);
            for vector in 0..vectors {
                let sums = Sums { values: &sums[vector * LANES * width + at..], tile: width, plane };
                let first = tiles.start + vector * LANES;
                self.write(channels.clone(), first..tiles.end.min(first + LANES), sums, y);
            }
        }
    }
}
