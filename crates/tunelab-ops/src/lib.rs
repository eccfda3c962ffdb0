//! The differentiable operations of the model: linear, convolution, norms, attention, activations, upsampling, sums, the loss.
//!
//! In and out: `candle_core::Tensor`s. On the CPU in f32 each operation has its own body, bound by matrix products
//! and not by loops. While [`tape::record`] runs, it notes what its backward needs if one of its operands is a
//! `candle_core::Var` or depends on one; for all others no gradient is computed and nothing is kept.
//! On a CUDA card (feature `cuda`) it has kernels or a library's function for f32, bf16 and f16, in the folder `cuda`.
//! For every other device or type the same function is composed of candle's differentiable operations
//! (`portable` in each file), as one node of the same tape, which also serves the tests as a second opinion in f64.
//!
//! No result depends on the number of threads: work is split by output elements, and every sum has a fixed order.

#![deny(unsafe_code)]
#![expect(
    clippy::inline_always,
    reason = "what a vectorised loop calls must be inlined into the function that enables the instructions"
)]

pub mod activation;
pub mod adamw;
pub mod attention;
pub mod conv2d;
mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
mod elementwise;
mod embedding;
mod gemm;
#[cfg(target_arch = "x86_64")]
mod gemm_bf16;
pub mod group_norm;
pub mod layer_norm;
mod layout;
pub mod linear;
mod mean_squares;
pub mod memory;
pub mod replay;
mod shapes;
pub mod simd;
mod sum;
pub mod tape;
#[cfg(test)]
mod uninitialized_results;
pub mod upsample;
pub mod weight;

pub use activation::{geglu, gelu, quick_gelu, silu};
pub use attention::{attention, attention_with};
pub use conv2d::conv2d;
pub use elementwise::{add, add_channels, cast, masked, scale};
pub use embedding::embedding;
pub use group_norm::group_norm;
pub use layer_norm::layer_norm;
pub use layout::{cat_channels, to_image, to_rows};
pub use linear::linear;
pub use mean_squares::{mean_squares, mean_squares_of};
pub use shapes::{AttentionMask, FusedActivation, MatmulPrecision, Padding};
pub use tape::composed;
pub use upsample::upsample_nearest;
pub use weight::Weight;
