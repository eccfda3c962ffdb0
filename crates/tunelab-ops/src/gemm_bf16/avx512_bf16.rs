//! The product of a block of 32 rows and 32 columns in vector registers, for processors with
//! AVX-512 BF16 and without tile registers: operands that lie as they do for those. Sums
//! differ in their last bits, because tiles add a pair's products apart.
//!
//! In: operands that `kernel` has measured. Out: a block's sums.
//!
//! A pair of the left operand is spread over a vector, and multiplied with 16 columns' pairs at
//! once. Eight rows' sums stay in registers while a few steps pass whose lines stay in the nearest
//! cache.
#![expect(unsafe_code, reason = "vector instructions are called by name, on operands that `kernel` has measured")]

use crate::cpu::accumulators::{Accumulators, BLOCK, TILE};
use crate::cpu::line_buffer::LINE_BYTES;
use crate::cpu::prefetch::Prefetch;
use crate::gemm_bf16::operand::{Operand, Step, Steps};
use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_load_ps, _mm512_loadu_si512, _mm512_set1_epi32,
    _mm512_setzero_ps, _mm512_store_ps,
};
use std::mem::transmute;

/// Rows whose sums are in registers: with two vectors of columns 16 sums.
const ROWS: usize = 8;
/// Steps that pass at once: both operands' lines, 4 KiB a step, stay in the nearest cache while the
/// rows pass.
const STEPS: usize = 6;
/// Pairs of a line.
const PAIRS: usize = 16;

/// The sum over all steps of left times right, of the first `rows`, or with `onto` what it adds to
/// the sums. With one tile of columns, the sums' right half is left as it was.
///
/// # Safety
/// The processor has AVX-512 BF16, and every step's tiles lie inside the operands.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) unsafe fn block(
    a: Operand,
    b: Operand,
    (rows, tiles): (usize, usize),
    (steps, prefetch): (&Steps, Prefetch),
    (sums, onto): (&mut Accumulators, bool),
) {
    let last = steps.all.len().div_ceil(STEPS) - 1;
    for (number, some) in steps.all.chunks(STEPS).enumerate() {
        let pairs = if number == last { steps.pairs } else { PAIRS };
        for first in (0..rows).step_by(ROWS) {
            let at = a.pointer().wrapping_add(first / TILE * a.second + first % TILE * a.row);
            let sums = &mut sums.0[first..first + ROWS];
            // Some lines at a time: there is room for few that are on their way.
            for step in some.iter().skip(first / ROWS).step_by(rows.div_ceil(ROWS)) {
                prefetch.fetch_at(step.prefetch);
            }
            let begin = number == 0 && !onto;
            // SAFETY: AVX-512 BF16 is there and the tiles lie inside the operands, says the caller;
            // eight rows begin at `at`.
            unsafe {
                if tiles == 1 {
                    few::<1>((at, a.row), b, (some, pairs), sums, begin);
                } else {
                    few::<2>((at, a.row), b, (some, pairs), sums, begin);
                }
            }
        }
    }
}

/// What some steps, the last one of so many pairs, contribute to eight rows and N vectors of
/// columns.
///
/// # Safety
/// The processor has AVX-512 BF16; eight rows lie at `rows`, `row` bytes apart, and every step's
/// tiles inside `b`.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
#[inline]
unsafe fn few<const N: usize>(
    (rows, row): (*const u8, usize),
    b: Operand,
    (steps, pairs): (&[Step], usize),
    out: &mut [[f32; BLOCK]],
    begin: bool,
) {
    let mut sums: [[__m512; N]; ROWS] = std::array::from_fn(|i| {
        std::array::from_fn(|j| {
            // SAFETY: rows of 32 are aligned, and so are their halves.
            if begin { _mm512_setzero_ps() } else { unsafe { _mm512_load_ps(out[i][j * TILE..].as_ptr()) } }
        })
    });
    for (number, step) in steps.iter().enumerate() {
        let pairs = if number + 1 == steps.len() { pairs } else { PAIRS };
        let (mut left, mut right) = (rows.wrapping_add(step.left), b.pointer().wrapping_add(step.right));
        for _ in 0..pairs {
            // SAFETY: AVX-512 BF16 and all pairs are there, says the caller; 32 bf16 are 512 bits,
            // whatever they are called.
            unsafe {
                let columns: [__m512bh; N] = std::array::from_fn(|j| {
                    transmute::<__m512i, __m512bh>(_mm512_loadu_si512(right.wrapping_add(j * b.second).cast()))
                });
                for (i, sums) in sums.iter_mut().enumerate() {
                    let pair = left.wrapping_add(i * row).cast::<i32>().read_unaligned();
                    let pair = transmute::<__m512i, __m512bh>(_mm512_set1_epi32(pair));
                    for (sum, column) in sums.iter_mut().zip(columns) {
                        *sum = _mm512_dpbf16_ps(*sum, pair, column);
                    }
                }
            }
            left = left.wrapping_add(LINE_BYTES / PAIRS);
            right = right.wrapping_add(b.row);
        }
    }
    for (out, sums) in out.iter_mut().zip(sums) {
        for (j, sum) in sums.into_iter().enumerate() {
            // SAFETY: rows of 32 are aligned, and so are their halves.
            unsafe { _mm512_store_ps(out[j * TILE..].as_mut_ptr(), sum) };
        }
    }
}
