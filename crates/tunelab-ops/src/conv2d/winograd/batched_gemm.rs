//! The products of all planes: sums of filters times pixels, with rows of the matrix as lanes.
//!
//! In: transformed filters and pixels. Out: sums, plane by plane.
#![expect(unsafe_code, reason = "values are loaded and stored through pointers into slices whose sizes are checked")]

use crate::conv2d::winograd::pieces::Pieces;
use crate::conv2d::winograd::tiling::PLANES;
use crate::cpu::prefetch::Prefetch;
use crate::gemm::columns::split_range;
use crate::simd::isa::{Isa, LANES, few_registers, with_count};
use std::ops::Range;

/// Vectors of rows that are summed together at most.
pub(super) const fn wide<S: Isa>() -> usize {
    S::TILE.1
}

/// The tiles of a vector that are summed together: with few registers in groups that are as large as
/// one another, else in whole ones and a rest.
fn groups<S: Isa>(tiles: usize) -> impl Iterator<Item = Range<usize>> {
    let groups = tiles.div_ceil(S::TILE.0);
    (0..groups).map(move |i| match S::TILE {
        (_, 1) => split_range(0..tiles, groups, i),
        (most, _) => i * most..tiles.min((i + 1) * most),
    })
}

/// Steps that lie together: the planes of so many follow one another, so that what is transformed
/// goes to few pages.
pub(super) const STEPS: usize = 8;
/// Planes from eight steps to the next: with as many as there are, all would compete for the same
/// lines of a cache.
const PLANE_STRIDE: usize = PLANES + 1;

/// Where the values of a step begin in the first plane, if there are `width` for each.
#[inline]
pub(super) fn place(step: usize, width: usize) -> usize {
    (step / STEPS * PLANE_STRIDE * STEPS + step % STEPS) * width
}

/// How many values all planes take for `steps` steps of one value.
pub(super) fn room(steps: usize) -> usize {
    steps.div_ceil(STEPS) * PLANE_STRIDE * STEPS
}

/// Values between the planes of sums, whose length may be a multiple of a page.
const PLANE_GAP: usize = LANES;

/// How many values the sums of `width` rows and so many tiles take in a plane.
pub(super) fn plane(width: usize, tiles: usize) -> usize {
    width * tiles.next_multiple_of(LANES) + PLANE_GAP
}

/// How many runs of lines are asked for at once at most.
const PREFETCHES: usize = 4;

/// What a block of k contributes to all planes' sums.
pub(super) struct Products<'a> {
    /// For each group of [`wide`] vectors of rows the filters of all steps, at their [`place`].
    pub filters: &'a [f32],
    /// Rows, in whole vectors.
    pub width: usize,
    /// For each 16 tiles `vector` values: the pixels of all steps, at their place.
    pub pixels: &'a [f32],
    pub vector: usize,
    pub tiles: usize,
    pub steps: usize,
    /// Whether there are no sums yet.
    pub first: bool,
}

impl Products<'_> {
    /// Adds to the sums, for each [`plane`] those of all tiles, `width` values each; and asks for
    /// what comes.
    pub(super) fn add_to<S: Isa>(&self, isa: S, sums: &mut [f32], coming: Pieces) {
        let &Self { width, tiles, steps, first, .. } = self;
        let (most, plane, vectors) = (wide::<S>() * LANES, plane(width, tiles), tiles.div_ceil(LANES));
        let of_vector = |vector| groups::<S>(LANES.min(tiles - vector * LANES)).map(move |group| (vector, group));
        let groups: Vec<_> = (0..vectors).flat_map(of_vector).collect();
        let share = coming.count.div_ceil(PLANES * width.div_ceil(most) * groups.len()).min(PREFETCHES - 1);
        let mut coming = coming.lines(steps.div_ceil(STEPS));
        let at = |vector: usize, number: usize| &self.pixels[vector * self.vector + number * STEPS * LANES..];
        for number in 0..PLANES {
            for row in (0..width).step_by(most) {
                let wide = (width - row).min(most) / LANES;
                for (vector, group) in &groups {
                    let mut prefetch = [Prefetch::NONE; PREFETCHES];
                    for prefetch in &mut prefetch[1..=share] {
                        *prefetch = coming.next().unwrap_or(Prefetch::NONE);
                    }
                    if group.start == 0 {
                        // The pixels that are needed next come from the third cache.
                        let last = vector + 1 == vectors;
                        let next = number + usize::from(last && row + most >= width);
                        let at = at(if last { 0 } else { vector + 1 }, next).as_ptr();
                        prefetch[0] = Prefetch::new(at, room(STEPS) * LANES, STEPS, 1);
                    }
                    let block = Block {
                        filters: &self.filters[row * room(steps) + number * STEPS * wide * LANES..],
                        wide,
                        pixels: &at(*vector, number)[group.start..],
                        tiles: group.len(),
                        steps,
                        sums: &mut sums[number * plane + (vector * LANES + group.start) * width + row..],
                        tile: width,
                        first,
                        prefetch: &prefetch,
                    };
                    block.sum(isa);
                }
            }
        }
    }
}

