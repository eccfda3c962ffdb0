//! AdamW (Loshchilov & Hutter 2019) with torch's semantics, one pass over each tensor.
//!
//! p ← p (1 - lr · wd); m ← β₁ m + (1 - β₁) g; v ← β₂ v + (1 - β₂) g²;
//! p ← p - lr / (1 - β₁ᵗ) · m / (√v / √(1 - β₂ᵗ) + ε), with t counted from 1.

#[cfg(feature = "cuda")]
use super::cuda;
use super::host;
use super::vector::sum_of;
use candle_core::{CpuStorage, DType, InplaceOp1, InplaceOp2, Layout, Result, Tensor, Var, bail};
use rayon::prelude::*;
use std::sync::{Mutex, PoisonError};

/// Added to the norm before dividing by it, as torch does.
pub const CLIP_EPSILON: f64 = 1e-6;

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

/// One step for all tensors, whose gradients, after they were multiplied with the step's `gradient_scale`, are scaled down to the
/// global norm `max_norm`. Returns their norm before that, summed in the order of the tensors; where it is not finite, nothing
/// is changed.
pub fn clipped(all: &mut [Trained], step: &Step, max_norm: f64) -> Result<f64> {
    #[cfg(feature = "cuda")]
    if cuda::adamw::serves(all) {
        return cuda::adamw::clipped(all, step, max_norm);
    }
    let mut squares = 0.0;
    for trained in &*all {
        squares += squared_norm(trained.gradient)?;
    }
    let norm = squares.sqrt() * step.gradient_scale;
    if norm.is_finite() {
        let gradient_scale = (max_norm / (norm + CLIP_EPSILON)).min(1.0) * step.gradient_scale;
        let step = Step { gradient_scale, ..*step };
        for Trained { var, gradient, moments } in all {
            adamw(var, gradient, moments, &step)?;
        }
    }
    Ok(norm)
}

/// One step for one tensor: changes `var` and its moments in place.
pub fn adamw(var: &Var, gradient: &Tensor, moments: &mut Moments, step: &Step) -> Result<()> {
    if host::is_host_f32(var) {
        let kernel = Kernel { moments: &moments.0, step: Constants::new(step) };
        return var.as_tensor().inplace_op2(&gradient.contiguous()?, &kernel);
    }
    portable(var, gradient, &mut moments.0, step)
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

/// The constants as the kernels use them.
#[derive(Clone, Copy)]
pub(super) struct Constants {
    pub(super) gradient_scale: f32,
    pub(super) decay: f32,
    pub(super) beta1: f32,
    pub(super) one_minus_beta1: f32,
    pub(super) beta2: f32,
    pub(super) one_minus_beta2: f32,
    /// lr / (1 - β₁ᵗ)
    pub(super) rate: f32,
    /// 1 / √(1 - β₂ᵗ)
    pub(super) correction: f32,
    pub(super) epsilon: f32,
}

impl Constants {
    pub(super) fn new(s: &Step) -> Self {
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

/// The update needs three tensors mutably, and candle lends one at a time: the parameters' loan holds the first moment's,
/// and that the second's.
struct Kernel<'a> {
    moments: &'a [Tensor; 2],
    step: Constants,
}

impl InplaceOp2 for Kernel<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(&self, p: &mut CpuStorage, lp: &Layout, g: &CpuStorage, lg: &Layout) -> Result<()> {
        let (p, g) = (values_mut(p, lp)?, host::slice(g, lg)?);
        let first = Loan(Mutex::new(|m: &mut [f32]| {
            let second = Loan(Mutex::new(|v: &mut [f32]| {
                if p.len() != g.len() || m.len() != g.len() || v.len() != g.len() {
                    bail!("adamw: {} values, {} gradients, {} and {} moments", p.len(), g.len(), m.len(), v.len());
                }
                let moments = m.par_chunks_mut(TASK).zip(v.par_chunks_mut(TASK));
                p.par_chunks_mut(TASK).zip(g.par_chunks(TASK)).zip(moments).for_each(|((p, g), (m, v))| {
                    host::vectorised(
                        #[inline(always)]
                        || self.step.update(p, g, m, v),
                    );
                });
                Ok(())
            }));
            self.moments[1].inplace_op1(&second)
        }));
        self.moments[0].inplace_op1(&first)
    }
}

/// Lends a tensor's values to a closure.
struct Loan<F>(Mutex<F>);

impl<F: FnMut(&mut [f32]) -> Result<()>> InplaceOp1 for Loan<F> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let values = values_mut(storage, layout)?;
        let mut use_it = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (*use_it)(values)
    }
}

/// The values of a contiguous layout over an f32 host storage.
fn values_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match (layout.contiguous_offsets(), storage) {
        (Some((start, end)), CpuStorage::F32(data)) => Ok(&mut data[start..end]),
        _ => bail!("adamw: a trained tensor or a moment is not contiguous f32"),
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
