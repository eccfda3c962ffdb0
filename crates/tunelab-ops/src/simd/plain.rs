//! A vector is an array, whose operations the compiler puts into what every processor of the
//! architecture has: what each of them means. A tile is as wide as with AVX-512, so that wide ones
//! are tested on any machine.
#![expect(unsafe_code, reason = "values are loaded and stored through pointers; that they are there, the caller says")]

use super::isa::{Isa, LANES, has_lane};
use half::bf16;
use std::array::from_fn;

/// It needs no witness.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plain;

impl Isa for Plain {
    type F32 = [f32; LANES];

    const TILE: (usize, usize) = (8, 3);
    const KC: usize = 512;

    #[inline(always)]
    fn run<R>(self, kernel: impl FnOnce() -> R) -> R {
        kernel()
    }

    #[inline(always)]
    fn splat(self, value: f32) -> Self::F32 {
        [value; LANES]
    }

    #[inline(always)]
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        from_fn(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        from_fn(|i| a[i] - b[i])
    }

    #[inline(always)]
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        from_fn(|i| a[i] * b[i])
    }

    #[inline(always)]
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        from_fn(|i| a[i].max(b[i]))
    }

    #[inline(always)]
    fn fma(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32 {
        from_fn(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    fn fnma(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32 {
        from_fn(|i| c[i] - a[i] * b[i])
    }

    #[inline(always)]
    fn round(self, a: Self::F32) -> Self::F32 {
        a.map(f32::round_ties_even)
    }

    #[inline(always)]
    fn times_power_of_two(self, a: Self::F32, n: Self::F32) -> Self::F32 {
        from_fn(|i| a[i] * n[i].exp2())
    }

    #[inline(always)]
    fn reduce_add(self, a: Self::F32) -> f32 {
        a.iter().sum()
    }

    #[inline(always)]
    fn transpose(self, rows: &[Self::F32; LANES]) -> [Self::F32; LANES] {
        from_fn(|i| from_fn(|j| rows[j][i]))
    }

    #[inline(always)]
    fn transpose_quarters(self, rows: [Self::F32; 4]) -> [Self::F32; 4] {
        from_fn(|i| from_fn(|j| rows[j % 4][j / 4 * 4 + i]))
    }

    #[inline(always)]
    fn every_fourth(self, values: [Self::F32; 4]) -> [Self::F32; 4] {
        from_fn(|i| from_fn(|j| values[j / 4][j % 4 * 4 + i]))
    }

    #[inline(always)]
    unsafe fn load(self, at: *const f32) -> Self::F32 {
        // SAFETY: 16 values are there, says the caller; and so below.
        from_fn(|i| unsafe { *at.add(i) })
    }

    #[inline(always)]
    unsafe fn load_or(self, other: Self::F32, mask: u16, at: *const f32) -> Self::F32 {
        // SAFETY: as above.
        from_fn(|i| if has_lane(mask, i) { unsafe { *at.wrapping_add(i) } } else { other[i] })
    }

    #[inline(always)]
    unsafe fn load_halves(self, at: [*const f32; 2]) -> Self::F32 {
        // SAFETY: as above.
        from_fn(|i| unsafe { *at[i / 8].add(i % 8) })
    }

    #[inline(always)]
    unsafe fn load_quarters(self, at: [*const f32; 4]) -> Self::F32 {
        // SAFETY: as above.
        from_fn(|i| unsafe { *at[i / 4].add(i % 4) })
    }

    #[inline(always)]
    unsafe fn load_pairs(self, at: [*const f32; 8]) -> Self::F32 {
        // SAFETY: as above.
        from_fn(|i| unsafe { *at[i / 2].add(i % 2) })
    }

    #[inline(always)]
    unsafe fn gather(self, at: *const f32, places: &[i32; LANES]) -> Self::F32 {
        // SAFETY: as above.
        places.map(|place| unsafe { *at.offset(place as isize) })
    }

    #[inline(always)]
    unsafe fn upcast(self, at: *const bf16) -> Self::F32 {
        // SAFETY: as above.
        from_fn(|i| unsafe { *at.add(i) }.to_f32())
    }

    #[inline(always)]
    unsafe fn upcast_quarters(self, at: [*const bf16; 4]) -> Self::F32 {
        // SAFETY: as above.
        from_fn(|i| unsafe { *at[i / 4].add(i % 4) }.to_f32())
    }

    #[inline(always)]
    unsafe fn store(self, at: *mut f32, a: Self::F32) {
        for (i, value) in a.into_iter().enumerate() {
            // SAFETY: there is room, says the caller; and so below.
            unsafe { *at.add(i) = value };
        }
    }

    #[inline(always)]
    unsafe fn store_masked(self, at: *mut f32, mask: u16, a: Self::F32) {
        for (i, value) in a.into_iter().enumerate().filter(|(i, _)| has_lane(mask, *i)) {
            // SAFETY: as above.
            unsafe { *at.wrapping_add(i) = value };
        }
    }

    #[inline(always)]
    unsafe fn store_halves(self, at: [*mut f32; 2], a: Self::F32) {
        for (i, value) in a.into_iter().enumerate() {
            // SAFETY: as above.
            unsafe { *at[i / 8].add(i % 8) = value };
        }
    }

    #[inline(always)]
    unsafe fn store_quarters(self, at: [*mut f32; 4], a: Self::F32) {
        for (i, value) in a.into_iter().enumerate() {
            // SAFETY: as above.
            unsafe { *at[i / 4].add(i % 4) = value };
        }
    }
}
