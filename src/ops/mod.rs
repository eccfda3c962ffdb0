//! The differentiable operations of the model: linear, convolution, norms, attention, activations, upsampling.
//!
//! In and out: `candle_core::Tensor`s. On the CPU in f32 each operation has its own body, bound by matrix products
//! and not by loops, with a backward that computes nothing for frozen weights: a weight is trained when it is a
//! `candle_core::Var` (or depends on one), otherwise it is owned by the operation and no gradient exists for it.
//! For every other device or type the same function is composed of candle's differentiable operations
//! (`portable` in each file), which also serves the tests as a second opinion in f64.
//!
//! No result depends on the number of threads: work is split by output elements, and every sum has a fixed order.

#![expect(
    clippy::inline_always,
    reason = "what a vectorised loop calls must be inlined into the function that enables the instructions"
)]

pub mod activation;
pub mod adamw;
pub mod attention;
pub mod conv2d;
#[cfg(target_arch = "x86_64")]
mod conv3x3;
mod gemm;
pub mod group_norm;
mod host;
pub mod layer_norm;
pub mod linear;
#[cfg(target_arch = "x86_64")]
mod pack;
#[cfg(target_arch = "x86_64")]
mod product;
#[cfg(target_arch = "x86_64")]
pub mod tiles;
pub mod upsample;
mod vector;

pub use activation::{geglu, gelu, quick_gelu, silu};
pub use attention::attention;
pub use conv2d::{Padding, conv2d};
pub use group_norm::group_norm;
pub use layer_norm::layer_norm;
pub use linear::linear;
pub use upsample::upsample_nearest;
