//! Matrix products in bf16 with sums in f32: what frozen weights go through when `dtype = "bf16"`, on the tile registers of
//! processors that have them (AMX), or in pairs on vectors (AVX-512 BF16).
//!
//! Both units multiply blocks of 32 rows and 32 columns of the same operands ([`block`]); attention takes them too.
//!
//! [`Tiles`] is a weight in bf16, laid out once, when it is loaded, so that it serves forward and backward from the one copy:
//! blocks of 32 outputs and 32 inputs of one tap lie one behind the other. Forward takes a block as the left operand, where
//! it lies; backward as the right one, for which pairs of rows are interleaved as it is read. The activations are rounded to
//! bf16 as they are laid out ([`lay`]), and no patches are written: a convolution is a sum over taps of products with shifted
//! pictures, whose rows share one column of zeros ([`grid`]). Each number is one sum over all inputs and taps, in one order,
//! whatever the number of threads.
//!
//! Reference: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18 (AMX).

mod convolution;
mod grid;
mod kernel;
mod lay;
mod linear;
mod lines;
mod pass;
mod store;
#[cfg(test)]
mod tests;
mod vectors;
mod weight;

pub(super) use convolution::{convolve, convolve_back};
pub(super) use kernel::{Ahead, BLOCK, Configured, Operand, Steps, Sums, TILE, Unit, available, block, unit};
pub(super) use lay::{joined, line, load, pairs};
pub(super) use linear::{multiply, multiply_back};
pub(super) use lines::{BYTES, Line, Spare};
pub use weight::Tiles;
