//! Attention's products of pairs of bf16, on tile registers or on vectors.
//!
//! In: operands in lines of 16 pairs. Out: a block's sums, by the kernel of `gemm_bf16`.
//!
//! q, k, v, the probabilities and, backward, dy and the scores' gradients are rounded to bf16 where they
//! go into a product, as torch's autocast does; softmax is in f32.
#![expect(unsafe_code, reason = "vector instructions are called by name; that they are there, the unit says")]

use crate::attention::products::{Left, Products, Right};
use crate::attention::products_f32::exp2;
use crate::cpu::accumulators::{Accumulators, BLOCK, TILE};
use crate::cpu::line_buffer::LINE_BYTES;
use crate::cpu::prefetch::Prefetch;
use crate::gemm_bf16::kernel::block;
use crate::gemm_bf16::operand::{Operand, Steps};
use crate::gemm_bf16::pack::{pack_pairs, pack_row};
use crate::gemm_bf16::unit::{ConfiguredUnit, Unit};
use crate::simd::Avx512;
use std::arch::x86_64::{__m512, _mm512_castsi512_ps};

/// 2ʳ for r within 1/2 of 0, from the highest power on, and exactly 1 at 0; relative error below 3e-6,
/// where rounding to bf16 loses up to 2e-3.
const POWERS: [f32; 5] = [9.582_853e-3, 5.590_642_6e-2, 0.240_241, 0.693_124_2, 1.0];

impl Products for Unit {
    type Isa = Avx512;
    type Unit = ConfiguredUnit;
    type Steps = Steps;

    const WORD: usize = 2;

    fn isa(self) -> Avx512 {
        self.avx512()
    }

    fn unit(self) -> ConfiguredUnit {
        ConfiguredUnit::new(self)
    }

    /// On the right 16 pairs of lines are a step's.
    fn steps(values: usize) -> Steps {
        let steps = values.div_ceil(BLOCK);
        let last = values - (steps - 1) * BLOCK;
        Steps::new(steps, |step| [step * LINE_BYTES, step * TILE * LINE_BYTES]).ending(last.div_ceil(2))
    }

    #[inline(always)]
    fn run<R>(self, kernel: impl FnOnce() -> R) -> R {
        self.avx512_bf16().run(kernel)
    }

    #[inline(always)]
    fn exp2(self, x: __m512) -> __m512 {
        exp2(self.avx512(), &POWERS, x)
    }

    #[inline(always)]
    fn row(self, [low, high]: [__m512; 2]) -> __m512 {
        // SAFETY: the unit is a witness of the instructions.
        unsafe { _mm512_castsi512_ps(pack_row(low, high)) }
    }

    #[inline(always)]
    fn columns(self, [even, odd]: [__m512; 2]) -> __m512 {
        // SAFETY: the unit is a witness of the instructions.
        unsafe { _mm512_castsi512_ps(pack_pairs(even, odd)) }
    }

    fn block(
        unit: &ConfiguredUnit,
        (a, b): (Left, Right),
        size: (usize, usize),
        steps: &Steps,
        onto: bool,
        sums: &mut Accumulators,
    ) {
        let row = a.row * LINE_BYTES;
        let a = Operand { lines: a.lines, first: 0, row, second: TILE * row };
        let b = Operand { lines: b.lines, first: 0, row: LINE_BYTES, second: b.second * LINE_BYTES };
        block(unit, (a, b), size, (steps, Prefetch::NONE), (sums, onto));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention::blocks::{backward, forward};
    use crate::attention::products::Operands;
    use crate::attention::products_f32::F32;
    use crate::cpu::checks::values;
    use crate::shapes::{AttentionMask, AttentionShape};
    use half::bf16;

    /// Both directions of rounded operands, against the products in f32 of the same: what differs
    /// is the rounding of probabilities.
    #[test]
    fn attention_in_bf16_is_close_to_f32() {
        let Some(unit) = Unit::detect() else { return };
        for (batch, queries, keys, heads, d, mask) in [
            (1, 32, 32, 1, 32, AttentionMask::None),
            (2, 100, 77, 3, 40, AttentionMask::None),
            (1, 300, 300, 2, 8, AttentionMask::None),
            (1, 16, 77, 2, 160, AttentionMask::None),
            (1, 40, 40, 2, 37, AttentionMask::Causal),
        ] {
            let sizes = AttentionShape { batch, queries, keys, heads, d, mask };
            let of = |rows: usize, seed: u32| -> Vec<f32> {
                let values = values(batch * rows * heads * d, seed);
                values.iter().map(|v| bf16::from_f32(*v).to_f32()).collect()
            };
            let (q, k, v, dy) = (of(queries, 1), of(keys, 2), of(keys, 3), of(queries, 4));
            let what = format!("{batch} x {queries} to {keys}, {heads} x {d}, {mask:?}");
            let near = |ours: &[f32], theirs: &[f32], what: &str| {
                let norm = |v: &mut dyn Iterator<Item = f32>| v.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt();
                let apart = norm(&mut ours.iter().zip(theirs).map(|(a, b)| a - b));
                let all = norm(&mut theirs.iter().copied());
                assert!(apart < 4e-3 * all && apart > 0.0, "{what}: {apart:e} of {all:e}");
            };
            let (y, lse) = forward(unit, &sizes, &q, &k, &v);
            near(&y, &forward(F32(unit.avx512()), &sizes, &q, &k, &v).0, &format!("y of {what}"));
            for wanted in [[true, true], [true, false], [false, true]] {
                let operands = Operands { q: &q, k: &k, v: &v, dy: &dy, y: &y, lse: &lse, wanted };
                let (ours, theirs) = (backward(unit, &sizes, operands), backward(F32(unit.avx512()), &sizes, operands));
                for (which, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
                    assert_eq!((ours.len(), theirs.is_empty()), (theirs.len(), !wanted[which.min(1)]));
                    if !theirs.is_empty() {
                        near(ours, theirs, &format!("gradient {which} of {what}"));
                    }
                }
            }
        }
    }
}
