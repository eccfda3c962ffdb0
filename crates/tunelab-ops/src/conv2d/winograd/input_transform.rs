//! Pixels as F(4x4, 3x3) multiplies them: Bᵀ d B, 16 tiles at a time. A row of Bᵀ has the
//! coefficients of the polynomial that is 1 at one of the `points` and 0 at the others; the last
//! row's is 0 at all of them.
//!
//! In: images. Out: their 36 planes.
//!
//! Plane 6 i + j holds element (i, j).
#![expect(
    unsafe_code,
    reason = "vector instructions are called by name, on pointers into slices whose sizes are checked"
)]

use crate::conv2d::winograd::batched_gemm::{STEPS, place};
use crate::conv2d::winograd::interpolation_points::{A, A2, AT_A, AT_B, AT_ZERO, B, B2};
use crate::conv2d::winograd::tiling::{INPUT_TILE, OUTPUT_TILE, PLANES, Tiling};
use crate::cpu::buffer::Scratch;
use crate::gemm::columns::LANES;
use std::arch::x86_64::{
    __m128, __m512, _mm_castsi128_ps, _mm_loadu_ps, _mm_set_epi64x, _mm256_castps_pd, _mm256_loadu_ps, _mm512_add_ps,
    _mm512_castpd_ps, _mm512_castps_pd, _mm512_castps128_ps512, _mm512_castps256_ps512, _mm512_fmadd_ps,
    _mm512_fnmadd_ps, _mm512_i32gather_ps, _mm512_insertf32x4, _mm512_insertf64x4, _mm512_loadu_epi32, _mm512_loadu_ps,
    _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_mul_ps, _mm512_permutex2var_ps, _mm512_set1_ps,
    _mm512_setzero_ps, _mm512_storeu_ps, _mm512_sub_ps,
};
use std::ops::Range;

/// Lines of a row of tiles: each row of pixels is split into every fourth.
const LINES: usize = INPUT_TILE * OUTPUT_TILE;
/// Channels whose pixels are split before the first is transformed: what was just stored cannot be
/// loaded at once in other pieces.
const BATCH: usize = 4;

impl Tiling {
    /// Transforms the pixels of some tiles, from a multiple of 16 on, in channels `some` of
    /// `channels`. For each vector of 16 tiles `out` gets `vector` values: for each of eight
    /// channels, the planes one after the other.
    #[target_feature(enable = "avx512f")]
    pub(super) fn transform_input(
        &self,
        x: &[f32],
        (channels, some): (usize, Range<usize>),
        tiles: Range<usize>,
        out: &mut [f32],
        vector: usize,
    ) {
        let ((top, left), (bottom, right)) = (self.place(tiles.start), self.place(tiles.end - 1));
        let columns = if top == bottom { left..right + 1 } else { 0..self.across };
        let pitch = columns.len() + 1;
        let length = (bottom - top + 1) * LINES * pitch + LANES;
        let (mut lines, plane) = (Scratch::new(), STEPS * LANES);
        let lines = lines.first(BATCH * length);
        for first in some.clone().step_by(BATCH) {
            let batch = first..some.end.min(first + BATCH);
            for (channel, lines) in batch.clone().zip(lines.chunks_exact_mut(length)) {
                self.split(x, (channels, channel), top..bottom + 1, columns.start, lines, pitch);
            }
            for (first, out) in tiles.clone().step_by(LANES).zip(out.chunks_exact_mut(vector)) {
                let places: [i32; LANES] = std::array::from_fn(|lane| {
                    let tile = first + lane;
                    let (row, column) = self.place(if tile < tiles.end { tile } else { first });
                    ((row - top) * LINES * pitch + column - columns.start) as i32
                });
                for (channel, lines) in batch.clone().zip(lines.chunks_exact(length)) {
                    let out = &mut out[place(channel - some.start, LANES)..][..(PLANES - 1) * plane + LANES];
                    // SAFETY: this function needs AVX-512 itself; the places and all lines from
                    // each of them on lie inside `lines`, all planes inside `out`.
                    unsafe {
                        match self.run {
                            16 => transform::<1>(lines, &places, pitch, out, plane),
                            8 => transform::<2>(lines, &places, pitch, out, plane),
                            4 => transform::<4>(lines, &places, pitch, out, plane),
                            2 => transform::<8>(lines, &places, pitch, out, plane),
                            _ => transform::<16>(lines, &places, pitch, out, plane),
                        }
                    }
                }
            }
        }
    }

