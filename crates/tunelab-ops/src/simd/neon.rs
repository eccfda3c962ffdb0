//! A vector is four registers of NEON, which every processor of this architecture has.
#![expect(unsafe_code, reason = "values are loaded and stored through pointers; that they are there, the caller says")]

use super::Neon;
use super::isa::{ALL, Isa, LANES, has_lane};
use half::bf16;
use std::arch::aarch64::{
    float32x4_t, vaddq_f32, vaddq_s32, vaddvq_f32, vcombine_f32, vcvtnq_s32_f32, vdupq_n_f32, vdupq_n_s32, vfmaq_f32,
    vfmsq_f32, vld1_f32, vld1_u16, vld1q_f32, vmaxq_f32, vmulq_f32, vreinterpretq_f32_f64, vreinterpretq_f32_s32,
    vreinterpretq_f32_u32, vreinterpretq_f64_f32, vrndnq_f32, vshll_n_u16, vshlq_n_s32, vst1q_f32, vsubq_f32,
    vtrn1q_f32, vtrn1q_f64, vtrn2q_f32, vtrn2q_f64,
};

/// Registers of a vector.
const REGISTERS: usize = 4;
/// Values of a register.
const WIDTH: usize = LANES / REGISTERS;

/// An operation without pointers.
macro_rules! neon {
    ($operation:expr) => {
        // SAFETY: every processor of this architecture has NEON.
        unsafe { $operation }
    };
}

/// One of each register.
macro_rules! each {
    (|$i:ident| $operation:expr) => {
        [each!($i, 0, $operation), each!($i, 1, $operation), each!($i, 2, $operation), each!($i, 3, $operation)]
    };
    ($i:ident, $register:literal, $operation:expr) => {{
        const $i: usize = $register;
        // SAFETY: every processor of this architecture has NEON; where memory is read, it is there,
        // says the caller.
        unsafe { $operation }
    }};
}

#[inline(always)]
fn transpose_4x4([a, b, c, d]: [float32x4_t; 4]) -> [float32x4_t; 4] {
    neon!({
        let (ab_even, ab_odd) = (vreinterpretq_f64_f32(vtrn1q_f32(a, b)), vreinterpretq_f64_f32(vtrn2q_f32(a, b)));
        let (cd_even, cd_odd) = (vreinterpretq_f64_f32(vtrn1q_f32(c, d)), vreinterpretq_f64_f32(vtrn2q_f32(c, d)));
        [
            vreinterpretq_f32_f64(vtrn1q_f64(ab_even, cd_even)),
            vreinterpretq_f32_f64(vtrn1q_f64(ab_odd, cd_odd)),
            vreinterpretq_f32_f64(vtrn2q_f64(ab_even, cd_even)),
            vreinterpretq_f32_f64(vtrn2q_f64(ab_odd, cd_odd)),
        ]
    })
}

impl Isa for Neon {
    type F32 = [float32x4_t; REGISTERS];

    const TILE: (usize, usize) = (6, 1);
    const KC: usize = 256;

    #[inline(always)]
    fn run<R>(self, kernel: impl FnOnce() -> R) -> R {
        kernel()
    }

    #[inline(always)]
    fn splat(self, value: f32) -> Self::F32 {
        neon!([vdupq_n_f32(value); REGISTERS])
    }

