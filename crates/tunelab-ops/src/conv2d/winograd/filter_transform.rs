//! Filters as F(4x4, 3x3) multiplies by them: G g Gᵀ, 16 at a time, where a row of G is (1 p p²)
//! for each of the `points`, and (0 0 1) for the one at infinity.
//!
//! In: a block of a weight's filters. Out: their 36 planes, or the half of the transform.
//!
//! Plane 6 i + j holds element (i, j).
#![expect(
    unsafe_code,
    reason = "vector instructions are called by name, on pointers into slices whose sizes are checked"
)]

use crate::conv2d::winograd::batched_gemm::{STEPS, WIDE, place, room};
use crate::conv2d::winograd::interpolation_points::{A, A2, B, B2};
use crate::conv2d::winograd::tiling::{INPUT_TILE, PLANES};
use crate::cpu::prefetch::Prefetch;
use crate::gemm::columns::LANES;
use half::bf16;
use std::arch::x86_64::{
    __m512, _mm_loadu_ps, _mm256_set_epi64x, _mm512_castpd_ps, _mm512_castps_pd, _mm512_castps128_ps512,
    _mm512_castsi512_ps, _mm512_cvtepu16_epi32, _mm512_fmadd_ps, _mm512_fnmadd_ps, _mm512_insertf32x4, _mm512_set1_ps,
    _mm512_slli_epi32, _mm512_storeu_ps, _mm512_unpackhi_pd, _mm512_unpackhi_ps, _mm512_unpacklo_pd,
    _mm512_unpacklo_ps,
};
use std::ops::Range;

/// Taps of a filter.
const TAPS: usize = 9;
/// Columns of a filter.
pub(super) const COLUMNS: usize = 3;

/// What a weight's values are: f32, or bf16 that is upcast.
pub(in crate::conv2d) trait FilterValue: Copy + Default + Sync {
    /// Four values at each of four places, in the order of the places.
    ///
    /// # Safety
    /// AVX-512 is there, and these values may be read.
    unsafe fn quarters(at: [*const Self; 4]) -> __m512;
}

impl FilterValue for f32 {
    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn quarters(at: [*const Self; 4]) -> __m512 {
        // SAFETY: AVX-512 and four values at each place are there, says the caller.
        unsafe {
            let v = _mm512_castps128_ps512(_mm_loadu_ps(at[0]));
            let v = _mm512_insertf32x4::<1>(v, _mm_loadu_ps(at[1]));
            let v = _mm512_insertf32x4::<2>(v, _mm_loadu_ps(at[2]));
            _mm512_insertf32x4::<3>(v, _mm_loadu_ps(at[3]))
        }
    }
}

impl FilterValue for bf16 {
    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn quarters(at: [*const Self; 4]) -> __m512 {
        // SAFETY: four values, 64 bits, are at each place, says the caller.
        let [a, b, c, d] = at.map(|at| unsafe { at.cast::<i64>().read_unaligned() });
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(_mm256_set_epi64x(d, c, b, a))))
    }
}

/// A weight [outputs, inputs, 3, 3], from inputs to outputs or, rotated by 180 degrees (`flipped`),
/// back: the matrix [m, k] of its filters.
#[derive(Clone, Copy)]
pub(in crate::conv2d) struct Filters<'a, T> {
    pub values: &'a [T],
    pub inputs: usize,
    pub flipped: bool,
}

