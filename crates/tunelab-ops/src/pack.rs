//! The right operands of `product`: how matrices and patches of pictures are laid out in panels.
#![expect(
    unsafe_code,
    reason = "vector instructions are called by name, on pointers into slices whose sizes are checked"
)]

use super::host::Scratch;
use super::product::{Ahead, Columns, LANES, available};
use rayon::prelude::*;
use std::arch::x86_64::{
    __m512, _mm512_castpd_ps, _mm512_castps_pd, _mm512_loadu_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps,
    _mm512_setzero_ps, _mm512_shuffle_f32x4, _mm512_storeu_ps, _mm512_unpackhi_pd, _mm512_unpackhi_ps,
    _mm512_unpacklo_pd, _mm512_unpacklo_ps,
};
use std::ops::Range;

/// B [k, n], which is laid out in panels before it is used.
pub(super) enum Right<'a> {
    Rows(Rows<'a>),
    Transposed(Transposed<'a>),
    Patches(Patches<'a>),
    PatchRows(PatchRows<'a>),
}

impl Right<'_> {
    /// Lays out rows `k` of a panel of vectors, each of 16 columns of one segment, with zeros behind its last column: for each row
    /// 16 values of each vector.
    pub(super) fn lay(&self, k: Range<usize>, vectors: Range<usize>, out: &mut [f32]) {
        match self {
            Self::Rows(b) => b.lay(k, vectors, out),
            Self::Transposed(b) => b.lay(k, vectors, out),
            Self::Patches(b) => b.lay(k, vectors, out),
            Self::PatchRows(b) => b.lay(k, vectors, out),
        }
    }

    /// The cache lines that are read to lay out rows `k` of these vectors, if they are worth asking for.
    pub(super) fn lines(&self, k: Range<usize>, vectors: Range<usize>) -> Ahead {
        match self {
            Self::Rows(b) if b.columns.segments == 1 => {
                let at = k.start * b.columns.width + vectors.start * LANES;
                Ahead::new(b.values.as_ptr().wrapping_add(at), b.columns.width, vectors.len(), k.len())
            }
            _ => Ahead::NOTHING,
        }
    }
}

/// B as it lies: row k of a segment is `row` values from k · `row` on, segments `segment` values apart.
pub(super) struct Rows<'a> {
    pub values: &'a [f32],
    pub columns: Columns,
    pub segment: usize,
}

impl Rows<'_> {
    fn lay(&self, k: Range<usize>, vectors: Range<usize>, out: &mut [f32]) {
        let width = vectors.len() * LANES;
        let ((segment, first, _), (end, last, n)) = (self.columns.of(vectors.start), self.columns.of(vectors.end - 1));
        if segment == end && last + n == first + width {
            // The panel's columns lie side by side.
            let rows = &self.values[segment * self.segment + k.start * self.columns.width + first..];
            return match vectors.len() {
                1 => copy::<1>(rows, self.columns.width, out),
                2 => copy::<2>(rows, self.columns.width, out),
                _ => copy::<3>(rows, self.columns.width, out),
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
fn copy<const N: usize>(rows: &[f32], row: usize, out: &mut [f32]) {
    let count = out.len() / (N * LANES);
    assert!(available() && (count == 0 || (count - 1) * row + N * LANES <= rows.len()), "pack: too few values");
    // SAFETY: AVX-512 is there, and the rows were measured.
    unsafe { copy_vectors::<N>(rows.as_ptr(), row, out) };
}

/// # Safety
/// AVX-512 is there, and so are as many rows as `out` has room for.
#[target_feature(enable = "avx512f")]
unsafe fn copy_vectors<const N: usize>(mut rows: *const f32, row: usize, out: &mut [f32]) {
    for out in out.chunks_exact_mut(N * LANES) {
        for i in 0..N {
            // SAFETY: the caller's.
            unsafe { _mm512_storeu_ps(out.as_mut_ptr().add(i * LANES), _mm512_loadu_ps(rows.add(i * LANES))) };
        }
        rows = rows.wrapping_add(row);
    }
}

/// B is the transpose of what lies there: column j is `row` values from j · `row` on.
pub(super) struct Transposed<'a> {
    pub values: &'a [f32],
    pub row: usize,
    pub columns: usize,
}

impl Transposed<'_> {
    fn lay(&self, k: Range<usize>, vectors: Range<usize>, out: &mut [f32]) {
        let width = vectors.len() * LANES;
        assert!(
            available() && k.end <= self.row && self.columns * self.row <= self.values.len(),
            "pack: too few values"
        );
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
                // SAFETY: AVX-512 is there; n rows of `length` values lie inside `rows`, as many rows of 16 inside `out`.
                unsafe { transpose(rows, self.row, (n, length), out, width) };
            }
        }
    }
}

