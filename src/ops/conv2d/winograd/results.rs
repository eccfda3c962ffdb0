//! Sums as pixels: Aᵀ s A, with Aᵀ = (1 1 1 0; 0 1 -1 -1), for 16 channels and 16 tiles at a time.
#![expect(
    unsafe_code,
    reason = "vector instructions are called by name, on pointers into slices whose sizes are checked"
)]

use super::super::super::pack::turn;
use super::super::super::product::LANES;
use super::PLANES;
use super::grid::Grid;
use std::arch::x86_64::{
    __m256, __m512, _mm256_castpd_ps, _mm256_storeu_ps, _mm512_add_ps, _mm512_castps_pd, _mm512_castps512_ps256,
    _mm512_extractf64x4_pd, _mm512_loadu_epi32, _mm512_loadu_ps, _mm512_permutex2var_ps, _mm512_setzero_ps,
    _mm512_storeu_ps, _mm512_sub_ps,
};

/// Sums of 16 channels in one tile are next to one another: those of the next tile are `tile`, of the next plane `plane`
/// values further on.
#[derive(Clone, Copy)]
pub(super) struct Sums<'a> {
    pub values: &'a [f32],
    pub tile: usize,
    pub plane: usize,
}

impl Grid {
    /// Writes the pixels of `count` channels, up to 16, in 16 tiles from `first` on; `bias` has a value for each channel, and
    /// `channel` is the first of `channels`.
    ///
    /// # Safety
    /// AVX-512 is there; y holds pictures of `channels` channels, and nobody else reads or writes these pixels.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn results(
        &self,
        sums: Sums,
        bias: &[f32; LANES],
        first: usize,
        (channel, count, channels): (usize, usize, usize),
        y: *mut f32,
    ) {
        let tiles = LANES.min(self.tiles() - first);
        assert!(
            sums.values.len() >= (PLANES - 1) * sums.plane + (tiles - 1) * sums.tile + LANES,
            "winograd: too few sums"
        );
        // Where each tile's first pixel is in the first channel, and how many rows and columns of its 2x2 are in the picture.
        let (height, width) = (self.of.height, self.of.width);
        let places: [(usize, usize, usize); LANES] = std::array::from_fn(|tile| {
            let (row, column) = self.place(first + if tile < tiles { tile } else { 0 });
            let (sample, row) = (row / self.down, row % self.down);
            let at = ((sample * channels + channel) * height + 2 * row) * width + 2 * column;
            (at, height - 2 * row, width - 2 * column)
        });
        // SAFETY: the sums were measured; the places are those of pixels.
        unsafe {
            let bias = _mm512_loadu_ps(bias.as_ptr());
            let mut pixels = [[[_mm512_setzero_ps(); LANES]; 2]; 2];
            for tile in 0..tiles {
                let of_tile = of_tile(sums.values.as_ptr().add(tile * sums.tile), sums.plane);
                for (pixels, value) in pixels.iter_mut().flatten().zip(of_tile.into_iter().flatten()) {
                    pixels[tile] = _mm512_add_ps(value, bias);
                }
            }
            for (i, [even, odd]) in pixels.iter().enumerate() {
                for (n, (even, odd)) in turn(even).into_iter().zip(turn(odd)).enumerate().take(count) {
                    let y = y.wrapping_add((n * height + i) * width);
                    self.write(alternate(even, odd), &places[..tiles], i, y);
                }
            }
        }
    }

    /// Writes row i of some tiles, two pixels each, to y and as far from there as the places say.
    ///
    /// # Safety
    /// AVX-512 is there, and y may be written where rows and columns are said to be in the picture.
    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn write(&self, row: [__m512; 2], places: &[(usize, usize, usize)], i: usize, y: *mut f32) {
        // SAFETY: the caller's; a run lies in one row of tiles, all of whose pixels are in the picture.
        unsafe {
            match self.run {
                16 => {
                    _mm512_storeu_ps(y.add(places[0].0), row[0]);
                    _mm512_storeu_ps(y.add(places[0].0 + LANES), row[1]);
                }
                8 => {
                    for (row, places) in row.into_iter().zip(places.chunks(8)) {
                        _mm512_storeu_ps(y.add(places[0].0), row);
                    }
                }
                4 => {
                    for (part, places) in places.chunks(4).enumerate() {
                        _mm256_storeu_ps(y.add(places[0].0), half(row[part / 2], part % 2));
                    }
                }
                _ => {
                    let mut values = [0.0; 2 * LANES];
                    _mm512_storeu_ps(values.as_mut_ptr(), row[0]);
                    _mm512_storeu_ps(values.as_mut_ptr().add(LANES), row[1]);
                    for ((at, rows, columns), pair) in places.iter().zip(values.chunks_exact(2)) {
                        for (j, value) in pair.iter().enumerate().filter(|(j, _)| i < *rows && j < columns) {
                            *y.wrapping_add(at + j) = *value;
                        }
                    }
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
unsafe fn of_tile(sums: *const f32, plane: usize) -> [[__m512; 2]; 2] {
    // SAFETY: the caller's.
    let columns: [[__m512; 2]; 4] = std::array::from_fn(|j| unsafe {
        down(std::array::from_fn(|i| _mm512_loadu_ps(sums.add((4 * i + j) * plane))))
    });
    std::array::from_fn(|i| down([columns[0][i], columns[1][i], columns[2][i], columns[3][i]]))
}

/// Aᵀ s of one column.
#[target_feature(enable = "avx512f")]
#[inline]
fn down([a, b, c, d]: [__m512; 4]) -> [__m512; 2] {
    let (sum, difference) = (_mm512_add_ps(b, c), _mm512_sub_ps(b, c));
    [_mm512_add_ps(a, sum), _mm512_sub_ps(difference, d)]
}

/// Even and odd columns of 16 tiles as 32 columns.
#[target_feature(enable = "avx512f")]
#[inline]
fn alternate(even: __m512, odd: __m512) -> [__m512; 2] {
    const FIRST: [i32; LANES] = [0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23];
    const SECOND: [i32; LANES] = [8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31];
    [FIRST, SECOND].map(|order| {
        // SAFETY: 16 numbers are read.
        let order = unsafe { _mm512_loadu_epi32(order.as_ptr()) };
        _mm512_permutex2var_ps(even, order, odd)
    })
}

/// The lower or the upper eight values.
#[target_feature(enable = "avx512f")]
#[inline]
fn half(v: __m512, which: usize) -> __m256 {
    if which == 0 {
        _mm512_castps512_ps256(v)
    } else {
        _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(v)))
    }
}
