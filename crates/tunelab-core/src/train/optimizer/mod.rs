//! The optimizers, a file a method, over all trained tensors.
//!
//! In: the trained tensors by name and their gradients. Out: the tensors changed in place. A method
//! is a case of `Method` that names what it keeps as torch does, makes it, gives it to a
//! checkpoint, takes it from one, and steps.

mod adamw;
mod lion;
mod step;

pub use step::{Clipped, ClippedNorm, clip_grad_norm};

use super::checkpoint::tensor_name;
use crate::config;
use crate::error::{Error, Result};
use adamw::AdamW;
use candle_core::{Device, Tensor, Var};
use lion::Lion;
use std::collections::BTreeMap;
use step::Step;
use tunelab_ops::tape::Tape;

/// What each method keeps between two steps, in the order of the trained tensors' names.
enum Method {
    AdamW(AdamW),
    Lion(Lion),
}

/// The names, torch's, of what an optimizer keeps of every trained tensor: each is as large as the
/// tensor.
pub fn state_names(optimizer: &config::Optimizer) -> &'static [&'static str] {
    match optimizer {
        config::Optimizer::AdamW(_) => &AdamW::STATE,
        config::Optimizer::Lion(_) => &Lion::STATE,
    }
}

impl Method {
    /// At the first step.
    fn new(optimizer: &config::Optimizer, trained: &BTreeMap<String, Var>) -> Result<Self> {
        match optimizer {
            config::Optimizer::AdamW(adamw) => Ok(Self::AdamW(AdamW::new(adamw.clone(), trained.values())?)),
            config::Optimizer::Lion(lion) => Ok(Self::Lion(Lion::new(lion.clone(), trained.values())?)),
        }
    }

    /// What is kept of trained tensor number `index`, in the order of [`state_names`].
    fn state(&self, index: usize) -> Vec<Tensor> {
        match self {
            Self::AdamW(adamw) => adamw.state(index),
            Self::Lion(lion) => lion.state(index),
        }
    }

    /// Goes on from such a state of trained tensor number `index`.
    fn restore(&mut self, index: usize, trained: &Var, state: &[&Tensor]) -> Result<()> {
        match self {
            Self::AdamW(adamw) => adamw.restore(index, trained, state),
            Self::Lion(lion) => lion.restore(index, trained, state),
        }
    }

    /// Returns the gradients' norm before clipping, and the losses; where one of them is not finite,
    /// nothing is changed.
    fn step(&mut self, step: &Step) -> Result<Clipped> {
        match self {
            Self::AdamW(adamw) => adamw.step(step),
            Self::Lion(lion) => lion.step(step),
        }
    }
}

/// Trained tensors, the method with what it keeps of them, and the number of steps done.
pub struct Optimizer {
    trained: BTreeMap<String, Var>,
    method: Method,
    state_names: &'static [&'static str],
    max_grad_norm: f64,
    steps: i32,
}

/// Gradients by the names of their tensors.
pub type Gradients = BTreeMap<String, Tensor>;

impl Optimizer {
    /// For the given trained tensors, whose gradients are scaled down to the global norm
    /// `max_grad_norm`.
    pub fn new(trained: BTreeMap<String, Tensor>, optimizer: &config::Optimizer, max_grad_norm: f64) -> Result<Self> {
        let var = |(name, tensor)| Ok((name, Var::from_tensor(&tensor)?));
        let trained: BTreeMap<String, Var> = trained.into_iter().map(var).collect::<Result<_>>()?;
        let method = Method::new(optimizer, &trained)?;
        Ok(Self { trained, method, state_names: state_names(optimizer), max_grad_norm, steps: 0 })
    }

    /// Trained tensors and what is kept of them, by the names that a checkpoint uses. They share
    /// the memory that the next step changes.
    pub fn state(&self) -> BTreeMap<String, Tensor> {
        let mut state = BTreeMap::new();
        for (index, (name, var)) in self.trained.iter().enumerate() {
            state.insert(tensor_name("value", name), var.as_tensor().detach());
            let kept = self.state_names.iter().zip(self.method.state(index));
            state.extend(kept.map(|(what, tensor)| (tensor_name(what, name), tensor)));
        }
        state
    }