/// Pictures with their borders of zeros, [S, C, height, width].
#[derive(Clone, Copy)]
pub(super) struct Padded<'a> {
    pub values: &'a [f32],
    pub channels: usize,
    pub height: usize,
    pub width: usize,
}

/// What slides over them.
#[derive(Clone, Copy)]
pub(super) struct Window {
    /// Rows and columns of the kernel.
    pub kernel: (usize, usize),
    pub stride: usize,
    /// Rows and columns of the result.
    pub out: (usize, usize),
}

impl Padded<'_> {
    /// Copies pictures of [h, w] between zeros: `before` rows above and columns to the left, the rest after.
    pub(super) fn new<'s>(
        x: &[f32],
        channels: usize,
        (h, w): (usize, usize),
        before: usize,
        (height, width): (usize, usize),
        scratch: &'s mut Scratch,
    ) -> Padded<'s> {
        let planes = x.len() / (h * w);
        let values = scratch.first(planes * height * width);
        values.par_chunks_mut(height * width).zip(x.par_chunks(h * w)).for_each(|(out, x)| {
            let (top, out) = out.split_at_mut(before * width);
            let (middle, bottom) = out.split_at_mut(h * width);
            top.fill(0.0);
            bottom.fill(0.0);
            for (out, x) in middle.chunks_exact_mut(width).zip(x.chunks_exact(w)) {
                out[..before].fill(0.0);
                out[before..before + w].copy_from_slice(x);
                out[before + w..].fill(0.0);
            }
        });
        Padded { values, channels, height, width }
    }

    fn plane(&self) -> usize {
        self.height * self.width
    }

    /// Where the value of a patch's k-th element lies, from the patch's first pixel in the first channel on.
    #[inline]
    fn tap(&self, window: &Window, k: usize) -> usize {
        let (kh, kw) = window.kernel;
        k / (kh * kw) * self.plane() + k / kw % kh * self.width + k % kw
    }

    /// Where the patch of result pixel `pixel` begins in its plane.
    #[inline]
    fn pixel(&self, window: &Window, pixel: usize) -> usize {
        let (y, x) = (pixel / window.out.1, pixel % window.out.1);
        (y * self.width + x) * window.stride
    }
}

/// The patches of pictures as columns: row k is a tap of a channel, a column a pixel of the result, a segment a sample.
pub(super) struct Patches<'a> {
    pub of: Padded<'a>,
    pub window: Window,
}

impl Patches<'_> {
    fn lay(&self, k: Range<usize>, vectors: Range<usize>, out: &mut [f32]) {
        let width = vectors.len() * LANES;
        let columns = Columns { segments: 1, width: self.window.out.0 * self.window.out.1 };
        for (i, vector) in vectors.enumerate() {
            let (sample, first, n) = columns.of(vector);
            let picture = &self.of.values[sample * self.of.channels * self.of.plane()..];
            let places: [usize; LANES] =
                std::array::from_fn(|lane| if lane < n { self.of.pixel(&self.window, first + lane) } else { 0 });
            // Pixels that lie side by side.
            let side_by_side = |length: usize| {
                n == LANES && places.chunks(length).all(|run| run.iter().enumerate().all(|(i, p)| *p == run[0] + i))
            };
            let run = [16, 8, 4].into_iter().find(|&length| side_by_side(length)).unwrap_or(1);
            for (row, k) in k.clone().enumerate() {
                let picture = &picture[self.of.tap(&self.window, k)..];
                let out = &mut out[row * width + i * LANES..][..LANES];
                match run {
                    16 => out.copy_from_slice(&picture[places[0]..][..16]),
                    8 => pieces::<8>(picture, &places, out),
                    4 => pieces::<4>(picture, &places, out),
                    _ => {
                        for (out, place) in out.iter_mut().zip(places).take(n) {
                            *out = picture[place];
                        }
                        out[n..].fill(0.0);
                    }
                }
            }
        }
    }
}

