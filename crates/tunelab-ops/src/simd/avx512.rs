//! A vector is one register of AVX-512.
#![expect(unsafe_code, reason = "vector instructions are called by name; that they are there, the witness says")]

use super::Avx512;
use super::isa::{Isa, LANES};
use half::bf16;
use std::arch::x86_64::{
    __m512, _mm_castsi128_ps, _mm_loadu_ps, _mm_set_epi64x, _mm_storeu_ps, _mm256_castpd_ps, _mm256_castps_pd,
    _mm256_loadu_ps, _mm256_loadu_si256, _mm256_set_epi64x, _mm256_storeu_ps, _mm512_add_ps, _mm512_castpd_ps,
    _mm512_castps_pd, _mm512_castps128_ps512, _mm512_castps256_ps512, _mm512_castps512_ps256, _mm512_castsi512_ps,
    _mm512_cvtepu16_epi32, _mm512_extractf32x4_ps, _mm512_extractf64x4_pd, _mm512_fmadd_ps, _mm512_fnmadd_ps,
    _mm512_i32gather_ps, _mm512_insertf32x4, _mm512_insertf64x4, _mm512_loadu_epi32, _mm512_loadu_ps,
    _mm512_mask_loadu_ps, _mm512_mask_storeu_ps, _mm512_max_ps, _mm512_mul_ps, _mm512_permutex2var_ps,
    _mm512_reduce_add_ps, _mm512_roundscale_ps, _mm512_scalef_ps, _mm512_set1_ps, _mm512_shuffle_f32x4,
    _mm512_slli_epi32, _mm512_storeu_ps, _mm512_stream_ps, _mm512_sub_ps, _mm512_unpackhi_pd, _mm512_unpackhi_ps,
    _mm512_unpacklo_pd, _mm512_unpacklo_ps,
};

/// Every second of two vectors' values.
const EVEN: [i32; LANES] = [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30];
const ODD: [i32; LANES] = [1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31];

/// An operation without pointers.
macro_rules! by_witness {
    ($operation:expr) => {
        // SAFETY: there is a witness of AVX-512.
        unsafe { $operation }
    };
}

impl Isa for Avx512 {
    type F32 = __m512;

    const TILE: (usize, usize) = (8, 3);
    const KC: usize = 512;

