//! Trained tensors in the type that is computed in.
//!
//! In: trained tensors, a type, a computation. Out: what it computes. Trained tensors are f32; what
//! is computed in a shorter type has them rounded.

#[cfg(feature = "cuda")]
use crate::cuda;
use candle_core::{DType, Tensor};

/// Runs `f`, which does not change them. On a CUDA card the trained tensors are rounded to `dtype`
/// once, and not wherever one is used; a type that is not shorter rounds nothing. Its results are the
/// same to the last bit.
///
/// # Errors
///
/// Those of `f`, and of the card.
pub fn with_rounded<T, E: From<candle_core::Error>>(
    trained: &[&Tensor],
    dtype: Option<DType>,
    f: impl FnOnce() -> std::result::Result<T, E>,
) -> std::result::Result<T, E> {
    #[cfg(feature = "cuda")]
    if let Some(short @ (DType::BF16 | DType::F16)) = dtype {
        return cuda::rounded::with_rounded(trained, short, f);
    }
    #[cfg(not(feature = "cuda"))]
    let _ = (trained, dtype);
    f()
}
