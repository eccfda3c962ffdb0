//! The right operands of a product, packed in panels of vectors of columns.
//!
//! In: matrices as they lie, or patches of images. Out: for each row of B the values of a panel's
//! columns, side by side.
#![expect(unsafe_code, reason = "values are loaded and stored through pointers into slices whose sizes are checked")]

use super::columns::Columns;
use super::operand::{Value, Values, upcast};
use super::patches::{PatchRows, Patches};
use super::transpose::transpose_into;
use crate::cpu::prefetch::Prefetch;
use crate::simd::isa::{Isa, LANES};
use half::bf16;
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
    pub(crate) fn pack<S: Isa>(&self, isa: S, k: Range<usize>, vectors: Range<usize>, out: &mut [f32]) {
        match self {
            Self::Rows(b) => b.pack(isa, k, vectors, out),
            Self::Transposed(b) => b.pack(isa, k, vectors, out),
            Self::Patches(b) => b.pack(k, vectors, out),
            Self::PatchRows(b) => b.pack(k, vectors, out),
        }
    }

    /// The cache lines that are read to pack rows `k` of these vectors, if they are worth asking
    /// for.
    pub(crate) fn prefetch(&self, k: Range<usize>, vectors: Range<usize>) -> Prefetch {
        match self {
            Self::Rows(b) if b.columns.segments == 1 => {
                let (at, of) = b.values.place(k.start * b.columns.width + vectors.start * LANES);
                Prefetch::new(at, of(b.columns.width), of(vectors.len()), k.len())
            }
            _ => Prefetch::NONE,
        }
    }
}

/// B as it lies: row k of a segment is `row` values from k · `row` on, segments `segment` values
/// apart.
pub(crate) struct Rows<'a> {
    pub values: Values<'a>,
    pub columns: Columns,
    pub segment: usize,
}

impl Rows<'_> {
    fn pack<S: Isa>(&self, isa: S, k: Range<usize>, vectors: Range<usize>, out: &mut [f32]) {
        let width = vectors.len() * LANES;
        let ((segment, first, _), (end, last, n)) = (self.columns.of(vectors.start), self.columns.of(vectors.end - 1));
        if segment == end && last + n == first + width {
            // The panel's columns lie side by side.
            let (at, row) = (segment * self.segment + k.start * self.columns.width + first, self.columns.width);
            return match self.values {
                Values::F32(values) => rows_of(isa, &values[at..], row, vectors.len(), out),
                Values::Bf16(values) => rows_of(isa, &values[at..], row, vectors.len(), out),
            };
        }
        for (i, vector) in vectors.enumerate() {
            let (segment, first, n) = self.columns.of(vector);
            for (k, out) in k.clone().zip(out.chunks_exact_mut(width)) {
                let (at, out) =
                    (segment * self.segment + first + k * self.columns.width, &mut out[i * LANES..][..LANES]);
                match self.values {
                    Values::F32(values) => out[..n].copy_from_slice(&values[at..][..n]),
                    Values::Bf16(values) => upcast(isa, &values[at..][..n], &mut out[..n]),
                }
                out[n..].fill(0.0);
            }
        }
    }
}

/// The first `vectors` vectors of as many rows as `out` has room for.
fn rows_of<S: Isa, V: Value>(isa: S, rows: &[V], row: usize, vectors: usize, out: &mut [f32]) {
    match vectors {
        1 => copy::<S, V, 1>(isa, rows, row, out),
        2 => copy::<S, V, 2>(isa, rows, row, out),
        _ => copy::<S, V, 3>(isa, rows, row, out),
    }
}

fn copy<S: Isa, V: Value, const N: usize>(isa: S, rows: &[V], row: usize, out: &mut [f32]) {
    let count = out.len() / (N * LANES);
    assert!((count == 0 || (count - 1) * row + N * LANES <= rows.len()), "pack: too few values");
    isa.run(
        #[inline(always)]
        || {
            let mut at = rows.as_ptr();
            for out in out.chunks_exact_mut(N * LANES) {
                for i in 0..N {
                    // SAFETY: N vectors of this row are there, as measured, and `out` is as many long.
                    unsafe { isa.store(out.as_mut_ptr().add(i * LANES), V::load(isa, at.add(i * LANES))) };
                }
                at = at.wrapping_add(row);
            }
        },
    );
}

/// B is the transpose of what lies there: column j is `row` values from j · `row` on.
pub(crate) struct Transposed<'a> {
    pub values: Values<'a>,
    pub row: usize,
    pub columns: usize,
}

impl Transposed<'_> {
    fn pack<S: Isa>(&self, isa: S, k: Range<usize>, vectors: Range<usize>, out: &mut [f32]) {
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
                let at = vector * LANES * self.row + first;
                let mut upcasted = [[0.0; LANES]; LANES];
                let (rows, row) = match self.values {
                    Values::F32(values) => (&values[at..][..(n - 1) * self.row + length], self.row),
                    Values::Bf16(values) if (n, length) == (LANES, LANES) => {
                        copy::<S, bf16, 1>(isa, &values[at..], self.row, upcasted.as_flattened_mut());
                        (upcasted.as_flattened(), LANES)
                    }
                    Values::Bf16(values) => {
                        for (row, out) in values[at..].chunks(self.row).zip(&mut upcasted).take(n) {
                            upcast(isa, &row[..length], &mut out[..length]);
                        }
                        (upcasted.as_flattened(), LANES)
                    }
                };
                // SAFETY: n rows of `length` values lie inside `rows`, as many rows of 16 inside `out`.
                unsafe { transpose_into(isa, rows, row, (n, length), out, width) };
            }
        }
    }
}
