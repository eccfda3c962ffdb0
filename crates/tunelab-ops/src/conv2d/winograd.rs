//! 3x3 convolution between zeros, with stride 1, by Winograd's algorithm F(4x4, 3x3) (AVX-512): 36 multiplications for 16
//! pixels where there were 144.
//!
//! The picture is covered by tiles of 4x4 results (`grid`), each of which depends on 6x6 pixels. `pixels`, `kernels` and `results`
//! are linear maps to and from 36 planes (`points` says by which numbers), in each of which the convolution is a product of
//! matrices (`sums`): [m, tiles] = kernels [m, k] · pixels [k, tiles]. The pixels are transformed once for all results; the
//! kernels and sums block by block, in memory that stays in the second cache, so there is no transformed copy of a weight, and
//! while a block is computed the next one's kernels are fetched. Where there are few tiles, kernels are transformed halfway
//! (`few`). The gradient of x is the same with the kernels turned by 180 degrees and read across. The error is about twice that
//! of plain products.
//!
//! Blocks depend on the shapes alone, so each number is summed in one order, whatever the number of threads.
//! Reference: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2016).
#![expect(unsafe_code, reason = "the tasks write to one picture each pixels of their own")]

mod few;
mod grid;
mod kernels;
mod pixels;
mod points;
mod results;
mod sums;
#[cfg(test)]
mod tests;

use super::super::host::Scratch;
use super::super::product::{LANES, available, part};
use super::super::target::Target;
pub(super) use grid::Pictures;
use grid::{EDGE, Grid, PLANES};
use kernels::{COLUMNS, Pieces};
pub(super) use kernels::{Kernels, Value};
use rayon::prelude::*;
use results::Sums;
use std::ops::Range;
use sums::{AHEAD, Ahead, Block, STEPS, TILES, WIDE, room};

/// Result channels of a task at most.
const ROWS: usize = WIDE * LANES;
/// Channels that are summed in one go at most.
const DEPTH: usize = 32;
/// Vectors of 16 tiles of a task at most.
const CHUNK: usize = 4;
/// Values of transformed pixels that are kept at once (16 MiB), or those of a chunk.
const VALUES: usize = 4 << 20;
/// Values between the planes of sums, whose length may be a multiple of a page.
const APART: usize = LANES;

