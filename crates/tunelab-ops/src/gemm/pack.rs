//! The right operands of a product, packed in panels of vectors of columns (AVX-512).
//!
//! In: matrices as they lie, or patches of images. Out: for each row of B the values of a panel's
//! columns, side by side.
#![expect(
    unsafe_code,
    reason = "vector instructions are called by name, on pointers into slices whose sizes are checked"
)]

use super::columns::{Columns, LANES};
use super::patches::{PatchRows, Patches};
use super::transpose::transpose_into;
use crate::cpu::prefetch::Prefetch;
use crate::simd::Avx512;
use std::arch::x86_64::{_mm512_loadu_ps, _mm512_storeu_ps};
use std::ops::Range;

/// B [k, n], which is packed in panels before it is used.
pub(crate) enum Rhs<'a> {
    Rows(Rows<'a>),
    Transposed(Transposed<'a>),
    Patches(Patches<'a>),
    PatchRows(PatchRows<'a>),
}

impl Rhs<'_> {
    /// Packs rows `k` of a panel of vectors, each of 16 columns of one segment, with zeros behind
    /// its last column: for each row 16 values of each vector.
    pub(crate) fn pack(&self, simd: Avx512, k: Range<usize>, vectors: Range<usize>, out: &mut [f32]) {
        match self {
            Self::Rows(b) => b.pack(simd, k, vectors, out),
            Self::Transposed(b) => b.pack(simd, k, vectors, out),
            Self::Patches(b) => b.pack(k, vectors, out),
            Self::PatchRows(b) => b.pack(k, vectors, out),
        }
    }

    /// The cache lines that are read to pack rows `k` of these vectors, if they are worth asking
    /// for.
    pub(crate) fn prefetch(&self, k: Range<usize>, vectors: Range<usize>) -> Prefetch {
        match self {
            Self::Rows(b) if b.columns.segments == 1 => {
                let at = k.start * b.columns.width + vectors.start * LANES;
                Prefetch::new(b.values.as_ptr().wrapping_add(at), b.columns.width, vectors.len(), k.len())
            }
            _ => Prefetch::NONE,
        }
    }
}

/// B as it lies: row k of a segment is `row` values from k · `row` on, segments `segment` values
/// apart.
pub(crate) struct Rows<'a> {
    pub values: &'a [f32],
    pub columns: Columns,
    pub segment: usize,
}

impl Rows<'_> {
    fn pack(&self, simd: Avx512, k: Range<usize>, vectors: Range<usize>, out: &mut [f32]) {
        let width = vectors.len() * LANES;
        let ((segment, first, _), (end, last, n)) = (self.columns.of(vectors.start), self.columns.of(vectors.end - 1));
        if segment == end && last + n == first + width {
            // The panel's columns lie side by side.
            let rows = &self.values[segment * self.segment + k.start * self.columns.width + first..];
            return match vectors.len() {
                1 => copy::<1>(simd, rows, self.columns.width, out),
                2 => copy::<2>(simd, rows, self.columns.width, out),
                _ => copy::<3>(simd, rows, self.columns.width, out),
            };
        }
        for (i, vector) in vectors.enumerate() {
            let (segment, first, n) = self.columns.of(vector);
            let rows = &self.values[segment * self.segment + first..];
            for (k, out) in k.clone().zip(out.chunks_exact_mut(width)) {
                let out = &mut out[i * LANES..][..LANES];
                out[..n].copy_from_slice(&rows[k * self.columns.width..][..n]);
                out[n..].fill(0.0);
            }
        }
    }
}

/// The first N vectors of as many rows as `out` has room for.
fn copy<const N: usize>(_: Avx512, rows: &[f32], row: usize, out: &mut [f32]) {
    let count = out.len() / (N * LANES);
    assert!((count == 0 || (count - 1) * row + N * LANES <= rows.len()), "pack: too few values");
    // SAFETY: a witness of AVX-512 was given, and the rows were measured.
    unsafe { copy_vectors::<N>(rows.as_ptr(), row, out) };
}

/// # Safety
/// AVX-512 is there, and so are as many rows as `out` has room for.
#[target_feature(enable = "avx512f")]
unsafe fn copy_vectors<const N: usize>(mut rows: *const f32, row: usize, out: &mut [f32]) {
    for out in out.chunks_exact_mut(N * LANES) {
        for i in 0..N {
            // SAFETY: N vectors of this row are there, says the caller, and `out` is as many long.
            unsafe { _mm512_storeu_ps(out.as_mut_ptr().add(i * LANES), _mm512_loadu_ps(rows.add(i * LANES))) };
        }
        rows = rows.wrapping_add(row);
    }
}

/// B is the transpose of what lies there: column j is `row` values from j · `row` on.
pub(crate) struct Transposed<'a> {
    pub values: &'a [f32],
    pub row: usize,
    pub columns: usize,
}

impl Transposed<'_> {
    fn pack(&self, _: Avx512, k: Range<usize>, vectors: Range<usize>, out: &mut [f32]) {
        let width = vectors.len() * LANES;
        assert!(k.end <= self.row && self.columns * self.row <= self.values.len(), "pack: too few values");
        for (i, vector) in vectors.enumerate() {
            let n = LANES.min(self.columns.saturating_sub(vector * LANES));
            if n == 0 {
                out.chunks_exact_mut(width).for_each(|out| out[i * LANES..][..LANES].fill(0.0));
                continue;
            }
            for first in k.clone().step_by(LANES) {
                let length = LANES.min(k.end - first);
                let out = &mut out[(first - k.start) * width + i * LANES..][..(length - 1) * width + LANES];
                let rows = &self.values[vector * LANES * self.row + first..][..(n - 1) * self.row + length];
                // SAFETY: a witness of AVX-512 was given; n rows of `length` values lie inside
                // `rows`, as many rows of 16 inside `out`.
                unsafe { transpose_into(rows, self.row, (n, length), out, width) };
            }
        }
    }
}
