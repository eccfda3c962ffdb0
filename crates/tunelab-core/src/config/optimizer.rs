//! Which optimizer trains, and its settings: `[train.optimizer.…]`.
//!
//! In: what the table says. Out: settings, whose keys are stated here. What an optimizer does is in
//! [`crate::train`].

use super::keys::{Keys, Visit, above, at_least, settings, share};

/// The optimizer: in the file the one table in `[train.optimizer]`, or none for the default.
#[derive(Debug, Clone, PartialEq)]
pub enum Optimizer {
    /// Adam with decoupled weight decay (Loshchilov & Hutter 2019).
    AdamW(AdamW),
    /// The sign of an average of the gradients (Chen et al. 2023).
    Lion(Lion),
}

settings! {
    /// Adam with decoupled weight decay (Loshchilov & Hutter 2019).
    pub struct AdamW {
        /// Decay of the first moment.
        beta1: f64 = 0.9 => share().old("train.adam_beta1");
        /// Decay of the second moment.
        beta2: f64 = 0.999 => share().old("train.adam_beta2");
        /// Added to the root of the second moment.
        epsilon: f64 = 1e-8 => above(0.0).old("train.adam_epsilon");
        /// Decoupled weight decay.
        weight_decay: f64 = 1e-2 => at_least(0.0).old("train.weight_decay");
    }
}

settings! {
    /// The sign of an average of the gradients, with decoupled weight decay (Chen et al. 2023): a
    /// learning rate 3 to 10 times smaller than AdamW's.
    pub struct Lion {
        /// Share of the average in the step's direction.
        beta1: f64 = 0.9 => share();
        /// Decay of the average.
        beta2: f64 = 0.99 => share();
        /// Decoupled weight decay.
        weight_decay: f64 = 1e-2 => at_least(0.0);
    }
}

impl Optimizer {
    /// The table's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::AdamW(_) => "adamw",
            Self::Lion(_) => "lion",
        }
    }

    /// The one of this name, with its defaults.
    fn by_name(name: &str) -> Self {
        match name {
            "lion" => Self::Lion(Lion::default()),
            _ => Self::AdamW(AdamW::default()),
        }
    }

    /// What people call it.
    pub fn label(&self) -> &'static str {
        match self {
            Self::AdamW(_) => "AdamW",
            Self::Lion(_) => "Lion",
        }
    }
}

impl Default for Optimizer {
    fn default() -> Self {
        Self::AdamW(AdamW::default())
    }
}

impl Keys for Optimizer {
    const ABOUT: &'static str = "The optimizer: one of the tables in this one.";

    fn keys(&mut self, visit: &mut Visit) {
        const NAMES: [&str; 2] = ["adamw", "lion"];
        const OLDER: &str = "the flat `train.weight_decay` and `train.adam_…` are those of `adamw`";
        for name in visit.tables(&NAMES, self.name(), |s| s.at_most_one("optimizer", &NAMES, OLDER)) {
            if name != self.name() {
                *self = Self::by_name(name);
            }
            match self {
                Self::AdamW(adamw) => visit.table(name, AdamW::ABOUT, |visit| adamw.keys(visit)),
                Self::Lion(lion) => visit.table(name, Lion::ABOUT, |visit| lion.keys(visit)),
            }
        }
    }
}
