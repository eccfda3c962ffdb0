//! Matrix products in f32: C = A · B, over C, onto C, or with a bias.
//!
//! In: slices. Out: a slice.
//!
//! [`portable`] is the `gemm` crate's product, for any processor. [`avx512`] is our own: the
//! blocking, over a [`micro_kernel`] that holds an output tile in registers, with the right
//! operand packed by [`pack`], of matrices or of an image's [`patches`].

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "x86_64")]
pub(crate) mod columns;
#[cfg(target_arch = "x86_64")]
mod micro_kernel;
#[cfg(target_arch = "x86_64")]
pub(crate) mod pack;
#[cfg(target_arch = "x86_64")]
pub(crate) mod patches;
pub(crate) mod portable;
#[cfg(target_arch = "x86_64")]
pub(crate) mod transpose;
