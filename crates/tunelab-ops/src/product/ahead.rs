//! Cache lines that are asked for in advance, a few at a time while sums are computed, so that the next block's operand is on
//! its way from memory before it is read.
#![expect(unsafe_code, reason = "to ask for a cache line is an instruction that is called by name")]

use super::LANES;
use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};

/// The lines of some rows of a matrix that are still to be asked for.
pub(in super::super) struct Ahead {
    at: *const f32,
    /// Values from a row to the next.
    row: usize,
    /// Lines of a row, and how many of them have been asked for.
    lines: usize,
    line: usize,
    left: usize,
}

impl Ahead {
    /// No lines.
    pub(in super::super) const NOTHING: Self = Self { at: std::ptr::null(), row: 0, lines: 0, line: 0, left: 0 };

    /// The first `lines` lines of `rows` rows, which begin at `at` and are `row` values apart.
    pub(in super::super) fn new(at: *const f32, row: usize, lines: usize, rows: usize) -> Self {
        Self { at, row, lines, line: 0, left: rows * lines }
    }

    /// How many lines to ask for at once so that all have been after so many `times`.
    pub(in super::super) fn share(&self, times: usize) -> usize {
        self.left.div_ceil(times)
    }

    /// Asks for the next lines, into the second cache or, if they are used soon, the nearest.
    #[inline(always)]
    pub(in super::super) fn fetch<const NEAR: bool>(&mut self, lines: usize) {
        let lines = lines.min(self.left);
        for _ in 0..lines {
            let at = self.at.wrapping_add(self.line * LANES).cast();
            // SAFETY: a fetch reads nothing that the program sees, and may name any address.
            unsafe { if NEAR { _mm_prefetch::<_MM_HINT_T0>(at) } else { _mm_prefetch::<_MM_HINT_T1>(at) } };
            self.line += 1;
            if self.line == self.lines {
                self.line = 0;
                self.at = self.at.wrapping_add(self.row);
            }
        }
        self.left -= lines;
    }
}
