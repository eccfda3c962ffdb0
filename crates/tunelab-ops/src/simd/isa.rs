//! What kernels are written in: 16 values of f32 at a time, whatever the registers' width.
//!
//! In and out: values in registers. A kernel is written once, for any [`Isa`]; its witness gives
//! the operations: one register of AVX-512, two of AVX2, four of NEON, an array. A kernel's functions are all marked
//! `#[inline(always)]`, and so is the closure that calls them by [`Isa::run`], which is compiled
//! for the instructions.
#![expect(unsafe_code, reason = "values are loaded and stored through pointers")]

use half::bf16;

/// Values in a vector.
pub(crate) const LANES: usize = 16;

/// All of a vector's values.
pub(crate) const ALL: u16 = u16::MAX;

/// The mask of a vector's first `n` values, 16 at most.
#[inline(always)]
pub(crate) fn first_lanes(n: usize) -> u16 {
    ((1u32 << n) - 1) as u16
}

/// Whether a mask has lane `i`.
#[inline(always)]
pub(crate) fn has_lane(mask: u16, i: usize) -> bool {
    mask >> i & 1 == 1
}

/// Whether there are so few registers that a product's tile is one vector wide.
#[inline(always)]
pub(crate) const fn few_registers<S: Isa>() -> bool {
    S::TILE.1 == 1
}

/// After this, other threads see what was stored past the caches.
pub(crate) fn stores_are_seen() {
    // SAFETY: a fence is there on every such processor.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::x86_64::_mm_sfence();
    }
}

/// A witness of instructions, and the operations that they are. What is loaded and stored through a
/// pointer must be there, but for the lanes that a mask leaves out.
pub(crate) trait Isa: Copy + Send + Sync + 'static {
    /// Sixteen values.
    type F32: Copy;

    /// Rows of a product's tile at most, and vectors of columns: as many sums as there are registers
    /// for, beside a row of B and a value of A.
    const TILE: (usize, usize);
    /// The length of a block of k at most: a tile's operands stay in the nearest cache.
    const KC: usize;

    /// Runs what is compiled for these instructions.
    fn run<R>(self, kernel: impl FnOnce() -> R) -> R;

    fn splat(self, value: f32) -> Self::F32;
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// a · b + c, rounded once, or of arrays twice.
    fn fma(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    /// c - a · b, rounded like `fma`.
    fn fnma(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    /// To the nearest whole number.
    fn round(self, a: Self::F32) -> Self::F32;
    /// a · 2ⁿ, for whole n of 1 or below. What is smaller than normal numbers are may be 0.
    fn times_power_of_two(self, a: Self::F32, n: Self::F32) -> Self::F32;
    fn reduce_add(self, a: Self::F32) -> f32;

    /// The transpose of 16 rows of 16. It is best read by reference: to iterate over it by value
    /// copies it first.
    fn transpose(self, rows: &[Self::F32; LANES]) -> [Self::F32; LANES];
    /// In each quarter of the vectors, the transpose of four rows of four.
    fn transpose_quarters(self, rows: [Self::F32; 4]) -> [Self::F32; 4];
    /// Of 64 values every fourth, from each of the first four on.
    fn every_fourth(self, values: [Self::F32; 4]) -> [Self::F32; 4];

    /// # Safety
    /// 16 values are there.
    unsafe fn load(self, at: *const f32) -> Self::F32;
    /// # Safety
    /// The mask's values are there; the others are those of `other`.
    unsafe fn load_or(self, other: Self::F32, mask: u16, at: *const f32) -> Self::F32;
    /// Two halves, four quarters or eight pairs from as many places.
    ///
    /// # Safety
    /// Eight values are at each place.
    unsafe fn load_halves(self, at: [*const f32; 2]) -> Self::F32;
    /// # Safety
    /// Four values are at each place.
    unsafe fn load_quarters(self, at: [*const f32; 4]) -> Self::F32;
    /// # Safety
    /// Two values are at each place.
    unsafe fn load_pairs(self, at: [*const f32; 8]) -> Self::F32;
    /// # Safety
    /// A value is at each of the places from `at` on.
    unsafe fn gather(self, at: *const f32, places: &[i32; LANES]) -> Self::F32;
    /// 16 values of bf16.
    ///
    /// # Safety
    /// They are there.
    unsafe fn upcast(self, at: *const bf16) -> Self::F32;
    /// # Safety
    /// Four values are at each place.
    unsafe fn upcast_quarters(self, at: [*const bf16; 4]) -> Self::F32;

    /// # Safety
    /// There is room for 16 values.
    unsafe fn store(self, at: *mut f32, a: Self::F32);
    /// Past the caches, where there is a way: what nobody reads soon need not be read first to be written.
    /// The task that has stored so ends with [`stores_are_seen`].
    ///
    /// # Safety
    /// There is room for 16 values, at the beginning of a cache line.
    #[inline(always)]
    unsafe fn store_past_caches(self, at: *mut f32, a: Self::F32) {
        // SAFETY: there is room, says the caller.
        unsafe { self.store(at, a) }
    }
    /// # Safety
    /// There is room for the mask's values.
    unsafe fn store_masked(self, at: *mut f32, mask: u16, a: Self::F32);
    /// # Safety
    /// There is room for eight values at each place.
    unsafe fn store_halves(self, at: [*mut f32; 2], a: Self::F32);
    /// # Safety
    /// There is room for four values at each place.
    unsafe fn store_quarters(self, at: [*mut f32; 4], a: Self::F32);

    #[inline(always)]
    fn zero(self) -> Self::F32 {
        self.splat(0.0)
    }
}

/// A vector of P pieces, which lie at the places that `at` says.
///
/// # Safety
/// 16 / P values are at each place.
#[inline(always)]
pub(crate) unsafe fn load_pieces<S: Isa, const P: usize>(isa: S, at: impl Fn(usize) -> *const f32) -> S::F32 {
    // SAFETY: these values are there, says the caller.
    unsafe {
        match P {
            1 => isa.load(at(0)),
            2 => isa.load_halves([at(0), at(1)]),
            4 => isa.load_quarters([at(0), at(1), at(2), at(3)]),
            8 => isa.load_pairs([at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7)]),
            _ => unreachable!("a vector has no such pieces"),
        }
    }
}

/// Computes something with a number of this moment, which is one of these and `most` at most, as a
/// constant: the sums of a tile are so many registers.
macro_rules! with_count {
    ($number:expr, $most:expr, $count:ident in [$($value:literal)+] => $body:expr) => {
        match $number {
            $($value if $value <= const { $most } => {
                const $count: usize = $value;
                $body
            })+
            _ => unreachable!("a tile has no such number"),
        }
    };
}
pub(crate) use with_count;
