//! Matrix products in bf16 with sums in f32: what frozen weights go through when `dtype = "bf16"`,
//! on the tile registers of processors that have them (AMX), or in pairs on vectors (AVX-512 BF16).
//!
//! In: activations in f32 and a packed weight, or operands as lines of bf16 pairs. Out: results in
//! f32.
//!
//! Both units multiply blocks of 32 rows and 32 columns of the same operands ([`kernel::block`]);
//! attention takes them too.
//!
//! [`packed_weight::PackedBf16`] is a weight in bf16, packed once, when it is loaded, so that it
//! serves forward and backward from the one copy: blocks of 32 outputs and 32 inputs of one tap lie
//! one behind the other. Forward takes a block as the left operand, where it lies; backward as the
//! right one, for which pairs of rows are interleaved as it is read. The activations are rounded to
//! bf16 as they are packed ([`pack`]), and no patches are written: a convolution is a sum over taps
//! of products with shifted images, whose rows share one column of zeros ([`grid`]). Each number is
//! one sum over all inputs and taps, in one order, whatever the number of threads.
//!
//! Reference: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18
//! (AMX).

mod avx512_bf16;
pub(crate) mod conv2d;
mod epilogue;
mod grid;
pub(crate) mod kernel;
pub(crate) mod linear;
pub(crate) mod operand;
pub(crate) mod pack;
pub(crate) mod packed_weight;
pub(crate) mod peak;
mod schedule;
#[cfg(test)]
mod tests;
pub(crate) mod unit;
