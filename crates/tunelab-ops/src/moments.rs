//! What AdamW keeps of a trained tensor, a tensor with its gradient, and what a step of all has seen.
//!
//! In: a trained tensor, or saved moments. Out: moments that the next step changes. AdamW's bodies on every device use what stands here.

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
    pub(crate) fn tensors_mut(&mut self) -> &mut [Tensor; 2] {
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

/// What a clipped step has seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Clipped {
    /// The norm of the gradients before they were scaled down; not a number where a scalar is not
    /// finite.
    pub norm: f64,
    /// The scalars' values.
    pub scalars: Vec<f64>,
}

impl Clipped {
    /// A step of gradients with this norm, beside these scalars.
    pub fn new(norm: f64, scalars: Vec<f64>) -> Self {
        let finite = scalars.iter().all(|v| v.is_finite());
        Self { norm: if finite { norm } else { f64::NAN }, scalars }
    }
}
