//! How many operations the unit for bf16 does where nothing but its sums in registers hold it up.
//!
//! In: a unit that is ready, and a number of steps. Out: operations, two for each multiplication with
//! its addition, after they were done.
#![expect(unsafe_code, reason = "the units' instructions are called by name; they touch nothing but registers")]

use super::unit::{ConfiguredUnit, Unit};
use std::arch::asm;
use std::arch::x86_64::{__m512, __m512bh, _mm512_dpbf16_ps, _mm512_setzero_ps};
use std::hint::black_box;

/// Sums in vector registers at once, as in a product's block.
const SUMS: usize = 16;

/// Does them: on tiles four sums of 16 rows, 16 columns and 32 products each, on vectors sums of 16
/// times two products.
pub(crate) fn sum(on: &ConfiguredUnit, steps: usize) -> usize {
    match on.unit() {
        Unit::Amx(_) => {
            // A sum on tiles takes as long as 16 on vectors.
            let steps = steps.div_ceil(16);
            // SAFETY: the unit is one of tiles, and configured; the instructions touch nothing else.
            unsafe {
                asm!(
                    "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3", "tilezero tmm4",
                    "tilezero tmm5", "tilezero tmm6", "tilezero tmm7",
                    "2:",
                    "tdpbf16ps tmm0, tmm4, tmm6", "tdpbf16ps tmm1, tmm4, tmm7",
                    "tdpbf16ps tmm2, tmm5, tmm6", "tdpbf16ps tmm3, tmm5, tmm7",
                    "dec {steps}", "jnz 2b",
                    steps = inout(reg) steps => _,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack, nomem)
                );
            }
            steps * 4 * 2 * 16 * 16 * 32
        }
        Unit::Avx512Bf16(_) => {
            // SAFETY: the unit is a witness of the instructions.
            black_box(unsafe { vectors(steps) });
            steps * SUMS * 2 * 16 * 2
        }
    }
}

/// # Safety
/// The processor has AVX-512 BF16.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn vectors(steps: usize) -> [__m512; SUMS] {
    // SAFETY: zeros are a value of every vector.
    let [a, b] = black_box(unsafe { std::mem::zeroed::<[__m512bh; 2]>() });
    let mut sums = [_mm512_setzero_ps(); SUMS];
    for _ in 0..steps {
        for sum in &mut sums {
            *sum = _mm512_dpbf16_ps(*sum, a, b);
        }
    }
    sums
}
