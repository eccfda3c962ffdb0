//! Where filters lie in memory, to be asked for before they are transformed.
//!
//! In: places. Out: runs of lines for [`Prefetch`].

use crate::cpu::prefetch::Prefetch;
use crate::simd::isa::LANES;

/// So many pieces of memory, of `length` values each, from the first on `apart` values from one
/// another.
#[derive(Clone, Copy)]
pub(super) struct Pieces {
    pub first: *const f32,
    pub count: usize,
    pub length: usize,
    pub apart: usize,
}

impl Pieces {
    /// None.
    pub(super) const NONE: Self = Self { first: std::ptr::null(), count: 0, length: 0, apart: 0 };

    /// All of their lines.
    pub(super) fn all(self) -> Prefetch {
        Prefetch::new(self.first, self.apart, self.length.div_ceil(LANES), self.count)
    }

    /// For each piece its lines, spread over a number of groups of steps.
    pub(super) fn lines(self, groups: usize) -> impl Iterator<Item = Prefetch> {
        let lines = self.length.div_ceil(LANES).div_ceil(groups);
        let prefetch = move |piece| Prefetch::new(self.first.wrapping_add(piece * self.apart), lines * LANES, lines, 1);
        (0..self.count).map(prefetch)
    }
}
