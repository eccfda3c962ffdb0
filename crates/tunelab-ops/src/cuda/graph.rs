//! CUDA graphs: the launches of a computation, captured once and given out as one.
//!
//! In: a computation, its inputs, a key. Out: its results. The first call with a key runs it:
//! kernels are loaded, libraries choose their algorithms. The second one runs it again, on inputs
//! in places of their own, with what it brings from the host kept on the card; then captures it,
//! launches the graph and compares: the squares of all results, summed chunk by chunk, must be equal
//! to the last bit. From then on a call copies its inputs to their places and launches the graph.
//!
//! The graph owns the memory that is allocated during the capture. What is not freed in it, its
//! results, keeps its place, and is freed and had anew by each launch. Nothing from before may be
//! freed during a capture, and nothing waited for; candle's and cudarc's calls say so, and the
//! computation is then run launch by launch for good, for a reason that is kept.

use crate::cuda::adamw::squares;
use crate::cuda::card::{self, settle};
use crate::cuda::{CudaDevice, WORKSPACE, WrapErr, forget_workspaces};
use candle_core::cuda_backend::cudarc::driver::{CudaGraph, sys};
use candle_core::{DType, Error, Result, Tensor};
use std::fmt::Display;

/// Graphs that are kept; the one that was not used for the longest time goes first.
const MOST: usize = 4;

/// The graphs of one place in the program.
pub(crate) struct Graphs {
    card: CudaDevice,
    /// The last used last.
    entries: Vec<Entry>,
    /// Why there are none, once that is known.
    refused: Option<String>,
    kept_any: bool,
    /// The driver has been given back what no graph was using.
    resting: bool,
}

struct Entry {
    key: String,
    inputs: Vec<(Vec<usize>, DType)>,
    kept: Option<Kept>,
}

/// A graph, where it reads and where it writes. Results go first: their memory is the graph's.
struct Kept {
    outputs: Vec<Tensor>,
    inputs: Vec<Tensor>,
    graph: CudaGraph,
}

/// Why a graph was not kept.
enum Lost<E> {
    /// The computation failed, graph or not.
    Failed(E),
    /// It cannot be captured.
    Refused(String),
}

impl Graphs {
    pub(crate) fn new(card: CudaDevice) -> Self {
        Self { card, entries: Vec::new(), refused: None, kept_any: false, resting: false }
    }

    /// See [`Replay::run`](crate::replay::Replay::run).
    pub(crate) fn run<E: From<Error> + Display>(
        &mut self,
        key: &str,
        inputs: &[Tensor],
        f: impl Fn(&[Tensor]) -> std::result::Result<Vec<Tensor>, E>,
    ) -> std::result::Result<Vec<Tensor>, E> {
        if self.refused.is_some() {
            return f(inputs);
        }
        match self.attempt(key, inputs, &f) {
            // Without the graphs there may be memory enough.
            Err(_) if self.entries.iter().any(|entry| entry.kept.is_some()) => {
                self.forget();
                f(inputs)
            }
            other => other,
        }
    }

    fn attempt<E: From<Error> + Display>(
        &mut self,
        key: &str,
        inputs: &[Tensor],
        f: impl Fn(&[Tensor]) -> std::result::Result<Vec<Tensor>, E>,
    ) -> std::result::Result<Vec<Tensor>, E> {
        let shapes: Vec<_> = inputs.iter().map(|t| (t.dims().to_vec(), t.dtype())).collect();
        let Some(at) = self.entries.iter().position(|entry| entry.key == key && entry.inputs == shapes) else {
            if self.entries.len() == MOST {
                self.entries.remove(0);
            }
            // It needs as much as a graph has.
            self.rest();
            self.entries.push(Entry { key: key.to_owned(), inputs: shapes, kept: None });
            return f(inputs);
        };
        let mut entry = self.entries.remove(at);
        if let Some(kept) = &entry.kept {
            let launched = back(&self.card, &mut self.resting).and_then(|()| kept.launch(inputs));
            if let Err(error) = launched {
                self.entries.push(entry);
                return Err(error.into());
            }
        } else {
            match Kept::capture(&self.card, inputs, &f) {
                Ok(kept) => entry.kept = Some(kept),
                Err(Lost::Failed(error)) => return Err(error),
                Err(Lost::Refused(why)) => {
                    self.forget();
                    self.refused = Some(why);
                    return f(inputs);
                }
            }
        }
        self.kept_any = true;
        let outputs = entry.kept.as_ref().map(|kept| kept.outputs.clone()).unwrap_or_default();
        self.entries.push(entry);
        Ok(outputs)
    }

