//! The differentiable operations of the model: linear, convolution, norms, attention, activations,
//! upsampling, sums, the loss; and the optimizer's step.
//!
//! In and out: `candle_core::Tensor`s. On the CPU in f32 each operation has its own body, bound by
//! matrix products and not by loops. While [`tape::record`] runs, it notes what its backward needs
//! if one of its operands is a `candle_core::Var` or depends on one; for all others no gradient is
//! computed and nothing is kept. On a CUDA card (feature `cuda`) it has kernels or a library's
//! function for f32, bf16 and f16, in the folder `cuda`. For every other device or type the same
//! function is composed of candle's differentiable operations, as one node of the same tape, which
//! also serves the tests as a second opinion in f64.
//!
//! No result depends on the number of threads: work is split by output elements, and every sum has
//! a fixed order.
//!
//! # Operations and instructions
//!
//! Which body computes what, by the set that [`simd`] says is in use: a body serves the sets to its
//! right too, until there is another. "loops" are plain Rust that is compiled once for each set.
//!
//! | operation | portable, AVX2, NEON, AVX-512 | AVX-512 BF16 | AMX | CUDA |
//! |---|---|---|---|---|
//! | [`linear()`] | `gemm::blocked` | | | cuBLASLt |
//! | [`conv2d()`] | Winograd, direct 3x3, implicit GEMM | | | cuDNN |
//! | [`attention()`] | `attention::blocks` in f32 | `attention::blocks` in bf16¹ | `attention::blocks` in bf16¹ | own kernels² |
//! | frozen [`Weight`] in bf16, linear and 1x1 | upcast block by block in `gemm::blocked` | `gemm_bf16` | `gemm_bf16` | cuBLASLt, cuDNN |
//! | frozen [`Weight`] in bf16, 3x3 | upcast in Winograd's transform, a single tile under AVX2 and NEON in `gemm::blocked` | | `gemm_bf16` | cuDNN |
//! | [`group_norm()`], [`layer_norm()`], activations, sums, [`adamw`] | loops | | | own kernels |
//! | [`to_rows`], [`to_image`] | transposes in registers | | | own kernels |
//! | [`upsample_nearest`], [`embedding()`], [`cat_channels`] | plain Rust | | | own kernels |
//!
//! The kernels of the second column are written once, for vectors of 16 values (`simd::isa`): one
//! register of AVX-512, two of AVX2, four of NEON, and an array, which is `portable`.
//!
//! ¹ Where [`MatmulPrecision::Bf16`] is asked for; otherwise in f32. ² For heads of up to 160
//! values.
//!
//! # Where what is
//!
//! | room | what it holds |
//! |---|---|
//! | a file of an operation's name | the function, its backward, and the choice of a body |
//! | [`simd`] | the set of instructions in use, the witnesses that kernels ask for, and the vectors that they are written in |
//! | `shapes` | sizes and switches that an operation and its bodies share; imports nothing of ours |
//! | `cpu` | host tensors as slices, memory for results, buffers, scalar functions, prefetching |
//! | `gemm` | products in f32: packing and micro-kernel |
//! | `gemm_bf16` | products in bf16 with sums in f32: tile registers or vectors |
//! | `conv2d`, `attention`, `linear` | the bodies of these operations |
//! | `moments` | what AdamW keeps of a tensor, and what a step of all has seen; imports nothing of ours |
//! | `cuda` | the bodies on CUDA cards, and CUDA graphs |
//! | [`weight`] | a weight in f32 or bf16, and what is computed with it |
//! | [`tape`], `sum` | what backward needs, noted; how gradients are added |
//! | `rounded` | trained tensors in the type that is computed in |
//! | [`replay`] | a computation given out again as one CUDA graph |
//! | [`kinds`], [`chosen`] | how long a card works on which kind of operation, and what cuDNN computes with |
//! | [`candle_threads`] | how many threads candle computes its own operations on |
//! | [`memory`] | the program's allocator: large blocks stay, in large pages |

#![deny(unsafe_code, clippy::undocumented_unsafe_blocks)]
#![expect(
    clippy::inline_always,
    reason = "what a vectorised loop calls must be inlined into the function that enables the instructions"
)]

pub mod activation;
pub mod adamw;
pub mod attention;
pub mod candle_threads;
pub mod chosen;
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
pub mod kinds;
pub mod layer_norm;
mod layout;
pub mod linear;
mod mean_of_pairs;
mod mean_squares;
pub mod memory;
mod moments;
mod pseudo_huber;
pub mod replay;
mod rounded;
mod shapes;
pub mod simd;
mod sum;
pub mod tape;
#[cfg(test)]
mod uninitialized_results;
pub mod upsample;
pub mod weight;

pub use activation::{geglu, gelu, quick_gelu, silu};
pub use attention::{attention, attention_kv_packed, attention_qkv_packed, attention_with};
pub use conv2d::conv2d;
pub use elementwise::{add, add_channels, cast, masked, scale};
pub use embedding::embedding;
pub use group_norm::group_norm;
pub use layer_norm::layer_norm;
pub use layout::{cat_channels, to_image, to_rows};
pub use linear::linear;
pub use mean_squares::{mean_squares, mean_squares_of};
pub use pseudo_huber::pseudo_huber_of;
pub use rounded::with_rounded;
pub use shapes::{AttentionMask, ConvPlus, FusedActivation, MatmulPrecision, Padding};
pub use tape::composed;
pub use upsample::upsample_nearest;
pub use weight::Weight;
