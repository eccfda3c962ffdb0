//! A computation that is run many times with other values: on a CUDA card its launches are kept and
//! given out again as one CUDA graph.
//!
//! In: a computation from tensors to tensors, and a key of all that it depends on besides them.
//! Out: its results. At batch 1 a step is hundreds of launches that take the host longer than they
//! take the card; a graph is one. Elsewhere, and where a graph cannot be had, the computation is
//! run; its results are the same to the last bit.

#[cfg(feature = "cuda")]
use crate::cuda::graph::Graphs;
use candle_core::{Device, Error, Tensor};
use std::fmt::Display;

/// What a user is told where there are no graphs; the reason comes behind it.
pub const NO_GRAPHS: &str = "the steps are launched kernel by kernel, not as a CUDA graph";

/// The computations of one place in the program, each with what is kept of it.
pub struct Replay {
    #[cfg(feature = "cuda")]
    graphs: Option<Graphs>,
}

impl Replay {
    /// For computations on this device.
    pub fn new(device: &Device) -> Self {
        #[cfg(not(feature = "cuda"))]
        let _ = device;
        Self {
            #[cfg(feature = "cuda")]
            graphs: device.as_cuda_device().ok().map(|card| Graphs::new(card.clone())),
        }
    }

    /// Runs every computation anew.
    pub fn never() -> Self {
        Self {
            #[cfg(feature = "cuda")]
            graphs: None,
        }
    }

    /// `f` of the inputs. What it is besides must be in `key` or stay as it is: numbers, captions,
    /// switches; tensors that it uses may be changed where they lie. It must give the same for the
    /// same inputs, and bring nothing from the host that differs from call to call.
    ///
    /// Where [`Replay::reuses`] says so the results lie where the next call will put its own: they
    /// are to be used, or copied, before.
    pub fn run<E: From<Error> + Display>(
        &mut self,
        key: &str,
        inputs: &[Tensor],
        f: impl Fn(&[Tensor]) -> std::result::Result<Vec<Tensor>, E>,
    ) -> std::result::Result<Vec<Tensor>, E> {
        #[cfg(feature = "cuda")]
        if let Some(graphs) = &mut self.graphs {
            return graphs.run(key, inputs, f);
        }
        #[cfg(not(feature = "cuda"))]
        let _ = key;
        f(inputs)
    }

    /// Whether a result's memory may be that of the next one.
    pub fn reuses(&self) -> bool {
        #[cfg(feature = "cuda")]
        return self.graphs.as_ref().is_some_and(|graphs| !matches!(graphs.state(), Some(Err(_))));
        #[cfg(not(feature = "cuda"))]
        false
    }

    /// Lends others the memory that is kept for the next call, but that of the last results.
    pub fn rest(&mut self) {
        #[cfg(feature = "cuda")]
        if let Some(graphs) = &mut self.graphs {
            graphs.rest();
        }
    }

    /// How the device is given its work, where there is a choice: `None` on a device without graphs
    /// and before any were kept, otherwise whether there are graphs, or why not.
    pub fn state(&self) -> Option<std::result::Result<(), &str>> {
        #[cfg(feature = "cuda")]
        return self.graphs.as_ref().and_then(Graphs::state);
        #[cfg(not(feature = "cuda"))]
        None
    }
}
