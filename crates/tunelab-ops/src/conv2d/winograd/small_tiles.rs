//! Few tiles: the products of all planes, with filters that are transformed halfway, along their
//! columns, and finished in registers when they are used.
//!
//! In: filters transformed halfway, transformed pixels. Out: sums, plane by plane.
//!
//! For many tiles it pays to store a transformed filter's 36 values; for few they would be written
//! and read about as often as they are multiplied. So here 18 are, in a block that stays in the
//! nearest cache, and each row of planes is summed on its own: what a step contributes to six
//! planes of up to four tiles is made from three vectors. Few registers do not hold these sums:
//! there the block has all 36 values, and each plane is summed on its own.
#![expect(unsafe_code, reason = "values are loaded and stored through pointers into slices whose sizes are checked")]

use crate::conv2d::winograd::batched_gemm::{STEPS, place, room};
use crate::conv2d::winograd::tiling::{INPUT_TILE, PLANES};
use crate::conv2d::winograd::transforms::{COLUMNS, apply_g};
use crate::cpu::prefetch::Prefetch;
use crate::gemm::columns::split_range;
use crate::simd::isa::{Isa, LANES, few_registers, with_count};
use std::ops::Range;

/// Whether filters are transformed halfway: where registers hold the sums of six planes.
pub(super) const fn halfway<S: Isa>() -> bool {
    !few_registers::<S>()
}

/// Channels that are summed in one go at most: their filters, 18 KiB, stay in the nearest cache, and
/// 36 KiB are read in order. With fewer the sums of all have larger errors.
pub(super) const DEPTH: usize = 16;

/// Values of the filters of 16 rows and so many channels.
pub(super) const fn filters<S: Isa>(depth: usize) -> usize {
    (if halfway::<S>() { INPUT_TILE * COLUMNS } else { PLANES }) * LANES * depth
}

/// Tiles of a group at most: with six planes 24 sums, a column's three registers and four factors
/// are in use; with one plane, a product's tile.
const fn group_tiles<S: Isa>() -> usize {
    if halfway::<S>() { 4 } else { S::TILE.0 }
}

/// Tiles that are computed so at most. Two groups pass the same filters; for four it is slower.
pub(super) const MAX_TILES: usize = 8;

/// The groups that so many tiles are summed in.
pub(super) fn groups<S: Isa>(tiles: usize) -> impl Iterator<Item = Range<usize>> {
    let groups = tiles.div_ceil(group_tiles::<S>());
    (0..groups).map(move |i| split_range(0..tiles, groups, i))
}

/// How many times lines are asked for while a group is summed.
pub(super) fn times<S: Isa>(steps: usize) -> usize {
    if halfway::<S>() { INPUT_TILE * steps } else { PLANES }
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
    /// The filters, [`for_few_tiles`](super::Filters::for_few_tiles).
    pub filters: &'a [f32],
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
    #[inline(always)]
    pub(super) fn sum<S: Isa>(self, isa: S, prefetch: &mut Prefetch, lines: usize) {
        let (steps, tiles) = (self.steps, self.tiles);
        assert!(
            (1..=group_tiles::<S>()).contains(&tiles)
                && self.filters.len() >= filters::<S>(steps)
                && self.pixels.len() >= PLANES * tiles * steps
                && self.sums.len() >= PLANES * tiles * LANES,
            "winograd: a block is too small"
        );
        if !halfway::<S>() {
            for plane in 0..PLANES {
                prefetch.fetch_next::<true>(lines);
                let plane = Plane {
                    filters: self.filters[plane * steps * LANES..].as_ptr(),
                    pixels: self.pixels[plane * tiles..].as_ptr(),
                    sums: self.sums[plane * tiles * LANES..].as_mut_ptr(),
                    steps,
                    first: self.first,
                };
                // SAFETY: all was measured.
                unsafe {
                    with_count!(tiles, group_tiles::<S>(), T in [1 2 3 4 5 6] => plane.sum::<S, T>(isa));
                }
            }
            return;
        }
        for i in 0..INPUT_TILE {
            let row = Row {
                halves: self.filters[i * steps * COLUMNS * LANES..].as_ptr(),
                pixels: self.pixels[INPUT_TILE * i * tiles..].as_ptr(),
                sums: self.sums[INPUT_TILE * i * tiles * LANES..].as_mut_ptr(),
                steps,
                first: self.first,
            };
            // SAFETY: all was measured.
            unsafe {
                match tiles {
                    1 => row.sum::<S, 1>(isa, prefetch, lines),
                    2 => row.sum::<S, 2>(isa, prefetch, lines),
                    3 => row.sum::<S, 3>(isa, prefetch, lines),
                    _ => row.sum::<S, 4>(isa, prefetch, lines),
                }
            }
        }
    }
}

/// A plane.
struct Plane {
    filters: *const f32,
    pixels: *const f32,
    sums: *mut f32,
    steps: usize,
    first: bool,
}

impl Plane {
    /// # Safety
    /// There are filters and pixels of all steps, and the sums of T tiles.
    #[inline(always)]
    unsafe fn sum<S: Isa, const T: usize>(self, isa: S) {
        let mut sums = [isa.zero(); T];
        // SAFETY: filters and pixels of all steps and the sums of T tiles are there, says the caller.
        unsafe {
            let (mut filters, mut pixels) = (self.filters, self.pixels);
            for _ in 0..self.steps {
                let filter = isa.load(filters);
                for (t, value) in sums.iter_mut().enumerate() {
                    *value = isa.fma(isa.splat(*pixels.add(t)), filter, *value);
                }
                filters = filters.wrapping_add(LANES);
                pixels = pixels.wrapping_add(PLANES * T);
            }
            for (t, value) in sums.into_iter().enumerate() {
                let at = self.sums.add(t * LANES);
                isa.store(at, if self.first { value } else { isa.add(value, isa.load(at)) });
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
    /// There are halves and pixels of all steps, and the sums of T tiles.
    #[inline(always)]
    unsafe fn sum<S: Isa, const T: usize>(self, isa: S, prefetch: &mut Prefetch, lines: usize) {
        let sum = |j: usize, t: usize| self.sums.wrapping_add((j * T + t) * LANES);
        let mut sums = [[isa.zero(); T]; INPUT_TILE];
        // SAFETY: halves and pixels of all steps and the sums of T tiles are there, says the caller.
        unsafe {
            let (mut halves, mut pixels) = (self.halves, self.pixels);
            for _ in 0..self.steps {
                prefetch.fetch_next::<true>(lines);
                let mut column = [isa.zero(); COLUMNS];
                for (i, value) in column.iter_mut().enumerate() {
                    *value = isa.load(halves.add(i * LANES));
                }
                for (j, (filter, sums)) in apply_g(isa, column).into_iter().zip(&mut sums).enumerate() {
                    for (t, value) in sums.iter_mut().enumerate() {
                        *value = isa.fma(isa.splat(*pixels.add(j * T + t)), filter, *value);
                    }
                }
                halves = halves.wrapping_add(COLUMNS * LANES);
                pixels = pixels.wrapping_add(PLANES * T);
            }
            // Each block begins with zeros, for short sums have smaller errors.
            for (j, sums) in sums.into_iter().enumerate() {
                for (t, value) in sums.into_iter().enumerate() {
                    let at = sum(j, t);
                    isa.store(at, if self.first { value } else { isa.add(value, isa.load(at)) });
                }
            }
        }
    }
}
