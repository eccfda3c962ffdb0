//! Matrix products in f32: C = A · B, over C, onto C, or with a bias.
//!
//! In: slices. Out: a slice.
//!
//! [`blocked`] is the blocking, over a [`micro_kernel`] that holds an output tile in registers, with the right
//! operand packed by [`pack`], of matrices or of an image's [`patches`].

pub(crate) mod blocked;
pub(crate) mod columns;
mod micro_kernel;
pub(crate) mod operand;
pub(crate) mod pack;
pub(crate) mod patches;
pub(crate) mod transpose;
