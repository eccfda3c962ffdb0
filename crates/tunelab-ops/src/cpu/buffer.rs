//! Buffers of f32 for intermediate values, which keep their memory from call to call.
//!
//! In: how many values. Out: a slice of so many that begins at a cache line.

use std::cell::RefCell;

/// A buffer for intermediate values: an operation on an image needs as much as the image's
/// patches, and to have it zeroed by the system each time costs as much as to use it.
#[derive(Default)]
pub(crate) struct Scratch(Vec<f32>);

/// Values in a cache line.
const LINE: usize = 16;

thread_local! {
    static SPARE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

impl Scratch {
    /// One that an earlier operation of this thread has given back, or an empty one.
    pub(crate) fn new() -> Self {
        Self(SPARE.with_borrow_mut(|spare| spare.pop().unwrap_or_default()))
    }

    /// The first `n` values, from the beginning of a cache line on; what stands in them is left
    /// over from whatever was there.
    pub(crate) fn first(&mut self, n: usize) -> &mut [f32] {
        if self.0.len() < n + LINE {
            self.0.resize(n + LINE, 0.0);
        }
        let first = self.0.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        &mut self.0[first..first + n]
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // While a thread ends its spare buffers may be gone already; then this one goes too.
        let _ = SPARE.try_with(|spare| spare.borrow_mut().push(std::mem::take(&mut self.0)));
    }
}
