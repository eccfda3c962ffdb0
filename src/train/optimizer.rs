//! AdamW over all trained tensors, after clipping to a global norm.
//!
//! In: the trained tensors by name and their gradients. Out: the tensors changed in place. The norm is summed in the order
//! of the names, in f64, so it does not depend on threads or on how tensors are stored.

use crate::config::Train;
use crate::error::{Error, Result};
use candle_core::{Device, Tensor, Var};
use std::collections::BTreeMap;
use tunelab_ops::adamw::{AdamWStep, Moments, Trained, clipped};
use tunelab_ops::tape::Tape;

/// Trained tensors, their moments and the number of steps done.
pub struct Optimizer {
    tensors: BTreeMap<String, (Var, Moments)>,
    settings: Settings,
    steps: i32,
}

/// What stays the same over all steps.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the denominator.
    pub epsilon: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Gradients are scaled down to this global norm.
    pub max_grad_norm: f64,
}

impl From<&Train> for Settings {
    fn from(t: &Train) -> Self {
        Self {
            beta1: t.adam_beta1,
            beta2: t.adam_beta2,
            epsilon: t.adam_epsilon,
            weight_decay: t.weight_decay,
            max_grad_norm: t.max_grad_norm,
        }
    }
}

/// Gradients by the names of their tensors.
pub type Gradients = BTreeMap<String, Tensor>;

impl Optimizer {
    /// For the given trained tensors, with zero moments.
    pub fn new(trained: BTreeMap<String, Tensor>, settings: Settings) -> Result<Self> {
        let mut tensors = BTreeMap::new();
        for (name, tensor) in trained {
            let var = Var::from_tensor(&tensor)?;
            let moments = Moments::zeros(&var)?;
            tensors.insert(name, (var, moments));
        }
        Ok(Self { tensors, settings, steps: 0 })
    }

    /// Trained tensors and moments, by the names that a checkpoint uses. They share the memory that the next step changes.
    pub fn state(&self) -> BTreeMap<String, Tensor> {
        let mut state = BTreeMap::new();
        for (name, (var, moments)) in &self.tensors {
            let [m, v] = moments.tensors();
            state.insert(format!("value.{name}"), var.as_tensor().detach());
            state.insert(format!("moment1.{name}"), m.clone());
            state.insert(format!("moment2.{name}"), v.clone());
        }
        state
    }

    /// Goes on from such a state after `steps` steps. Errors if it belongs to other tensors.
    pub fn restore(&mut self, state: &BTreeMap<String, Tensor>, steps: usize) -> Result<()> {
        if state.len() < 3 * self.tensors.len() {
            return Err(Error::input("the checkpoint belongs to a run that trains other tensors")
                .hint("run with --force to start over"));
        }
        for (name, (var, moments)) in &mut self.tensors {
            let get = |kind: &str| {
                let found = state.get(&format!("{kind}.{name}")).filter(|t| t.shape() == var.shape());
                found.ok_or_else(|| Error::input(format!("the checkpoint has no {kind} for `{name}` of its shape")))
            };
            var.set(&get("value")?.to_device(var.device())?)?;
            *moments = Moments::from_tensors(var, [get("moment1")?, get("moment2")?])?;
        }
        self.steps = i32::try_from(steps).map_err(|e| Error::input("too many steps").cause(e))?;
        Ok(())
    }

    /// The trained tensors as they are now.
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        self.tensors.iter().map(|(name, (var, _))| (name.clone(), var.as_tensor().clone())).collect()
    }

    /// Puts `values` in the place of the trained tensors' and theirs into `values`, bit for bit; the moments stay. One tensor at a
    /// time, so that no second copy of all of them is ever needed.
    pub fn exchange(&mut self, values: &mut BTreeMap<String, Tensor>) -> Result<()> {
        for (name, (var, _)) in &self.tensors {
            let value = values.get_mut(name).ok_or_else(|| Error::run(format!("no value for `{name}`")))?;
            let own = var.as_detached_tensor().copy()?;
            var.set(value)?;
            *value = own;
        }
        Ok(())
    }

    /// The names of the trained tensors, in the order of their gradients.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.tensors.keys()
    }

    /// Where they are.
    pub fn device(&self) -> Option<&Device> {
        self.tensors.values().next().map(|(var, _)| var.device())
    }

    /// Trained numbers.
    pub fn count(&self) -> usize {
        self.tensors.values().map(|(var, _)| var.elem_count()).sum()
    }

    /// The gradient of every trained tensor of `loss`, of which `tape` is the recording. A tensor that the loss does not
    /// reach is an error: it would never learn.
    pub fn gradients(&self, loss: &Tensor, tape: Tape) -> Result<Gradients> {
        self.gradients_times(loss, loss.ones_like()?, tape)
    }

    /// The same of `factor` times the loss, a tensor of the loss's shape and type.
    pub fn gradients_times(&self, loss: &Tensor, factor: Tensor, tape: Tape) -> Result<Gradients> {
        let mut found = tape.backward_from(loss, factor)?;
        let take = |(name, (var, _)): (&String, &(Var, Moments))| match found.remove(var) {
            Some(gradient) => Ok((name.clone(), gradient)),
            None => Err(Error::run(format!("the loss does not depend on `{name}`, so it cannot be trained"))),
        };
        self.tensors.iter().map(take).collect()
    }

    /// One step with the given learning rate, of gradients that are first divided by `loss_scale`. Returns their global norm before
    /// clipping; where it is not finite, nothing is changed.
    pub fn step(&mut self, gradients: &Gradients, learning_rate: f64, loss_scale: f64) -> Result<f64> {
        let mut all = Vec::with_capacity(self.tensors.len());
        for (name, (var, moments)) in &mut self.tensors {
            let gradient = gradients.get(name).ok_or_else(|| Error::run(format!("no gradient for `{name}`")))?;
            all.push(Trained { var, gradient, moments });
        }
        let s = self.settings;
        let step = AdamWStep {
            learning_rate,
            beta1: s.beta1,
            beta2: s.beta2,
            epsilon: s.epsilon,
            weight_decay: s.weight_decay,
            t: self.steps + 1,
            gradient_scale: 1.0 / loss_scale,
        };
        let norm = clipped(&mut all, &step, s.max_grad_norm)?;
        self.steps += i32::from(norm.is_finite());
        Ok(norm)
    }
}
