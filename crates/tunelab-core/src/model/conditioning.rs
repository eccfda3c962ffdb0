//! What the UNet is told beside the latents and the timesteps.
//!
//! In: what the text encoders make of a text. Out: tensors with names, which are joined, repeated
//! and replaced together. Whoever records a computation over them (a CUDA graph) takes them as one
//! list and puts others in their places.

use crate::error::{Error, Result};
use candle_core::Tensor;

/// The conditioning of B samples.
#[derive(Debug, Clone)]
pub struct Conditioning {
    /// `encoder_hidden_states` [B, tokens, width].
    pub hidden_states: Tensor,
    /// The text as one vector [B, width], where the family has it.
    pub pooled: Option<Tensor>,
    /// The embedding of sizes and crops [B, numbers], where the family has them.
    pub time_ids: Option<Tensor>,
}

/// Hidden states alone.
impl From<Tensor> for Conditioning {
    fn from(hidden_states: Tensor) -> Self {
        Self { hidden_states, pooled: None, time_ids: None }
    }
}

impl Conditioning {
    /// Every tensor, in the one order that there is.
    pub fn slots(&mut self) -> Vec<&mut Tensor> {
        let Self { hidden_states, pooled, time_ids } = self;
        [hidden_states].into_iter().chain(pooled).chain(time_ids).collect()
    }

    /// The samples of all parts, one behind the other. Errors if one part has what another has not.
    pub fn cat(parts: &[&Self]) -> Result<Self> {
        let optional = |get: fn(&Self) -> Option<&Tensor>| {
            let there: Vec<&Tensor> = parts.iter().filter_map(|part| get(part)).collect();
            match there.len() {
                0 => Ok(None),
                n if n == parts.len() => Ok(Some(Tensor::cat(&there, 0)?)),
                n => Err(Error::run(format!("{n} of {} texts have what the others have not", parts.len()))),
            }
        };
        let hidden_states: Vec<&Tensor> = parts.iter().map(|part| &part.hidden_states).collect();
        Ok(Self {
            hidden_states: Tensor::cat(&hidden_states, 0)?,
            pooled: optional(|part| part.pooled.as_ref())?,
            time_ids: optional(|part| part.time_ids.as_ref())?,
        })
    }

    /// The same with zeros in the place of every number.
    pub fn zeros_like(&self) -> Result<Self> {
        let mut zeros = self.clone();
        for tensor in zeros.slots() {
            *tensor = tensor.zeros_like()?;
        }
        Ok(zeros)
    }

    /// All samples `times` times.
    pub fn repeat(&self, times: usize) -> Result<Self> {
        let mut repeated = self.clone();
        for tensor in repeated.slots() {
            let mut each = vec![1; tensor.rank()];
            each[0] = times;
            *tensor = tensor.repeat(each)?;
        }
        Ok(repeated)
    }
}

/// The tensors of a value, as `slots` lists them.
pub fn tensors_of<T: Clone>(value: &T, slots: impl Fn(&mut T) -> Vec<&mut Tensor>) -> Vec<Tensor> {
    slots(&mut value.clone()).into_iter().map(|tensor| tensor.clone()).collect()
}

/// The same value with other tensors: the inverse of [`tensors_of`]. Errors unless they are as
/// many.
pub fn with_tensors<T: Clone>(value: &T, slots: impl Fn(&mut T) -> Vec<&mut Tensor>, tensors: &[Tensor]) -> Result<T> {
    let mut other = value.clone();
    let places = slots(&mut other);
    if places.len() != tensors.len() {
        return Err(Error::run(format!("{} tensors for {} places", tensors.len(), places.len())));
    }
    for (place, tensor) in places.into_iter().zip(tensors) {
        *place = tensor.clone();
    }
    Ok(other)
}
