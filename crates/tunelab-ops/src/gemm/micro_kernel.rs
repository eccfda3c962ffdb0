//! The sums of a few rows and up to three vectors of columns of a product, which stay in registers.
//!
//! In: rows of A where they lie, a packed panel of B. Out: an output tile of C.
#![expect(unsafe_code, reason = "values are loaded and stored through pointers into slices whose sizes are checked")]

use crate::cpu::prefetch::{Prefetch, ask_for_result};
use crate::simd::isa::{Isa, LANES, with_count};

/// Vectors of columns of a tile at most, for any instructions.
pub(crate) const MAX_VECTORS: usize = 3;
/// Steps between which cache lines are asked for.
const STEPS: usize = LANES;

/// What the sums begin with.
#[derive(Clone, Copy)]
pub(crate) enum Init<'a> {
    Zero,
    /// The same, and they are stored past the caches: whole vectors, each at a cache line.
    PastCaches,
    Accumulate,
    PerRow(&'a [f32]),
    PerColumn([&'a [f32]; MAX_VECTORS]),
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
    pub out: [*mut f32; MAX_VECTORS],
    pub out_row: usize,
    /// Which of a vector's columns there are.
    pub masks: [u16; MAX_VECTORS],
    pub init: Init<'a>,
}

/// How many times lines are asked for while `steps` steps are summed.
pub(crate) fn times(steps: usize, taps: usize) -> usize {
    if taps == 1 { steps.div_ceil(STEPS) } else { steps }
}

impl OutputTile<'_> {
    /// Sums `m` rows, of steps of 1 or 9 `taps`, and now and then asks for so many `lines`.
    ///
    /// # Safety
    /// `a` has `m` rows of `steps` steps, `out` as many rows of the vectors' columns, and `b` a
    /// panel; rows and vectors are no more than a tile of these instructions has.
    pub(crate) unsafe fn run<S: Isa>(
        &self,
        isa: S,
        (m, vectors, taps): (usize, usize, usize),
        prefetch: &mut Prefetch,
        lines: usize,
    ) {
        isa.run(
            #[inline(always)]
            // SAFETY: the rows of A and C and the panel of B are there, says the caller.
            || unsafe {
                with_count!(taps, 9, T in [1 9] =>
                    with_count!(vectors, S::TILE.1, N in [1 2 3] =>
                        with_count!(m, S::TILE.0, M in [1 2 3 4 5 6 7 8] =>
                            self.sum::<S, M, N, T>(isa, prefetch, lines))));
            },
        );
    }

    /// M rows, N vectors of columns, steps of T taps.
    ///
    /// # Safety
    /// `a` has M rows of `steps` steps of T taps, `out` M rows of N vectors, and `b` a panel of N.
    #[inline(always)]
    unsafe fn sum<S: Isa, const M: usize, const N: usize, const T: usize>(
        &self,
        isa: S,
        prefetch: &mut Prefetch,
        lines: usize,
    ) {
        let mut sums = [[isa.zero(); N]; M];
        let (mut b, mut left, step) = (self.b.as_ptr(), self.steps, self.step);
        let mut rows = [self.a; M];
        for (i, row) in rows.iter_mut().enumerate() {
            *row = self.a.wrapping_add(i * self.row);
        }
        let past_caches = matches!(self.init, Init::PastCaches);
        for out in self.out[..N].iter().filter(|_| !past_caches) {
            ask_for_result(*out, self.out_row, 1, M);
        }
        let mut at = 0;
        // SAFETY: A has M rows of so many steps, B so many vectors and C M rows of the masks'
        // columns, says the caller.
        unsafe {
            while left > 0 {
                let now = if T == 1 { left.min(STEPS) } else { 1 };
                prefetch.fetch_next::<false>(lines);
                for _ in 0..now {
                    for tap in 0..T {
                        let mut columns = [isa.zero(); N];
                        for (j, column) in columns.iter_mut().enumerate() {
                            *column = isa.load(b.add(j * LANES));
                        }
                        for (row, sums) in rows.iter().zip(&mut sums) {
                            let a = isa.splat(*row.wrapping_add(at).add(T - 1 - tap));
                            for (sum, column) in sums.iter_mut().zip(columns) {
                                *sum = isa.fma(a, column, *sum);
                            }
                        }
                        b = b.wrapping_add(N * LANES);
                    }
                    at += step;
                }
                left -= now;
            }
            for (i, sums) in sums.into_iter().enumerate() {
                for (j, sum) in sums.into_iter().enumerate() {
                    let (at, mask) = (self.out[j].wrapping_add(i * self.out_row), self.masks[j]);
                    let sum = match self.init {
                        Init::Zero => sum,
                        Init::PastCaches => {
                            isa.store_past_caches(at, sum);
                            continue;
                        }
                        Init::Accumulate => isa.add(sum, isa.load_or(isa.zero(), mask, at)),
                        Init::PerRow(bias) => isa.add(sum, isa.splat(bias[i])),
                        Init::PerColumn(bias) => isa.add(sum, isa.load_or(isa.zero(), mask, bias[j].as_ptr())),
                    };
                    isa.store_masked(at, mask, sum);
                }
            }
        }
    }
}
