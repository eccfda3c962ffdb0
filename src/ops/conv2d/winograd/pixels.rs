//! Pixels as F(2x2, 3x3) multiplies them: Bᵀ d B, 16 tiles at a time, with Bᵀ = (1 0 -1 0; 0 1 1 0; 0 -1 1 0; 0 1 0 -1).
//!
//! Plane 4 i + j holds element (i, j).
#![expect(
    unsafe_code,
    reason = "vector instructions are called by name, on pointers into slices whose sizes are checked"
)]

use super::super::super::host::Scratch;
use super::super::super::product::LANES;
use super::PLANES;
use super::grid::Grid;
use super::sums::{STEPS, place};
use std::arch::x86_64::{
    __m512, _mm_loadu_ps, _mm256_castps_pd, _mm256_loadu_ps, _mm512_add_ps, _mm512_castpd_ps, _mm512_castps_pd,
    _mm512_castps128_ps512, _mm512_castps256_ps512, _mm512_i32gather_ps, _mm512_insertf32x4, _mm512_insertf64x4,
    _mm512_loadu_epi32, _mm512_loadu_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_permutex2var_ps,
    _mm512_storeu_ps, _mm512_sub_ps,
};
use std::ops::Range;

/// Lines of a row of tiles.
const LINES: usize = 8;
/// Channels whose pixels are split before the first is transformed: what was just stored cannot be loaded at once in other
/// pieces.
const BATCH: usize = 4;

impl Grid {
    /// Transforms the pixels of some tiles, from a multiple of 16 on, in channels `some` of `channels`. For each vector of 16 tiles
    /// `out` gets `vector` values: for each of eight channels, the planes one after the other.
    #[target_feature(enable = "avx512f")]
    pub(super) fn pixels(
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
                    // SAFETY: AVX-512 is there; the places and 8 lines from each of them on lie inside `lines`, 16 planes inside `out`.
                    unsafe {
                        match self.run {
                            16 => pixels::<1>(lines, &places, pitch, out, plane),
                            8 => pixels::<2>(lines, &places, pitch, out, plane),
                            4 => pixels::<4>(lines, &places, pitch, out, plane),
                            _ => pixels::<16>(lines, &places, pitch, out, plane),
                        }
                    }
                }
            }
        }
    }

    /// The pixels under rows of tiles in one channel: for each row of tiles four rows of pixels, of each of which those at odd and at
    /// even columns are apart.
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
            let (sample, y) = (row / self.down, row % self.down * 2);
            let picture = &x[(sample * channels + channel) * height * width..][..height * width];
            for (i, lines) in lines.chunks_exact_mut(2 * pitch).enumerate() {
                let (odd, even) = lines.split_at_mut(pitch);
                if y + i == 0 || y + i > height {
                    odd.fill(0.0);
                    even.fill(0.0);
                } else {
                    split(&picture[(y + i - 1) * width..][..width], first, odd, even);
                }
            }
        }
    }
}

/// The pixels one left of the results of tiles from `first` on, 2 q - 1, and those at them, 2 q, apart; 0 outside of the row.
#[target_feature(enable = "avx512f")]
#[inline]
fn split(row: &[f32], first: usize, odd: &mut [f32], even: &mut [f32]) {
    assert_eq!(odd.len(), even.len(), "winograd: odd and even columns are equally many");
    // The last is most often all that a vector more would hold.
    let n = even.len() - 1;
    let value = |at: usize| row.get(at).copied().unwrap_or(0.0);
    (odd[n], even[n]) = (value(2 * (first + n) - 1), value(2 * (first + n)));
    for q in (0..n).step_by(LANES) {
        // The first pixel of two vectors, which stands one before the row for the first tile.
        let at = 2 * (first + q);
        let skip = usize::from(at == 0);
        let inside = (row.len() + 1).saturating_sub(at).min(2 * LANES);
        let bits = ((1u64 << inside) - 1) as u32 & !(skip as u32);
        let from = row.as_ptr().wrapping_add(at).wrapping_sub(1);
        let mask = ((1u32 << (n - q).min(LANES)) - 1) as u16;
        // SAFETY: the masks admit what lies in the row, in `odd` and in `even`.
        unsafe {
            let a = _mm512_maskz_loadu_ps(bits as u16, from);
            let b = _mm512_maskz_loadu_ps((bits >> LANES) as u16, from.wrapping_add(LANES));
            let [first, second] = [FIRST, SECOND].map(|o| _mm512_loadu_epi32(o.as_ptr()));
            _mm512_mask_storeu_ps(odd[q..].as_mut_ptr(), mask, _mm512_permutex2var_ps(a, first, b));
            _mm512_mask_storeu_ps(even[q..].as_mut_ptr(), mask, _mm512_permutex2var_ps(a, second, b));
        }
    }
}

