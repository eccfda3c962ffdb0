//! Attention's products in f32.
//!
//! In: operands in lines of 16 values, measured here. Out: a block's sums.
#![expect(unsafe_code, reason = "values are loaded and stored through pointers into slices whose sizes are checked")]

use crate::attention::products::{Left, Products, Right};
use crate::cpu::accumulators::{Accumulators, BLOCK, TILE};
use crate::simd::isa::{Isa, LANES, few_registers};

/// 2ʳ for r within 1/2 of 0, from the highest power on: (ln 2)ᵏ / k!; the next term is below 6e-9.
#[expect(clippy::excessive_precision, reason = "the constants are the exact ones, rounded by the compiler")]
const POWERS: [f32; 8] = [
    1.525_273_380_4e-5,
    1.540_353_039_3e-4,
    1.333_355_814_6e-3,
    9.618_129_107_6e-3,
    5.550_410_866_5e-2,
    2.402_265_069_6e-1,
    6.931_471_805_6e-1,
    1.0,
];

/// Products of f32 by these instructions.
#[derive(Clone, Copy)]
pub(super) struct F32<S>(pub S);

/// 2ˣ for x of 0 or just above and below; `powers` is a polynomial of 2ʳ for r within 1/2 of 0, from the
/// highest power on.
#[inline(always)]
pub(super) fn exp2<S: Isa, const N: usize>(isa: S, powers: &[f32; N], x: S::F32) -> S::F32 {
    let exponent = isa.round(x);
    let r = isa.sub(x, exponent);
    let mut p = isa.splat(powers[0]);
    for c in &powers[1..] {
        p = isa.fma(p, r, isa.splat(*c));
    }
    isa.times_power_of_two(p, exponent)
}

impl<S: Isa> Products for F32<S> {
    type Isa = S;
    type Unit = S;
    type Steps = usize;

    const WORD: usize = 1;

    fn isa(self) -> S {
        self.0
    }

    fn unit(self) -> S {
        self.0
    }

    fn steps(values: usize) -> usize {
        values
    }

    #[inline(always)]
    fn run<R>(self, kernel: impl FnOnce() -> R) -> R {
        self.0.run(kernel)
    }

    #[inline(always)]
    fn exp2(self, x: S::F32) -> S::F32 {
        exp2(self.0, &POWERS, x)
    }

    #[inline(always)]
    fn row(self, [values, _]: [S::F32; 2]) -> S::F32 {
        values
    }

    #[inline(always)]
    fn columns(self, [row, _]: [S::F32; 2]) -> S::F32 {
        row
    }

    fn block(
        isa: &S,
        (a, b): (Left, Right),
        (rows, tiles): (usize, usize),
        steps: &usize,
        onto: bool,
        sums: &mut Accumulators,
    ) {
        let (isa, steps, rows) = (*isa, *steps, rows.next_multiple_of(4));
        assert!(
            rows <= BLOCK
                && (1..=2).contains(&tiles)
                && (rows - 1) * a.row * LANES + steps <= a.lines.len() * LANES
                && (tiles - 1) * b.second + steps <= b.lines.len(),
            "attention: an operand is too small"
        );
        let (left, right) = (a.lines.as_ptr().cast::<f32>(), b.lines.as_ptr().cast::<f32>());
        let (left_row, second) = (a.row * LANES, b.second * LANES);
        let together = if few_registers::<S>() { 1 } else { tiles };
        isa.run(
            #[inline(always)]
            || {
                for tile in (0..tiles).step_by(together) {
                    let right = right.wrapping_add(tile * second);
                    let mut first = 0;
                    while first < rows {
                        let left = (left.wrapping_add(first * left_row), left_row);
                        let sums = &mut sums.0[first..];
                        // As many rows as registers hold sums for, so that a multiple of four is left.
                        // SAFETY: rows and tiles lie inside the operands, as measured.
                        first += unsafe {
                            match (rows - first, together) {
                                (6 | 10 | 12.., 1) if few_registers::<S>() => {
                                    some::<S, 6, 1>(isa, left, (right, second), steps, onto, sums, tile)
                                }
                                (8.., 2) => some::<S, 8, 2>(isa, left, (right, second), steps, onto, sums, tile),
                                (_, 2) => some::<S, 4, 2>(isa, left, (right, second), steps, onto, sums, tile),
                                (8.., _) if !few_registers::<S>() => {
                                    some::<S, 8, 1>(isa, left, (right, second), steps, onto, sums, tile)
                                }
                                _ => some::<S, 4, 1>(isa, left, (right, second), steps, onto, sums, tile),
                            }
                        };
                    }
                }
            },
        );
    }
}

/// R rows and N tiles of columns from `tile` on. Returns R.
///
/// # Safety
/// R rows and N tiles of so many steps lie at `left` and `right`.
#[inline(always)]
unsafe fn some<S: Isa, const R: usize, const N: usize>(
    isa: S,
    (left, row): (*const f32, usize),
    (right, second): (*const f32, usize),
    steps: usize,
    onto: bool,
    out: &mut [[f32; BLOCK]],
    tile: usize,
) -> usize {
    let out = &mut out[..R];
    let mut sums = [[isa.zero(); N]; R];
    if onto {
        for (out, sums) in out.iter().zip(&mut sums) {
            for (j, sum) in sums.iter_mut().enumerate() {
                // SAFETY: a row has two tiles.
                *sum = unsafe { isa.load(out[(tile + j) * TILE..][..TILE].as_ptr()) };
            }
        }
    }
    let mut rows = [left; R];
    for (i, at) in rows.iter_mut().enumerate() {
        *at = left.wrapping_add(i * row);
    }
    for step in 0..steps {
        // SAFETY: all rows and tiles are there, says the caller.
        unsafe {
            let mut columns = [isa.zero(); N];
            for (j, column) in columns.iter_mut().enumerate() {
                *column = isa.load(right.wrapping_add(step * LANES + j * second));
            }
            for (row, sums) in rows.iter().zip(&mut sums) {
                let value = isa.splat(*row.wrapping_add(step));
                for (sum, column) in sums.iter_mut().zip(columns) {
                    *sum = isa.fma(value, column, *sum);
                }
            }
        }
    }
    for (out, sums) in out.iter_mut().zip(sums) {
        for (j, sum) in sums.into_iter().enumerate() {
            // SAFETY: a row has two tiles.
            unsafe { isa.store(out[(tile + j) * TILE..][..TILE].as_mut_ptr(), sum) };
        }
    }
    R
}
