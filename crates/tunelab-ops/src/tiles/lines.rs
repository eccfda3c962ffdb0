//! Memory in whole cache lines: a tile's row is a line of 16 pairs of bf16.

use std::cell::RefCell;

/// A row of a tile: 16 pairs of bf16, the first of a pair in the lower half.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(in super::super) struct Line(pub [u32; 16]);

/// All zeros.
pub(in super::super) const ZEROS: Line = Line([0; 16]);

/// Bytes of a line.
pub(in super::super) const BYTES: usize = size_of::<Line>();

/// Lines for intermediate values, which keep their memory from call to call.
pub(in super::super) struct Spare(Vec<Line>);

thread_local! {
    static SPARE: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

impl Spare {
    /// One that an earlier operation of this thread has given back, or an empty one.
    pub(in super::super) fn new() -> Self {
        Self(SPARE.with_borrow_mut(|spare| spare.pop().unwrap_or_default()))
    }

    /// The first `n` lines; what stands in them is left over from whatever was there.
    pub(in super::super) fn first(&mut self, n: usize) -> &mut [Line] {
        if self.0.len() < n {
            self.0.resize(n, ZEROS);
        }
        &mut self.0[..n]
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        // While a thread ends its spare buffers may be gone already; then this one goes too.
        let _ = SPARE.try_with(|spare| spare.borrow_mut().push(std::mem::take(&mut self.0)));
    }
}
