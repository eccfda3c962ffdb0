//! A vector is two registers of AVX2.
#![expect(unsafe_code, reason = "vector instructions are called by name; that they are there, the witness says")]

use super::Avx2;
use super::isa::{ALL, Isa, LANES};
use half::bf16;
use std::arch::x86_64::{
    __m128, __m256, __m256i, _mm_add_ps, _mm_add_ss, _mm_castsi128_ps, _mm_cvtss_f32, _mm_loadu_ps, _mm_loadu_si128,
    _mm_movehl_ps, _mm_set_epi64x, _mm_shuffle_ps, _mm_storeu_ps, _mm256_add_epi32, _mm256_add_ps, _mm256_and_si256,
    _mm256_blendv_ps, _mm256_castpd_ps, _mm256_castps_pd, _mm256_castps128_ps256, _mm256_castps256_ps128,
    _mm256_castsi256_ps, _mm256_cmpeq_epi32, _mm256_cvtepu16_epi32, _mm256_cvtps_epi32, _mm256_extractf128_ps,
    _mm256_fmadd_ps, _mm256_fnmadd_ps, _mm256_i32gather_ps, _mm256_insertf128_ps, _mm256_loadu_ps, _mm256_loadu_si256,
    _mm256_maskload_ps, _mm256_maskstore_ps, _mm256_max_ps, _mm256_mul_ps, _mm256_permute2f128_ps, _mm256_round_ps,
    _mm256_set1_epi32, _mm256_set1_ps, _mm256_setr_epi32, _mm256_slli_epi32, _mm256_storeu_ps, _mm256_stream_ps,
    _mm256_sub_ps, _mm256_unpackhi_pd, _mm256_unpackhi_ps, _mm256_unpacklo_pd, _mm256_unpacklo_ps,
};

/// Values of a register.
const WIDTH: usize = LANES / 2;

/// An operation without pointers.
macro_rules! by_witness {
    ($operation:expr) => {
        // SAFETY: there is a witness of AVX2 with FMA.
        unsafe { $operation }
    };
}

/// One of both registers each.
macro_rules! both {
    (|$i:ident| $operation:expr) => {
        // SAFETY: there is a witness of AVX2 with FMA; where memory is read or written, it is there,
        // says the caller.
        unsafe {
            [
                {
                    const $i: usize = 0;
                    $operation
                },
                {
                    const $i: usize = 1;
                    $operation
                },
            ]
        }
    };
}

/// Eight lanes of a mask.
#[inline(always)]
fn lanes(mask: u16, half: usize) -> __m256i {
    by_witness!({
        let bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
        _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(i32::from(mask >> (half * WIDTH))), bits), bits)
    })
}

/// In each half of the registers, the transpose of four rows of four.
#[inline(always)]
fn transpose_4x4([a, b, c, d]: [__m256; 4]) -> [__m256; 4] {
    by_witness!({
        let (ab, cd) = (_mm256_castps_pd(_mm256_unpacklo_ps(a, b)), _mm256_castps_pd(_mm256_unpacklo_ps(c, d)));
        let ab_high = _mm256_castps_pd(_mm256_unpackhi_ps(a, b));
        let cd_high = _mm256_castps_pd(_mm256_unpackhi_ps(c, d));
        [
            _mm256_castpd_ps(_mm256_unpacklo_pd(ab, cd)),
            _mm256_castpd_ps(_mm256_unpackhi_pd(ab, cd)),
            _mm256_castpd_ps(_mm256_unpacklo_pd(ab_high, cd_high)),
            _mm256_castpd_ps(_mm256_unpackhi_pd(ab_high, cd_high)),
        ]
    })
}

/// Of 32 values every fourth, from each of the first four on.
#[inline(always)]
fn fours(a: [__m256; 2], b: [__m256; 2]) -> [__m256; 4] {
    // Fours of values are transposed, the fifth beside the first.
    by_witness!(transpose_4x4([
        _mm256_permute2f128_ps::<0x20>(a[0], b[0]),
        _mm256_permute2f128_ps::<0x31>(a[0], b[0]),
        _mm256_permute2f128_ps::<0x20>(a[1], b[1]),
        _mm256_permute2f128_ps::<0x31>(a[1], b[1]),
    ]))
}