impl<T: FilterValue> Filters<'_, T> {
    /// m and k: to and from how many channels.
    pub(in crate::conv2d) fn sizes(&self) -> (usize, usize) {
        let outputs = self.values.len() / (self.inputs * TAPS);
        if self.flipped { (self.inputs, outputs) } else { (outputs, self.inputs) }
    }

    /// Values from a filter to that of the next row, and to that of the next column of the matrix.
    fn apart(&self) -> (usize, usize) {
        let (near, far) = (TAPS, self.inputs * TAPS);
        if self.flipped { (near, far) } else { (far, near) }
    }

    /// Where a block of the matrix lies in memory.
    pub(super) fn pieces(&self, rows: &Range<usize>, depths: &Range<usize>) -> Pieces {
        let (row, depth) = self.apart();
        let (count, length) = if self.flipped { (depths.len(), rows.len()) } else { (rows.len(), depths.len()) };
        let first = self.values.as_ptr().wrapping_add(rows.start * row + depths.start * depth).cast();
        let count = if length == 0 { 0 } else { count };
        // In f32; an odd number of bf16 is half a value off, of which nothing depends.
        let as_full = |n: usize| n * size_of::<T>() / size_of::<f32>();
        Pieces { first, count, length: as_full(length * TAPS), apart: as_full(row.max(depth)) }
    }

    /// Transforms a block of the matrix. For each group of three vectors of rows `out` gets, for
    /// each of eight columns, the vectors plane by plane, with 0 behind the last row.
    #[target_feature(enable = "avx512f")]
    pub(super) fn transform(&self, rows: &Range<usize>, depths: &Range<usize>, out: &mut [f32]) {
        let vectors = rows.len().div_ceil(LANES);
        // In the order in which the weight lies in memory.
        if self.flipped {
            for step in 0..depths.len() {
                for vector in 0..vectors {
                    self.vector(rows, depths, (vector, step), out);
                }
            }
        } else {
            for vector in 0..vectors {
                for step in 0..depths.len() {
                    self.vector(rows, depths, (vector, step), out);
                }
            }
        }
    }

    /// The same for a vector of rows of one column.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn vector(&self, rows: &Range<usize>, depths: &Range<usize>, (vector, step): (usize, usize), out: &mut [f32]) {
        let (row, column) = self.apart();
        let vectors = rows.len().div_ceil(LANES);
        let first = rows.start + vector * LANES;
        let count = LANES.min(rows.end - first);
        let (group, within) = (vector / WIDE, vector % WIDE);
        let wide = WIDE.min(vectors - group * WIDE);
        let filters = &self.values[first * row + (depths.start + step) * column..][..(count - 1) * row + TAPS];
        let at = group * WIDE * LANES * room(depths.len()) + place(step, wide * LANES) + within * LANES;
        let out = &mut out[at..][..(PLANES - 1) * STEPS * wide * LANES + LANES];
        if count < LANES {
            let whole = whole(filters, row, count);
            // SAFETY: this function needs AVX-512 itself; 16 filters and all planes lie inside the
            // slices.
            unsafe { self.turned_or_not(&whole, TAPS, wide, out) };
        } else {
            // SAFETY: this function needs AVX-512 itself; 16 filters and all planes lie inside the
            // slices.
            unsafe { self.turned_or_not(filters, row, wide, out) };
        }
    }

    /// Transforms 16 filters to planes of `wide` vectors.
    ///
    /// # Safety
    /// AVX-512 is there, and so are 16 filters that are `row` apart and all planes.
    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn turned_or_not(&self, filters: &[T], row: usize, wide: usize, out: &mut [f32]) {
        // SAFETY: AVX-512, 16 filters and all planes are there, says the caller.
        unsafe {
            match (self.flipped, wide) {
                (false, 1) => transform::<T, false, 1>(filters, row, out),
                (false, 2) => transform::<T, false, 2>(filters, row, out),
                (false, _) => transform::<T, false, WIDE>(filters, row, out),
                (true, 1) => transform::<T, true, 1>(filters, row, out),
                (true, 2) => transform::<T, true, 2>(filters, row, out),
                (true, _) => transform::<T, true, WIDE>(filters, row, out),
            }
        }
    }

    /// Transforms the columns of a block of up to 16 rows: G g. For each row of that `out` gets,
    /// for each column of the block, three vectors.
    #[target_feature(enable = "avx512f")]
    pub(super) fn halves(&self, rows: &Range<usize>, depths: &Range<usize>, out: &mut [f32]) {
        let (row, column) = self.apart();
        let apart = depths.len() * COLUMNS * LANES;
        assert!(rows.len() <= LANES && out.len() >= INPUT_TILE * apart, "winograd: too little room for filters");
        for (step, depth) in depths.clone().enumerate() {
            let filters = &self.values[rows.start * row + depth * column..][..(rows.len() - 1) * row + TAPS];
            let out = &mut out[step * COLUMNS * LANES..];
            // SAFETY: this function needs AVX-512 itself; 16 filters are there, and `out` was
            // measured.
            unsafe {
                if rows.len() < LANES {
                    half(self.flipped, &whole(filters, row, rows.len()), TAPS, out, apart);
                } else {
                    half(self.flipped, filters, row, out, apart);
                }
            }
        }
    }
}

/// `count` filters that are `row` apart, and behind them others of zeros.
#[cold]
fn whole<T: FilterValue>(filters: &[T], row: usize, count: usize) -> [T; LANES * TAPS] {
    let mut whole = [T::default(); LANES * TAPS];
    for (i, whole) in whole.chunks_exact_mut(TAPS).enumerate().take(count) {
        whole.copy_from_slice(&filters[i * row..i * row + TAPS]);
    }
    whole
}

/// So many pieces of memory, of `length` values each, from the first on `apart` values from one
/// another.
#[derive(Clone, Copy)]
pub(super) struct Pieces {
    first: *const f32,
    pub count: usize,
    length: usize,
    apart: usize,
}

