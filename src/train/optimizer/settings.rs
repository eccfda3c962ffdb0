//! Which optimizer a plan asks for, with its settings.

use crate::config::Train;

/// The method, with what stays the same over all steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Optimizer {
    /// Loshchilov & Hutter 2019.
    AdamW(AdamW),
}

/// AdamW's settings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// Decay of the gradients' running average.
    pub beta1: f64,
    /// Decay of their squares' running average.
    pub beta2: f64,
    /// Added to the denominator.
    pub epsilon: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
}

impl From<&Train> for Optimizer {
    fn from(t: &Train) -> Self {
        Self::AdamW(AdamW {
            beta1: t.adam_beta1,
            beta2: t.adam_beta2,
            epsilon: t.adam_epsilon,
            weight_decay: t.weight_decay,
        })
    }
}