    /// Goes on from such a state after `steps` steps. Errors if it belongs to other tensors.
    pub fn restore(&mut self, state: &BTreeMap<String, Tensor>, steps: usize) -> Result<()> {
        if state.len() < (1 + self.state_names.len()) * self.trained.len() {
            return Err(Error::input("the checkpoint belongs to a run that trains other tensors")
                .hint("run with --force to start over"));
        }
        for (index, (name, var)) in self.trained.iter().enumerate() {
            let get = |what: &str| {
                let found = state.get(&tensor_name(what, name)).filter(|t| t.shape() == var.shape());
                found.ok_or_else(|| Error::input(format!("the checkpoint has no {what} for `{name}` of its shape")))
            };
            var.set(&get("value")?.to_device(var.device())?)?;
            let kept = self.state_names.iter().map(|what| get(what)).collect::<Result<Vec<_>>>()?;
            self.method.restore(index, var, &kept)?;
        }
        self.steps = i32::try_from(steps).map_err(|e| Error::input("too many steps").cause(e))?;
        Ok(())
    }

    /// The trained tensors as they are now.
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        self.trained.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect()
    }

    /// Puts `values` in the place of the trained tensors' and theirs into `values`, bit for bit;
    /// what the method keeps stays. One tensor at a time, so that no second copy of all of them is
    /// ever needed.
    pub fn exchange(&mut self, values: &mut BTreeMap<String, Tensor>) -> Result<()> {
        for (name, var) in &self.trained {
            let value = values.get_mut(name).ok_or_else(|| Error::run(format!("no value for `{name}`")))?;
            let own = var.as_detached_tensor().copy()?;
            var.set(value)?;
            *value = own;
        }
        Ok(())
    }

    /// The names of the trained tensors, in the order of their gradients.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.trained.keys()
    }

    /// The trained tensors themselves, in the order of their names.
    pub fn trained(&self) -> Vec<&Tensor> {
        self.trained.values().map(Var::as_tensor).collect()
    }

    /// Where they are.
    pub fn device(&self) -> Option<&Device> {
        self.trained.values().next().map(|var| var.device())
    }

    /// Trained numbers.
    pub fn count(&self) -> usize {
        self.trained.values().map(|var| var.elem_count()).sum()
    }

    /// The gradient of every trained tensor of `loss`, of which `tape` is the recording. A tensor
    /// that the loss does not reach is an error: it would never learn.
    pub fn gradients(&self, loss: &Tensor, tape: Tape) -> Result<Gradients> {
        self.gradients_times(loss, loss.ones_like()?, tape)
    }

    /// The same of `factor` times the loss, a tensor of the loss's shape and type.
    pub fn gradients_times(&self, loss: &Tensor, factor: Tensor, tape: Tape) -> Result<Gradients> {
        let mut found = tape.backward_from(loss, factor)?;
        let take = |(name, var): (&String, &Var)| match found.remove(var) {
            Some(gradient) => Ok((name.clone(), gradient)),
            None => Err(Error::run(format!("the loss does not depend on `{name}`, so it cannot be trained"))),
        };
        self.trained.iter().map(take).collect()
    }

    /// One step with the given learning rate, of gradients that are first divided by `loss_scale`.
    /// Returns their global norm before clipping; where it is not finite, nothing is changed.
    pub fn step(&mut self, gradients: &Gradients, learning_rate: f64, loss_scale: f64) -> Result<f64> {
        Ok(self.step_with_losses(gradients, learning_rate, loss_scale, &[])?.norm)
    }

    /// The same, and the values of the losses that the gradients are of; where one of them is not
    /// finite, nothing is changed and the norm is not a number. A GPU is waited for once, when all
    /// of the step has been given out.
    pub fn step_with_losses(
        &mut self,
        gradients: &Gradients,
        learning_rate: f64,
        loss_scale: f64,
        losses: &[&Tensor],
    ) -> Result<Clipped> {
        let gradient = |name| gradients.get(name).ok_or_else(|| Error::run(format!("no gradient for `{name}`")));
        let gradients = self.trained.keys().map(gradient).collect::<Result<Vec<_>>>()?;
        let clipped = self.method.step(&Step {
            trained: &self.trained.values().collect::<Vec<_>>(),
            gradients: &gradients,
            losses,
            learning_rate,
            number: self.steps + 1,
            gradient_scale: 1.0 / loss_scale,
            max_grad_norm: self.max_grad_norm,
        })?;
        self.steps += i32::from(clipped.norm.is_finite());
        Ok(clipped)
    }
}
