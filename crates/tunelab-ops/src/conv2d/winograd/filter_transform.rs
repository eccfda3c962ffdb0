//! Filters as F(4x4, 3x3) multiplies by them: G g Gᵀ, 16 at a time.
//!
//! In: a block of a weight's filters. Out: their 36 planes, or the half of the transform.
//!
//! Plane 6 i + j holds element (i, j).
#![expect(unsafe_code, reason = "values are loaded and stored through pointers into slices whose sizes are checked")]

use crate::conv2d::winograd::batched_gemm::{STEPS, place, room, wide};
use crate::conv2d::winograd::tiling::{INPUT_TILE, PLANES};
use crate::conv2d::winograd::transforms::{COLUMNS, apply_g, both_sides, one_side};
use crate::cpu::prefetch::Prefetch;
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
            let taps = self.taps(isa, first..rows.end.min(first + LANES), depths.start + step);
            let at = group * self::wide::<S>() * LANES * room(steps) + place(step, wide * LANES) + within * LANES;
            let out = &mut out[at..][..(PLANES - 1) * STEPS * wide * LANES + LANES];
            // SAFETY: all planes lie inside the slice.
            unsafe {
                with_count!(wide, S::TILE.1, WIDE in [1 2 3] => transform(isa, &taps, out, STEPS * WIDE * LANES));
            }
        }
    }

    /// Transforms a block of up to 16 rows to planes, each of a vector for each column of the block.
    #[inline(always)]
    pub(super) fn planes<S: Isa>(&self, isa: S, rows: &Range<usize>, depths: &Range<usize>, out: &mut [f32]) {
        let apart = depths.len() * LANES;
        assert!(out.len() >= PLANES * apart, "winograd: too little room for filters");
        for (depth, step) in depths.clone().zip((0..).step_by(LANES)) {
            // SAFETY: `out` was measured.
            unsafe { transform(isa, &self.taps(isa, rows.clone(), depth), &mut out[step..], apart) };
        }
    }

    /// Transforms the columns of a block of up to 16 rows: G g. For each row of that `out` gets,
    /// for each column of the block, three vectors.
    #[inline(always)]
    pub(super) fn halves<S: Isa>(&self, isa: S, rows: &Range<usize>, depths: &Range<usize>, out: &mut [f32]) {
        let step = COLUMNS * LANES;
        assert!(out.len() >= INPUT_TILE * depths.len() * step, "winograd: too little room for filters");
        for (n, depth) in depths.clone().enumerate() {
            let taps = self.taps(isa, rows.clone(), depth);
            let half = one_side(
                isa,
                #[inline(always)]
                |column| apply_g(isa, column),
                #[inline(always)]
                |i, j| taps[i][j],
            );
            for (i, row) in half.iter().enumerate() {
                for (j, value) in row.iter().enumerate() {
                    // SAFETY: `out` was measured.
                    unsafe { isa.store(out.as_mut_ptr().add((i * depths.len() + n) * step + j * LANES), *value) };
                }
            }
        }
    }

    /// The taps of the filters of up to 16 rows in one column of the matrix, with 0 behind the last.
    #[inline(always)]
    fn taps<S: Isa>(&self, isa: S, rows: Range<usize>, depth: usize) -> [[S::F32; COLUMNS]; COLUMNS] {
        let (row, column) = self.apart();
        let (first, count) = (rows.start * row + depth * column, rows.len());
        let filters = &self.values[first..][..(count - 1) * row + TAPS];
        let room;
        let (filters, row) = if count < LANES {
            room = whole(filters, row, count);
            (&room[..], TAPS)
        } else {
            assert_eq!(count, LANES, "winograd: a vector has no more rows");
            (filters, row)
        };
        // SAFETY: there are 16 filters of nine taps.
        let ([a, b, c, d], [e, f, g, h], [_, _, _, i]) = unsafe {
            let at = [0, 4, 8, 12].map(|filter| filters.as_ptr().add(filter * row));
            (four(isa, at, row), four(isa, at.map(|at| at.add(4)), row), four(isa, at.map(|at| at.add(5)), row))
        };
        if self.flipped { [[i, h, g], [f, e, d], [c, b, a]] } else { [[a, b, c], [d, e, f], [g, h, i]] }
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
    /// None.
    pub(super) const NONE: Self = Self { first: std::ptr::null(), count: 0, length: 0, apart: 0 };

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

/// G g Gᵀ of 16 filters, in planes that are `apart` values from one another.
///
/// # Safety
/// There is room for all planes.
#[inline(always)]
unsafe fn transform<S: Isa>(isa: S, taps: &[[S::F32; COLUMNS]; COLUMNS], out: &mut [f32], apart: usize) {
    both_sides(
        isa,
        #[inline(always)]
        |column| apply_g(isa, column),
        #[inline(always)]
        |i, j| taps[i][j],
        #[inline(always)]
        // SAFETY: there is room for all planes, says the caller.
        |i, j, value| unsafe { isa.store(out.as_mut_ptr().add((INPUT_TILE * i + j) * apart), value) },
    );
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
