//! Sums as pixels: Aᵀ s A, where Aᵀ has the powers of the `points`, for 16 channels at a time and,
//! to store rows of 16 pixels, four tiles.
//!
//! In: sums of 36 planes. Out: pixels of the result, with a bias.
#![expect(
    unsafe_code,
    reason = "vector instructions are called by name, on pointers into slices whose sizes are checked"
)]

use crate::conv2d::winograd::interpolation_points::{A, A2, A3, B, B2, B3};
use crate::conv2d::winograd::tiling::{INPUT_TILE, OUTPUT_TILE, PLANES, Tiling};
use crate::gemm::columns::LANES;
use crate::gemm::transpose::transpose_registers;
use std::arch::x86_64::{
    __m512, _mm_storeu_ps, _mm256_castpd_ps, _mm256_storeu_ps, _mm512_add_ps, _mm512_castps_pd, _mm512_castps512_ps256,
    _mm512_extractf32x4_ps, _mm512_extractf64x4_pd, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_mul_ps, _mm512_set1_ps,
    _mm512_setzero_ps, _mm512_storeu_ps, _mm512_sub_ps,
};
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
    /// AVX-512 is there; y holds images of `channels` channels, and nobody else reads or writes
    /// these pixels.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn transform_output(
        &self,
        sums: Sums,
        bias: &[f32; LANES],
        tiles: Range<usize>,
        (channel, count, channels): (usize, usize, usize),
        y: *mut f32,
    ) {
        let (first, tiles) = (tiles.start, tiles.len());
        assert!(
            first + tiles <= self.tiles()
                && sums.values.len() >= (PLANES - 1) * sums.plane + (tiles - 1) * sums.tile + LANES,
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
                let bias = _mm512_loadu_ps(bias.as_ptr());
                let mut pixels = [[_mm512_setzero_ps(); LANES]; OUTPUT_TILE];
                for tile in 0..tiles {
                    let of_tile = transform_tile(sums.values.as_ptr().add((some + tile) * sums.tile), sums.plane);
                    for (pixels, values) in pixels.iter_mut().zip(of_tile) {
                        for (pixel, value) in pixels[tile * OUTPUT_TILE..].iter_mut().zip(values) {
                            *pixel = _mm512_add_ps(value, bias);
                        }
                    }
                }
                for (i, pixels) in pixels.iter().enumerate() {
                    for (n, row) in transpose_registers(pixels).iter().enumerate().take(count) {
                        self.write(*row, &places[..tiles], i, y.wrapping_add((n * height + i) * width));
                    }
                }
            }
        }
    }

    /// Writes row i of some tiles, four pixels each, to y and as far from there as the places say.
    ///
    /// # Safety
    /// AVX-512 is there, and y may be written where rows and columns are said to be in the image.
    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn write(&self, row: __m512, places: &[(usize, usize, usize)], i: usize, y: *mut f32) {
        let at = |tile: usize| y.wrapping_add(places[tile].0);
        // SAFETY: AVX-512 is there, and y where rows and columns are in the image, says the caller;
        // a run lies in one row of tiles.
        unsafe {
            if self.whole && places.len() == TOGETHER {
                match self.run {
                    1 => {
                        _mm_storeu_ps(at(0), _mm512_extractf32x4_ps::<0>(row));
                        _mm_storeu_ps(at(1), _mm512_extractf32x4_ps::<1>(row));
                        _mm_storeu_ps(at(2), _mm512_extractf32x4_ps::<2>(row));
                        _mm_storeu_ps(at(3), _mm512_extractf32x4_ps::<3>(row));
                    }
                    2 => {
                        _mm256_storeu_ps(at(0), _mm512_castps512_ps256(row));
                        let upper = _mm512_extractf64x4_pd::<1>(_mm512_castps_pd(row));
                        _mm256_storeu_ps(at(2), _mm256_castpd_ps(upper));
                    }
                    _ => _mm512_storeu_ps(at(0), row),
                }
                return;
            }
            let mut values = [0.0; LANES];
            _mm512_storeu_ps(values.as_mut_ptr(), row);
            for ((at, rows, columns), pixels) in places.iter().zip(values.chunks_exact(OUTPUT_TILE)) {
                for (j, value) in pixels.iter().enumerate().filter(|(j, _)| i < *rows && j < columns) {
                    *y.wrapping_add(at + j) = *value;
                }
            }
        }
    }
}

/// Aᵀ s A of 16 channels in one tile.
///
/// # Safety
/// AVX-512 is there, and so are 16 values in each plane.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn transform_tile(sums: *const f32, plane: usize) -> [[__m512; OUTPUT_TILE]; OUTPUT_TILE] {
    let mut rows = [[_mm512_setzero_ps(); INPUT_TILE]; OUTPUT_TILE];
    for j in 0..INPUT_TILE {
        let mut column = [_mm512_setzero_ps(); INPUT_TILE];
        for (i, value) in column.iter_mut().enumerate() {
            // SAFETY: AVX-512 and 16 values in each plane are there, says the caller.
            *value = unsafe { _mm512_loadu_ps(sums.add((INPUT_TILE * i + j) * plane)) };
        }
        for (row, value) in rows.iter_mut().zip(apply_at(&column)) {
            row[j] = value;
        }
    }
    let [a, b, c, d] = &rows;
    [apply_at(a), apply_at(b), apply_at(c), apply_at(d)]
}

/// Aᵀ s of one column.
#[target_feature(enable = "avx512f")]
#[inline]
fn apply_at(&[zero, a, minus_a, b, minus_b, infinity]: &[__m512; INPUT_TILE]) -> [__m512; OUTPUT_TILE] {
    let ([a_even, b_even], [a_odd, b_odd]) = (
        [_mm512_add_ps(a, minus_a), _mm512_add_ps(b, minus_b)],
        [_mm512_sub_ps(a, minus_a), _mm512_sub_ps(b, minus_b)],
    );
    let power = |v: f32| _mm512_set1_ps(v);
    [
        _mm512_add_ps(zero, _mm512_add_ps(a_even, b_even)),
        _mm512_fmadd_ps(power(B), b_odd, _mm512_mul_ps(power(A), a_odd)),
        _mm512_fmadd_ps(power(B2), b_even, _mm512_mul_ps(power(A2), a_even)),
        _mm512_fmadd_ps(power(B3), b_odd, _mm512_fmadd_ps(power(A3), a_odd, infinity)),
    ]
}