#[inline(always)]
fn with_upper(low: __m128, high: __m128) -> __m256 {
    by_witness!(_mm256_insertf128_ps::<1>(_mm256_castps128_ps256(low), high))
}

impl Isa for Avx2 {
    type F32 = [__m256; 2];

    const TILE: (usize, usize) = (6, 1);
    const KC: usize = 256;

    #[inline(always)]
    fn run<R>(self, kernel: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "avx2,fma,bmi1,bmi2")]
        fn call<R>(kernel: impl FnOnce() -> R) -> R {
            kernel()
        }
        by_witness!(call(kernel))
    }

    #[inline(always)]
    fn splat(self, value: f32) -> Self::F32 {
        by_witness!([_mm256_set1_ps(value); 2])
    }

    #[inline(always)]
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        both!(|I| _mm256_add_ps(a[I], b[I]))
    }

    #[inline(always)]
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        both!(|I| _mm256_sub_ps(a[I], b[I]))
    }

    #[inline(always)]
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        both!(|I| _mm256_mul_ps(a[I], b[I]))
    }

    #[inline(always)]
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        both!(|I| _mm256_max_ps(a[I], b[I]))
    }

    #[inline(always)]
    fn fma(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32 {
        both!(|I| _mm256_fmadd_ps(a[I], b[I], c[I]))
    }

    #[inline(always)]
    fn fnma(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32 {
        both!(|I| _mm256_fnmadd_ps(a[I], b[I], c[I]))
    }

    #[inline(always)]
    fn round(self, a: Self::F32) -> Self::F32 {
        const NEAREST: i32 = 8; // to an integer, without an exception
        both!(|I| _mm256_round_ps::<NEAREST>(a[I]))
    }

    #[inline(always)]
    fn times_power_of_two(self, a: Self::F32, n: Self::F32) -> Self::F32 {
        /// What the exponent of 1 is, and of 0 with its sign: below -126 a power has no bits.
        const BIAS: i32 = 127;
        both!(|I| {
            let n = _mm256_cvtps_epi32(_mm256_max_ps(n[I], _mm256_set1_ps(-(BIAS as f32))));
            let power = _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(n, _mm256_set1_epi32(BIAS))));
            _mm256_mul_ps(a[I], power)
        })
    }

    #[inline(always)]
    fn reduce_add(self, a: Self::F32) -> f32 {
        by_witness!({
            let eight = _mm256_add_ps(a[0], a[1]);
            let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
        })
    }

    #[inline(always)]
    fn transpose(self, rows: &[Self::F32; LANES]) -> [Self::F32; LANES] {
        let mut columns = *rows;
        for right in 0..2 {
            for lower in 0..2 {
                // Eight rows of eight.
                let row = |i: usize| rows[lower * WIDTH + i][right];
                let top = transpose_4x4([row(0), row(1), row(2), row(3)]);
                let bottom = transpose_4x4([row(4), row(5), row(6), row(7)]);
                for i in 0..4 {
                    let (top, bottom) = (top[i], bottom[i]);
                    columns[right * WIDTH + i][lower] = by_witness!(_mm256_permute2f128_ps::<0x20>(top, bottom));
                    columns[right * WIDTH + 4 + i][lower] = by_witness!(_mm256_permute2f128_ps::<0x31>(top, bottom));
                }
            }
        }
        columns
    }

    #[inline(always)]
    fn transpose_quarters(self, [a, b, c, d]: [Self::F32; 4]) -> [Self::F32; 4] {
        let low = transpose_4x4([a[0], b[0], c[0], d[0]]);
        let high = transpose_4x4([a[1], b[1], c[1], d[1]]);
        [[low[0], high[0]], [low[1], high[1]], [low[2], high[2]], [low[3], high[3]]]
    }

    #[inline(always)]
    fn every_fourth(self, [a, b, c, d]: [Self::F32; 4]) -> [Self::F32; 4] {
        let (low, high) = (fours(a, b), fours(c, d));
        [[low[0], high[0]], [low[1], high[1]], [low[2], high[2]], [low[3], high[3]]]
    }

    #[inline(always)]
    unsafe fn load(self, at: *const f32) -> Self::F32 {
        both!(|I| _mm256_loadu_ps(at.add(I * WIDTH)))
    }

    #[inline(always)]
    unsafe fn load_or(self, other: Self::F32, mask: u16, at: *const f32) -> Self::F32 {
        both!(|I| {
            let there = lanes(mask, I);
            let values = _mm256_maskload_ps(at.wrapping_add(I * WIDTH), there);
            _mm256_blendv_ps(other[I], values, _mm256_castsi256_ps(there))
        })
    }

    #[inline(always)]
    unsafe fn load_halves(self, at: [*const f32; 2]) -> Self::F32 {
        both!(|I| _mm256_loadu_ps(at[I]))
    }

    #[inline(always)]
    unsafe fn load_quarters(self, at: [*const f32; 4]) -> Self::F32 {
        both!(|I| with_upper(_mm_loadu_ps(at[2 * I]), _mm_loadu_ps(at[2 * I + 1])))
    }

    #[inline(always)]
    unsafe fn load_pairs(self, at: [*const f32; 8]) -> Self::F32 {
        both!(|I| {
            let pair = |i: usize| at[4 * I + i].cast::<i64>().read_unaligned();
            let (low, high) = (_mm_set_epi64x(pair(1), pair(0)), _mm_set_epi64x(pair(3), pair(2)));
            with_upper(_mm_castsi128_ps(low), _mm_castsi128_ps(high))
        })
    }

    #[inline(always)]
    unsafe fn gather(self, at: *const f32, places: &[i32; LANES]) -> Self::F32 {
        both!(|I| _mm256_i32gather_ps::<4>(at, _mm256_loadu_si256(places.as_ptr().add(I * WIDTH).cast())))
    }

    #[inline(always)]
    unsafe fn upcast(self, at: *const bf16) -> Self::F32 {
        both!(|I| {
            let bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(at.add(I * WIDTH).cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits))
        })
    }

    #[inline(always)]
    unsafe fn upcast_quarters(self, at: [*const bf16; 4]) -> Self::F32 {
        // Four values are 64 bits.
        both!(|I| {
            let four = |i: usize| at[2 * I + i].cast::<i64>().read_unaligned();
            let bits = _mm256_cvtepu16_epi32(_mm_set_epi64x(four(1), four(0)));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits))
        })
    }

    #[inline(always)]
    unsafe fn store(self, at: *mut f32, a: Self::F32) {
        both!(|I| _mm256_storeu_ps(at.add(I * WIDTH), a[I]));
    }

    #[inline(always)]
    unsafe fn store_past_caches(self, at: *mut f32, a: Self::F32) {
        both!(|I| _mm256_stream_ps(at.add(I * WIDTH), a[I]));
    }

    #[inline(always)]
    unsafe fn store_masked(self, at: *mut f32, mask: u16, a: Self::F32) {
        if mask == ALL {
            // SAFETY: there is room for all, says the caller.
            return unsafe { self.store(at, a) };
        }
        both!(|I| _mm256_maskstore_ps(at.wrapping_add(I * WIDTH), lanes(mask, I), a[I]));
    }

    #[inline(always)]
    unsafe fn store_halves(self, at: [*mut f32; 2], a: Self::F32) {
        both!(|I| _mm256_storeu_ps(at[I], a[I]));
    }

    #[inline(always)]
    unsafe fn store_quarters(self, at: [*mut f32; 4], a: Self::F32) {
        both!(|I| {
            _mm_storeu_ps(at[2 * I], _mm256_castps256_ps128(a[I]));
            _mm_storeu_ps(at[2 * I + 1], _mm256_extractf128_ps::<1>(a[I]));
        });
    }
}