impl Pieces {
    /// All of their lines.
    pub(super) fn all(self) -> Prefetch {
        Prefetch::new(self.first, self.apart, self.length.div_ceil(LANES), self.count)
    }

    /// For each piece its lines, spread over a number of groups of steps.
    pub(super) fn lines(self, groups: usize) -> impl Iterator<Item = Prefetch> {
        let lines = self.length.div_ceil(LANES).div_ceil(groups);
        let prefetch = move |piece| Prefetch::new(self.first.wrapping_add(piece * self.apart), lines * LANES, lines, 1);
        (0..self.count).map(prefetch)
    }
}

/// Transforms 16 filters, rotated by 180 degrees or not, to planes of W vectors.
///
/// # Safety
/// AVX-512 is there; there are 16 filters and all planes.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn transform<T: FilterValue, const FLIP: bool, const W: usize>(filters: &[T], row: usize, out: &mut [f32]) {
    // SAFETY: AVX-512, 16 filters and all planes are there, says the caller.
    unsafe {
        // G g, then its rows times Gᵀ.
        for (i, row) in rows(columns(FLIP, filters, row)).into_iter().enumerate() {
            for (j, value) in apply_g(row).into_iter().enumerate() {
                _mm512_storeu_ps(out.as_mut_ptr().add((INPUT_TILE * i + j) * STEPS * W * LANES), value);
            }
        }
    }
}

/// G g of 16 filters, rotated by 180 degrees or not: rows of three vectors, `apart` values from one
/// another.
///
/// # Safety
/// AVX-512 is there; there are 16 filters and all rows.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn half<T: FilterValue>(flip: bool, filters: &[T], row: usize, out: &mut [f32], apart: usize) {
    // SAFETY: AVX-512, 16 filters and all rows are there, says the caller.
    unsafe {
        for (i, row) in rows(columns(flip, filters, row)).into_iter().enumerate() {
            for (j, value) in row.into_iter().enumerate() {
                _mm512_storeu_ps(out.as_mut_ptr().add(i * apart + j * LANES), value);
            }
        }
    }
}

/// The columns of 16 filters that are `row` apart, rotated by 180 degrees or not.
///
/// # Safety
/// AVX-512 is there, and so are 16 filters.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn columns<T: FilterValue>(flip: bool, filters: &[T], row: usize) -> [[__m512; 3]; COLUMNS] {
    // SAFETY: AVX-512 and 16 filters of nine taps are there, says the caller.
    unsafe {
        let at = [0, 4, 8, 12].map(|filter| filters.as_ptr().add(filter * row));
        let [a, b, c, d] = four(at, row);
        let [e, f, g, h] = four(at.map(|at| at.add(4)), row);
        let [_, _, _, i] = four(at.map(|at| at.add(5)), row);
        if flip { [[i, f, c], [h, e, b], [g, d, a]] } else { [[a, d, g], [b, e, h], [c, f, i]] }
    }
}

/// The rows of G g.
#[target_feature(enable = "avx512f")]
#[inline]
#[expect(clippy::large_types_passed_by_value, reason = "they are registers")]
fn rows(columns: [[__m512; 3]; COLUMNS]) -> [[__m512; COLUMNS]; INPUT_TILE] {
    let mut rows = [columns[0]; INPUT_TILE];
    for (j, column) in columns.into_iter().enumerate() {
        for (row, value) in rows.iter_mut().zip(apply_g(column)) {
            row[j] = value;
        }
    }
    rows
}

/// G g of one column.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn apply_g([a, b, c]: [__m512; 3]) -> [__m512; INPUT_TILE] {
    let [p, p2, q, q2] = [A, A2, B, B2].map(|v| _mm512_set1_ps(v));
    let (near, far) = (_mm512_fmadd_ps(p2, c, a), _mm512_fmadd_ps(q2, c, a));
    [
        a,
        _mm512_fmadd_ps(p, b, near),
        _mm512_fnmadd_ps(p, b, near),
        _mm512_fmadd_ps(q, b, far),
        _mm512_fnmadd_ps(q, b, far),
        c,
    ]
}

/// Four taps of 16 filters that are `row` apart: those of every fourth filter lie at `at`.
///
/// # Safety
/// AVX-512 is there, and these values may be read.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn four<T: FilterValue>(at: [*const T; 4], row: usize) -> [__m512; 4] {
    // SAFETY: AVX-512 and four taps of 16 filters are there, says the caller.
    let r: [__m512; 4] = std::array::from_fn(|j| unsafe { T::quarters(at.map(|at| at.add(j * row))) });
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
