//! The time of each launch, by the kind of operation that it belongs to.
//!
//! In: launches, while [`seconds`] runs. Out: sums of their times: what the card's clock shows
//! between an event in front of each and one behind it. candle's own few kernels are not among them.

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{CudaEvent, sys};
use candle_core::{CudaDevice, Error, Result};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Kinds of operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// cuDNN's.
    Convolution,
    /// cuBLASLt's: of linear maps, 1x1 convolutions and adapters.
    Product,
    Attention,
    Norm,
    /// Element by element, moved about, or summed.
    Other,
}

impl Kind {
    /// Of the kernels of this file.
    pub(super) fn of_source(name: &str) -> Self {
        match name {
            "group_norm" | "layer_norm" => Self::Norm,
            attention if attention.starts_with("attention") => Self::Attention,
            _ => Self::Other,
        }
    }

    /// Its name in what is shown.
    fn name(self) -> &'static str {
        match self {
            Self::Convolution => "convolutions",
            Self::Product => "products",
            Self::Attention => "attention",
            Self::Norm => "norms",
            Self::Other => "others",
        }
    }
}

/// One launch: its kind, and the events before and behind it.
type Launch = (Kind, [CudaEvent; 2]);

thread_local! {
    // Nothing while nobody asks.
    static LAUNCHES: RefCell<Option<Vec<Launch>>> = const { RefCell::new(None) };
}

/// Asks no more, also where the computation fails.
struct Asked;

impl Drop for Asked {
    fn drop(&mut self) {
        LAUNCHES.take();
    }
}

/// Runs `f` and sums the times of its launches.
pub(crate) fn seconds<E: From<Error>>(
    f: impl FnOnce() -> std::result::Result<(), E>,
) -> std::result::Result<BTreeMap<&'static str, f64>, E> {
    let _asked = Asked;
    LAUNCHES.set(Some(Vec::new()));
    f()?;
    let mut sums = BTreeMap::new();
    for (kind, [begin, end]) in LAUNCHES.take().unwrap_or_default() {
        *sums.entry(kind.name()).or_default() += f64::from(begin.elapsed_ms(&end).w()?) / 1e3;
    }
    Ok(sums)
}

/// Launches something, between two events if somebody asks for its time.
pub(super) fn launched<T>(card: &CudaDevice, kind: Kind, launch: impl FnOnce() -> Result<T>) -> Result<T> {
    if LAUNCHES.with_borrow(Option::is_none) {
        return launch();
    }
    let stream = card.cuda_stream();
    let event = || stream.record_event(Some(sys::CUevent_flags::CU_EVENT_DEFAULT)).w();
    let begin = event()?;
    let made = launch()?;
    let end = event()?;
    LAUNCHES.with_borrow_mut(|all| all.as_mut().map(|all| all.push((kind, [begin, end]))));
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::Kind;

    #[test]
    fn every_file_of_attention_and_norms_is_one() {
        for name in ["attention_bf16", "attention_f16", "attention_f32", "attention_tf32"] {
            assert_eq!(Kind::of_source(name), Kind::Attention);
        }
        for name in ["group_norm", "layer_norm"] {
            assert_eq!(Kind::of_source(name), Kind::Norm);
        }
        assert_eq!(Kind::of_source("elementwise"), Kind::Other);
    }
}