/// y [S, m, h, w] = x [S, k, h, w] * kernels + bias
pub(super) fn convolve<'y, T: Value>(
    of: Pictures,
    x: &[f32],
    kernels: Kernels<T>,
    bias: Option<&[f32]>,
    y: impl Into<Target<'y>>,
) {
    let target = y.into();
    let (m, k) = kernels.sizes();
    assert!(available() && m * k * of.values(1) > 0, "winograd: nothing to compute");
    assert_eq!(x.len(), of.values(k), "winograd: x has another size");
    assert_eq!(target.len(), of.values(m), "winograd: y has another size");
    assert!(bias.is_none_or(|b| b.len() == m), "winograd: the bias has another size");
    let grid = Grid::new(of);
    let vectors = grid.tiles().div_ceil(LANES);
    let chunk = vectors.div_ceil(vectors.div_ceil(CHUNK));
    let most = if grid.tiles() <= few::MOST { few::DEPTH } else { DEPTH };
    let depth = k.div_ceil(k.div_ceil(most)).next_multiple_of(STEPS);
    let job = Job { grid, kernels, bias, m, k, depth, chunk };
    // Parts of whole vectors of rows, of which two threads get equally many.
    let parts = m.div_ceil(ROWS).next_multiple_of(2).min(m.div_ceil(LANES));
    let rows = |i: usize| {
        let vectors = part(0..m.div_ceil(LANES), parts, i);
        vectors.start * LANES..m.min(vectors.end * LANES)
    };
    let together = (VALUES / job.pixels()).max(1) * chunk;
    let (mut scratch, mut packed) = (Scratch::new(), Scratch::new());
    for first in (0..vectors).step_by(together) {
        let chunks = together.min(vectors - first).div_ceil(chunk);
        let tiles = |n: usize| (first + n * chunk) * LANES..grid.tiles().min((first + (n + 1) * chunk) * LANES);
        let pixels = scratch.first(chunks * job.pixels());
        pixels.par_chunks_mut(job.piece()).enumerate().with_max_len(1).for_each(|(i, out)| {
            let depths = job.depths(i % job.blocks());
            // SAFETY: AVX-512 was found.
            unsafe { grid.pixels(x, (k, depths), tiles(i / job.blocks()), out, job.vector()) };
        });
        let pixels = &*pixels;
        if grid.tiles() <= few::MOST {
            let packed = packed.first(job.blocks() * job.packed());
            packed.par_chunks_mut(job.packed()).enumerate().with_max_len(1).for_each(|(i, out)| {
                let (pixels, depth) = (&pixels[i * job.piece()..][..job.piece()], job.depths(i).len());
                for group in few::groups(grid.tiles()) {
                    let out = &mut out[group.start * PLANES * job.depth..group.end * PLANES * job.depth];
                    few::packed(pixels, depth, &group, out);
                }
            });
            let packed = &*packed;
            (0..parts).into_par_iter().with_max_len(1).for_each(|i| job.few(rows(i), packed, target));
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
struct Job<'a, T> {
    grid: Grid,
    kernels: Kernels<'a, T>,
    bias: Option<&'a [f32]>,
    m: usize,
    k: usize,
    /// Channels of a block of k.
    depth: usize,
    /// Vectors of 16 tiles of a task at most.
    chunk: usize,
}

impl<T: Value> Job<'_, T> {
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
        self.depth * PLANES * self.grid.tiles()
    }

    /// The results of some channels in all tiles, which are few.
    fn few(&self, rows: Range<usize>, pixels: &[f32], y: Target) {
        let tiles = self.grid.tiles();
        let (mut halves, mut sums) = (Scratch::new(), Scratch::new());
        let halves = halves.first(EDGE * COLUMNS * LANES * self.depth);
        let sums = sums.first(PLANES * tiles * LANES);
        let of_group = |group: &Range<usize>| group.start * PLANES * LANES..group.end * PLANES * LANES;
        for first in rows.clone().step_by(LANES) {
            let some = first..rows.end.min(first + LANES);
            for block in 0..self.blocks() {
                let depths = self.depths(block);
                let coming = if block + 1 < self.blocks() {
                    self.kernels.pieces(&some, &self.depths(block + 1))
                } else {
                    self.kernels.pieces(&(some.end..rows.end.min(some.end + LANES)), &self.depths(0))
                };
                let pixels = &pixels[block * self.packed()..][..self.packed()];
                let steps = depths.len();
                let mut ahead = coming.all();
                let lines = ahead.share(EDGE * steps * few::groups(tiles).count());
                // SAFETY: `convolve` found AVX-512.
                unsafe { self.kernels.halves(&some, &depths, halves) };
                for group in few::groups(tiles) {
                    let (tiles, pixels) = (group.len(), &pixels[group.start * PLANES * self.depth..]);
                    let sums = &mut sums[of_group(&group)];
                    let block = few::Block { halves, pixels, steps, tiles, sums, first: block == 0 };
                    // SAFETY: as above.
                    unsafe { block.sum(&mut ahead, lines) };
                }
            }
            let bias = self.biases(&some);
            for group in few::groups(tiles) {
                let sums = Sums { values: &sums[of_group(&group)], tile: LANES, plane: group.len() * LANES };
                // SAFETY: AVX-512 is there and y was measured; no other task has these channels' pixels.
                unsafe { self.grid.results(sums, &bias, group, (first, some.len(), self.m), y.first()) };
            }
        }
    }

    /// The bias of up to 16 channels.
    fn biases(&self, channels: &Range<usize>) -> [f32; LANES] {
        let mut bias = [0.0; LANES];
        if let Some(values) = self.bias {
            bias[..channels.len()].copy_from_slice(&values[channels.clone()]);
        }
        bias
    }

    /// The results of some channels in the tiles of a chunk.
    fn results(&self, rows: Range<usize>, tiles: Range<usize>, pixels: &[f32], y: Target) {
        let (width, vectors) = (rows.len().next_multiple_of(LANES), tiles.len().div_ceil(LANES));
        let plane = width * vectors * LANES + APART;
        let (mut kernels, mut sums) = (Scratch::new(), Scratch::new());
        let (kernels, sums) = (kernels.first(room(self.depth) * width), sums.first(PLANES * plane));
        for block in 0..self.blocks() {
            let depths = self.depths(block);
            // SAFETY: `convolve` found AVX-512.
            unsafe { self.kernels.transform(&rows, &depths, kernels) };
            let coming = self.kernels.pieces(&rows, &self.depths(block + 1));
            let pixels = &pixels[block * self.piece()..][..self.piece()];
            self.sum(depths.len(), tiles.len(), (kernels, width), pixels, (sums, plane, block == 0), coming);
        }
        for at in (0..rows.len()).step_by(LANES) {
            let (channel, count) = (rows.start + at, LANES.min(rows.len() - at));
            let bias = self.biases(&(channel..channel + count));
            for vector in 0..vectors {
                let sums = Sums { values: &sums[vector * LANES * width + at..], tile: width, plane };
                let first = tiles.start + vector * LANES;
                let tiles = first..self.grid.tiles().min(first + LANES);
                // SAFETY: AVX-512 is there and y was measured; no other task has these channels' pixels in these tiles.
                unsafe { self.grid.results(sums, &bias, tiles, (channel, count, self.m), y.first()) };
            }
        }
    }

    /// What a block of k contributes to the sums: for each plane those of all tiles, `width` values each.
    fn sum(
        &self,
        depth: usize,
        tiles: usize,
        (kernels, width): (&[f32], usize),
        pixels: &[f32],
        (sums, plane, first): (&mut [f32], usize, bool),
        coming: Pieces,
    ) {
        let halves = tiles.div_ceil(TILES);
        let share = coming.count.div_ceil(PLANES * width.div_ceil(WIDE * LANES) * halves).min(AHEAD - 1);
        let mut coming = coming.lines(depth.div_ceil(STEPS));
        let at = |vector: usize, number: usize| &pixels[vector * self.vector() + number * STEPS * LANES..];
        for number in 0..PLANES {
            for row in (0..width).step_by(WIDE * LANES) {
                let wide = (width - row).min(WIDE * LANES) / LANES;
                for half in 0..halves {
                    let (vector, second) = (half * TILES / LANES, half * TILES % LANES);
                    let mut ahead = [Ahead::NOTHING; AHEAD];
                    for (ahead, coming) in ahead.iter_mut().skip(1).zip((&mut coming).take(share)) {
                        *ahead = coming;
                    }
                    if second == 0 {
                        // The pixels that are needed next come from the third cache.
                        let last = half + 2 >= halves;
                        let next = number + usize::from(last && row + WIDE * LANES >= width);
                        let at = at(if last { 0 } else { vector + 1 }, next).as_ptr();
                        ahead[0] = Ahead { at, lines: STEPS, next: room(STEPS) * LANES };
                    }
                    let block = Block {
                        kernels: &kernels[row * room(depth) + number * STEPS * wide * LANES..],
                        wide,
                        pixels: &at(vector, number)[second..],
                        tiles: TILES.min(tiles - half * TILES),
                        steps: depth,
                        sums: &mut sums[number * plane + half * TILES * width + row..],
                        tile: width,
                        first,
                        ahead: &ahead,
                    };
                    // SAFETY: `convolve` found AVX-512.
                    unsafe { block.sum() };
                }
            }
        }
    }
}
