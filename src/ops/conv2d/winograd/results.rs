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
    __m256, __m512, __m512i, _mm256_castpd_ps, _mm256_storeu_ps, _mm512_add_ps, _mm512_castps_pd,
    _mm512_castps512_ps256, _mm512_extractf64x4_pd, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_permutex2var_ps,
    _mm512_setzero_ps, _mm512_storeu_ps, _mm512_sub_ps,
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
        let (height, width) = (self.of.height, self.of.width);
        let place = |tile: usize| {
            let (row, column) = self.place(first + tile);
            let (sample, row) = (row / self.down, row % self.down);
            (((sample * channels + channel) * height + 2 * row) * width + 2 * column, 2 * row, 2 * column)
        };
        // The first places of the runs, which all channels share.
        let places: [usize; LANES] = std::array::from_fn(|tile| if tile < tiles { place(tile).0 } else { 0 });
        // SAFETY: the sums were measured; each run lies in one row of tiles, all of whose pixels are in the picture.
        unsafe {
            let bias = _mm512_loadu_ps(bias.as_ptr());
            let zero = _mm512_setzero_ps();
            let mut pixels = [[[zero; LANES]; 2]; 2];
            for tile in 0..tiles {
                let of_tile = of_tile(sums.values.as_ptr().add(tile * sums.tile), sums.plane);
                for i in 0..2 {
                    for j in 0..2 {
                        pixels[i][j][tile] = _mm512_add_ps(of_tile[i][j], bias);
                    }
                }
            }
            for (i, [even, odd]) in pixels.iter().enumerate() {
                let (even, odd) = (turn(even), turn(odd));
                for (n, (even, odd)) in even.into_iter().zip(odd).enumerate().take(count) {
                    let row = alternate(even, odd);
                    let y = y.add((n * height + i) * width);
                    match self.run {
                        16 => {
                            _mm512_storeu_ps(y.add(places[0]), row[0]);
                            _mm512_storeu_ps(y.add(places[0] + LANES), row[1]);
                        }
                        8 => {
                            for (part, row) in row.into_iter().enumerate().take(tiles.div_ceil(8)) {
                                _mm512_storeu_ps(y.add(places[8 * part]), row);
                            }
                        }
                        4 => {
                            for part in 0..tiles.div_ceil(4) {
                                _mm256_storeu_ps(y.add(places[4 * part]), half(row[part / 2], part % 2));
                            }
                        }
                        _ => {
                            let mut values = [0.0; 2 * LANES];
                            _mm512_storeu_ps(values.as_mut_ptr(), row[0]);
                            _mm512_storeu_ps(values.as_mut_ptr().add(LANES), row[1]);
                            for tile in 0..tiles {
                                let (at, top, left) = place(tile);
                                for j in 0..2 {
                                    if top + i < height && left + j < width {
                                        *y.add(at + j) = values[2 * tile + j];
                                    }
                                }
                            }
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
        let order = unsafe { _mm512_loadu_si512(order.as_ptr().cast::<__m512i>()) };
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
