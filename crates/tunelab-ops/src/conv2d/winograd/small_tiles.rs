//! Few tiles: the products of all planes, with filters that are transformed halfway, along their
//! columns, and finished in registers when they are used (AVX-512).
//!
//! In: filters transformed halfway, transformed pixels. Out: sums, plane by plane.
//!
//! For many tiles it pays to store a transformed filter's 36 values; for few they would be written
//! and read about as often as they are multiplied. So here 18 are, in a block that stays in the
//! nearest cache, and each row of planes is summed on its own: what a step contributes to six
//! planes of up to four tiles is made from three vectors.
#![expect(
    unsafe_code,
    reason = "vector instructions are called by name, on pointers into slices whose sizes are checked"
)]

use crate::conv2d::winograd::batched_gemm::{STEPS, place, room};
use crate::conv2d::winograd::filter_transform::{COLUMNS, apply_g};
use crate::conv2d::winograd::tiling::{INPUT_TILE, PLANES};
use crate::cpu::prefetch::Prefetch;
use crate::gemm::columns::{LANES, split_range};
use std::arch::x86_64::{
    __m512, _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
};
use std::ops::Range;

/// Channels that are summed in one go at most: their filters, 18 KiB, stay in the nearest cache.
pub(super) const DEPTH: usize = 16;
/// Tiles of a group at most: with six planes 24 sums, a column's three registers and four factors
/// are in use.
const GROUP_TILES: usize = 4;
/// Tiles for which filters are transformed halfway at most. Two groups pass the same filters; for
/// four it is slower.
pub(super) const MAX_TILES: usize = 8;

/// The groups that so many tiles are summed in.
pub(super) fn groups(tiles: usize) -> impl Iterator<Item = Range<usize>> {
    let groups = tiles.div_ceil(GROUP_TILES);
    (0..groups).map(move |i| split_range(0..tiles, groups, i))
}

/// The transformed pixels of a group of tiles, of which
/// [`transform_input`](super::tiling::Tiling::transform_input) has left 16 for each of `depth`
/// channels of a block: for each channel all planes, one behind the other.
pub(super) fn packed(pixels: &[f32], depth: usize, group: &Range<usize>, out: &mut [f32]) {
    let tiles = group.len();
    assert!(
        pixels.len() >= room(depth) * LANES && group.end <= LANES && out.len() >= depth * PLANES * tiles,
        "winograd: too few pixels"
    );
    for (step, out) in out.chunks_exact_mut(PLANES * tiles).take(depth).enumerate() {
        let first = place(step, LANES) + group.start;
        for (plane, out) in out.chunks_exact_mut(tiles).enumerate() {
            let first = first + plane * STEPS * LANES;
            for (out, pixel) in out.iter_mut().zip(&pixels[first..first + tiles]) {
                *out = *pixel;
            }
        }
    }
}

/// What a block of channels contributes to 16 rows' sums: for each plane those of `tiles` tiles, 16
/// values each.
pub(super) struct Block<'a> {
    /// The filters, [`halves`](super::Filters::halves).
    pub halves: &'a [f32],
    /// The pixels, [`packed`].
    pub pixels: &'a [f32],
    pub steps: usize,
    pub tiles: usize,
    pub sums: &'a mut [f32],
    /// Whether there are no sums yet.
    pub first: bool,
}

impl Block<'_> {
    /// Adds the products of all steps to the sums, and asks for `lines` lines of what comes at each
    /// of them.
    #[target_feature(enable = "avx512f")]
    pub(super) fn sum(self, prefetch: &mut Prefetch, lines: usize) {
        let (steps, tiles) = (self.steps, self.tiles);
        assert!(
            (1..=GROUP_TILES).contains(&tiles)
                && self.halves.len() >= INPUT_TILE * COLUMNS * LANES * steps
                && self.pixels.len() >= PLANES * tiles * steps
                && self.sums.len() >= PLANES * tiles * LANES,
            "winograd: a block is too small"
        );
        for i in 0..INPUT_TILE {
            let row = Row {
                halves: self.halves[i * steps * COLUMNS * LANES..].as_ptr(),
                pixels: self.pixels[INPUT_TILE * i * tiles..].as_ptr(),
                sums: self.sums[INPUT_TILE * i * tiles * LANES..].as_mut_ptr(),
                steps,
                first: self.first,
            };
            // SAFETY: this function needs AVX-512 itself, and all was measured.
            unsafe {
                match tiles {
                    1 => row.sum::<1>(prefetch, lines),
                    2 => row.sum::<2>(prefetch, lines),
                    3 => row.sum::<3>(prefetch, lines),
                    _ => row.sum::<GROUP_TILES>(prefetch, lines),
                }
            }
        }
    }
}

/// A row of planes.
struct Row {
    halves: *const f32,
    pixels: *const f32,
    sums: *mut f32,
    steps: usize,
    first: bool,
}

impl Row {
    /// # Safety
    /// AVX-512 is there, and so are halves and pixels of all steps, and the sums of T tiles.
    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn sum<const T: usize>(self, prefetch: &mut Prefetch, lines: usize) {
        let sum = |j: usize, t: usize| self.sums.wrapping_add((j * T + t) * LANES);
        let mut sums = [[_mm512_setzero_ps(); T]; INPUT_TILE];
        // SAFETY: AVX-512, halves and pixels of all steps and the sums of T tiles are there, says
        // the caller.
        unsafe {
            let (mut halves, mut pixels) = (self.halves, self.pixels);
            for _ in 0..self.steps {
                prefetch.fetch_next::<true>(lines);
                let column: [__m512; COLUMNS] = std::array::from_fn(|i| _mm512_loadu_ps(halves.add(i * LANES)));
                for (j, (filter, sums)) in apply_g(column).into_iter().zip(&mut sums).enumerate() {
                    for (t, value) in sums.iter_mut().enumerate() {
                        *value = _mm512_fmadd_ps(_mm512_set1_ps(*pixels.add(j * T + t)), filter, *value);
                    }
                }
                halves = halves.wrapping_add(COLUMNS * LANES);
                pixels = pixels.wrapping_add(PLANES * T);
            }
            // Each block begins with zeros, for short sums have smaller errors.
            for (j, sums) in sums.into_iter().enumerate() {
                for (t, value) in sums.into_iter().enumerate() {
                    let at = sum(j, t);
                    _mm512_storeu_ps(at, if self.first { value } else { _mm512_add_ps(value, _mm512_loadu_ps(at)) });
                }
            }
        }
    }
}