    #[inline(always)]
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        each!(|I| vaddq_f32(a[I], b[I]))
    }

    #[inline(always)]
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        each!(|I| vsubq_f32(a[I], b[I]))
    }

    #[inline(always)]
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        each!(|I| vmulq_f32(a[I], b[I]))
    }

    #[inline(always)]
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        each!(|I| vmaxq_f32(a[I], b[I]))
    }

    #[inline(always)]
    fn fma(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32 {
        each!(|I| vfmaq_f32(c[I], a[I], b[I]))
    }

    #[inline(always)]
    fn fnma(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32 {
        each!(|I| vfmsq_f32(c[I], a[I], b[I]))
    }

    #[inline(always)]
    fn round(self, a: Self::F32) -> Self::F32 {
        each!(|I| vrndnq_f32(a[I]))
    }

    #[inline(always)]
    fn times_power_of_two(self, a: Self::F32, n: Self::F32) -> Self::F32 {
        /// What the exponent of 1 is, and of 0 with its sign: below -126 a power has no bits.
        const BIAS: i32 = 127;
        each!(|I| {
            let n = vcvtnq_s32_f32(vmaxq_f32(n[I], vdupq_n_f32(-(BIAS as f32))));
            let power = vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(n, vdupq_n_s32(BIAS))));
            vmulq_f32(a[I], power)
        })
    }

    #[inline(always)]
    fn reduce_add(self, [a, b, c, d]: Self::F32) -> f32 {
        neon!(vaddvq_f32(vaddq_f32(vaddq_f32(a, b), vaddq_f32(c, d))))
    }

    #[inline(always)]
    fn transpose(self, rows: &[Self::F32; LANES]) -> [Self::F32; LANES] {
        let mut columns = *rows;
        for (right, columns) in columns.chunks_exact_mut(WIDTH).enumerate() {
            for (lower, rows) in rows.chunks_exact(WIDTH).enumerate() {
                let four = transpose_4x4([rows[0][right], rows[1][right], rows[2][right], rows[3][right]]);
                for (column, value) in columns.iter_mut().zip(four) {
                    column[lower] = value;
                }
            }
        }
        columns
    }

    #[inline(always)]
    fn transpose_quarters(self, [a, b, c, d]: [Self::F32; 4]) -> [Self::F32; 4] {
        let mut columns = [a, b, c, d];
        for i in 0..REGISTERS {
            let four = transpose_4x4([a[i], b[i], c[i], d[i]]);
            for (column, value) in columns.iter_mut().zip(four) {
                column[i] = value;
            }
        }
        columns
    }

    #[inline(always)]
    fn every_fourth(self, values: [Self::F32; 4]) -> [Self::F32; 4] {
        // Each vector's fours of values, as they follow one another, are transposed.
        let mut columns = values;
        for (i, four) in values.into_iter().enumerate() {
            for (column, value) in columns.iter_mut().zip(transpose_4x4(four)) {
                column[i] = value;
            }
        }
        columns
    }

    #[inline(always)]
    unsafe fn load(self, at: *const f32) -> Self::F32 {
        each!(|I| vld1q_f32(at.add(I * WIDTH)))
    }

    #[inline(always)]
    unsafe fn load_or(self, other: Self::F32, mask: u16, at: *const f32) -> Self::F32 {
        if mask == ALL {
            // SAFETY: all values are there, says the caller.
            return unsafe { self.load(at) };
        }
        let mut values = [0.0; LANES];
        // SAFETY: there is room for all; those that the mask has are there, says the caller.
        unsafe {
            self.store(values.as_mut_ptr(), other);
            for (lane, value) in values.iter_mut().enumerate().filter(|(lane, _)| has_lane(mask, *lane)) {
                *value = *at.add(lane);
            }
            self.load(values.as_ptr())
        }
    }

    #[inline(always)]
    unsafe fn load_halves(self, at: [*const f32; 2]) -> Self::F32 {
        each!(|I| vld1q_f32(at[I / 2].add(I % 2 * WIDTH)))
    }

    #[inline(always)]
    unsafe fn load_quarters(self, at: [*const f32; 4]) -> Self::F32 {
        each!(|I| vld1q_f32(at[I]))
    }

    #[inline(always)]
    unsafe fn load_pairs(self, at: [*const f32; 8]) -> Self::F32 {
        each!(|I| vcombine_f32(vld1_f32(at[2 * I]), vld1_f32(at[2 * I + 1])))
    }

    #[inline(always)]
    unsafe fn gather(self, at: *const f32, places: &[i32; LANES]) -> Self::F32 {
        let mut values = [0.0; LANES];
        for (value, place) in values.iter_mut().zip(places) {
            // SAFETY: a value is at each place, says the caller.
            *value = unsafe { *at.offset(*place as isize) };
        }
        // SAFETY: the values are there.
        unsafe { self.load(values.as_ptr()) }
    }

    #[inline(always)]
    unsafe fn upcast(self, at: *const bf16) -> Self::F32 {
        // SAFETY: the values are there, says the caller.
        unsafe { self.upcast_quarters([at, at.add(WIDTH), at.add(2 * WIDTH), at.add(3 * WIDTH)]) }
    }

    #[inline(always)]
    unsafe fn upcast_quarters(self, at: [*const bf16; 4]) -> Self::F32 {
        each!(|I| vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(at[I].cast()))))
    }

    #[inline(always)]
    unsafe fn store(self, at: *mut f32, a: Self::F32) {
        for (i, value) in a.into_iter().enumerate() {
            // SAFETY: there is room, says the caller.
            unsafe { vst1q_f32(at.add(i * WIDTH), value) };
        }
    }

    #[inline(always)]
    unsafe fn store_masked(self, at: *mut f32, mask: u16, a: Self::F32) {
        if mask == ALL {
            // SAFETY: there is room for all, says the caller.
            return unsafe { self.store(at, a) };
        }
        let mut values = [0.0; LANES];
        // SAFETY: there is room for all here, and there where the mask says so, says the caller.
        unsafe {
            self.store(values.as_mut_ptr(), a);
            for (lane, value) in values.iter().enumerate().filter(|(lane, _)| has_lane(mask, *lane)) {
                *at.add(lane) = *value;
            }
        }
    }

    #[inline(always)]
    unsafe fn store_halves(self, at: [*mut f32; 2], a: Self::F32) {
        for (i, value) in a.into_iter().enumerate() {
            // SAFETY: there is room, says the caller.
            unsafe { vst1q_f32(at[i / 2].add(i % 2 * WIDTH), value) };
        }
    }

    #[inline(always)]
    unsafe fn store_quarters(self, at: [*mut f32; 4], a: Self::F32) {
        for (at, value) in at.into_iter().zip(a) {
            // SAFETY: there is room, says the caller.
            unsafe { vst1q_f32(at, value) };
        }
    }
}
