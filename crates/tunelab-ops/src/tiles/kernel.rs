//! The processor's part: which instructions there are, permission, configuration, and the product of a block of 32 rows and 32
//! columns on tile registers. Where there are none, [`vectors`] computes it.
#![expect(
    unsafe_code,
    reason = "tile instructions exist in assembly only, and what they read is measured by `Operand`; a fetch is called by name"
)]

use super::lines::{BYTES, Line};
use super::vectors;
use std::arch::asm;
use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
use std::marker::PhantomData;
use std::mem::offset_of;
use std::sync::OnceLock;

/// Rows and columns of a block: two tiles each way.
pub(in super::super) const BLOCK: usize = 32;
/// Rows and columns of a tile of sums.
pub(in super::super) const TILE: usize = 16;

/// What a block's sums are left in: 32 rows of 32.
#[repr(C, align(64))]
pub(in super::super) struct Sums(pub [[f32; BLOCK]; BLOCK]);

/// What sums products of pairs of bf16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Unit {
    /// Tile registers (AMX).
    Tiles,
    /// Vectors (AVX-512 BF16).
    Vectors,
}

/// The faster unit that this processor has and that the system lets this process use.
pub(in super::super) fn unit() -> Option<Unit> {
    static UNIT: OnceLock<Option<Unit>> = OnceLock::new();
    *UNIT.get_or_init(|| {
        let vectors = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512bf16");
        // Leaf 7: bits 22 (bf16) and 24 (tiles) of EDX.
        let leaf = std::arch::x86_64::__cpuid_count(7, 0);
        let tiles = leaf.edx & (1 << 22 | 1 << 24) == (1 << 22 | 1 << 24);
        vectors.then(|| if tiles && permitted() { Unit::Tiles } else { Unit::Vectors })
    })
}

/// Whether there is one.
pub(in super::super) fn available() -> bool {
    unit().is_some()
}