    /// The pixels under rows of tiles in one channel: for each row of tiles six rows of pixels,
    /// each split into four lines.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn split(
        &self,
        x: &[f32],
        (channels, channel): (usize, usize),
        rows: Range<usize>,
        first: usize,
        lines: &mut [f32],
        pitch: usize,
    ) {
        let (height, width) = (self.of.height, self.of.width);
        for (row, lines) in rows.zip(lines.chunks_exact_mut(LINES * pitch)) {
            let (sample, y) = (row / self.down, row % self.down * OUTPUT_TILE);
            let image = &x[(sample * channels + channel) * height * width..][..height * width];
            for (i, lines) in lines.chunks_exact_mut(OUTPUT_TILE * pitch).enumerate() {
                if y + i == 0 || y + i > height {
                    lines.fill(0.0);
                } else {
                    split(&image[(y + i - 1) * width..][..width], first, lines, pitch);
                }
            }
        }
    }
}

/// Every fourth pixel: line s has those at 4 q + s - 1 for the tiles q from `first` on; 0 outside
/// of the row.
#[target_feature(enable = "avx512f")]
#[inline]
fn split(row: &[f32], first: usize, lines: &mut [f32], pitch: usize) {
    assert_eq!(lines.len(), OUTPUT_TILE * pitch, "winograd: four lines are equally long");
    // The last is most often all that a vector more would hold.
    let n = pitch - 1;
    for (s, line) in lines.chunks_exact_mut(pitch).enumerate() {
        line[n] = row.get((OUTPUT_TILE * (first + n) + s).wrapping_sub(1)).copied().unwrap_or(0.0);
    }
    for q in (0..n).step_by(LANES) {
        // The first pixel of four vectors, which stands one before the row for the first tile.
        let at = OUTPUT_TILE * (first + q);
        let skip = u64::from(at == 0);
        let inside = (row.len() + 1).saturating_sub(at).min(OUTPUT_TILE * LANES);
        let bits = ((1u128 << inside) - 1) as u64 & !skip;
        let from = row.as_ptr().wrapping_add(at).wrapping_sub(1);
        let mask = ((1u32 << (n - q).min(LANES)) - 1) as u16;
        // SAFETY: the masks admit what lies in the row and in the lines.
        unsafe {
            let pixels: [__m512; OUTPUT_TILE] = std::array::from_fn(|i| {
                _mm512_maskz_loadu_ps((bits >> (i * LANES)) as u16, from.wrapping_add(i * LANES))
            });
            let order = [FIRST, SECOND].map(|o| _mm512_loadu_epi32(o.as_ptr()));
            let halves = |a, b| order.map(|order| _mm512_permutex2var_ps(a, order, b));
            let ([even, odd], [even_too, odd_too]) = (halves(pixels[0], pixels[1]), halves(pixels[2], pixels[3]));
            let ([zero, two], [one, three]) = (halves(even, even_too), halves(odd, odd_too));
            for (s, pixels) in [zero, one, two, three].into_iter().enumerate() {
                _mm512_mask_storeu_ps(lines[s * pitch + q..].as_mut_ptr(), mask, pixels);
            }
        }
    }
}

/// Every second of two vectors' values.
const FIRST: [i32; LANES] = [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30];
const SECOND: [i32; LANES] = [1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31];

