//! The operands of a block's product: where its tiles lie, step by step.
//!
//! In: lines of bf16 pairs. Out: [`Operand`] and [`Steps`], measured for
//! [`super::kernel::block`].

use crate::cpu::accumulators::TILE;
use crate::cpu::line_buffer::{CacheLine, LINE_BYTES};

/// One side of a product: tiles of 16 rows, `row` bytes apart, the second tile `second` bytes
/// behind the first.
#[derive(Clone, Copy)]
pub(crate) struct Operand<'a> {
    pub lines: &'a [CacheLine],
    /// Where the first tile begins, in bytes.
    pub first: usize,
    pub row: usize,
    pub second: usize,
}

impl Operand<'_> {
    /// Bytes from the operand's beginning to behind the last one of a step at `offset`.
    pub(super) fn end(&self, offset: usize, tiles: usize) -> usize {
        let tiles = (tiles - 1).saturating_mul(self.second).saturating_add((TILE - 1).saturating_mul(self.row));
        self.first.saturating_add(offset).saturating_add(tiles).saturating_add(LINE_BYTES)
    }

    pub(super) fn pointer(&self) -> *const u8 {
        self.lines.as_ptr().cast::<u8>().wrapping_add(self.first)
    }
}

/// A step of 32 inputs: where its tiles lie on the left and on the right, in bytes from each
/// operand's first, and in bytes too what it asks for from where its block's
/// [`Prefetch`](crate::cpu::prefetch::Prefetch) begins.
#[repr(C)]
pub(super) struct Step {
    pub left: usize,
    pub right: usize,
    pub prefetch: usize,
}

/// The steps of a block.
pub(crate) struct Steps {
    pub(super) all: Vec<Step>,
    pub(super) last: [usize; 2],
    /// Pairs of the last step that need not be zeros.
    pub(super) pairs: usize,
}

impl Steps {
    /// Of `count` steps, where the tiles on the left and on the right lie.
    pub(crate) fn new(count: usize, places: impl Fn(usize) -> [usize; 2]) -> Self {
        Self::with_prefetch(count, |step| (places(step), 0))
    }

    /// The same, and how far on what is asked for lies.
    pub(super) fn with_prefetch(count: usize, places: impl Fn(usize) -> ([usize; 2], usize)) -> Self {
        let step = |step| {
            let ([left, right], prefetch) = places(step);
            Step { left, right, prefetch }
        };
        let all: Vec<_> = (0..count).map(step).collect();
        let last = all.iter().fold([0, 0], |[a, b], step| [a.max(step.left), b.max(step.right)]);
        Self { all, last, pairs: TILE }
    }

    /// The same, where behind so many pairs of the last step both operands have zeros, which tiles
    /// multiply and vectors do not.
    pub(crate) fn ending(self, pairs: usize) -> Self {
        assert!((1..=TILE).contains(&pairs), "gemm_bf16: a step has 16 pairs");
        Self { pairs, ..self }
    }
}