/// A few tiles and vectors of rows, for a block of k.
struct Block<'a> {
    /// For each step `wide` vectors of filters, at their [`place`].
    filters: &'a [f32],
    wide: usize,
    /// For each step 16 pixels, at their place, of which those of the first `tiles` are used.
    pixels: &'a [f32],
    tiles: usize,
    steps: usize,
    /// The sums; those of the next tile are `tile` values further on.
    sums: &'a mut [f32],
    tile: usize,
    /// Whether there are no sums yet.
    first: bool,
    prefetch: &'a [Prefetch; PREFETCHES],
}

impl Block<'_> {
    /// Adds the products of all steps to the sums.
    #[inline(always)]
    fn sum<S: Isa>(self, isa: S) {
        // With many registers four tiles take as long as one; those behind the last count nothing.
        let tiles = if few_registers::<S>() { self.tiles } else { self.tiles.next_multiple_of(4) };
        assert!(
            self.wide <= wide::<S>()
                && self.filters.len() >= place(self.steps - 1, self.wide * LANES) + self.wide * LANES
                && (1..=S::TILE.0).contains(&tiles)
                && self.pixels.len() >= place(self.steps - 1, LANES) + tiles
                && self.sums.len() >= (tiles - 1) * self.tile + self.wide * LANES,
            "winograd: a block is too small"
        );
        isa.run(
            #[inline(always)]
            // SAFETY: all was measured.
            || unsafe {
                if few_registers::<S>() {
                    with_count!(tiles, S::TILE.0, T in [1 2 3 4 5 6] => self.of::<S, 1, T>(isa));
                } else {
                    with_count!(self.wide, S::TILE.1, N in [1 2 3] =>
                        with_count!(tiles, S::TILE.0, T in [4 8] => self.of::<S, N, T>(isa)));
                }
            },
        );
    }

    /// # Safety
    /// There are N vectors of filters and T pixels for each step.
    #[inline(always)]
    unsafe fn of<S: Isa, const N: usize, const T: usize>(self, isa: S) {
        let mut sums = [[isa.zero(); N]; T];
        // SAFETY: N vectors of filters and T pixels of each step and the sums are there, says the
        // caller.
        unsafe {
            let (mut filters, mut pixels) = (self.filters.as_ptr(), self.pixels.as_ptr());
            let (mut left, mut group) = (self.steps, 0);
            while left > 0 {
                let now = left.min(STEPS);
                for prefetch in self.prefetch {
                    prefetch.fetch_run(group);
                }
                for _ in 0..now {
                    let mut rows = [isa.zero(); N];
                    for (j, row) in rows.iter_mut().enumerate() {
                        *row = isa.load(filters.add(j * LANES));
                    }
                    for (tile, sums) in sums.iter_mut().enumerate() {
                        let pixel = isa.splat(*pixels.add(tile));
                        for (sum, row) in sums.iter_mut().zip(rows) {
                            *sum = isa.fma(pixel, row, *sum);
                        }
                    }
                    filters = filters.wrapping_add(N * LANES);
                    pixels = pixels.wrapping_add(LANES);
                }
                filters = filters.wrapping_add((PLANE_STRIDE * STEPS - now) * N * LANES);
                pixels = pixels.wrapping_add((PLANE_STRIDE * STEPS - now) * LANES);
                left -= now;
                group += 1;
            }
            for (tile, sums) in sums.into_iter().enumerate() {
                for (j, sum) in sums.into_iter().enumerate() {
                    let at = self.sums.as_mut_ptr().add(tile * self.tile + j * LANES);
                    isa.store(at, if self.first { sum } else { isa.add(sum, isa.load(at)) });
                }
            }
        }
    }
}