/// Copies runs of N values.
#[inline]
fn pieces<const N: usize>(picture: &[f32], places: &[usize; LANES], out: &mut [f32]) {
    for (out, place) in out.chunks_exact_mut(N).zip(places.iter().step_by(N)) {
        out.copy_from_slice(&picture[*place..][..N]);
    }
}

/// The patches of one picture as rows: row k is a pixel of the result, a column a tap of a channel.
pub(super) struct PatchRows<'a> {
    pub of: Padded<'a>,
    pub window: Window,
}

impl PatchRows<'_> {
    fn lay(&self, k: Range<usize>, vectors: Range<usize>, out: &mut [f32]) {
        let width = vectors.len() * LANES;
        let columns = self.of.channels * self.window.kernel.0 * self.window.kernel.1;
        for (i, vector) in vectors.enumerate() {
            let n = LANES.min(columns - vector * LANES);
            let taps: [usize; LANES] =
                std::array::from_fn(|lane| if lane < n { self.of.tap(&self.window, vector * LANES + lane) } else { 0 });
            for (row, pixel) in k.clone().enumerate() {
                let picture = &self.of.values[self.of.pixel(&self.window, pixel)..];
                let out = &mut out[row * width + i * LANES..][..LANES];
                for (out, tap) in out.iter_mut().zip(taps).take(n) {
                    *out = picture[tap];
                }
                out[n..].fill(0.0);
            }
        }
    }
}

/// `length` values of each of `n` rows, `row` apart, as columns of 16 (0 for the rest), `column` apart.
///
/// # Safety
/// AVX-512 is there, the rows lie inside `rows` and the columns inside `columns`; neither number is above 16.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn transpose(
    rows: &[f32],
    row: usize,
    (n, length): (usize, usize),
    columns: &mut [f32],
    column: usize,
) {
    let mask = ((1u32 << length) - 1) as u16;
    // SAFETY: the caller's.
    let r: [__m512; LANES] = std::array::from_fn(|i| unsafe {
        if i < n { _mm512_maskz_loadu_ps(mask, rows.as_ptr().add(i * row)) } else { _mm512_setzero_ps() }
    });
    for (index, values) in turn(&r).iter().take(length).enumerate() {
        // SAFETY: the caller's.
        unsafe { _mm512_storeu_ps(columns.as_mut_ptr().add(index * column), *values) };
    }
}

/// The first 16 values of 16 rows, `row` apart, as columns.
pub(super) fn turned(rows: &[f32], row: usize) -> [[f32; LANES]; LANES] {
    assert!(available() && (LANES - 1) * row + LANES <= rows.len(), "pack: too few values");
    let mut columns = [[0.0; LANES]; LANES];
    // SAFETY: AVX-512 is there, and the rows were measured.
    unsafe { transpose(rows, row, (LANES, LANES), columns.as_flattened_mut(), LANES) };
    columns
}

/// Stores the transpose of the first values of rows that are `row` apart: `counts` are how many rows there are, and how many
/// values of each, of 16 each at most. The transpose's rows are `out_row` apart.
///
/// # Safety
/// AVX-512 is there, and so is that part of `out`.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn turned_store(rows: &[f32], row: usize, counts: (usize, usize), out: *mut f32, out_row: usize) {
    let mask = ((1u32 << counts.0) - 1) as u16;
    assert!(counts.0 <= LANES && (counts.0 - 1) * row + LANES <= rows.len(), "pack: too few values");
    let rows: [__m512; LANES] = std::array::from_fn(|i| {
        // SAFETY: the rows were measured.
        if i < counts.0 { unsafe { _mm512_loadu_ps(rows.as_ptr().add(i * row)) } } else { _mm512_setzero_ps() }
    });
    for (i, values) in turn(&rows).iter().take(counts.1).enumerate() {
        // SAFETY: the caller's.
        unsafe { _mm512_mask_storeu_ps(out.add(i * out_row), mask, *values) };
    }
}

/// The transpose of 16 rows of 16. It is best read by reference: to iterate over it by value copies it first.
///
/// # Safety
/// AVX-512 is there.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn turn(r: &[__m512; LANES]) -> [__m512; LANES] {
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
