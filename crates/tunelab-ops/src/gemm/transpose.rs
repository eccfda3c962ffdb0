//! Transposes of up to 16 rows of 16 values, in registers.
//!
//! In: rows of f32 in memory. Out: their columns.
#![expect(unsafe_code, reason = "values are loaded and stored through pointers into slices whose sizes are checked")]

use crate::simd::isa::{Isa, LANES, first_lanes};

/// `length` values of each of `n` rows, `row` apart, as columns of 16 (0 for the rest), `column`
/// apart.
///
/// # Safety
/// The rows lie inside `rows` and the columns inside `columns`; neither number is above 16.
pub(crate) unsafe fn transpose_into<S: Isa>(
    isa: S,
    rows: &[f32],
    row: usize,
    (n, length): (usize, usize),
    columns: &mut [f32],
    column: usize,
) {
    isa.run(
        #[inline(always)]
        || {
            let mut r = [isa.zero(); LANES];
            // All 16, so that they stay in registers.
            for (i, values) in r.iter_mut().enumerate() {
                if i < n {
                    // SAFETY: n rows of `length` values are there, says the caller, and the mask admits
                    // no more.
                    *values = unsafe { isa.load_or(isa.zero(), first_lanes(length), rows.as_ptr().add(i * row)) };
                }
            }
            for (index, values) in isa.transpose(&r).iter().take(length).enumerate() {
                // SAFETY: `length` columns of 16 are there, says the caller.
                unsafe { isa.store(columns.as_mut_ptr().add(index * column), *values) };
            }
        },
    );
}

/// The first 16 values of 16 rows, `row` apart, as columns.
pub(crate) fn transposed_16x16<S: Isa>(isa: S, rows: &[f32], row: usize) -> [[f32; LANES]; LANES] {
    assert!((LANES - 1) * row + LANES <= rows.len(), "pack: too few values");
    let mut columns = [[0.0; LANES]; LANES];
    // SAFETY: the rows were measured.
    unsafe { transpose_into(isa, rows, row, (LANES, LANES), columns.as_flattened_mut(), LANES) };
    columns
}

/// Stores, or adds to what stands there, the transpose of the first values of rows that are `row`
/// apart: `counts` are how many rows there are, and how many values of each, of 16 each at most. The transpose's rows are
/// `out_row` apart.
///
/// # Safety
/// That part of `out` is there.
pub(crate) unsafe fn store_transposed<S: Isa>(
    isa: S,
    rows: &[f32],
    row: usize,
    counts: (usize, usize),
    (out, out_row): (*mut f32, usize),
    add: bool,
) {
    assert!(counts.0 <= LANES && (counts.0 - 1) * row + LANES <= rows.len(), "pack: too few values");
    isa.run(
        #[inline(always)]
        || {
            let mut r = [isa.zero(); LANES];
            for (i, values) in r.iter_mut().enumerate() {
                // SAFETY: the rows were measured; what is read for one behind the last is not stored.
                *values = unsafe { isa.load(rows.as_ptr().add(i.min(counts.0 - 1) * row)) };
            }
            for (i, values) in isa.transpose(&r).iter().take(counts.1).enumerate() {
                let mask = first_lanes(counts.0);
                // SAFETY: this part of `out` is there, says the caller, and the mask admits no more.
                unsafe {
                    let out = out.add(i * out_row);
                    let values = if add { isa.add(*values, isa.load_or(isa.zero(), mask, out)) } else { *values };
                    isa.store_masked(out, mask, values);
                }
            }
        },
    );
}
