//! Checked loading: model code asks for tensors by name and shape, and every problem of a part is
//! told in one error.
//!
//! In: `Weights`. Out: tensors, and at the end one list of all that was missing, had another shape,
//! or was never asked for. The first problem does not stop the building of the model: a placeholder
//! of the right shape takes the tensor's place.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use candle_core::{DType, Device, Tensor};

use super::open::{Weights, list};
use crate::error::{Error, Result};

/// The text encoder's table of tokens, which grows with added ones.
const EMBEDDING: &str = "token_embedding.weight";

/// Lines of each list in the error; the rest is counted.
const SHOWN: usize = 20;

/// Hands out the tensors of one part by their names.
pub struct Loader {
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
    /// A loader of `weights`; every tensor comes to `device` as `dtype`.
    pub fn new(weights: Weights, device: &Device, dtype: DType) -> Self {
        Self { weights, device: device.clone(), dtype, state: RefCell::default() }
    }

    /// The device to which the tensors come.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The tensor `name`, which must have the shape `dims`.
    ///
    /// Where it is missing or has another shape, that is noted for [`Loader::finish`] and a
    /// [`placeholder`] is given. Errors at once only where a tensor cannot be read or holds NaN.
    pub fn get(&self, dims: &[usize], name: &str) -> Result<Tensor> {
        let Self { weights, device, dtype, state } = self;
        let mut state = state.borrow_mut();
        state.asked.insert(name.to_owned());
        match weights.shape(name) {
            None => {
                state.missing.insert(name.to_owned(), dims.to_vec());
            }
            Some(shape) if shape != dims => {
                state.misshapen.insert(name.to_owned(), format!("expected {dims:?}, found {shape:?}"));
            }
            Some(_) => {}
        }
        // After the first problem the model will not be used: naming the others needs no reading of
        // gigabytes.
        if state.missing.is_empty() && state.misshapen.is_empty() {
            weights.load(name, device, *dtype)
        } else {
            placeholder(dims, *dtype, device)
        }
    }

    /// Ends the loading: one error lists all tensors that were missing, mis-shapen, or never asked
    /// for and not known to be harmless.
    pub fn finish(&self) -> Result<()> {
        let (state, weights) = (self.state.borrow(), &self.weights);
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
        let error = Error::input(text).hint(if weights.is_single_file {
            "this model has other sizes than its family's: give a folder with its own config.json files as `config`"
        } else {
            "the config.json and the weights must come from the same model: take both from one repository again"
        });
        let embedding = state.misshapen.keys().find(|name| name.ends_with(EMBEDDING));
        let rows = embedding.and_then(|name| weights.shape(name)?.first());
        Err(match rows {
            Some(rows) => error.also(&format!("if tokens were added, `vocab_size` in config.json must be {rows}")),
            None => error,
        })
    }
}

/// Zeros that take no memory: because a config.json with a mistyped size could ask for any amount
/// of it, and for what is only described. Not contiguous, unless it is a single number.
pub fn placeholder(dims: &[usize], dtype: DType, device: &Device) -> Result<Tensor> {
    Ok(Tensor::zeros((), dtype, device)?.broadcast_as(dims)?)
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
