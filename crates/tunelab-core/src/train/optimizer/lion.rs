//! Lion (Chen et al. 2023, "Symbolic Discovery of Optimization Algorithms", Algorithm 2).
//!
//! In: its settings, and a step's gradients. Out: the trained tensors and the running average of
//! their gradients, changed in place. The step is the sign of an average, so its size is that of the
//! learning rate, whatever the gradient's is.

use super::step::{Clipped, Step};
use crate::config::optimizer::Lion as Settings;
use crate::error::{Error, Result};
use candle_core::{Tensor, Var};

/// Its settings, and what it keeps of each trained tensor.
pub struct Lion {
    settings: Settings,
    exp_avg: Vec<Tensor>,
}

impl Lion {
    /// The names of what it keeps.
    pub const STATE: [&'static str; 1] = ["exp_avg"];

    /// At the first step.
    pub fn new<'a>(settings: Settings, trained: impl Iterator<Item = &'a Var>) -> Result<Self> {
        let zeros = trained.map(|var| Ok(var.as_detached_tensor().zeros_like()?));
        Ok(Self { settings, exp_avg: zeros.collect::<Result<_>>()? })
    }

    /// The average of a trained tensor.
    pub fn state(&self, index: usize) -> Vec<Tensor> {
        vec![self.exp_avg[index].clone()]
    }

    /// Goes on from such an average.
    pub fn restore(&mut self, index: usize, trained: &Var, state: &[&Tensor]) -> Result<()> {
        let [exp_avg] = state else {
            return Err(Error::run(format!("{} tensors are not what Lion keeps of one", state.len())));
        };
        self.exp_avg[index] = exp_avg.to_device(trained.device())?;
        Ok(())
    }

    /// One step. Returns the gradients' norm before clipping, and the losses; where one of them is
    /// not finite, nothing is changed.
    pub fn step(&mut self, step: &Step) -> Result<Clipped> {
        let (clipped, gradient_scale) = step.clip()?;
        if clipped.norm.is_finite() {
            let Settings { beta1, beta2, weight_decay } = self.settings;
            for ((var, gradient), exp_avg) in step.trained.iter().zip(step.gradients).zip(&mut self.exp_avg) {
                let gradient = (*gradient * gradient_scale)?;
                let value = var.as_detached_tensor();
                // θ ← θ − η (sign(β₁ m + (1 − β₁) g) + λ θ)
                let direction = mixed(exp_avg, &gradient, beta1)?.sign()?;
                let kept = (&value * (1.0 - step.learning_rate * weight_decay))?;
                var.set(&(kept - (direction * step.learning_rate)?)?)?;
                // m ← β₂ m + (1 − β₂) g
                *exp_avg = mixed(exp_avg, &gradient, beta2)?;
            }
        }
        Ok(clipped)
    }
}

/// β m + (1 − β) g.
fn mixed(average: &Tensor, gradient: &Tensor, beta: f64) -> Result<Tensor> {
    Ok(((average * beta)? + (gradient * (1.0 - beta))?)?)
}