/// Every second of two vectors' values.
const FIRST: [i32; LANES] = [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30];
const SECOND: [i32; LANES] = [1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31];

/// # Safety
/// As `load`; `out` has 16 planes.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn pixels<const P: usize>(lines: &[f32], places: &[i32; LANES], pitch: usize, out: &mut [f32], plane: usize) {
    // SAFETY: the caller's.
    unsafe {
        let d: [[__m512; 4]; 4] = std::array::from_fn(|i| {
            std::array::from_fn(|j| load::<P>(lines.as_ptr().add((2 * i + j % 2) * pitch + j / 2), places))
        });
        // Bᵀ d, then its rows times B.
        let rows: [[__m512; 4]; 4] = turn(std::array::from_fn(|j| across([d[0][j], d[1][j], d[2][j], d[3][j]])));
        for (i, row) in rows.into_iter().enumerate() {
            for (j, value) in across(row).into_iter().enumerate() {
                _mm512_storeu_ps(out.as_mut_ptr().add((4 * i + j) * plane), value);
            }
        }
    }
}

#[inline(always)]
fn turn(v: [[__m512; 4]; 4]) -> [[__m512; 4]; 4] {
    std::array::from_fn(|i| std::array::from_fn(|j| v[j][i]))
}

/// Bᵀ d of one column.
#[target_feature(enable = "avx512f")]
#[inline]
fn across([a, b, c, d]: [__m512; 4]) -> [__m512; 4] {
    [_mm512_sub_ps(a, c), _mm512_add_ps(b, c), _mm512_sub_ps(c, b), _mm512_sub_ps(b, d)]
}

/// 16 values: P pieces that lie at the first, (16 / P)-th … of the places from `at` on.
///
/// # Safety
/// AVX-512 is there, and these values may be read.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn load<const P: usize>(at: *const f32, places: &[i32; LANES]) -> __m512 {
    // SAFETY: the caller's.
    unsafe {
        match P {
            1 => _mm512_loadu_ps(at.add(places[0] as usize)),
            2 => {
                let first = _mm512_castps_pd(_mm512_castps256_ps512(_mm256_loadu_ps(at.add(places[0] as usize))));
                let second = _mm256_castps_pd(_mm256_loadu_ps(at.add(places[8] as usize)));
                _mm512_castpd_ps(_mm512_insertf64x4::<1>(first, second))
            }
            4 => {
                let v = _mm512_castps128_ps512(_mm_loadu_ps(at.add(places[0] as usize)));
                let v = _mm512_insertf32x4::<1>(v, _mm_loadu_ps(at.add(places[4] as usize)));
                let v = _mm512_insertf32x4::<2>(v, _mm_loadu_ps(at.add(places[8] as usize)));
                _mm512_insertf32x4::<3>(v, _mm_loadu_ps(at.add(places[12] as usize)))
            }
            _ => _mm512_i32gather_ps::<4>(_mm512_loadu_epi32(places.as_ptr()), at),
        }
    }
}
