//! Transposes of 16 rows of 16 values, in registers (AVX-512).
//!
//! In: rows of f32 in memory or registers. Out: their columns.
#![expect(
    unsafe_code,
    reason = "vector instructions are called by name, on pointers into slices whose sizes are checked"
)]

use super::columns::LANES;
use crate::simd::Avx512;
use std::arch::x86_64::{
    __m512, _mm512_castpd_ps, _mm512_castps_pd, _mm512_loadu_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps,
    _mm512_setzero_ps, _mm512_shuffle_f32x4, _mm512_storeu_ps, _mm512_unpackhi_pd, _mm512_unpackhi_ps,
    _mm512_unpacklo_pd, _mm512_unpacklo_ps,
};

/// `length` values of each of `n` rows, `row` apart, as columns of 16 (0 for the rest), `column`
/// apart.
///
/// # Safety
/// AVX-512 is there, the rows lie inside `rows` and the columns inside `columns`; neither number is
/// above 16.
#[target_feature(enable = "avx512f")]
pub(crate) unsafe fn transpose_into(
    rows: &[f32],
    row: usize,
    (n, length): (usize, usize),
    columns: &mut [f32],
    column: usize,
) {
    let mask = ((1u32 << length) - 1) as u16;
    // SAFETY: n rows of `length` values are there, says the caller, and the mask admits no more.
    let r: [__m512; LANES] = std::array::from_fn(|i| unsafe {
        if i < n { _mm512_maskz_loadu_ps(mask, rows.as_ptr().add(i * row)) } else { _mm512_setzero_ps() }
    });
    for (index, values) in transpose_registers(&r).iter().take(length).enumerate() {
        // SAFETY: `length` columns of 16 are there, says the caller.
        unsafe { _mm512_storeu_ps(columns.as_mut_ptr().add(index * column), *values) };
    }
}

/// The first 16 values of 16 rows, `row` apart, as columns.
pub(crate) fn transposed_16x16(_: Avx512, rows: &[f32], row: usize) -> [[f32; LANES]; LANES] {
    assert!((LANES - 1) * row + LANES <= rows.len(), "pack: too few values");
    let mut columns = [[0.0; LANES]; LANES];
    // SAFETY: a witness of AVX-512 was given, and the rows were measured.
    unsafe { transpose_into(rows, row, (LANES, LANES), columns.as_flattened_mut(), LANES) };
    columns
}

/// Stores the transpose of the first values of rows that are `row` apart: `counts` are how many
/// rows there are, and how many values of each, of 16 each at most. The transpose's rows are
/// `out_row` apart.
///
/// # Safety
/// AVX-512 is there, and so is that part of `out`.
#[target_feature(enable = "avx512f")]
pub(crate) unsafe fn store_transposed(rows: &[f32], row: usize, counts: (usize, usize), out: *mut f32, out_row: usize) {
    let mask = ((1u32 << counts.0) - 1) as u16;
    assert!(counts.0 <= LANES && (counts.0 - 1) * row + LANES <= rows.len(), "pack: too few values");
    let rows: [__m512; LANES] = std::array::from_fn(|i| {
        // SAFETY: the rows were measured.
        if i < counts.0 { unsafe { _mm512_loadu_ps(rows.as_ptr().add(i * row)) } } else { _mm512_setzero_ps() }
    });
    for (i, values) in transpose_registers(&rows).iter().take(counts.1).enumerate() {
        // SAFETY: this part of `out` is there, says the caller, and the mask admits no more.
        unsafe { _mm512_mask_storeu_ps(out.add(i * out_row), mask, *values) };
    }
}

/// The transpose of 16 rows of 16. It is best read by reference: to iterate over it by value copies
/// it first.
///
/// # Safety
/// AVX-512 is there.
#[target_feature(enable = "avx512f")]
#[inline]
pub(crate) fn transpose_registers(r: &[__m512; LANES]) -> [__m512; LANES] {
    // Pairs of rows, then fours, then blocks of four columns.
    let pairs: [__m512; LANES] = std::array::from_fn(|i| {
        let (a, b) = (r[i / 2 * 2], r[i / 2 * 2 + 1]);
        if i % 2 == 0 { _mm512_unpacklo_ps(a, b) } else { _mm512_unpackhi_ps(a, b) }
    });
    let fours: [__m512; LANES] = std::array::from_fn(|i| {
        let (four, column) = (i / 4 * 4, i % 4);
        let a = _mm512_castps_pd(pairs[four + column / 2]);
        let b = _mm512_castps_pd(pairs[four + 2 + column / 2]);
        _mm512_castpd_ps(if column % 2 == 0 { _mm512_unpacklo_pd(a, b) } else { _mm512_unpackhi_pd(a, b) })
    });
    let mut columns = *r;
    for first in 0..4 {
        let [a, b, c, d] = [0, 1, 2, 3].map(|four| fours[4 * four + first]);
        let (ab_even, ab_odd) = (_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xdd>(a, b));
        let (cd_even, cd_odd) = (_mm512_shuffle_f32x4::<0x88>(c, d), _mm512_shuffle_f32x4::<0xdd>(c, d));
        columns[first] = _mm512_shuffle_f32x4::<0x88>(ab_even, cd_even);
        columns[4 + first] = _mm512_shuffle_f32x4::<0x88>(ab_odd, cd_odd);
        columns[8 + first] = _mm512_shuffle_f32x4::<0xdd>(ab_even, cd_even);
        columns[12 + first] = _mm512_shuffle_f32x4::<0xdd>(ab_odd, cd_odd);
    }
    columns
}
