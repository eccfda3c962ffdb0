//! Kernels as F(2x2, 3x3) multiplies by them: G g Gᵀ, 16 at a time, with G = (1 0 0; ½ ½ ½; ½ -½ ½; 0 0 1).
//!
//! Plane 4 i + j holds element (i, j). A kernel turned by 180 degrees has the same planes, but with the first and the last row
//! and column exchanged.
#![expect(
    unsafe_code,
    reason = "vector instructions are called by name, on pointers into slices whose sizes are checked"
)]

use super::super::super::product::LANES;
use super::PLANES;
use super::sums::{Ahead, STEPS, WIDE, place, room};
use std::arch::x86_64::{
    __m512, _mm_loadu_ps, _mm512_add_ps, _mm512_castpd_ps, _mm512_castps_pd, _mm512_castps128_ps512,
    _mm512_insertf32x4, _mm512_mul_ps, _mm512_set1_ps, _mm512_storeu_ps, _mm512_sub_ps, _mm512_unpackhi_pd,
    _mm512_unpackhi_ps, _mm512_unpacklo_pd, _mm512_unpacklo_ps,
};
use std::ops::Range;

/// Taps of a kernel.
const TAPS: usize = 9;
/// Where a turned kernel has row or column i.
const TURNED: [usize; 4] = [3, 1, 2, 0];

/// A weight [outputs, inputs, 3, 3], from inputs to outputs or, turned, back: the matrix [m, k] of its kernels.
#[derive(Clone, Copy)]
pub(in super::super) struct Kernels<'a> {
    pub values: &'a [f32],
    pub inputs: usize,
    pub turned: bool,
}

impl Kernels<'_> {
    /// m and k: to and from how many channels.
    pub(super) fn sizes(&self) -> (usize, usize) {
        let outputs = self.values.len() / (self.inputs * TAPS);
        if self.turned { (self.inputs, outputs) } else { (outputs, self.inputs) }
    }

    /// Values from a kernel to that of the next row, and to that of the next column of the matrix.
    fn apart(&self) -> (usize, usize) {
        let (near, far) = (TAPS, self.inputs * TAPS);
        if self.turned { (near, far) } else { (far, near) }
    }

    /// Where a block of the matrix lies in memory.
    pub(super) fn pieces(&self, rows: &Range<usize>, depths: &Range<usize>) -> Pieces {
        let (row, depth) = self.apart();
        let (count, length) = if self.turned { (depths.len(), rows.len()) } else { (rows.len(), depths.len()) };
        let first = self.values.as_ptr().wrapping_add(rows.start * row + depths.start * depth);
        let count = if length == 0 { 0 } else { count };
        Pieces { first, count, length: length * TAPS, apart: row.max(depth) }
    }

    /// Transforms a block of the matrix. For each group of three vectors of rows `out` gets, for each of eight columns, the vectors
    /// plane by plane, with 0 behind the last row.
    #[target_feature(enable = "avx512f")]
    pub(super) fn transform(&self, rows: &Range<usize>, depths: &Range<usize>, out: &mut [f32]) {
        let (row, column) = self.apart();
        let vectors = rows.len().div_ceil(LANES);
        for i in 0..vectors * depths.len() {
            // In the order in which the weight lies in memory.
            let (vector, step) =
                if self.turned { (i % vectors, i / vectors) } else { (i / depths.len(), i % depths.len()) };
            let first = rows.start + vector * LANES;
            let count = LANES.min(rows.end - first);
            let (group, within) = (vector / WIDE, vector % WIDE);
            let wide = WIDE.min(vectors - group * WIDE);
            let kernels = &self.values[first * row + (depths.start + step) * column..][..(count - 1) * row + TAPS];
            let at = group * WIDE * LANES * room(depths.len()) + place(step, wide * LANES) + within * LANES;
            let plane = STEPS * wide * LANES;
            let out = &mut out[at..][..(PLANES - 1) * plane + LANES];
            let mut whole = [0.0; LANES * TAPS];
            let (kernels, row) = if count == LANES {
                (kernels, row)
            } else {
                for (i, whole) in whole.chunks_exact_mut(TAPS).enumerate().take(count) {
                    whole.copy_from_slice(&kernels[i * row..i * row + TAPS]);
                }
                (&whole[..], TAPS)
            };
            // SAFETY: AVX-512 is there, and so are 16 kernels and 16 planes.
            unsafe {
                if self.turned {
                    transform::<true>(kernels, row, out, plane);
                } else {
                    transform::<false>(kernels, row, out, plane);
                }
            }
        }
    }
}

