//! How the columns of a product are counted: in vectors, segment by segment.
//!
//! In: segments and their width. Out: where a vector's columns are.

use crate::simd::isa::LANES;
use std::ops::Range;

/// The columns of C and B: `segments` times `width`, each segment of whole vectors.
#[derive(Clone, Copy)]
pub(crate) struct Columns {
    pub segments: usize,
    pub width: usize,
}

impl Columns {
    /// A single segment.
    pub(crate) fn one(width: usize) -> Self {
        Self { segments: 1, width }
    }

    /// Vectors of one segment.
    fn segment_vectors(&self) -> usize {
        self.width.div_ceil(LANES)
    }

    /// Vectors of all segments.
    pub(crate) fn vectors(&self) -> usize {
        self.segments * self.segment_vectors()
    }

    /// The segment of a vector, its first column there, and how many columns it has.
    #[inline]
    pub(crate) fn of(&self, vector: usize) -> (usize, usize, usize) {
        let (segment, first) = (vector / self.segment_vectors(), vector % self.segment_vectors() * LANES);
        (segment, first, LANES.min(self.width - first))
    }
}

/// The i-th of n parts of a range, which are as long as one another but for one.
pub(crate) fn split_range(of: Range<usize>, n: usize, i: usize) -> Range<usize> {
    of.start + of.len() * i / n..of.start + of.len() * (i + 1) / n
}
