//! The product of a plane: sums of kernels times pixels, with rows of the matrix as lanes (AVX-512).
#![expect(
    unsafe_code,
    reason = "vector instructions are called by name, on pointers into slices whose sizes are checked"
)]

use super::super::super::product::LANES;
use super::grid::PLANES;
use std::arch::x86_64::{
    __m512, _MM_HINT_T0, _mm_prefetch, _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps,
    _mm512_setzero_ps, _mm512_storeu_ps,
};

/// Vectors of rows that are summed together at most.
pub(super) const WIDE: usize = 3;
/// Tiles that are summed together: with three vectors of rows, 24 sums, three kernels' and one pixel's register are in use.
pub(super) const TILES: usize = 8;
/// The same for a picture that has no more.
const FEW: usize = 4;
/// Steps that lie together: the planes of so many follow one another, so that what is transformed goes to few pages.
pub(super) const STEPS: usize = 8;
/// Planes from eight steps to the next: with as many as there are, all would compete for the same lines of a cache.
const APART: usize = PLANES + 1;

/// Where the values of a step begin in the first plane, if there are `width` for each.
#[inline]
pub(super) fn place(step: usize, width: usize) -> usize {
    (step / STEPS * APART * STEPS + step % STEPS) * width
}

/// How many values all planes take for `steps` steps of one value.
pub(super) fn room(steps: usize) -> usize {
    steps.div_ceil(STEPS) * APART * STEPS
}

/// Cache lines that are asked for while sums are computed: `lines` of them, one behind the other, for each eight steps; those
/// for the next eight are `next` values further on.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    pub at: *const f32,
    pub lines: usize,
    pub next: usize,
}

impl Ahead {
    /// No lines.
    pub(super) const NOTHING: Self = Self { at: std::ptr::null(), lines: 0, next: 0 };
}

/// How many runs of lines are asked for at once at most.
pub(super) const AHEAD: usize = 4;

/// A few tiles and vectors of rows, for a block of k.
pub(super) struct Block<'a> {
    /// For each step `wide` vectors of kernels, at their [`place`].
    pub kernels: &'a [f32],
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
    pub ahead: &'a [Ahead; AHEAD],
}

impl Block<'_> {
    /// Adds the products of all steps to the sums.
    #[target_feature(enable = "avx512f")]
    pub(super) fn sum(self) {
        assert!(
            self.kernels.len() >= place(self.steps - 1, self.wide * LANES) + self.wide * LANES
                && self.pixels.len() >= place(self.steps - 1, LANES) + TILES
                && self.sums.len() >= (TILES - 1) * self.tile + self.wide * LANES,
            "winograd: a block is too small"
        );
        // SAFETY: AVX-512 is there, and all was measured.
        unsafe {
            match (self.wide, self.tiles <= FEW) {
                (1, false) => self.of::<1, TILES>(),
                (2, false) => self.of::<2, TILES>(),
                (_, false) => self.of::<WIDE, TILES>(),
                (1, true) => self.of::<1, FEW>(),
                (2, true) => self.of::<2, FEW>(),
                (_, true) => self.of::<WIDE, FEW>(),
            }
        }
    }

    /// # Safety
    /// AVX-512 is there, and there are N vectors of kernels and T pixels for each step.
    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn of<const N: usize, const T: usize>(self) {
        let mut sums = [[_mm512_setzero_ps(); N]; T];
        // SAFETY: the caller's; fetching in advance may name any address.
        unsafe {
            let (mut kernels, mut pixels) = (self.kernels.as_ptr(), self.pixels.as_ptr());
            let (mut left, mut group) = (self.steps, 0);
            while left > 0 {
                let now = left.min(STEPS);
                for ahead in self.ahead {
                    let at = ahead.at.wrapping_add(group * ahead.next);
                    for line in 0..ahead.lines {
                        _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(line * LANES).cast());
                    }
                }
                for _ in 0..now {
                    let rows: [__m512; N] = std::array::from_fn(|j| _mm512_loadu_ps(kernels.add(j * LANES)));
                    for (tile, sums) in sums.iter_mut().enumerate() {
                        let pixel = _mm512_set1_ps(*pixels.add(tile));
                        for (sum, row) in sums.iter_mut().zip(rows) {
                            *sum = _mm512_fmadd_ps(pixel, row, *sum);
                        }
                    }
                    kernels = kernels.wrapping_add(N * LANES);
                    pixels = pixels.wrapping_add(LANES);
                }
                kernels = kernels.wrapping_add((APART * STEPS - now) * N * LANES);
                pixels = pixels.wrapping_add((APART * STEPS - now) * LANES);
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
