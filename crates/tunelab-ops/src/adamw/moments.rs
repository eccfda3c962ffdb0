//! What AdamW keeps of a trained tensor, and a tensor with its gradient.
//!
//! In: a trained tensor, or saved moments. Out: moments that the next step changes.

use candle_core::{Result, Tensor, Var, bail};

/// First and second moment of one trained tensor.
pub struct Moments([Tensor; 2]);

impl Moments {
    /// Zeros for a trained tensor.
    pub fn zeros(var: &Var) -> Result<Self> {
        let zeros = || Tensor::zeros(var.shape(), var.dtype(), var.device());
        Ok(Self([zeros()?, zeros()?]))
    }

    /// Both moments; they share the memory that the next step changes.
    pub fn tensors(&self) -> &[Tensor; 2] {
        &self.0
    }

    /// The same, to be replaced.
    pub(super) fn tensors_mut(&mut self) -> &mut [Tensor; 2] {
        &mut self.0
    }

    /// The moments of a trained tensor from saved ones, which nothing else may hold.
    pub fn from_tensors(var: &Var, [m, v]: [&Tensor; 2]) -> Result<Self> {
        if m.shape() != var.shape() || v.shape() != var.shape() {
            bail!("moments {m:?} and {v:?} do not fit a tensor {:?}", var.shape());
        }
        Ok(Self([m.to_device(var.device())?, v.to_device(var.device())?]))
    }
}

/// One trained tensor, its gradient and its moments.
pub struct Trained<'a> {
    /// The tensor.
    pub var: &'a Var,
    /// Its gradient.
    pub gradient: &'a Tensor,
    /// Its moments.
    pub moments: &'a mut Moments,
}
