//! Sums as pixels: Aᵀ s A, for 16 channels at a time and, to store rows of 16 pixels, four tiles.
//!
//! In: sums of 36 planes. Out: pixels of the result, with a bias.
#![expect(unsafe_code, reason = "values are loaded and stored through pointers into slices whose sizes are checked")]

use crate::conv2d::winograd::tiling::{INPUT_TILE, OUTPUT_TILE, PLANES, Tiling};
use crate::conv2d::winograd::transforms::{apply_powers, both_sides};
use crate::simd::isa::{Isa, LANES};
use std::ops::Range;

/// Tiles whose rows of pixels fill a vector.
const TOGETHER: usize = LANES / OUTPUT_TILE;

/// Sums of 16 channels in one tile are next to one another: those of the next tile are `tile`, of
/// the next plane `plane` values further on.
#[derive(Clone, Copy)]
pub(super) struct Sums<'a> {
    pub values: &'a [f32],
    pub tile: usize,
    pub plane: usize,
}

impl Tiling {
    /// Writes the pixels of `count` channels, up to 16, in these tiles, up to 16; `bias` has a
    /// value for each channel, and `channel` is the first of `channels`.
    ///
    /// # Safety
    /// y holds images of `channels` channels, and nobody else reads or writes
    /// these pixels.
    #[inline(always)]
    pub(super) unsafe fn transform_output<S: Isa>(
        &self,
        isa: S,
        sums: Sums,
        bias: &[f32; LANES],
        tiles: Range<usize>,
        (channel, count, channels): (usize, usize, usize),
        y: *mut f32,
    ) {
        let (first, tiles, plane) = (tiles.start, tiles.len(), sums.plane);
        assert!(
            first + tiles <= self.tiles()
                && sums.values.len() >= (PLANES - 1) * plane + (tiles - 1) * sums.tile + LANES,
            "winograd: too few sums"
        );
        assert!(
            !self.whole || tiles < TOGETHER || first.is_multiple_of(self.run.min(TOGETHER)),
            "winograd: a run is not begun in its middle"
        );
        let (height, width) = (self.of.height, self.of.width);
        for some in (0..tiles).step_by(TOGETHER) {
            let tiles = TOGETHER.min(tiles - some);
            // Where each tile's first pixel is in the first channel, and how many rows and columns
            // from it on are in the image.
            let places: [(usize, usize, usize); TOGETHER] = std::array::from_fn(|tile| {
                let (row, column) = self.place(first + some + tile.min(tiles - 1));
                let (sample, row) = (row / self.down, row % self.down);
                let at = ((sample * channels + channel) * height + OUTPUT_TILE * row) * width + OUTPUT_TILE * column;
                (at, height - OUTPUT_TILE * row, width - OUTPUT_TILE * column)
            });
            // SAFETY: the sums were measured; the places are those of pixels.
            unsafe {
                let bias = isa.load(bias.as_ptr());
                let mut pixels = [[isa.zero(); LANES]; OUTPUT_TILE];
                for tile in 0..tiles {
                    let sums = sums.values.as_ptr().add((some + tile) * sums.tile);
                    both_sides(
                        isa,
                        #[inline(always)]
                        |column| apply_powers::<S, OUTPUT_TILE>(isa, column),
                        #[inline(always)]
                        |i, j| isa.load(sums.add((INPUT_TILE * i + j) * plane)),
                        #[inline(always)]
                        |i, j, value| pixels[i][tile * OUTPUT_TILE + j] = isa.add(value, bias),
                    );
                }
                for (i, pixels) in pixels.iter().enumerate() {
                    for (n, row) in isa.transpose(pixels).iter().enumerate().take(count) {
                        self.write(isa, *row, &places[..tiles], i, y.wrapping_add((n * height + i) * width));
                    }
                }
            }
        }
    }

    /// Writes row i of some tiles, four pixels each, to y and as far from there as the places say.
    ///
    /// # Safety
    /// y may be written where rows and columns are said to be in the image.
    #[inline(always)]
    unsafe fn write<S: Isa>(&self, isa: S, row: S::F32, places: &[(usize, usize, usize)], i: usize, y: *mut f32) {
        let at = |tile: usize| y.wrapping_add(places[tile].0);
        // SAFETY: y is there where rows and columns are in the image, says the caller; a run lies in
        // one row of tiles.
        unsafe {
            if self.whole && places.len() == TOGETHER {
                return match self.run {
                    1 => isa.store_quarters([at(0), at(1), at(2), at(3)], row),
                    2 => isa.store_halves([at(0), at(2)], row),
                    _ => isa.store(at(0), row),
                };
            }
            let mut values = [0.0; LANES];
            isa.store(values.as_mut_ptr(), row);
            for ((at, rows, columns), pixels) in places.iter().zip(values.chunks_exact(OUTPUT_TILE)) {
                for (j, value) in pixels.iter().enumerate().filter(|(j, _)| i < *rows && j < columns) {
                    *y.wrapping_add(at + j) = *value;
                }
            }
        }
    }
}
