//! A moving average of the trained tensors (Polyak averaging), as diffusers' `EMAModel` has it.
//!
//! After step n the decay is min(decay, n / (n + 9)), so that the first steps do not count for
//! long: diffusers' (1 + s) / (10 + s) with s = n - 1, and as there the first step's values are
//! taken whole.

use crate::error::{Error, Result};
use candle_core::Tensor;
use std::collections::BTreeMap;

/// The averages.
pub struct Ema {
    decay: f64,
    averages: BTreeMap<String, Tensor>,
}

impl Ema {
    /// Starts at the tensors' values.
    pub fn new(decay: f64, tensors: &BTreeMap<String, Tensor>) -> Result<Self> {
        let copy = |(name, t): (&String, &Tensor)| Ok((name.clone(), t.detach().copy()?));
        Ok(Self { decay, averages: tensors.iter().map(copy).collect::<Result<_>>()? })
    }

    /// Takes in the tensors' values after step `step`, counted from 1.
    pub fn update(&mut self, tensors: &BTreeMap<String, Tensor>, step: usize) -> Result<()> {
        let n = step as f64;
        let decay = if step <= 1 { 0.0 } else { self.decay.min(n / (n + 9.0)) };
        for (name, average) in &mut self.averages {
            let value = tensors.get(name).ok_or_else(|| Error::run(format!("no trained tensor `{name}`")))?;
            *average = ((&*average * decay)? + (value.detach() * (1.0 - decay))?)?;
        }
        Ok(())
    }

    /// The averages by the tensors' names.
    pub fn averages(&self) -> &BTreeMap<String, Tensor> {
        &self.averages
    }

    /// As [`Self::averages`], to be exchanged for the tensors' values.
    pub fn averages_mut(&mut self) -> &mut BTreeMap<String, Tensor> {
        &mut self.averages
    }

    /// Goes on from these averages. Errors if they belong to other tensors.
    pub fn restore(&mut self, averages: &BTreeMap<String, Tensor>) -> Result<()> {
        for (name, average) in &mut self.averages {
            let found = averages.get(name).filter(|t| t.shape() == average.shape());
            let found = found.ok_or_else(|| Error::input(format!("the checkpoint has no average of `{name}`")))?;
            *average = found.to_device(average.device())?;
        }
        Ok(())
    }
}
