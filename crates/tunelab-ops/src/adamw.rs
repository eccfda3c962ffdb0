//! AdamW (Loshchilov & Hutter 2019) with torch's semantics, one pass over each tensor.
//!
//! In: trained tensors, their gradients and moments, the step's constants. Out: both changed in
//! place, and the norm of the gradients.
//!
//! p ← p (1 - lr · wd); m ← β₁ m + (1 - β₁) g; v ← β₂ v + (1 - β₂) g²;
//! p ← p - lr / (1 - β₁ᵗ) · m / (√v / √(1 - β₂ᵗ) + ε), with t counted from 1.

use crate::cpu::host;
use crate::cpu::vector_math::sum_of;
#[cfg(feature = "cuda")]
use crate::cuda;
pub use crate::moments::{Clipped, Moments, Trained};
use crate::shapes::AdamWConstants;
pub use crate::shapes::AdamWStep;
use crate::simd::vectorize;
use candle_core::{CpuStorage, DType, InplaceOp1, InplaceOp2, Layout, Result, Tensor, Var, bail};
use rayon::prelude::*;
use std::sync::{Mutex, PoisonError};

/// Added to the norm before dividing by it, as torch does.
pub const CLIP_EPSILON: f64 = 1e-6;

/// Values that one task works on.
const TASK: usize = 1 << 15;

/// One step for all tensors, whose gradients, after they were multiplied with the step's
/// `gradient_scale`, are scaled down to the global norm `max_norm`. Returns their norm before that,
/// summed in the order of the tensors, and the values of some scalars, the losses; where one of
/// these numbers is not finite, nothing is changed. On a GPU they are read together, when the step
/// has been given out.
pub fn clipped(all: &mut [Trained], step: &AdamWStep, max_norm: f64, scalars: &[&Tensor]) -> Result<Clipped> {
    #[cfg(feature = "cuda")]
    if cuda::adamw::supports(all) {
        return cuda::adamw::clipped(all, step, max_norm, scalars);
    }
    let read = read(scalars)?;
    let mut squares = 0.0;
    for trained in &*all {
        squares += squared_norm(trained.gradient)?;
    }
    let clipped = Clipped::new(squares.sqrt() * step.gradient_scale, read);
    if clipped.norm.is_finite() {
        let gradient_scale = (max_norm / (clipped.norm + CLIP_EPSILON)).min(1.0) * step.gradient_scale;
        let step = AdamWStep { gradient_scale, ..*step };
        for Trained { var, gradient, moments } in all {
            adamw(var, gradient, moments, &step)?;
        }
    }
    Ok(clipped)
}

/// The values of scalars.
pub fn read(scalars: &[&Tensor]) -> Result<Vec<f64>> {
    scalars.iter().map(|t| t.detach().reshape(())?.to_dtype(DType::F64)?.to_scalar()).collect()
}

/// One step for one tensor: changes `var` and its moments in place.
pub fn adamw(var: &Var, gradient: &Tensor, moments: &mut Moments, step: &AdamWStep) -> Result<()> {
    if host::is_host_f32(var) {
        let kernel = Kernel { moments: moments.tensors(), step: AdamWConstants::new(step) };
        return var.as_tensor().inplace_op2(&gradient.contiguous()?, &kernel);
    }
    portable(var, gradient, moments.tensors_mut(), step)
}

/// The same from candle's operations: any device.
fn portable(var: &Var, gradient: &Tensor, [m, v]: &mut [Tensor; 2], step: &AdamWStep) -> Result<()> {
    let g = (gradient * step.gradient_scale)?;
    *m = ((&*m * step.beta1)? + (&g * (1.0 - step.beta1))?)?;
    *v = ((&*v * step.beta2)? + (g.sqr()? * (1.0 - step.beta2))?)?;
    let (c1, c2) = (1.0 - step.beta1.powi(step.t), 1.0 - step.beta2.powi(step.t));
    let denominator = ((v.sqrt()? / c2.sqrt())? + step.epsilon)?;
    let p = (var.as_tensor() * (1.0 - step.learning_rate * step.weight_decay))?;
    var.set(&(p - (m.div(&denominator)? * (step.learning_rate / c1))?)?)
}

/// The update needs three tensors mutably, and candle lends one at a time: the parameters' loan
/// holds the first moment's, and that the second's.
struct Kernel<'a> {
    moments: &'a [Tensor; 2],
    step: AdamWConstants,
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
                    vectorize(
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

impl AdamWConstants {
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
