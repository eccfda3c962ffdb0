//! Checked loading: model code asks for tensors by name and shape, and every problem of a part is told in one error.
//!
//! In: `Weights`. Out: tensors, and at the end one list of all that was missing, had another shape, or was never asked for.
//! The first problem does not stop the building of the model: a stand-in of the right shape takes the tensor's place.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Write};
use std::rc::Rc;

use candle_core::{DType, Device, Tensor};

use super::open::{Weights, list};
use crate::error::{Error, Result};

/// The text encoder's table of tokens, which grows with added ones.
const EMBEDDING: &str = "token_embedding.weight";

/// Lines of each list in the error; the rest is counted.
const SHOWN: usize = 20;

/// Hands out the tensors of one part under a path, such as `down_blocks.0.attentions.1`. Clones share one list of problems.
#[derive(Clone)]
pub struct Loader {
    shared: Rc<Shared>,
    path: String,
}

struct Shared {
    weights: Weights,
    device: Device,
    dtype: DType,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    asked: BTreeSet<String>,
    missing: BTreeMap<String, Vec<usize>>,
    misshapen: BTreeMap<String, String>,
}

impl Loader {
    /// A loader at the root of `weights`; every tensor comes to `device` as `dtype`.
    pub fn new(weights: Weights, device: &Device, dtype: DType) -> Self {
        let shared = Shared { weights, device: device.clone(), dtype, state: RefCell::default() };
        Self { shared: Rc::new(shared), path: String::new() }
    }

    /// The loader one step down: `loader.pp("down_blocks").pp(0)`.
    #[must_use]
    pub fn pp(&self, step: impl Display) -> Self {
        Self { shared: Rc::clone(&self.shared), path: self.full(step) }
    }

    /// The path so far, without a dot at its end; empty at the root.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The device to which the tensors come.
    pub fn device(&self) -> &Device {
        &self.shared.device
    }

    /// The number type in which the tensors come.
    pub fn dtype(&self) -> DType {
        self.shared.dtype
    }

    /// Whether the files hold a tensor of this name below the path.
    pub fn contains(&self, name: &str) -> bool {
        self.shared.weights.shape(&self.full(name)).is_some()
    }

    /// The tensor `name` below the path, which must have the shape `dims`.
    ///
    /// Where it is missing or has another shape, that is noted for [`Loader::finish`] and a stand-in of zeros is given.
    /// Errors at once only where a tensor cannot be read or holds NaN.
    pub fn get(&self, dims: &[usize], name: &str) -> Result<Tensor> {
        let full = self.full(name);
        if let Some(tensor) = self.take(dims, &full)? {
            return Ok(tensor);
        }
        self.shared.state.borrow_mut().missing.insert(full, dims.to_vec());
        self.stand_in(dims)
    }

    /// As [`Loader::get`], but a missing tensor is no problem.
    pub fn get_optional(&self, dims: &[usize], name: &str) -> Result<Option<Tensor>> {
        self.take(dims, &self.full(name))
    }

    /// Says that the tensor `name` below the path may be in the files though nothing asks for it.
    pub fn ignore(&self, name: &str) {
        self.shared.state.borrow_mut().asked.insert(self.full(name));
    }

    /// Ends the loading: one error lists all tensors that were missing, mis-shapen, or never asked for and not known to be harmless.
    pub fn finish(&self) -> Result<()> {
        let state = self.shared.state.borrow();
        let weights = &self.shared.weights;
        let missing: Vec<_> = state.missing.iter().map(|(name, dims)| format!("{name} {dims:?}")).collect();
        let misshapen: Vec<_> = state.misshapen.iter().map(|(name, what)| format!("{name}: {what}")).collect();
        let unexpected: Vec<_> = weights
            .names()
            .filter(|name| !state.asked.contains(*name) && !weights.is_harmless(name))
            .map(|name| format!("{name} {:?}", weights.shape(name).unwrap_or_default()))
            .collect();
        if missing.is_empty() && misshapen.is_empty() && unexpected.is_empty() {
            return Ok(());
        }
        let mut text =
            format!("{}: the weights do not fit the model that config.json describes", list(weights.files()));
        section(&mut text, "missing", &missing);
        section(&mut text, "of another shape", &misshapen);
        section(&mut text, "not expected", &unexpected);
        let error = Error::input(text)
            .hint("the config.json and the weights must come from the same model: take both from one repository again");
        let embedding = state.misshapen.keys().find(|name| name.ends_with(EMBEDDING));
        let rows = embedding.and_then(|name| weights.shape(name)?.first());
        Err(match rows {
            Some(rows) => error.also(&format!("if tokens were added, `vocab_size` in config.json must be {rows}")),
            None => error,
        })
    }

    fn full(&self, step: impl Display) -> String {
        if self.path.is_empty() { step.to_string() } else { format!("{}.{step}", self.path) }
    }

    /// The tensor, or a stand-in where its shape is wrong; `None` where it is missing.
    fn take(&self, dims: &[usize], full: &str) -> Result<Option<Tensor>> {
        let Shared { weights, device, dtype, state } = &*self.shared;
        let mut state = state.borrow_mut();
        state.asked.insert(full.to_owned());
        let Some(shape) = weights.shape(full) else { return Ok(None) };
        if shape != dims {
            state.misshapen.insert(full.to_owned(), format!("expected {dims:?}, found {shape:?}"));
            return self.stand_in(dims).map(Some);
        }
        // After the first problem the model will not be used: naming the others needs no reading of gigabytes.
        if !state.missing.is_empty() || !state.misshapen.is_empty() {
            return self.stand_in(dims).map(Some);
        }
        weights.load(full, device, *dtype).map(Some)
    }

    /// Zeros that take no memory, because a config.json with a mistyped size could ask for any amount of it.
    fn stand_in(&self, dims: &[usize]) -> Result<Tensor> {
        Ok(Tensor::zeros((), self.shared.dtype, &self.shared.device)?.broadcast_as(dims)?)
    }
}

fn section(text: &mut String, title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    // Writing into a String cannot fail.
    let _ = write!(text, "\n  {title} ({}):", lines.len());
    for line in lines.iter().take(SHOWN) {
        let _ = write!(text, "\n    {line}");
    }
    if lines.len() > SHOWN {
        let _ = write!(text, "\n    … and {} more", lines.len() - SHOWN);
    }
}
