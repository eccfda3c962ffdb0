//! Filters as F(4x4, 3x3) multiplies by them: G g Gᵀ, 16 at a time.
//!
//! In: a block of a weight's filters. Out: their 36 planes, or the half of the transform.
//!
//! Plane 6 i + j holds element (i, j).
#![expect(unsafe_code, reason = "values are loaded and stored through pointers into slices whose sizes are checked")]

use crate::conv2d::winograd::batched_gemm::{STEPS, place, room, wide};
use crate::conv2d::winograd::pieces::Pieces;
use crate::conv2d::winograd::small_tiles::{self, halfway};
use crate::conv2d::winograd::tiling::{INPUT_TILE, PLANES};
use crate::conv2d::winograd::transforms::{COLUMNS, apply_g};
use crate::simd::isa::{Isa, LANES, with_count};
use half::bf16;
use std::ops::Range;

/// Taps of a filter.
pub(super) const TAPS: usize = 9;

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
        let (vectors, steps) = (rows.len().div_ceil(LANES), depths.len());
        // In the order in which the weight lies in memory.
        let (outer, inner) = if self.flipped { (steps, vectors) } else { (vectors, steps) };
        for (i, j) in (0..outer).flat_map(|i| (0..inner).map(move |j| (i, j))) {
            let (vector, step) = if self.flipped { (j, i) } else { (i, j) };
            let (group, within) = (vector / wide::<S>(), vector % wide::<S>());
            let wide = wide::<S>().min(vectors - group * wide::<S>());
            let first = rows.start + vector * LANES;
            let at = group * self::wide::<S>() * LANES * room(steps) + place(step, wide * LANES) + within * LANES;
            let out = &mut out[at..][..(PLANES - 1) * STEPS * wide * LANES + LANES];
            self.sixteen(
                first..rows.end.min(first + LANES),
                depths.start + step,
                #[inline(always)]
                // SAFETY: there are 16 filters, and all planes lie inside `out`.
                |filters, row| unsafe {
                    with_count!(wide, S::TILE.1, WIDE in [1 2 3] =>
                        transform(isa, self.flipped, filters, row, out, STEPS * WIDE * LANES));
                },
            );
        }
    }

    /// Transforms a block of up to 16 rows for few tiles: to planes of a vector for each column of the
    /// block or, halfway, along the filters' columns alone, G g, to rows of three vectors.
    #[inline(always)]
    pub(super) fn for_few_tiles<S: Isa>(&self, isa: S, rows: &Range<usize>, depths: &Range<usize>, out: &mut [f32]) {
        let step = if halfway::<S>() { COLUMNS * LANES } else { LANES };
        let apart = depths.len() * step;
        assert!(rows.len() <= LANES, "winograd: few tiles are of 16 rows");
        assert!(out.len() >= small_tiles::filters::<S>(depths.len()), "winograd: too little room for filters");
        for (n, depth) in depths.clone().enumerate() {
            let out = &mut out[n * step..];
            self.sixteen(
                rows.clone(),
                depth,
                #[inline(always)]
                // SAFETY: there are 16 filters, and `out` was measured.
                |filters, row| unsafe {
                    if !halfway::<S>() {
                        return transform(isa, self.flipped, filters, row, out, apart);
                    }
                    for (i, row) in half(isa, self.flipped, filters, row).into_iter().enumerate() {
                        for (j, value) in row.into_iter().enumerate() {
                            isa.store(out.as_mut_ptr().add(i * apart + j * LANES), value);
                        }
                    }
                },
            );
        }
    }

    /// Calls `transform` with 16 filters of one column of the matrix and how far they are apart:
    /// those of up to 16 rows, and zeros behind them.
    #[inline(always)]
    fn sixteen(&self, rows: Range<usize>, depth: usize, mut transform: impl FnMut(&[T], usize)) {
        let (row, column) = self.apart();
        let filters = &self.values[rows.start * row + depth * column..][..(rows.len() - 1) * row + TAPS];
        if rows.len() < LANES {
            transform(&whole(filters, row, rows.len()), TAPS);
        } else {
            transform(filters, row);
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

/// G g Gᵀ of 16 filters that are `row` apart, in planes that are `apart` values from one another.
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
        for (i, row) in half(isa, flip, filters, row).into_iter().enumerate() {
            for (j, value) in apply_g(isa, row).into_iter().enumerate() {
                isa.store(out.as_mut_ptr().add((INPUT_TILE * i + j) * apart), value);
            }
        }
    }
}

/// The rows of G g of 16 filters that are `row` apart, rotated by 180 degrees or not.
///
/// # Safety
/// There are 16 filters.
#[inline(always)]
unsafe fn half<S: Isa, T: FilterValue>(
    isa: S,
    flip: bool,
    filters: &[T],
    row: usize,
) -> [[S::F32; COLUMNS]; INPUT_TILE] {
    // SAFETY: 16 filters of nine taps are there, says the caller.
    let ([a, b, c, d], [e, f, g, h], [_, _, _, i]) = unsafe {
        let at = [0, 4, 8, 12].map(|filter| filters.as_ptr().add(filter * row));
        (four(isa, at, row), four(isa, at.map(|at| at.add(4)), row), four(isa, at.map(|at| at.add(5)), row))
    };
    let columns = if flip { [[i, f, c], [h, e, b], [g, d, a]] } else { [[a, d, g], [b, e, h], [c, f, i]] };
    let mut rows = [columns[0]; INPUT_TILE];
    for (j, column) in columns.into_iter().enumerate() {
        for (row, value) in rows.iter_mut().zip(apply_g(isa, column)) {
            row[j] = value;
        }
    }
    rows
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
