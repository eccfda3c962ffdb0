//! The product of a plane: sums of filters times pixels, with rows of the matrix as lanes
//! (AVX-512).
//!
//! In: transformed filters and pixels. Out: sums, plane by plane.
#![expect(
    unsafe_code,
    reason = "vector instructions are called by name, on pointers into slices whose sizes are checked"
)]

use crate::conv2d::winograd::tiling::PLANES;
use crate::cpu::prefetch::Prefetch;
use crate::gemm::columns::LANES;
use std::arch::x86_64::{
    __m512, _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
};

/// Vectors of rows that are summed together at most.
pub(super) const WIDE: usize = 3;
/// Tiles that are summed together: with three vectors of rows, 24 sums, three filters' and one
/// pixel's register are in use.
pub(super) const TILES: usize = 8;
/// The same for images that have no more.
const FEW_TILES: usize = 4;
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

/// How many runs of lines are asked for at once at most.
pub(super) const PREFETCHES: usize = 4;

/// A few tiles and vectors of rows, for a block of k.
pub(super) struct Block<'a> {
    /// For each step `wide` vectors of filters, at their [`place`].
    pub filters: &'a [f32],
    pub wide: usize,
    /// For each step 16 pixels, at their place, of which those of the first `tiles` are used.
    pub pixels: &'a [f32],
    pub tiles: usize,
    pub steps: usize,
    /// The sums; those of the next tile are `tile` values further on.
    pub sums: &'a mut [f32],
    pub tile: usize,
    /// Whether there are no sums yet.
    pub first: bool,
    pub prefetch: &'a [Prefetch; PREFETCHES],
}

impl Block<'_> {
    /// Adds the products of all steps to the sums.
    #[target_feature(enable = "avx512f")]
    pub(super) fn sum(self) {
        assert!(
            self.filters.len() >= place(self.steps - 1, self.wide * LANES) + self.wide * LANES
                && self.pixels.len() >= place(self.steps - 1, LANES) + TILES
                && self.sums.len() >= (TILES - 1) * self.tile + self.wide * LANES,
            "winograd: a block is too small"
        );
        // SAFETY: this function needs AVX-512 itself, and all was measured.
        unsafe {
            match (self.wide, self.tiles <= FEW_TILES) {
                (1, false) => self.of::<1, TILES>(),
                (2, false) => self.of::<2, TILES>(),
                (_, false) => self.of::<WIDE, TILES>(),
                (1, true) => self.of::<1, FEW_TILES>(),
                (2, true) => self.of::<2, FEW_TILES>(),
                (_, true) => self.of::<WIDE, FEW_TILES>(),
            }
        }
    }

    /// # Safety
    /// AVX-512 is there, and there are N vectors of filters and T pixels for each step.
    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn of<const N: usize, const T: usize>(self) {
        let mut sums = [[_mm512_setzero_ps(); N]; T];
        // SAFETY: AVX-512, N vectors of filters and T pixels of each step and the sums are there,
        // says the caller.
        unsafe {
            let (mut filters, mut pixels) = (self.filters.as_ptr(), self.pixels.as_ptr());
            let (mut left, mut group) = (self.steps, 0);
            while left > 0 {
                let now = left.min(STEPS);
                for prefetch in self.prefetch {
                    prefetch.fetch_run(group);
                }
                for _ in 0..now {
                    let rows: [__m512; N] = std::array::from_fn(|j| _mm512_loadu_ps(filters.add(j * LANES)));
                    for (tile, sums) in sums.iter_mut().enumerate() {
                        let pixel = _mm512_set1_ps(*pixels.add(tile));
                        for (sum, row) in sums.iter_mut().zip(rows) {
                            *sum = _mm512_fmadd_ps(pixel, row, *sum);
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
                    _mm512_storeu_ps(at, if self.first { sum } else { _mm512_add_ps(sum, _mm512_loadu_ps(at)) });
                }
            }
        }
    }
}
