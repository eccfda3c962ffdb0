//! Filters as F(4x4, 3x3) multiplies by them: G g Gᵀ, 16 at a time, where a row of G is (1 p p²)
//! for each of the `points`, and (0 0 1) for the one at infinity.
//!
//! In: a block of a weight's filters. Out: their 36 planes, or the half of the transform.
//!
//! Plane 6 i + j holds element (i, j).
#![expect(unsafe_code, reason = "values are loaded and stored through pointers into slices whose sizes are checked")]

use crate::conv2d::winograd::batched_gemm::{STEPS, place, room, wide};
use crate::conv2d::winograd::interpolation_points::{A, A2, B, B2};
use crate::conv2d::winograd::tiling::{INPUT_TILE, PLANES};
use crate::cpu::prefetch::Prefetch;
use crate::simd::isa::{Isa, LANES};
use half::bf16;
use std::ops::Range;

/// Taps of a filter.
pub(super) const TAPS: usize = 9;
/// Columns of a filter.
pub(super) const COLUMNS: usize = 3;

/// What a weight's values are: f32, or bf16 that is upcast.
pub(in crate::conv2d) trait FilterValue: Copy + Default + Sync {
    /// Four values at each of four places, in the order of the places.
    ///
    /// # Safety
    /// These values may be read.
    unsafe fn quarters<S: Isa>(isa: S, at: [*const Self; 4]) -> S::F32;
}

impl FilterValue for f32 {
    #[inline(always)]
    unsafe fn quarters<S: Isa>(isa: S, at: [*const Self; 4]) -> S::F32 {
        // SAFETY: four values at each place are there, says the caller.
        unsafe { isa.load_quarters(at) }
    }
}

