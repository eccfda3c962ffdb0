//! Buffers of whole cache lines for intermediate values, which keep their memory from call to call.
//!
//! In: how many lines. Out: a slice of so many. A line is 16 values of f32, or of 16 pairs of bf16 (VNNI).

use std::cell::RefCell;

/// 16 words: values of f32, or a tile's row of pairs of bf16, the first of a pair in the lower half.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct CacheLine(pub [u32; 16]);

/// All zeros.
pub(crate) const ZERO_LINE: CacheLine = CacheLine([0; 16]);

/// Bytes of a line.
#[cfg(target_arch = "x86_64")]
pub(crate) const LINE_BYTES: usize = size_of::<CacheLine>();

/// Lines for intermediate values, which keep their memory from call to call.
pub(crate) struct LineBuffer(Vec<CacheLine>);

thread_local! {
    static SPARE: RefCell<Vec<Vec<CacheLine>>> = const { RefCell::new(Vec::new()) };
}

impl LineBuffer {
    /// One that an earlier operation of this thread has given back, or an empty one.
    pub(crate) fn new() -> Self {
        Self(SPARE.with_borrow_mut(|spare| spare.pop().unwrap_or_default()))
    }

    /// The first `n` lines; what stands in them is left over from whatever was there.
    pub(crate) fn first(&mut self, n: usize) -> &mut [CacheLine] {
        if self.0.len() < n {
            self.0.resize(n, ZERO_LINE);
        }
        &mut self.0[..n]
    }
}

impl Drop for LineBuffer {
    fn drop(&mut self) {
        // While a thread ends its spare buffers may be gone already; then this one goes too.
        let _ = SPARE.try_with(|spare| spare.borrow_mut().push(std::mem::take(&mut self.0)));
    }
}
