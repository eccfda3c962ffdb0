//! Buffers of f32 for intermediate values, which keep their memory from call to call.
//!
//! In: how many values. Out: a slice of so many that begins at a cache line.
#![expect(unsafe_code, reason = "lines are read as the values that they are")]

use crate::cpu::line_buffer::LineBuffer;

/// A buffer for intermediate values: an operation on an image needs as much as the image's
/// patches, and to have it zeroed by the system each time costs as much as to use it.
pub(crate) struct Scratch(LineBuffer);

/// Values in a cache line.
const LINE: usize = 16;

impl Scratch {
    /// One that an earlier operation of this thread has given back, or an empty one.
    pub(crate) fn new() -> Self {
        Self(LineBuffer::new())
    }

    /// The first `n` values; what stands in them is left over from whatever was there.
    pub(crate) fn first(&mut self, n: usize) -> &mut [f32] {
        let lines = self.0.first(n.div_ceil(LINE));
        // SAFETY: a line is 16 numbers without padding, and any bits are numbers; n of them are there.
        unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), n) }
    }
}