impl FilterValue for bf16 {
    #[inline(always)]
    unsafe fn quarters<S: Isa>(isa: S, at: [*const Self; 4]) -> S::F32 {
        // SAFETY: four values at each place are there, says the caller.
        unsafe { isa.upcast_quarters(at) }
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
    #[inline(always)]
    pub(super) fn transform<S: Isa>(&self, isa: S, rows: &Range<usize>, depths: &Range<usize>, out: &mut [f32]) {
        let vectors = rows.len().div_ceil(LANES);
        // In the order in which the weight lies in memory.
        if self.flipped {
            for step in 0..depths.len() {
                for vector in 0..vectors {
                    self.vector(isa, rows, depths, (vector, step), out);
                }
            }
        } else {
            for vector in 0..vectors {
                for step in 0..depths.len() {
                    self.vector(isa, rows, depths, (vector, step), out);
                }
            }
        }
    }

    /// The same for a vector of rows of one column.
    #[inline(always)]
    fn vector<S: Isa>(
        &self,
        isa: S,
        rows: &Range<usize>,
        depths: &Range<usize>,
        (vector, step): (usize, usize),
        out: &mut [f32],
    ) {
        let (row, column) = self.apart();
        let vectors = rows.len().div_ceil(LANES);
        let first = rows.start + vector * LANES;
        let count = LANES.min(rows.end - first);
        let (group, within) = (vector / wide::<S>(), vector % wide::<S>());
        let wide = wide::<S>().min(vectors - group * wide::<S>());
        let filters = &self.values[first * row + (depths.start + step) * column..][..(count - 1) * row + TAPS];
        let at = group * self::wide::<S>() * LANES * room(depths.len()) + place(step, wide * LANES) + within * LANES;
        let out = &mut out[at..][..(PLANES - 1) * STEPS * wide * LANES + LANES];
        if count < LANES {
            let whole = whole(filters, row, count);
            // SAFETY: 16 filters and all planes lie inside the slices.
            unsafe { self.turned_or_not(isa, &whole, TAPS, wide, out) };
        } else {
            // SAFETY: 16 filters and all planes lie inside the slices.
            unsafe { self.turned_or_not(isa, filters, row, wide, out) };
        }
    }

    /// Transforms 16 filters to planes of `wide` vectors.
    ///
    /// # Safety
    /// There are 16 filters that are `row` apart and all planes.
    #[inline(always)]
    unsafe fn turned_or_not<S: Isa>(&self, isa: S, filters: &[T], row: usize, wide: usize, out: &mut [f32]) {
        // SAFETY: 16 filters and all planes are there, says the caller.
        unsafe {
            match wide {
                1 => transform(isa, self.flipped, filters, row, out, STEPS * LANES),
                2 if self::wide::<S>() >= 2 => transform(isa, self.flipped, filters, row, out, STEPS * 2 * LANES),
                3 if self::wide::<S>() >= 3 => transform(isa, self.flipped, filters, row, out, STEPS * 3 * LANES),
                _ => unreachable!("there are no more vectors of rows"),
            }
        }
    }

    /// Transforms a block of up to 16 rows to planes, each of a vector for each column of the block.
    #[inline(always)]
    pub(super) fn planes<S: Isa>(&self, isa: S, rows: &Range<usize>, depths: &Range<usize>, out: &mut [f32]) {
        let (row, column) = self.apart();
        let apart = depths.len() * LANES;
        assert!(rows.len() <= LANES && out.len() >= PLANES * apart, "winograd: too little room for filters");
        for (step, depth) in depths.clone().enumerate() {
            let filters = &self.values[rows.start * row + depth * column..][..(rows.len() - 1) * row + TAPS];
            let out = &mut out[step * LANES..];
            // SAFETY: 16 filters are there, and `out` was measured.
            unsafe {
                if rows.len() < LANES {
                    transform(isa, self.flipped, &whole(filters, row, rows.len()), TAPS, out, apart);
                } else {
                    transform(isa, self.flipped, filters, row, out, apart);
                }
            }
        }
    }

    /// Transforms the columns of a block of up to 16 rows: G g. For each row of that `out` gets,
    /// for each column of the block, three vectors.
    #[inline(always)]
    pub(super) fn halves<S: Isa>(&self, isa: S, rows: &Range<usize>, depths: &Range<usize>, out: &mut [f32]) {
        let (row, column) = self.apart();
        let apart = depths.len() * COLUMNS * LANES;
        assert!(rows.len() <= LANES && out.len() >= INPUT_TILE * apart, "winograd: too little room for filters");
        for (step, depth) in depths.clone().enumerate() {
            let filters = &self.values[rows.start * row + depth * column..][..(rows.len() - 1) * row + TAPS];
            let out = &mut out[step * COLUMNS * LANES..];
            // SAFETY: 16 filters are there, and `out` was measured.
            unsafe {
                if rows.len() < LANES {
                    half(isa, self.flipped, &whole(filters, row, rows.len()), TAPS, out, apart);
                } else {
                    half(isa, self.flipped, filters, row, out, apart);
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

/// Transforms 16 filters, rotated by 180 degrees or not, to planes that are `apart` values from one
/// another.
///
/// # Safety
/// There are 16 filters and all planes.
#[inline(always)]
unsafe fn transform<S: Isa, T: FilterValue>(
    isa: S,
    flip: bool,
    filters: &[T],
    row: usize,
    out: &mut [f32],
    apart: usize,
) {
    // SAFETY: 16 filters and all planes are there, says the caller.
    unsafe {
        // G g, then its rows times Gᵀ.
        for (i, row) in rows(isa, columns(isa, flip, filters, row)).into_iter().enumerate() {
            for (j, value) in apply_g(isa, row).into_iter().enumerate() {
                isa.store(out.as_mut_ptr().add((INPUT_TILE * i + j) * apart), value);
            }
        }
    }
}

/// G g of 16 filters, rotated by 180 degrees or not: rows of three vectors, `apart` values from one
/// another.
///
/// # Safety
/// There are 16 filters and all rows.
#[inline(always)]
unsafe fn half<S: Isa, T: FilterValue>(isa: S, flip: bool, filters: &[T], row: usize, out: &mut [f32], apart: usize) {
    // SAFETY: 16 filters and all rows are there, says the caller.
    unsafe {
        for (i, row) in rows(isa, columns(isa, flip, filters, row)).into_iter().enumerate() {
            for (j, value) in row.into_iter().enumerate() {
                isa.store(out.as_mut_ptr().add(i * apart + j * LANES), value);
            }
        }
    }
}

/// The columns of 16 filters that are `row` apart, rotated by 180 degrees or not.
///
/// # Safety
/// There are 16 filters.
#[inline(always)]
unsafe fn columns<S: Isa, T: FilterValue>(isa: S, flip: bool, filters: &[T], row: usize) -> [[S::F32; 3]; COLUMNS] {
    // SAFETY: 16 filters of nine taps are there, says the caller.
    unsafe {
        let at = [0, 4, 8, 12].map(|filter| filters.as_ptr().add(filter * row));
        let [a, b, c, d] = four(isa, at, row);
        let [e, f, g, h] = four(isa, at.map(|at| at.add(4)), row);
        let [_, _, _, i] = four(isa, at.map(|at| at.add(5)), row);
        if flip { [[i, f, c], [h, e, b], [g, d, a]] } else { [[a, d, g], [b, e, h], [c, f, i]] }
    }
}

/// The rows of G g.
#[inline(always)]
fn rows<S: Isa>(isa: S, columns: [[S::F32; 3]; COLUMNS]) -> [[S::F32; COLUMNS]; INPUT_TILE] {
    let mut rows = [columns[0]; INPUT_TILE];
    for (j, column) in columns.into_iter().enumerate() {
        for (row, value) in rows.iter_mut().zip(apply_g(isa, column)) {
            row[j] = value;
        }
    }
    rows
}

/// G g of one column.
#[inline(always)]
pub(super) fn apply_g<S: Isa>(isa: S, [a, b, c]: [S::F32; 3]) -> [S::F32; INPUT_TILE] {
    let (p, p2, q, q2) = (isa.splat(A), isa.splat(A2), isa.splat(B), isa.splat(B2));
    let (near, far) = (isa.fma(p2, c, a), isa.fma(q2, c, a));
    [a, isa.fma(p, b, near), isa.fnma(p, b, near), isa.fma(q, b, far), isa.fnma(q, b, far), c]
}

/// Gᵀ s of one column.
#[inline(always)]
pub(super) fn apply_gt<S: Isa>(
    isa: S,
    &[zero, a, minus_a, b, minus_b, infinity]: &[S::F32; INPUT_TILE],
) -> [S::F32; COLUMNS] {
    let (a_even, b_even) = (isa.add(a, minus_a), isa.add(b, minus_b));
    let (a_odd, b_odd) = (isa.sub(a, minus_a), isa.sub(b, minus_b));
    [
        isa.add(zero, isa.add(a_even, b_even)),
        isa.fma(isa.splat(B), b_odd, isa.mul(isa.splat(A), a_odd)),
        isa.fma(isa.splat(B2), b_even, isa.fma(isa.splat(A2), a_even, infinity)),
    ]
}

/// Four taps of 16 filters that are `row` apart: those of every fourth filter lie at `at`.
///
/// # Safety
/// These values may be read.
#[inline(always)]
unsafe fn four<S: Isa, T: FilterValue>(isa: S, at: [*const T; 4], row: usize) -> [S::F32; 4] {
    let mut rows = [isa.zero(); 4];
    for (j, values) in rows.iter_mut().enumerate() {
        // SAFETY: four taps of 16 filters are there, says the caller.
        *values = unsafe { T::quarters(isa, at.map(|at| at.add(j * row))) };
    }
    isa.transpose_quarters(rows)
}
