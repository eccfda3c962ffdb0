//! AdamW (Loshchilov & Hutter 2019) with torch's semantics.
//!
//! In: its settings, and a step's gradients. Out: the trained tensors and the running averages of
//! their gradients and of the gradients' squares, changed in place. `tunelab_ops::adamw` has the
//! formula.

use super::step::{Clipped, Step};
use crate::config;
use crate::error::{Error, Result};
use candle_core::{Tensor, Var};
use tunelab_ops::adamw::{self as ops, Moments, Trained};

/// Its settings, and what it keeps of each trained tensor.
pub struct AdamW {
    settings: config::AdamW,
    moments: Vec<Moments>,
}

impl AdamW {
    /// The names of what it keeps.
    pub const STATE: [&'static str; 2] = ["exp_avg", "exp_avg_sq"];

    /// At the first step.
    pub fn new<'a>(settings: config::AdamW, trained: impl Iterator<Item = &'a Var>) -> Result<Self> {
        let moments = trained.map(|var| Ok(Moments::zeros(var)?));
        Ok(Self { settings, moments: moments.collect::<Result<_>>()? })
    }

    /// Both averages of a trained tensor; they share the memory that the next step changes.
    pub fn state(&self, index: usize) -> Vec<Tensor> {
        self.moments[index].tensors().to_vec()
    }

    /// Goes on from such averages.
    pub fn restore(&mut self, index: usize, trained: &Var, state: &[&Tensor]) -> Result<()> {
        let [exp_avg, exp_avg_sq] = state else {
            return Err(Error::run(format!("{} tensors are not what AdamW keeps of one", state.len())));
        };
        self.moments[index] = Moments::from_tensors(trained, [exp_avg, exp_avg_sq])?;
        Ok(())
    }

    /// One step. Returns the gradients' norm before clipping, and the losses; where one of them is
    /// not finite, nothing is changed.
    pub fn step(&mut self, step: &Step) -> Result<Clipped> {
        let tensors = step.trained.iter().copied().zip(step.gradients.iter().copied()).zip(&mut self.moments);
        // There the norm, the clipping and all tensors' updates are one operation, which need not
        // wait for the norm.
        if step.trained.first().is_some_and(|var| var.device().is_cuda()) {
            let of = |((var, gradient), moments)| Trained { var, gradient, moments };
            let mut all: Vec<Trained> = tensors.map(of).collect();
            return Ok(ops::clipped(
                &mut all,
                &constants(&self.settings, step, step.gradient_scale),
                step.max_grad_norm,
                step.losses,
            )?);
        }
        let (clipped, gradient_scale) = step.clip()?;
        if clipped.norm.is_finite() {
            let constants = constants(&self.settings, step, gradient_scale);
            for ((var, gradient), moments) in tensors {
                ops::adamw(var, gradient, moments, &constants)?;
            }
        }
        Ok(clipped)
    }
}

fn constants(settings: &config::AdamW, step: &Step, gradient_scale: f64) -> ops::AdamWStep {
    ops::AdamWStep {
        learning_rate: step.learning_rate,
        beta1: settings.beta1,
        beta2: settings.beta2,
        epsilon: settings.epsilon,
        weight_decay: settings.weight_decay,
        t: step.number,
        gradient_scale,
    }
}