/// So many pieces of memory, of `length` values each, from the first on `apart` values from one another.
#[derive(Clone, Copy)]
pub(super) struct Pieces {
    first: *const f32,
    pub count: usize,
    length: usize,
    apart: usize,
}

impl Pieces {
    /// For each piece its lines, spread over a number of groups of steps.
    pub(super) fn lines(self, groups: usize) -> impl Iterator<Item = Ahead> {
        let lines = self.length.div_ceil(LANES).div_ceil(groups);
        let ahead = move |piece| Ahead { at: self.first.wrapping_add(piece * self.apart), lines, next: lines * LANES };
        (0..self.count).map(ahead)
    }
}

/// # Safety
/// AVX-512 is there; there are 16 kernels and 16 planes.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn transform<const TURN: bool>(kernels: &[f32], row: usize, out: &mut [f32], plane: usize) {
    // SAFETY: the caller's.
    unsafe {
        let [a, b, c, d] = four(kernels.as_ptr(), row);
        let [e, f, g, h] = four(kernels.as_ptr().add(4), row);
        let [_, _, _, i] = four(kernels.as_ptr().add(5), row);
        // G g, then its rows times Gᵀ.
        let columns = [[a, d, g], [b, e, h], [c, f, i]].map(|column| spread(column));
        for i in 0..4 {
            let elements = spread([columns[0][i], columns[1][i], columns[2][i]]);
            for (j, value) in elements.into_iter().enumerate() {
                let at = if TURN { 4 * TURNED[i] + TURNED[j] } else { 4 * i + j };
                _mm512_storeu_ps(out.as_mut_ptr().add(at * plane), value);
            }
        }
    }
}

/// G g of one column.
#[target_feature(enable = "avx512f")]
#[inline]
fn spread([a, b, c]: [__m512; 3]) -> [__m512; 4] {
    let half = _mm512_set1_ps(0.5);
    let outer = _mm512_add_ps(a, c);
    [a, _mm512_mul_ps(half, _mm512_add_ps(outer, b)), _mm512_mul_ps(half, _mm512_sub_ps(outer, b)), c]
}

/// Four taps, from `at` on, of 16 kernels that are `row` apart.
///
/// # Safety
/// AVX-512 is there, and these values may be read.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn four(at: *const f32, row: usize) -> [__m512; 4] {
    // SAFETY: the caller's.
    let r: [__m512; 4] = std::array::from_fn(|j| unsafe {
        let v = _mm512_castps128_ps512(_mm_loadu_ps(at.add(j * row)));
        let v = _mm512_insertf32x4::<1>(v, _mm_loadu_ps(at.add((4 + j) * row)));
        let v = _mm512_insertf32x4::<2>(v, _mm_loadu_ps(at.add((8 + j) * row)));
        _mm512_insertf32x4::<3>(v, _mm_loadu_ps(at.add((12 + j) * row)))
    });
    let low = [_mm512_unpacklo_ps(r[0], r[1]), _mm512_unpacklo_ps(r[2], r[3])].map(|v| _mm512_castps_pd(v));
    let high = [_mm512_unpackhi_ps(r[0], r[1]), _mm512_unpackhi_ps(r[2], r[3])].map(|v| _mm512_castps_pd(v));
    [
        _mm512_unpacklo_pd(low[0], low[1]),
        _mm512_unpackhi_pd(low[0], low[1]),
        _mm512_unpacklo_pd(high[0], high[1]),
        _mm512_unpackhi_pd(high[0], high[1]),
    ]
    .map(|v| _mm512_castpd_ps(v))
}