/// # Safety
/// AVX-512 is there, and so are 16 values on all lines from the places on, and all planes in `out`.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn transform<const P: usize>(lines: &[f32], places: &[i32; LANES], pitch: usize, out: &mut [f32], plane: usize) {
    // SAFETY: AVX-512, all lines from the places on and all planes are there, says the caller.
    unsafe {
        // Bᵀ d, then its rows times B.
        let mut rows = [[_mm512_setzero_ps(); INPUT_TILE]; INPUT_TILE];
        for j in 0..INPUT_TILE {
            let line = lines.as_ptr().add(j % OUTPUT_TILE * pitch + j / OUTPUT_TILE);
            let mut column = [_mm512_setzero_ps(); INPUT_TILE];
            for (i, value) in column.iter_mut().enumerate() {
                *value = load::<P>(line.add(i * OUTPUT_TILE * pitch), places);
            }
            for (row, value) in rows.iter_mut().zip(apply_bt(&column)) {
                row[j] = value;
            }
        }
        for (i, row) in rows.iter().enumerate() {
            for (j, value) in apply_bt(row).into_iter().enumerate() {
                _mm512_storeu_ps(out.as_mut_ptr().add((INPUT_TILE * i + j) * plane), value);
            }
        }
    }
}

/// Bᵀ d of one column.
#[target_feature(enable = "avx512f")]
#[inline]
fn apply_bt(d: &[__m512; INPUT_TILE]) -> [__m512; INPUT_TILE] {
    // x (x ± p) (x² - q²) over the denominator of ±p: what is even in p, and what is odd.
    let pair = |p: f32, q2: f32, denominator: f64| {
        let factor = |numerator: f32| _mm512_set1_ps((f64::from(numerator) / denominator) as f32);
        let even = _mm512_fnmadd_ps(factor(q2), d[2], _mm512_mul_ps(factor(1.0), d[4]));
        let odd = _mm512_fnmadd_ps(factor(p * q2), d[1], _mm512_mul_ps(factor(p), d[3]));
        [_mm512_add_ps(even, odd), _mm512_sub_ps(even, odd)]
    };
    let ([a, minus_a], [b, minus_b]) = (pair(A, B2, AT_A), pair(B, A2, AT_B));
    let factor = |v: f64| _mm512_set1_ps(v as f32);
    // (x² - a²) (x² - b²), over its value at 0, and x times that as it is.
    let sum = f64::from(A2 + B2);
    let zero = _mm512_fmadd_ps(factor(1.0 / AT_ZERO), d[4], _mm512_fnmadd_ps(factor(sum / AT_ZERO), d[2], d[0]));
    let infinity = _mm512_fmadd_ps(factor(AT_ZERO), d[1], _mm512_fnmadd_ps(factor(sum), d[3], d[5]));
    [zero, a, minus_a, b, minus_b, infinity]
}

/// 16 values: P pieces that lie at the first, (16 / P)-th … of the places from `at` on.
///
/// # Safety
/// AVX-512 is there, and these values may be read.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn load<const P: usize>(at: *const f32, places: &[i32; LANES]) -> __m512 {
    // SAFETY: AVX-512 and these values are there, says the caller.
    unsafe {
        match P {
            1 => _mm512_loadu_ps(at.add(places[0] as usize)),
            2 => {
                let first = _mm512_castps_pd(_mm512_castps256_ps512(_mm256_loadu_ps(at.add(places[0] as usize))));
                let second = _mm256_castps_pd(_mm256_loadu_ps(at.add(places[8] as usize)));
                _mm512_castpd_ps(_mm512_insertf64x4::<1>(first, second))
            }
            4 => {
                let [a, b, c, d] = [0, 4, 8, 12].map(|lane| _mm_loadu_ps(at.add(places[lane] as usize)));
                joined(a, b, c, d)
            }
            8 => {
                let two = |lane: usize| at.add(places[lane] as usize).cast::<i64>().read_unaligned();
                let [a, b, c, d] = [0, 4, 8, 12].map(|lane| _mm_castsi128_ps(_mm_set_epi64x(two(lane + 2), two(lane))));
                joined(a, b, c, d)
            }
            _ => _mm512_i32gather_ps::<4>(_mm512_loadu_epi32(places.as_ptr()), at),
        }
    }
}

/// Four quarters of a vector.
#[target_feature(enable = "avx512f")]
#[inline]
fn joined(a: __m128, b: __m128, c: __m128, d: __m128) -> __m512 {
    let low = _mm512_insertf32x4::<1>(_mm512_castps128_ps512(a), b);
    _mm512_insertf32x4::<3>(_mm512_insertf32x4::<2>(low, c), d)
}
