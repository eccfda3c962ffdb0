//! The product of a block of 32 rows and 32 columns on tile registers. Where there are none,
//! [`avx512_bf16`] computes it.
//!
//! In: two operands, measured here, and the steps over them. Out: the sums.
#![expect(
    unsafe_code,
    reason = "tile instructions exist in assembly only, and what they read is measured by `Operand`"
)]

use super::avx512_bf16;
use super::unit::{ConfiguredUnit, Unit};
use crate::cpu::accumulators::{Accumulators, BLOCK};
use crate::cpu::line_buffer::LINE_BYTES;
use crate::cpu::prefetch::Prefetch;
use crate::gemm_bf16::operand::{Operand, Step, Steps};
use std::arch::asm;
use std::mem::offset_of;

/// What a block's loop reads from memory, to spare registers.
#[repr(C)]
struct Rest {
    at: *const f32,
    lines: usize,
    sums: *mut Accumulators,
}

/// A block: the sum over all steps of left times right, of which the first `rows` are wanted; with `onto` it is
/// added to what is there. With one tile of columns, the sums' right half is left as it was. Meanwhile each step
/// asks for its lines of `prefetch`.
pub(crate) fn block(
    on: &ConfiguredUnit,
    (a, b): (Operand, Operand),
    (rows, tiles): (usize, usize),
    (steps, prefetch): (&Steps, Prefetch),
    (sums, onto): (&mut Accumulators, bool),
) {
    assert!(
        rows <= BLOCK && (1..=2).contains(&tiles) && !steps.all.is_empty(),
        "gemm_bf16: a block has 32 rows and columns"
    );
    assert!(
        a.end(steps.last[0], 2) <= size_of_val(a.lines) && b.end(steps.last[1], tiles) <= size_of_val(b.lines),
        "gemm_bf16: an operand is too small"
    );
    if let Unit::Avx512Bf16(_) = on.unit() {
        // SAFETY: the unit is a witness of the instructions; every step's tiles lie inside the
        // operands, as measured above.
        return unsafe { avx512_bf16::block(a, b, (rows, tiles), (steps, prefetch), (sums, onto)) };
    }
    if onto {
        let mut more = Accumulators::zeros();
        block(on, (a, b), (rows, tiles), (steps, prefetch), (&mut more, false));
        let sums = sums.0.as_flattened_mut().iter_mut().zip(more.0.as_flattened());
        return sums.for_each(|(sum, more)| *sum += more);
    }
    let (at, lines) = prefetch.run();
    let (range, rest) = (steps.all.as_ptr_range(), Rest { at, lines, sums });
    // The loop, of which the number of tiles decides what is cleared, what a step multiplies, and
    // what is stored.
    macro_rules! over_steps {
        (
            [$($clear:literal),+],
            [$($multiply:literal),+],
            [$($store:literal),+],
            [$($tile:tt),+],
            [$($operand:ident = $value:expr),*]
        ) => {
            asm!(
                $($clear,)+
                "2:",
                "mov {x}, [{step} + {left}]", "mov {y}, [{step} + {right}]", "add {x}, {a}", "add {y}, {b}",
                $($multiply,)+
                "mov {x}, [{rest} + {lines}]", "mov {y}, [{step} + {prefetch}]", "add {y}, [{rest} + {at}]",
                "test {x}, {x}", "jz 4f",
                "3:", "prefetcht1 [{y}]", "add {y}, {line}", "dec {x}", "jnz 3b", "4:",
                "add {step}, {next}", "cmp {step}, {end}", "jne 2b",
                "mov {y}, [{rest} + {sums}]", "mov {x:e}, 128",
                $($store,)+
                x = out(reg) _, y = out(reg) _, step = inout(reg) range.start => _, end = in(reg) range.end,
                a = in(reg) a.pointer(), a_row = in(reg) a.row, a_second = in(reg) a.second,
                b = in(reg) b.pointer(), b_row = in(reg) b.row, $($operand = in(reg) $value,)*
                rest = in(reg) &raw const rest,
                left = const offset_of!(Step, left), right = const offset_of!(Step, right),
                prefetch = const offset_of!(Step, prefetch), next = const size_of::<Step>(), line = const LINE_BYTES,
                at = const offset_of!(Rest, at), lines = const offset_of!(Rest, lines),
                sums = const offset_of!(Rest, sums),
                $(out($tile) _,)+
                options(nostack)
            )
        };
    }
    // SAFETY: the unit is one of tiles, and configured; every step's tiles lie inside the operands,
    // as measured above; the sums are 32 rows of 128 bytes.
    unsafe {
        if tiles == 1 {
            over_steps!(
                ["tilezero tmm0", "tilezero tmm2"],
                [
                    "tileloadd tmm6, [{y} + {b_row}*1]",
                    "tileloadd tmm4, [{x} + {a_row}*1]",
                    "add {x}, {a_second}",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm5, [{x} + {a_row}*1]",
                    "tdpbf16ps tmm2, tmm5, tmm6"
                ],
                ["tilestored [{y} + {x}*1], tmm0", "tilestored [{y} + {x}*1 + 2048], tmm2"],
                ["tmm0", "tmm2", "tmm4", "tmm5", "tmm6"],
                []
            );
        } else {
            over_steps!(
                ["tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3"],
                [
                    "tileloadd tmm6, [{y} + {b_row}*1]",
                    "tileloadd tmm4, [{x} + {a_row}*1]",
                    "add {y}, {b_second}",
                    "add {x}, {a_second}",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm7, [{y} + {b_row}*1]",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tileloadd tmm5, [{x} + {a_row}*1]",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7"
                ],
                [
                    "tilestored [{y} + {x}*1], tmm0",
                    "tilestored [{y} + {x}*1 + 64], tmm1",
                    "tilestored [{y} + {x}*1 + 2048], tmm2",
                    "tilestored [{y} + {x}*1 + 2112], tmm3"
                ],
                ["tmm0", "tmm1", "tmm2", "tmm3", "tmm4", "tmm5", "tmm6", "tmm7"],
                [b_second = b.second]
            );
        }
    }
}
