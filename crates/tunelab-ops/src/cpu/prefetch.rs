//! Cache lines that are asked for before they are read, while sums are computed.
//!
//! In: where runs of lines lie. Out: prefetch instructions, some lines at a time: those that come
//! next ([`Prefetch::fetch_next`]), those of one run ([`Prefetch::fetch_run`]), or those at a
//! distance that the caller knows ([`Prefetch::fetch_at`]). No result depends on any of them.
#![expect(unsafe_code, reason = "to ask for a cache line is an instruction that is called by name")]

/// Values of f32 in a cache line.
const LINE: usize = 16;

/// Runs of cache lines, equally long and equally far apart.
#[derive(Clone, Copy)]
pub(crate) struct Prefetch {
    /// Where the run begins whose turn it is.
    at: *const f32,
    /// Values from a run to the next.
    stride: usize,
    /// Lines of a run, and how many of this one have been asked for.
    lines: usize,
    line: usize,
    /// Lines that are still to be asked for one after the other.
    left: usize,
}

impl Prefetch {
    /// No lines.
    pub(crate) const NONE: Self = Self { at: std::ptr::null(), stride: 0, lines: 0, line: 0, left: 0 };

    /// `runs` runs of `lines` lines each, which begin at `at` and are `stride` values apart.
    #[inline]
    pub(crate) fn new(at: *const f32, stride: usize, lines: usize, runs: usize) -> Self {
        Self { at, stride, lines, line: 0, left: runs * lines }
    }

    /// A single run of `lines` lines.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn one(at: *const f32, lines: usize) -> Self {
        Self::new(at, 0, lines, 1)
    }

    /// Where the run begins, and its number of lines, for a loop in assembly.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn run(&self) -> (*const f32, usize) {
        (self.at, self.lines)
    }

    /// How many lines to ask for at once so that all have been after so many `times`.
    pub(crate) fn share(&self, times: usize) -> usize {
        self.left.div_ceil(times)
    }

    /// Asks for the next lines, into the second cache or, if they are used soon, the nearest.
    #[inline(always)]
    pub(crate) fn fetch_next<const NEAR: bool>(&mut self, lines: usize) {
        let lines = lines.min(self.left);
        for _ in 0..lines {
            ask::<NEAR>(self.at.wrapping_add(self.line * LINE));
            self.line += 1;
            if self.line == self.lines {
                self.line = 0;
                self.at = self.at.wrapping_add(self.stride);
            }
        }
        self.left -= lines;
    }

    /// Asks for all lines of a run, into the nearest cache.
    #[inline(always)]
    pub(crate) fn fetch_run(&self, run: usize) {
        let at = self.at.wrapping_add(run * self.stride);
        for line in 0..self.lines {
            ask::<true>(at.wrapping_add(line * LINE));
        }
    }

    /// Asks for the run's lines `bytes` further on, into the second cache.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(crate) fn fetch_at(&self, bytes: usize) {
        let at = self.at.wrapping_byte_add(bytes);
        for line in 0..self.lines {
            ask::<false>(at.wrapping_add(line * LINE));
        }
    }
}

/// Asks for the first `lines` lines of some rows of a result, into the nearest cache: they are written once the sums are
/// there, and stores that waited for them would hold up what follows.
#[inline(always)]
pub(crate) fn ask_for_result(at: *const f32, row: usize, lines: usize, rows: usize) {
    Prefetch::new(at, row, lines, rows).fetch_next::<true>(lines * rows);
}

/// Asks for a line, into the nearest cache or the second.
#[inline(always)]
fn ask<const NEAR: bool>(at: *const f32) {
    // SAFETY: a prefetch reads nothing that the program sees, and may name any address.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
        if NEAR { _mm_prefetch::<_MM_HINT_T0>(at.cast()) } else { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        if NEAR {
            std::arch::asm!("prfm pldl1keep, [{at}]", at = in(reg) at, options(nostack, preserves_flags, readonly));
        } else {
            std::arch::asm!("prfm pldl2keep, [{at}]", at = in(reg) at, options(nostack, preserves_flags, readonly));
        }
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = at;
}
