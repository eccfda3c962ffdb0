//! The sums of a few rows and up to three vectors of columns of a product, which stay in registers
//! (AVX-512).
//!
//! In: rows of A where they lie, a packed panel of B. Out: an output tile of C.
#![expect(
    unsafe_code,
    reason = "vector instructions are called by name, on pointers into slices whose sizes are checked"
)]

use crate::cpu::prefetch::Prefetch;
use crate::gemm::columns::LANES;
use std::arch::x86_64::{
    __m512, _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps,
    _mm512_set1_ps, _mm512_setzero_ps,
};

/// Rows of a tile at most: with three vectors of columns, 24 sums, three columns' and one row's
/// register are in use.
pub(crate) const MR: usize = 8;
/// Vectors of columns of a tile at most.
pub(crate) const NR_VECTORS: usize = 3;
/// Steps between which cache lines are asked for.
const STEPS: usize = LANES;

/// What the sums begin with.
#[derive(Clone, Copy)]
pub(crate) enum Init<'a> {
    Zero,
    Accumulate,
    PerRow(&'a [f32]),
    PerColumn([&'a [f32]; NR_VECTORS]),
}

/// A few rows and vectors of columns, for a block of k.
pub(crate) struct OutputTile<'a> {
    /// Steps of one value, or of a kernel's nine taps.
    pub steps: usize,
    /// A as in [`Lhs`](super::Lhs): its first row's first step.
    pub a: *const f32,
    pub row: usize,
    pub step: usize,
    /// A panel of B: for each value of k that is summed over, the vectors of columns.
    pub b: &'a [f32],
    /// Where the first row's sums go, for each vector; those of the next row are `out_row` values
    /// further on.
    pub out: [*mut f32; NR_VECTORS],
    pub out_row: usize,
    /// Which of a vector's columns there are.
    pub masks: [u16; NR_VECTORS],
    pub init: Init<'a>,
}

/// How many times lines are asked for while `steps` steps are summed.
pub(crate) fn times(steps: usize, taps: usize) -> usize {
    if taps == 1 { steps.div_ceil(STEPS) } else { steps }
}

/// `OutputTile::sum` for the number of rows of this moment.
macro_rules! sum_of_rows {
    ($m:expr, $vectors:literal, $taps:literal, $tile:expr, $prefetch:expr, $lines:expr) => {
        match $m {
            1 => $tile.sum::<1, $vectors, $taps>($prefetch, $lines),
            2 => $tile.sum::<2, $vectors, $taps>($prefetch, $lines),
            3 => $tile.sum::<3, $vectors, $taps>($prefetch, $lines),
            4 => $tile.sum::<4, $vectors, $taps>($prefetch, $lines),
            5 => $tile.sum::<5, $vectors, $taps>($prefetch, $lines),
            6 => $tile.sum::<6, $vectors, $taps>($prefetch, $lines),
            7 => $tile.sum::<7, $vectors, $taps>($prefetch, $lines),
            _ => $tile.sum::<MR, $vectors, $taps>($prefetch, $lines),
        }
    };
}

impl OutputTile<'_> {
    /// Sums `m` rows, of steps of 1 or 9 `taps`, and now and then asks for so many `lines`.
    ///
    /// # Safety
    /// AVX-512 is there; `a` has `m` rows of `steps` steps, `out` as many rows of the vectors'
    /// columns, and `b` a panel.
    #[target_feature(enable = "avx512f")]
    pub(crate) unsafe fn run(&self, (m, vectors, taps): (usize, usize, usize), prefetch: &mut Prefetch, lines: usize) {
        // SAFETY: AVX-512, the rows of A and C and the panel of B are there, says the caller.
        unsafe {
            match (vectors, taps) {
                (1, 1) => sum_of_rows!(m, 1, 1, self, prefetch, lines),
                (2, 1) => sum_of_rows!(m, 2, 1, self, prefetch, lines),
                (_, 1) => sum_of_rows!(m, 3, 1, self, prefetch, lines),
                (1, _) => sum_of_rows!(m, 1, 9, self, prefetch, lines),
                (2, _) => sum_of_rows!(m, 2, 9, self, prefetch, lines),
                (_, _) => sum_of_rows!(m, 3, 9, self, prefetch, lines),
            }
        }
    }

    /// M rows, N vectors of columns, steps of T taps.
    ///
    /// # Safety
    /// AVX-512 is there; `a` has M rows of `steps` steps of T taps, `out` M rows of N vectors, and
    /// `b` a panel of N.
    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn sum<const M: usize, const N: usize, const T: usize>(&self, prefetch: &mut Prefetch, lines: usize) {
        let mut sums = [[_mm512_setzero_ps(); N]; M];
        let (mut a, mut b, mut left) = (self.a, self.b.as_ptr(), self.steps);
        let (row, step) = (self.row, self.step);
        // SAFETY: AVX-512 is there, A has M rows of so many steps, B so many vectors and C M rows
        // of the masks' columns, says the caller.
        unsafe {
            while left > 0 {
                let now = if T == 1 { left.min(STEPS) } else { 1 };
                prefetch.fetch_next::<false>(lines);
                for _ in 0..now {
                    for tap in 0..T {
                        let columns: [__m512; N] = std::array::from_fn(|j| _mm512_loadu_ps(b.add(j * LANES)));
                        for (i, sums) in sums.iter_mut().enumerate() {
                            let a = _mm512_set1_ps(*a.add(i * row + T - 1 - tap));
                            for (sum, column) in sums.iter_mut().zip(columns) {
                                *sum = _mm512_fmadd_ps(a, column, *sum);
                            }
                        }
                        b = b.wrapping_add(N * LANES);
                    }
                    a = a.wrapping_add(step);
                }
                left -= now;
            }
            for (i, sums) in sums.into_iter().enumerate() {
                for (j, sum) in sums.into_iter().enumerate() {
                    let (at, mask) = (self.out[j].wrapping_add(i * self.out_row), self.masks[j]);
                    let sum = match self.init {
                        Init::Zero => sum,
                        Init::Accumulate => _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, at)),
                        Init::PerRow(bias) => _mm512_add_ps(sum, _mm512_set1_ps(bias[i])),
                        Init::PerColumn(bias) => _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, bias[j].as_ptr())),
                    };
                    _mm512_mask_storeu_ps(at, mask, sum);
                }
            }
        }
    }
}