/// Asks the system for the tile registers, for all threads of this process.
#[cfg(target_os = "linux")]
fn permitted() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const TILE_DATA: u64 = 18;
    let answer: i64;
    // SAFETY: a system call without pointers; the kernel overwrites rcx and r11.
    unsafe {
        asm!("syscall", inlateout("rax") ARCH_PRCTL => answer, in("rdi") ARCH_REQ_XCOMP_PERM, in("rsi") TILE_DATA,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    answer == 0
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}

/// The unit of this thread, in use until this is dropped.
pub(in super::super) struct Configured {
    unit: Unit,
    /// What is configured is this thread's.
    here: PhantomData<*const ()>,
}

impl Configured {
    /// The faster one; its eight tiles, if it has them, of 16 rows of 64 bytes.
    pub(in super::super) fn new() -> Self {
        Self::with(unit().expect("a weight was laid out for it"))
    }

    /// This one, which must be there.
    pub(super) fn with(unit: Unit) -> Self {
        #[repr(C, align(64))]
        struct Shape {
            palette: u8,
            start: u8,
            reserved: [u8; 14],
            row_bytes: [u16; 16],
            rows: [u8; 16],
        }
        if unit == Unit::Vectors {
            assert!(available(), "tiles: this processor has no products of bf16");
            return Self { unit, here: PhantomData };
        }
        assert!(self::unit() == Some(unit), "tiles: this processor has none");
        let mut shape = Shape { palette: 1, start: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
        shape.row_bytes[..8].fill(64);
        shape.rows[..8].fill(16);
        // SAFETY: the processor has tiles and the system permits them; the operand is a configuration of 64 bytes.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const shape, options(nostack, readonly)) };
        Self { unit, here: PhantomData }
    }
}

impl Drop for Configured {
    fn drop(&mut self) {
        if self.unit == Unit::Vectors {
            return;
        }
        // SAFETY: it was configured. Tiles that are in use would have to be saved whenever the thread is put aside.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

/// One side of a product: tiles of 16 rows, `row` bytes apart, the second tile `second` bytes behind the first.
#[derive(Clone, Copy)]
pub(in super::super) struct Operand<'a> {
    pub lines: &'a [Line],
    /// Where the first tile begins, in bytes.
    pub first: usize,
    pub row: usize,
    pub second: usize,
}

impl Operand<'_> {
    /// Bytes from the operand's beginning to behind the last one of a step at `offset`.
    fn end(&self, offset: usize, tiles: usize) -> usize {
        let tiles = (tiles - 1).saturating_mul(self.second).saturating_add((TILE - 1).saturating_mul(self.row));
        self.first.saturating_add(offset).saturating_add(tiles).saturating_add(BYTES)
    }

    pub(super) fn pointer(&self) -> *const u8 {
        self.lines.as_ptr().cast::<u8>().wrapping_add(self.first)
    }
}

/// Lines that are asked for while a block is summed, because a later one needs them: at each step `lines` of them, `at` and
/// the step's own distance from there.
#[derive(Clone, Copy)]
pub(in super::super) struct Ahead {
    pub at: *const Line,
    pub lines: usize,
}

impl Ahead {
    /// No lines.
    pub(in super::super) const NOTHING: Self = Self { at: std::ptr::null(), lines: 0 };

    /// Asks for a step's lines.
    #[inline(always)]
    pub(super) fn fetch(self, step: &Step) {
        let at = self.at.wrapping_byte_add(step.ahead);
        for line in 0..self.lines {
            // SAFETY: a fetch reads nothing that the program sees, and may name any address.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(at.wrapping_add(line).cast()) };
        }
    }
}

/// A step of 32 inputs: where its tiles lie on the left and on the right, in bytes from each operand's first, and in bytes too
/// what it looks at from where its block looks [`Ahead`].
#[repr(C)]
pub(super) struct Step {
    pub left: usize,
    pub right: usize,
    pub ahead: usize,
}

/// The steps of a block.
pub(in super::super) struct Steps {
    pub(super) all: Vec<Step>,
    last: [usize; 2],
    /// Pairs of the last step that need not be zeros.
    pub(super) pairs: usize,
}

impl Steps {
    /// Of `count` steps, where the tiles on the left and on the right lie.
    pub(in super::super) fn new(count: usize, places: impl Fn(usize) -> [usize; 2]) -> Self {
        Self::looking_ahead(count, |step| (places(step), 0))
    }

    /// The same, and how far on to look ahead.
    pub(super) fn looking_ahead(count: usize, places: impl Fn(usize) -> ([usize; 2], usize)) -> Self {
        let step = |step| {
            let ([left, right], ahead) = places(step);
            Step { left, right, ahead }
        };
        let all: Vec<_> = (0..count).map(step).collect();
        let last = all.iter().fold([0, 0], |[a, b], step| [a.max(step.left), b.max(step.right)]);
        Self { all, last, pairs: TILE }
    }

    /// The same, where behind so many pairs of the last step both operands have zeros, which tiles multiply and vectors do not.
    pub(in super::super) fn ending(self, pairs: usize) -> Self {
        assert!((1..=TILE).contains(&pairs), "tiles: a step has 16 pairs");
        Self { pairs, ..self }
    }
}

/// What a block's loop reads from memory, to spare registers.
#[repr(C)]
struct Rest {
    at: *const Line,
    lines: usize,
    sums: *mut Sums,
}

/// A block: the sum over all steps of left times right, of which the first `rows` are wanted. With one tile of columns,
/// the sums' right half is left as it was. Meanwhile each step asks for its lines of `ahead`.
pub(in super::super) fn block(
    on: &Configured,
    a: Operand,
    b: Operand,
    (rows, tiles): (usize, usize),
    (steps, ahead): (&Steps, Ahead),
    sums: &mut Sums,
) {
    assert!(rows <= BLOCK && (1..=2).contains(&tiles), "tiles: a block has 32 rows and columns");
    assert!(
        a.end(steps.last[0], 2) <= size_of_val(a.lines) && b.end(steps.last[1], tiles) <= size_of_val(b.lines),
        "tiles: an operand is too small"
    );
    if steps.all.is_empty() {
        return;
    }
    if on.unit == Unit::Vectors {
        // SAFETY: the processor has the instructions; every step's tiles lie inside the operands, as measured above.
        return unsafe { vectors::block(a, b, (rows, tiles), (steps, ahead), sums) };
    }
    let (range, rest) = (steps.all.as_ptr_range(), Rest { at: ahead.at, lines: ahead.lines, sums });
    // The loop, of which the number of tiles decides what is cleared, what a step multiplies, and what is stored.
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
                "mov {x}, [{rest} + {lines}]", "mov {y}, [{step} + {ahead}]", "add {y}, [{rest} + {at}]",
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
                ahead = const offset_of!(Step, ahead), next = const size_of::<Step>(), line = const BYTES,
                at = const offset_of!(Rest, at), lines = const offset_of!(Rest, lines),
                sums = const offset_of!(Rest, sums),
                $(out($tile) _,)+
                options(nostack)
            )
        };
    }
    // SAFETY: tiles are configured; every step's tiles lie inside the operands, as measured above; the sums are 32 rows of
    // 128 bytes.
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