    /// Whether there were graphs, or why not; nothing before that is known.
    pub(crate) fn state(&self) -> Option<std::result::Result<(), &str>> {
        match &self.refused {
            Some(why) => Some(Err(why)),
            None => self.kept_any.then_some(Ok(())),
        }
    }

    /// Gives the driver back what the graphs do not use between two launches; the next one has it
    /// again.
    pub(crate) fn rest(&mut self) {
        if self.entries.iter().any(|entry| entry.kept.is_some()) {
            settle(&self.card);
            card::trim(&self.card);
            self.resting = true;
        }
    }

    /// Gives all graphs and their memory back. What fails here shows at the next call of the
    /// driver.
    fn forget(&mut self) {
        settle(&self.card);
        let _ = self.card.cuda_stream().synchronize();
        self.entries.clear();
        card::trim(&self.card);
    }
}

impl Drop for Graphs {
    fn drop(&mut self) {
        self.forget();
    }
}

impl Kept {
    /// Runs `f`, captures it, and compares. When it returns the outputs are those of the inputs.
    fn capture<E: From<Error> + Display>(
        card: &CudaDevice,
        inputs: &[Tensor],
        f: impl Fn(&[Tensor]) -> std::result::Result<Vec<Tensor>, E>,
    ) -> std::result::Result<Self, Lost<E>> {
        let failed = |error: Error| Lost::Failed(E::from(error));
        let places: Result<Vec<Tensor>> = inputs.iter().map(|t| t.detach().contiguous()?.copy()).collect();
        let places = places.map_err(failed)?;
        // What a computation brings from the host, shapes and strides and constants, is from now on
        // looked up on the card.
        let _constants = card.enable_cuda_graph_htod_cache();
        let wanted = squares(&f(&places).map_err(Lost::Failed)?).map_err(refused)?;
        // The graph has memory of its own beside the pool, so what the pool does not need goes back
        // first.
        forget_workspaces().map_err(failed)?;
        settle(card);
        card::trim(card);

        let stream = card.cuda_stream();
        let context = stream.context();
        stream.begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).map_err(refused)?;
        let outputs = f(&places).and_then(|all| Ok(all.iter().map(Tensor::contiguous).collect::<Result<Vec<_>>>()?));
        // The workspace that was allocated for the graph is freed in it.
        WORKSPACE.with_borrow_mut(|all| drop(all.remove(&card.id())));
        let freed = context.check_err();
        let graph = stream.end_capture(sys::CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH);
        let launched = outputs.map_err(refused).and_then(|outputs| {
            freed.map_err(refused)?;
            let graph = graph.map_err(refused)?.ok_or_else(|| Lost::Refused("the capture was lost".to_owned()))?;
            let kept = Self { outputs, inputs: places, graph };
            kept.graph.launch().map_err(refused)?;
            Ok(kept)
        });
        let kept = match launched {
            Ok(kept) => kept,
            Err(why) => {
                // Memory of a graph that was never launched has never been there. That it could not
                // be freed is forgotten.
                let _ = context.check_err();
                return Err(why);
            }
        };
        let seen = squares(&kept.outputs).map_err(refused)?;
        if same(&wanted, &seen) { Ok(kept) } else { Err(Lost::Refused("the graph computes something else".to_owned())) }
    }

    /// Puts the inputs in their places and launches the graph.
    fn launch(&self, inputs: &[Tensor]) -> Result<()> {
        for (place, input) in self.inputs.iter().zip(inputs) {
            place.slice_set(&input.detach().contiguous()?, 0, 0)?;
        }
        self.graph.launch().w()?;
        Ok(())
    }
}

/// Ends a rest: what others have had meanwhile and no longer need goes back to the driver.
fn back(card: &CudaDevice, resting: &mut bool) -> Result<()> {
    if std::mem::take(resting) {
        forget_workspaces()?;
        settle(card);
        card::trim(card);
    }
    Ok(())
}

/// The first line says it.
fn refused<E>(error: impl Display) -> Lost<E> {
    Lost::Refused(error.to_string().lines().next().unwrap_or_default().to_owned())
}

/// In f16 a gradient need not be finite; what is not a number is like another one.
fn same(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()))
}
