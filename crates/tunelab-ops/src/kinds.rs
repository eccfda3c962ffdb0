//! How long a CUDA card works on which kind of operation: why a step takes what it takes.
//!
//! In: a computation, launched kernel by kernel. Out: seconds by kind.

#[cfg(feature = "cuda")]
use crate::cuda;
use candle_core::{Device, Error};
use std::collections::BTreeMap;

/// Runs `f`, and adds up how long the card works on each kind of operation; nothing on another
/// device. The gaps between two launches are not counted, but a launch of a few
/// microseconds is told as some more. A graph's launches are none of these.
///
/// # Errors
///
/// Those of `f`, and of the card.
pub fn seconds_by_kind<E: From<Error>>(
    device: &Device,
    f: impl FnOnce() -> Result<(), E>,
) -> Result<BTreeMap<&'static str, f64>, E> {
    #[cfg(feature = "cuda")]
    if device.is_cuda() {
        return cuda::kinds::seconds(f);
    }
    #[cfg(not(feature = "cuda"))]
    let _ = device;
    f()?;
    Ok(BTreeMap::new())
}
