//! A vector is an array: what each operation means, and on any machine a set with as many registers
//! as AVX-512 has, so that the kernels' wide tiles are tested without one.
#![expect(unsafe_code, reason = "values are loaded and stored through pointers; that they are there, the caller says")]

use super::isa::{Isa, LANES};
use half::bf16;
use std::array::from_fn;

/// It needs no witness.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plain;

fn has(mask: u16, i: usize) -> bool {
    mask >> i & 1 == 1
}

impl Isa for Plain {
    type F32 = [f32; LANES];

    const TILE: (usize, usize) = (8, 3);
    const KC: usize = 512;

    fn run<R>(self, kernel: impl FnOnce() -> R) -> R {
        kernel()
    }

    fn splat(self, value: f32) -> Self::F32 {
        [value; LANES]
    }

    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        from_fn(|i| a[i] + b[i])
    }

    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        from_fn(|i| a[i] - b[i])
    }

    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        from_fn(|i| a[i] * b[i])
    }

    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        from_fn(|i| a[i].max(b[i]))
    }

    fn fma(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32 {
        from_fn(|i| a[i].mul_add(b[i], c[i]))
    }

    fn fnma(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32 {
        from_fn(|i| (-a[i]).mul_add(b[i], c[i]))
    }

    fn round(self, a: Self::F32) -> Self::F32 {
        a.map(f32::round_ties_even)
    }

    fn times_power_of_two(self, a: Self::F32, n: Self::F32) -> Self::F32 {
        from_fn(|i| a[i] * n[i].exp2())
    }

    fn reduce_add(self, a: Self::F32) -> f32 {
        a.iter().sum()
    }

    fn transpose(self, rows: &[Self::F32; LANES]) -> [Self::F32; LANES] {
        from_fn(|i| from_fn(|j| rows[j][i]))
    }

    fn transpose_quarters(self, rows: [Self::F32; 4]) -> [Self::F32; 4] {
        from_fn(|i| from_fn(|j| rows[j % 4][j / 4 * 4 + i]))
    }

    fn every_fourth(self, values: [Self::F32; 4]) -> [Self::F32; 4] {
        from_fn(|i| from_fn(|j| values[j / 4][j % 4 * 4 + i]))
    }

    unsafe fn load(self, at: *const f32) -> Self::F32 {
        // SAFETY: 16 values are there, says the caller; and so below.
        from_fn(|i| unsafe { *at.add(i) })
    }

    unsafe fn load_or(self, other: Self::F32, mask: u16, at: *const f32) -> Self::F32 {
        // SAFETY: as above.
        from_fn(|i| if has(mask, i) { unsafe { *at.wrapping_add(i) } } else { other[i] })
    }

    unsafe fn load_halves(self, at: [*const f32; 2]) -> Self::F32 {
        // SAFETY: as above.
        from_fn(|i| unsafe { *at[i / 8].add(i % 8) })
    }

    unsafe fn load_quarters(self, at: [*const f32; 4]) -> Self::F32 {
        // SAFETY: as above.
        from_fn(|i| unsafe { *at[i / 4].add(i % 4) })
    }

    unsafe fn load_pairs(self, at: [*const f32; 8]) -> Self::F32 {
        // SAFETY: as above.
        from_fn(|i| unsafe { *at[i / 2].add(i % 2) })
    }

    unsafe fn gather(self, at: *const f32, places: &[i32; LANES]) -> Self::F32 {
        // SAFETY: as above.
        places.map(|place| unsafe { *at.offset(place as isize) })
    }

    unsafe fn upcast(self, at: *const bf16) -> Self::F32 {
        // SAFETY: as above.
        from_fn(|i| unsafe { *at.add(i) }.to_f32())
    }

    unsafe fn upcast_quarters(self, at: [*const bf16; 4]) -> Self::F32 {
        // SAFETY: as above.
        from_fn(|i| unsafe { *at[i / 4].add(i % 4) }.to_f32())
    }

    unsafe fn store(self, at: *mut f32, a: Self::F32) {
        for (i, value) in a.into_iter().enumerate() {
            // SAFETY: there is room, says the caller; and so below.
            unsafe { *at.add(i) = value };
        }
    }

    unsafe fn store_masked(self, at: *mut f32, mask: u16, a: Self::F32) {
        for (i, value) in a.into_iter().enumerate().filter(|(i, _)| has(mask, *i)) {
            // SAFETY: as above.
            unsafe { *at.wrapping_add(i) = value };
        }
    }

    unsafe fn store_halves(self, at: [*mut f32; 2], a: Self::F32) {
        for (i, value) in a.into_iter().enumerate() {
            // SAFETY: as above.
            unsafe { *at[i / 8].add(i % 8) = value };
        }
    }

    unsafe fn store_quarters(self, at: [*mut f32; 4], a: Self::F32) {
        for (i, value) in a.into_iter().enumerate() {
            // SAFETY: as above.
            unsafe { *at[i / 4].add(i % 4) = value };
        }
    }
}
