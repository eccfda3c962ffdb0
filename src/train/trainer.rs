//! The training loop's body: one call of [`Trainer::step`] is one optimizer step.
//!
//! In: the UNet with its trained tensors, examples, the plan. Out: a [`LossRow`] a call, `None` at the end. All that is random
//! comes from streams named by purpose and numbered by batch, so a step depends on the seed and its number alone.

use super::checkpoint::Checkpoint;
use super::examples::Examples;
use super::lr::learning_rate;
use super::objective::training_loss;
use super::optimizer::{Gradients, Optimizer};
use crate::data;
use crate::diffusion::NoiseSchedule;
use crate::error::{Error, Result};
use crate::model::build::Parameters;
use crate::model::unet::Unet;
use crate::model::vae::Vae;
use crate::plan::Train;
use crate::random::Generator;
use crate::results::LossRow;

/// What training needs, for as long as it lasts.
pub struct Materials<'a> {
    /// The UNet whose tensors are trained.
    pub unet: &'a Unet,
    /// Its tensors.
    pub parameters: &'a Parameters,
    /// For examples that are cropped at random.
    pub vae: &'a Vae,
    /// The pictures.
    pub examples: &'a Examples,
    /// How noise is added.
    pub schedule: &'a NoiseSchedule,
    /// Rates, batch size, length.
    pub train: &'a Train,
    /// The experiment's seed.
    pub seed: u64,
}

/// The state of a training run.
pub struct Trainer<'a> {
    with: Materials<'a>,
    optimizer: Optimizer,
    total: usize,
    /// Optimizer steps done.
    done: usize,
    /// The epoch under way, from 0, and its batches that are still to come, the next one last.
    epoch: usize,
    batches: Vec<Vec<usize>>,
    /// Batches drawn so far: the number of the next draw.
    draws: u64,
}

impl<'a> Trainer<'a> {
    /// At the first step.
    pub fn new(with: Materials<'a>) -> Result<Self> {
        let optimizer = Optimizer::new(with.parameters.trained(), with.train.into())?;
        let total = with.train.total_steps(with.examples.len());
        let mut trainer = Self { with, optimizer, total, done: 0, epoch: 0, batches: Vec::new(), draws: 0 };
        trainer.begin_epoch(0);
        Ok(trainer)
    }

    /// Optimizer steps of the whole run.
    pub fn total(&self) -> usize {
        self.total
    }

    /// Trained numbers.
    pub fn trained_parameters(&self) -> usize {
        self.optimizer.count()
    }

    /// Optimizer steps done.
    pub fn done(&self) -> usize {
        self.done
    }

    /// The state between two steps.
    pub fn checkpoint(&self) -> Result<Checkpoint> {
        Ok(Checkpoint { step: self.done, draws: self.draws, tensors: self.optimizer.state()? })
    }

    /// Goes on from a checkpoint of the same plan.
    pub fn resume(&mut self, from: &Checkpoint) -> Result<()> {
        self.optimizer.restore(&from.tensors, from.step)?;
        (self.done, self.draws) = (from.step, from.draws);
        let batches = self.with.examples.len().div_ceil(self.with.train.batch_size) as u64;
        self.begin_epoch((from.draws / batches) as usize);
        let drawn = (from.draws % batches) as usize;
        self.batches.truncate(self.batches.len() - drawn);
        Ok(())
    }

    fn begin_epoch(&mut self, epoch: usize) {
        self.epoch = epoch;
        self.batches = data::batches(self.with.examples.len(), self.with.train.batch_size, self.with.seed, epoch);
        self.batches.reverse();
    }

    /// One optimizer step over up to `gradient_accumulation` batches of one epoch; `None` when all steps are done.
    /// A loss or a gradient that is not finite is an error that names the step; nothing has been changed by it.
    pub fn step(&mut self) -> Result<Option<LossRow>> {
        if self.done == self.total {
            return Ok(None);
        }
        if self.batches.is_empty() {
            self.begin_epoch(self.epoch + 1);
        }
        let accumulation = self.with.train.gradient_accumulation.min(self.batches.len());
        let mut gradients = Gradients::new();
        let mut loss = 0.0;
        for _ in 0..accumulation {
            let batch = self.batches.pop().unwrap_or_default();
            loss += self.accumulate(&batch, 1.0 / accumulation as f64, &mut gradients)?;
        }
        let t = self.with.train;
        let lr = learning_rate(t.lr_scheduler, t.learning_rate, self.done, t.warmup_steps, self.total);
        let grad_norm = self.optimizer.step(&gradients, lr)?;
        self.finite("gradient", grad_norm)?;
        self.done += 1;
        let (loss, grad_norm) = (loss as f32, grad_norm as f32);
        Ok(Some(LossRow { step: self.done, epoch: self.epoch + 1, loss, lr, grad_norm }))
    }

    /// Adds `share` times the gradients of one batch's loss; returns `share` times the loss.
    fn accumulate(&mut self, indices: &[usize], share: f64, sums: &mut Gradients) -> Result<f64> {
        let Materials { unet, parameters, vae, examples, schedule, train, seed } = self.with;
        let batch = examples.batch(indices, vae, seed, self.draws)?;
        if let Some(dropout) = parameters.dropout() {
            dropout.set(Some(Generator::stream(seed, "lora dropout", self.draws)));
        }
        let loss = (training_loss(unet, schedule, &batch, train, seed, self.draws)? * share)?;
        self.draws += 1;
        let value = f64::from(loss.to_scalar::<f32>()?);
        self.finite("loss", value)?;
        for (name, gradient) in self.optimizer.gradients(&loss)? {
            let sum = match sums.remove(&name) {
                Some(sum) => (sum + gradient)?,
                None => gradient,
            };
            sums.insert(name, sum);
        }
        Ok(value)
    }

    fn finite(&self, what: &str, value: f64) -> Result<()> {
        if value.is_finite() {
            return Ok(());
        }
        let step = self.done + 1;
        Err(Error::run(format!("the {what} of step {step} is not finite ({value}): the training has diverged"))
            .hint("lower train.learning_rate or train.max_grad_norm; everything up to the step before is kept"))
    }
}