    #[inline(always)]
    fn run<R>(self, kernel: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "avx512f")]
        fn call<R>(kernel: impl FnOnce() -> R) -> R {
            kernel()
        }
        by_witness!(call(kernel))
    }

    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        by_witness!(_mm512_set1_ps(value))
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        by_witness!(_mm512_add_ps(a, b))
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        by_witness!(_mm512_sub_ps(a, b))
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        by_witness!(_mm512_mul_ps(a, b))
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        by_witness!(_mm512_max_ps(a, b))
    }

    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        by_witness!(_mm512_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn fnma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        by_witness!(_mm512_fnmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn round(self, a: __m512) -> __m512 {
        const NEAREST: i32 = 8; // to an integer, without an exception
        by_witness!(_mm512_roundscale_ps::<NEAREST>(a))
    }

    #[inline(always)]
    fn times_power_of_two(self, a: __m512, n: __m512) -> __m512 {
        by_witness!(_mm512_scalef_ps(a, n))
    }

    #[inline(always)]
    fn reduce_add(self, a: __m512) -> f32 {
        by_witness!(_mm512_reduce_add_ps(a))
    }

    #[inline(always)]
    fn transpose(self, rows: &[__m512; LANES]) -> [__m512; LANES] {
        // Pairs of rows and fours, then blocks of four columns.
        let mut fours = *rows;
        for first in [0, 4, 8, 12] {
            let four = self.transpose_quarters([rows[first], rows[first + 1], rows[first + 2], rows[first + 3]]);
            fours[first..first + 4].copy_from_slice(&four);
        }
        let mut columns = *rows;
        for first in 0..4 {
            let [a, b, c, d] = [fours[first], fours[4 + first], fours[8 + first], fours[12 + first]];
            by_witness!({
                let (ab_even, ab_odd) = (_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xdd>(a, b));
                let (cd_even, cd_odd) = (_mm512_shuffle_f32x4::<0x88>(c, d), _mm512_shuffle_f32x4::<0xdd>(c, d));
                columns[first] = _mm512_shuffle_f32x4::<0x88>(ab_even, cd_even);
                columns[4 + first] = _mm512_shuffle_f32x4::<0x88>(ab_odd, cd_odd);
                columns[8 + first] = _mm512_shuffle_f32x4::<0xdd>(ab_even, cd_even);
                columns[12 + first] = _mm512_shuffle_f32x4::<0xdd>(ab_odd, cd_odd);
            });
        }
        columns
    }

    #[inline(always)]
    fn transpose_quarters(self, [a, b, c, d]: [__m512; 4]) -> [__m512; 4] {
        by_witness!({
            let (ab, cd) = (_mm512_unpacklo_ps(a, b), _mm512_unpacklo_ps(c, d));
            let (ab_high, cd_high) = (_mm512_unpackhi_ps(a, b), _mm512_unpackhi_ps(c, d));
            let (ab, cd) = (_mm512_castps_pd(ab), _mm512_castps_pd(cd));
            let (ab_high, cd_high) = (_mm512_castps_pd(ab_high), _mm512_castps_pd(cd_high));
            [
                _mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd)),
                _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd)),
                _mm512_castpd_ps(_mm512_unpacklo_pd(ab_high, cd_high)),
                _mm512_castpd_ps(_mm512_unpackhi_pd(ab_high, cd_high)),
            ]
        })
    }

    #[inline(always)]
    fn every_fourth(self, [a, b, c, d]: [__m512; 4]) -> [__m512; 4] {
        by_witness!({
            let (even, odd) = (_mm512_loadu_epi32(EVEN.as_ptr()), _mm512_loadu_epi32(ODD.as_ptr()));
            let (ab_even, ab_odd) = (_mm512_permutex2var_ps(a, even, b), _mm512_permutex2var_ps(a, odd, b));
            let (cd_even, cd_odd) = (_mm512_permutex2var_ps(c, even, d), _mm512_permutex2var_ps(c, odd, d));
            [
                _mm512_permutex2var_ps(ab_even, even, cd_even),
                _mm512_permutex2var_ps(ab_odd, even, cd_odd),
                _mm512_permutex2var_ps(ab_even, odd, cd_even),
                _mm512_permutex2var_ps(ab_odd, odd, cd_odd),
            ]
        })
    }

    #[inline(always)]
    unsafe fn load(self, at: *const f32) -> __m512 {
        // SAFETY: there is a witness of AVX-512, and the values are there, says the caller.
        unsafe { _mm512_loadu_ps(at) }
    }

    #[inline(always)]
    unsafe fn load_or(self, other: __m512, mask: u16, at: *const f32) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_mask_loadu_ps(other, mask, at) }
    }

    #[inline(always)]
    unsafe fn load_halves(self, [a, b]: [*const f32; 2]) -> __m512 {
        // SAFETY: as above.
        unsafe {
            let first = _mm512_castps_pd(_mm512_castps256_ps512(_mm256_loadu_ps(a)));
            _mm512_castpd_ps(_mm512_insertf64x4::<1>(first, _mm256_castps_pd(_mm256_loadu_ps(b))))
        }
    }

    #[inline(always)]
    unsafe fn load_quarters(self, at: [*const f32; 4]) -> __m512 {
        // SAFETY: as above.
        unsafe {
            let v = _mm512_castps128_ps512(_mm_loadu_ps(at[0]));
            let v = _mm512_insertf32x4::<1>(v, _mm_loadu_ps(at[1]));
            let v = _mm512_insertf32x4::<2>(v, _mm_loadu_ps(at[2]));
            _mm512_insertf32x4::<3>(v, _mm_loadu_ps(at[3]))
        }
    }

    #[inline(always)]
    unsafe fn load_pairs(self, at: [*const f32; 8]) -> __m512 {
        // SAFETY: as above.
        unsafe {
            let pair = |i: usize| at[i].cast::<i64>().read_unaligned();
            let [a, b, c, d] = [
                _mm_castsi128_ps(_mm_set_epi64x(pair(1), pair(0))),
                _mm_castsi128_ps(_mm_set_epi64x(pair(3), pair(2))),
                _mm_castsi128_ps(_mm_set_epi64x(pair(5), pair(4))),
                _mm_castsi128_ps(_mm_set_epi64x(pair(7), pair(6))),
            ];
            let low = _mm512_insertf32x4::<1>(_mm512_castps128_ps512(a), b);
            _mm512_insertf32x4::<3>(_mm512_insertf32x4::<2>(low, c), d)
        }
    }

    #[inline(always)]
    unsafe fn gather(self, at: *const f32, places: &[i32; LANES]) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_i32gather_ps::<4>(_mm512_loadu_epi32(places.as_ptr()), at) }
    }

    #[inline(always)]
    unsafe fn upcast(self, at: *const bf16) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(_mm256_loadu_si256(at.cast())))) }
    }

    #[inline(always)]
    unsafe fn upcast_quarters(self, at: [*const bf16; 4]) -> __m512 {
        // SAFETY: as above; four values are 64 bits.
        unsafe {
            let [a, b, c, d] = at.map(|at| at.cast::<i64>().read_unaligned());
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(_mm256_set_epi64x(d, c, b, a))))
        }
    }

    #[inline(always)]
    unsafe fn store(self, at: *mut f32, a: __m512) {
        // SAFETY: as above, of the room.
        unsafe { _mm512_storeu_ps(at, a) }
    }

    #[inline(always)]
    unsafe fn store_past_caches(self, at: *mut f32, a: __m512) {
        // SAFETY: there is room at the beginning of a line, says the caller.
        unsafe { _mm512_stream_ps(at, a) }
    }

    #[inline(always)]
    unsafe fn store_masked(self, at: *mut f32, mask: u16, a: __m512) {
        // SAFETY: as above.
        unsafe { _mm512_mask_storeu_ps(at, mask, a) }
    }

    #[inline(always)]
    unsafe fn store_halves(self, [first, second]: [*mut f32; 2], a: __m512) {
        // SAFETY: as above.
        unsafe {
            _mm256_storeu_ps(first, _mm512_castps512_ps256(a));
            _mm256_storeu_ps(second, _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(a))));
        }
    }

    #[inline(always)]
    unsafe fn store_quarters(self, at: [*mut f32; 4], a: __m512) {
        // SAFETY: as above.
        unsafe {
            _mm_storeu_ps(at[0], _mm512_extractf32x4_ps::<0>(a));
            _mm_storeu_ps(at[1], _mm512_extractf32x4_ps::<1>(a));
            _mm_storeu_ps(at[2], _mm512_extractf32x4_ps::<2>(a));
            _mm_storeu_ps(at[3], _mm512_extractf32x4_ps::<3>(a));
        }
    }
}
