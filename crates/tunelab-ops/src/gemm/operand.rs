//! An operand's values as they lie in memory: f32, or bf16 that is upcast block by block.
//!
//! In: slices. Out: values in f32.
#![expect(unsafe_code, reason = "values are loaded and stored through pointers into slices whose sizes are checked")]

use crate::simd::isa::{Isa, LANES};
use half::bf16;

/// A matrix's values.
#[derive(Clone, Copy)]
pub(crate) enum Values<'a> {
    F32(&'a [f32]),
    Bf16(&'a [bf16]),
}

impl<'a> From<&'a [f32]> for Values<'a> {
    fn from(values: &'a [f32]) -> Self {
        Self::F32(values)
    }
}

impl<'a> From<&'a [bf16]> for Values<'a> {
    fn from(values: &'a [bf16]) -> Self {
        Self::Bf16(values)
    }
}

impl Values<'_> {
    pub(crate) fn len(self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::Bf16(values) => values.len(),
        }
    }

    /// Where value `i` lies, and how many values of f32 take as much memory as `n` of these: for
    /// what is asked for in advance, of which no result depends.
    pub(crate) fn place(self, i: usize) -> (*const f32, impl Fn(usize) -> usize + Copy) {
        let (at, size) = match self {
            Self::F32(values) => (values.as_ptr().wrapping_add(i), 1),
            Self::Bf16(values) => (values.as_ptr().wrapping_add(i).cast(), 2),
        };
        (at, move |n: usize| n.div_ceil(size))
    }
}

/// A value as it lies in memory.
pub(super) trait Value: Copy {
    /// 16 of them in f32.
    ///
    /// # Safety
    /// They are there.
    unsafe fn load<S: Isa>(isa: S, at: *const Self) -> S::F32;
}

impl Value for f32 {
    #[inline(always)]
    unsafe fn load<S: Isa>(isa: S, at: *const Self) -> S::F32 {
        // SAFETY: 16 values are there, says the caller.
        unsafe { isa.load(at) }
    }
}

impl Value for bf16 {
    #[inline(always)]
    unsafe fn load<S: Isa>(isa: S, at: *const Self) -> S::F32 {
        // SAFETY: 16 values are there, says the caller.
        unsafe { isa.upcast(at) }
    }
}

/// Values in f32.
pub(super) fn upcast<S: Isa>(isa: S, values: &[bf16], out: &mut [f32]) {
    assert_eq!(values.len(), out.len(), "upcast: as many values");
    let whole = values.len() / LANES * LANES;
    isa.run(
        #[inline(always)]
        || {
            for at in (0..whole).step_by(LANES) {
                // SAFETY: 16 values are there from `at` on.
                unsafe { isa.store(out.as_mut_ptr().add(at), isa.upcast(values.as_ptr().add(at))) };
            }
        },
    );
    for (out, value) in out.iter_mut().zip(values).skip(whole) {
        *out = value.to_f32();
    }
}
