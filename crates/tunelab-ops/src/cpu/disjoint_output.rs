//! A result in memory that several tasks write at once, each elements of its own.
//!
//! In: a slice that is written. Out: pointers into it, each measured.
#![expect(unsafe_code, reason = "what the compiler cannot see is that the tasks' elements are apart")]

use std::marker::PhantomData;
use std::mem::MaybeUninit;

/// A result's elements, for the tasks, each of which writes elements of its own. Nothing may stand
/// in them before.
#[derive(Clone, Copy)]
pub(crate) struct DisjointOutput<'a> {
    first: *mut f32,
    length: usize,
    result: PhantomData<&'a mut [f32]>,
}

// SAFETY: tasks write disjoint elements through it, while the slice that it points into is
// borrowed.
unsafe impl Send for DisjointOutput<'_> {}
// SAFETY: tasks write disjoint elements through it, and none reads another's.
unsafe impl Sync for DisjointOutput<'_> {}

impl<'a> From<&'a mut [MaybeUninit<f32>]> for DisjointOutput<'a> {
    fn from(result: &'a mut [MaybeUninit<f32>]) -> Self {
        Self { first: result.as_mut_ptr().cast(), length: result.len(), result: PhantomData }
    }
}

impl<'a> From<&'a mut [f32]> for DisjointOutput<'a> {
    fn from(result: &'a mut [f32]) -> Self {
        Self { first: result.as_mut_ptr(), length: result.len(), result: PhantomData }
    }
}

#[cfg(test)]
impl<'a> From<&'a mut Vec<f32>> for DisjointOutput<'a> {
    fn from(result: &'a mut Vec<f32>) -> Self {
        result.as_mut_slice().into()
    }
}

impl DisjointOutput<'_> {
    pub(crate) fn len(self) -> usize {
        self.length
    }

    /// Where the first element lies, for a kernel whose elements have been measured.
    #[inline]
    pub(crate) fn first(self) -> *mut f32 {
        self.first
    }

    /// Where `n` elements from `at` on lie.
    #[inline]
    pub(crate) fn at(self, at: usize, n: usize) -> *mut f32 {
        assert!(n <= self.length && at <= self.length - n, "beyond the result");
        self.first.wrapping_add(at)
    }

    /// Writes `scale` times these values, from element `at` on.
    ///
    /// # Safety
    /// These elements are the calling task's.
    #[inline]
    pub(crate) unsafe fn write_scaled(self, at: usize, values: &[f32], scale: f32) {
        let first = self.at(at, values.len());
        for (i, value) in values.iter().enumerate() {
            // SAFETY: `at` found as many elements, and they are the calling task's.
            unsafe { first.add(i).write(scale * value) };
        }
    }
}
