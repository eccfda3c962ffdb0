//! AdamW (Loshchilov & Hutter 2019) with torch's semantics, one pass over each tensor.
//!
//! p ← p (1 - lr · wd); m ← β₁ m + (1 - β₁) g; v ← β₂ v + (1 - β₂) g²;
//! p ← p - lr / (1 - β₁ᵗ) · m / (√v / √(1 - β₂ᵗ) + ε), with t counted from 1.

use super::host;
use super::vector::sum_of;
use candle_core::{CpuStorage, DType, Device, InplaceOp2, Layout, Result, Shape, Tensor, Var, bail};
use rayon::prelude::*;
use std::sync::{Mutex, PoisonError};

/// Values that one task works on.
const TASK: usize = 1 << 15;

/// The constants of one step, the same for every tensor.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the denominator.
    pub epsilon: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Number of this step, from 1.
    pub t: i32,
    /// What every gradient is multiplied with first (clipping).
    pub gradient_scale: f64,
}

/// First and second moment of one trained tensor.
pub enum Moments {
    /// In host memory, for the one-pass kernel.
    Host(Mutex<[Vec<f32>; 2]>),
    /// On a device.
    Device([Tensor; 2]),
}

impl Moments {
    /// Zeros for a trained tensor.
    pub fn zeros(var: &Var) -> Result<Self> {
        if host::is_host_f32(var) {
            let n = var.elem_count();
            return Ok(Self::Host(Mutex::new([vec![0.0; n], vec![0.0; n]])));
        }
        Ok(Self::Device([var.zeros_like()?, var.zeros_like()?]))
    }
}

impl Moments {
    /// A copy of both moments, of the given shape, in host memory.
    pub fn to_tensors(&self, shape: &Shape) -> Result<[Tensor; 2]> {
        match self {
            Self::Host(state) => {
                let [m, v] = &*state.lock().unwrap_or_else(PoisonError::into_inner);
                Ok([host::tensor(m.clone(), shape)?, host::tensor(v.clone(), shape)?])
            }
            Self::Device([m, v]) => Ok([m.to_device(&Device::Cpu)?, v.to_device(&Device::Cpu)?]),
        }
    }

    /// The moments of a trained tensor from such a copy.
    pub fn from_tensors(var: &Var, [m, v]: [&Tensor; 2]) -> Result<Self> {
        if m.shape() != var.shape() || v.shape() != var.shape() {
            bail!("moments {m:?} and {v:?} do not fit a tensor {:?}", var.shape());
        }
        if host::is_host_f32(var) {
            return Ok(Self::Host(Mutex::new([m.flatten_all()?.to_vec1()?, v.flatten_all()?.to_vec1()?])));
        }
        Ok(Self::Device([m.to_device(var.device())?, v.to_device(var.device())?]))
    }
}

/// One step for one tensor: changes `var` and its moments in place.
pub fn adamw(var: &Var, gradient: &Tensor, moments: &mut Moments, step: &Step) -> Result<()> {
    match moments {
        Moments::Host(state) => {
            var.as_tensor().inplace_op2(&gradient.contiguous()?, &Kernel { state, step: Constants::new(step) })
        }
        Moments::Device(state) => portable(var, gradient, state, step),
    }
}

/// The same from candle's operations: any device.
fn portable(var: &Var, gradient: &Tensor, [m, v]: &mut [Tensor; 2], step: &Step) -> Result<()> {
    let g = (gradient * step.gradient_scale)?;
    *m = ((&*m * step.beta1)? + (&g * (1.0 - step.beta1))?)?;
    *v = ((&*v * step.beta2)? + (g.sqr()? * (1.0 - step.beta2))?)?;
    let (c1, c2) = (1.0 - step.beta1.powi(step.t), 1.0 - step.beta2.powi(step.t));
    let denominator = ((v.sqrt()? / c2.sqrt())? + step.epsilon)?;
    let p = (var.as_tensor() * (1.0 - step.learning_rate * step.weight_decay))?;
    var.set(&(p - (m.div(&denominator)? * (step.learning_rate / c1))?)?)
}

/// The constants as the kernel uses them.
#[derive(Clone, Copy)]
struct Constants {
    gradient_scale: f32,
    decay: f32,
    beta1: f32,
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    /// lr / (1 - β₁ᵗ)
    rate: f32,
    /// 1 / √(1 - β₂ᵗ)
    correction: f32,
    epsilon: f32,
}

impl Constants {
    fn new(s: &Step) -> Self {
        Self {
            gradient_scale: s.gradient_scale as f32,
            decay: (1.0 - s.learning_rate * s.weight_decay) as f32,
            beta1: s.beta1 as f32,
            one_minus_beta1: (1.0 - s.beta1) as f32,
            beta2: s.beta2 as f32,
            one_minus_beta2: (1.0 - s.beta2) as f32,
            rate: (s.learning_rate / (1.0 - s.beta1.powi(s.t))) as f32,
            correction: (1.0 / (1.0 - s.beta2.powi(s.t)).sqrt()) as f32,
            epsilon: s.epsilon as f32,
        }
    }
}

struct Kernel<'a> {
    state: &'a Mutex<[Vec<f32>; 2]>,
    step: Constants,
}

impl InplaceOp2 for Kernel<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(&self, p: &mut CpuStorage, lp: &Layout, g: &CpuStorage, lg: &Layout) -> Result<()> {
        let g = host::slice(g, lg)?;
        let (Some((start, end)), CpuStorage::F32(p)) = (lp.contiguous_offsets(), p) else {
            bail!("adamw: the trained tensor is not contiguous f32")
        };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let [m, v] = &mut *state;
        let p = &mut p[start..end];
        if p.len() != g.len() || m.len() != g.len() {
            bail!("adamw: {} values, {} gradients and {} moments", p.len(), g.len(), m.len());
        }
        let moments = m.par_chunks_mut(TASK).zip(v.par_chunks_mut(TASK));
        p.par_chunks_mut(TASK).zip(g.par_chunks(TASK)).zip(moments).for_each(|((p, g), (m, v))| {
            host::vectorised(|| self.step.update(p, g, m, v));
        });
        Ok(())
    }
}

impl Constants {
    #[inline(always)]
    fn update(self, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
        for ((p, g), (m, v)) in p.iter_mut().zip(g).zip(m.iter_mut().zip(v)) {
            let g = g * self.gradient_scale;
            *m = self.beta1 * *m + self.one_minus_beta1 * g;
            *v = self.beta2 * *v + self.one_minus_beta2 * (g * g);
            *p = *p * self.decay - self.rate * *m / (v.sqrt() * self.correction + self.epsilon);
        }
    }
}

/// Σ g² of one tensor, in f64 over blocks of fixed length.
pub fn squared_norm(gradient: &Tensor) -> Result<f64> {
    if !host::is_host_f32(gradient) {
        return Ok(f64::from(gradient.to_dtype(DType::F32)?.sqr()?.sum_all()?.to_scalar::<f32>()?));
    }
    let gradient = gradient.contiguous()?;
    let values = host::values(&gradient)?;
    let sums: Vec<f64> = values.par_chunks(TASK).map(|block| f64::from(sum_of(block, |v| v * v))).collect();
    Ok(sums.iter().sum())
}
