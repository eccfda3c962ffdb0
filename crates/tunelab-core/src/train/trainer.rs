//! The training loop's body: one call of [`Trainer::step`] is one optimizer step.
//!
//! In: the UNet with its trained tensors, examples, the plan. Out: a [`LossRow`] a call, `None` at
//! the end. All that is random comes from streams named by purpose and numbered by batch, so a step
//! depends on the seed and its number alone.

use super::checkpoint::{Checkpoint, tensor_name};
use super::ema::Ema;
use super::examples::{Batch, Examples};
use super::items::Items;
use super::lr::learning_rate;
use super::objective::{NoiseSample, Predictor, UnetBatch};
use super::optimizer::{Gradients, Optimizer};
use super::pass::{self, Passed};
use super::scaler::Scaler;
use super::texts::TextConditioning;
use crate::config::{Dtype, Train};
use crate::data::Epochs;
use crate::error::{Error, Result};
use crate::model::lora::Dropout;
use crate::model::vae::Vae;
use crate::random::Generator;
use crate::results::LossRow;
use crate::weights::PartName;
use candle_core::Tensor;
use std::collections::BTreeMap;
use std::sync::Arc;
use tunelab_ops::replay::Replay;

/// The scale of the loss in a checkpoint.
const LOSS_SCALE: &str = "loss_scale";

/// What training needs, for as long as it lasts.
pub struct TrainerInputs<'a> {
    /// The UNet, the texts and the noise schedule.
    pub predictor: Predictor<'a>,
    /// The tensors to train, by name.
    pub trained: BTreeMap<String, Tensor>,
    /// The dropout of the adapters, by network.
    pub dropouts: Vec<(PartName, Arc<Dropout>)>,
    /// For examples that are cropped at random.
    pub vae: &'a Vae,
    /// The pictures.
    pub examples: &'a Examples,
    /// The class images of prior preservation and the weight of their loss.
    pub class: Option<(&'a Examples, f64)>,
    /// What an epoch goes through.
    pub items: Items,
    /// Rates, batch size, length.
    pub train: &'a Train,
    /// Keep a moving average with this decay.
    pub ema_decay: Option<f64>,
    /// The experiment's seed.
    pub seed: u64,
    /// A hash of the model's files and the pictures.
    pub digest: String,
}

impl TrainerInputs<'_> {
    /// Images from how many sources, and class images from how many.
    fn sources(&self) -> [usize; 2] {
        [self.examples.source_count(), self.class.map_or(0, |(class, _)| class.source_count())]
    }
}

/// The losses of one source's samples in a step.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct SourceLoss {
    /// How many samples the step had.
    pub samples: usize,
    /// The sum of their losses, without the source's weight.
    pub sum: f64,
}

/// A batch's loss and, with prior preservation, its two parts.
#[derive(Default, Clone, Copy)]
struct Losses {
    total: f64,
    parts: [f64; 2],
}

/// What is to be read of a batch, when its step has been given out.
struct Unread {
    /// The loss, and with prior preservation its two parts.
    losses: Vec<Tensor>,
    /// Each sample's with its weight, where sources are several, and its source and weight.
    each: Vec<(Tensor, usize, f64)>,
}

impl Unread {
    /// All of it.
    fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.losses.iter().chain(self.each.iter().map(|(loss, ..)| loss))
    }
}

/// The state of a training run.
pub struct Trainer<'a> {
    inputs: TrainerInputs<'a>,
    epochs: Epochs,
    optimizer: Optimizer,
    /// What is kept of the passes on a GPU.
    replay: Replay,
    ema: Option<Ema>,
    /// In f16.
    scaler: Option<Scaler>,
    /// Steps that were skipped since [`Trainer::skipped_steps`] was last asked.
    skipped: usize,
    /// Of the last step, images' sources before those of class images; nothing where neither are several.
    source_losses: Vec<SourceLoss>,
    total: usize,
    /// Optimizer steps done.
    done: usize,
}

impl<'a> Trainer<'a> {
    /// At the first step.
    pub fn new(inputs: TrainerInputs<'a>) -> Result<Self> {
        let ema = inputs.ema_decay.map(|decay| Ema::new(decay, &inputs.trained)).transpose()?;
        let items = &inputs.items;
        let epochs = Epochs::of_buckets(items.buckets().to_vec(), inputs.train.batch_size, inputs.seed);
        let optimizer = Optimizer::new(inputs.trained.clone(), &inputs.train.optimizer, inputs.train.max_grad_norm)?;
        let total = inputs.train.total_steps_of_batches(epochs.len());
        let scaler = (inputs.train.dtype == Dtype::F16).then(Scaler::default);
        // Dropout's masks are drawn on the host, in the middle of the passes, and so are captions
        // that a text encoder learns from.
        let dropout = inputs.dropouts.iter().any(|(_, dropout)| dropout.drops());
        let captions =
            matches!(inputs.predictor.texts, TextConditioning::Trained(..)) && inputs.examples.has_many_captions();
        let replay = match optimizer.device() {
            Some(device) if !dropout && !captions => Replay::new(device),
            _ => Replay::never(),
        };
        let source_losses = Vec::new();
        Ok(Self { inputs, epochs, optimizer, replay, ema, scaler, skipped: 0, source_losses, total, done: 0 })
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

    /// The losses of each source in the last step: the images' sources, and behind them the class images'. Nothing where neither are
    /// several.
    pub fn source_losses(&self) -> &[SourceLoss] {
        &self.source_losses
    }

    /// How many steps were skipped since this was last asked, because in f16 their gradients were
    /// not finite, and the scale of the loss since then.
    pub fn skipped_steps(&mut self) -> Option<(usize, f64)> {
        let skipped = std::mem::take(&mut self.skipped);
        self.scaler.filter(|_| skipped > 0).map(|scaler| (skipped, scaler.scale()))
    }

    /// How a GPU was given the passes, where there is a choice: as graphs, or why not.
    pub fn replayed(&self) -> Option<std::result::Result<(), &str>> {
        self.replay.state()
    }

    /// The state between two steps; it shares memory with the trainer, so it is to be written
    /// before the next step.
    pub fn checkpoint(&self) -> Result<Checkpoint> {
        let mut tensors = self.optimizer.state();
        let averages = self.ema.iter().flat_map(Ema::averages);
        tensors.extend(averages.map(|(name, t)| (tensor_name("average", name), t.clone())));
        if let Some(scaler) = &self.scaler {
            tensors.insert(LOSS_SCALE.to_owned(), scaler.tensor()?);
        }
        Ok(Checkpoint { step: self.done, draws: self.epochs.draws(), inputs: self.inputs.digest.clone(), tensors })
    }

    /// Goes on from a checkpoint of the same plan.
    pub fn resume(&mut self, from: &Checkpoint) -> Result<()> {
        if from.inputs != self.inputs.digest {
            let message =
                "the last checkpoint is of other files of the model, pictures or captions, or of an earlier version";
            return Err(Error::input(message)
                .hint("put them back or go on with that version, or run with --force to start over"));
        }
        self.optimizer.restore(&from.tensors, from.step)?;
        if let Some(ema) = &mut self.ema {
            let named = |(name, t): (&String, &Tensor)| Some((name.strip_prefix("average.")?.to_owned(), t.clone()));
            ema.restore(&from.tensors.iter().filter_map(named).collect())?;
        }
        if let (Some(scaler), Some(saved)) = (&mut self.scaler, from.tensors.get(LOSS_SCALE)) {
            *scaler = Scaler::from_tensor(saved)?;
        }
        self.done = from.step;
        self.epochs.seek(from.draws);
        Ok(())
    }

    /// One optimizer step over up to `gradient_accumulation` batches of one epoch; `None` when all
    /// steps are done. A loss or a gradient that is not finite is an error that names the step;
    /// nothing has been changed by it. In f16 it is the gradient's scale that may be wrong, so its
    /// batches are skipped, and the next ones make the step.
    pub fn step(&mut self) -> Result<Option<LossRow>> {
        if self.done == self.total {
            return Ok(None);
        }
        loop {
            if let Some(row) = self.attempt()? {
                return Ok(Some(row));
            }
            self.skipped += 1;
        }
    }

    /// A step, or `None` if its gradients are not finite and a smaller scale of the loss may mend
    /// that.
    fn attempt(&mut self) -> Result<Option<LossRow>> {
        let epoch = self.epochs.epoch();
        let accumulation = self.inputs.train.gradient_accumulation.min(self.epochs.left());
        let share = 1.0 / accumulation as f64;
        let mut gradients = Gradients::new();
        let mut unread = Vec::new();
        let [images, class] = self.inputs.sources();
        self.source_losses =
            if images > 1 || class > 1 { vec![SourceLoss::default(); images + class] } else { Vec::new() };
        for _ in 0..accumulation {
            unread.push(self.accumulate(share, &mut gradients)?);
        }
        let t = self.inputs.train;
        let lr = learning_rate(t.lr_scheduler, t.learning_rate, self.done, t.warmup_steps, self.total);
        let tensors: Vec<&Tensor> = unread.iter().flat_map(Unread::tensors).collect();
        let clipped = self.optimizer.step_with_losses(&gradients, lr, self.loss_scale(), &tensors)?;
        let mut values = clipped.scalars.into_iter();
        let mut losses = Losses::default();
        for batch in &unread {
            let one = self.read(batch, &mut values)?;
            losses.total += share * one.total;
            losses.parts = [0, 1].map(|i| losses.parts[i] + share * one.parts[i]);
        }
        let grad_norm = clipped.norm;
        match &mut self.scaler {
            Some(scaler) if !grad_norm.is_finite() => return scaler.bad().map(|()| None),
            Some(scaler) => scaler.good(),
            None => self.finite("gradient", grad_norm)?,
        }
        self.done += 1;
        if let Some(ema) = &mut self.ema {
            ema.update(&self.optimizer.tensors(), self.done)?;
        }
        Ok(Some(LossRow {
            step: self.done,
            epoch: epoch + 1,
            loss: losses.total as f32,
            lr,
            grad_norm: grad_norm as f32,
            parts: self.inputs.class.map(|_| losses.parts.map(|v| v as f32)),
        }))
    }

    fn loss_scale(&self) -> f64 {
        self.scaler.map_or(1.0, |scaler| scaler.scale())
    }

    /// Runs `f` with the weights that would be saved now: with a moving average, its values stand
    /// in the tensors' place meanwhile, as diffusers validates. Afterwards every bit is as before.
    pub fn with_ema_weights<T>(&mut self, f: impl FnOnce() -> Result<T>) -> Result<T> {
        // `f` needs memory of its own.
        self.replay.rest();
        self.exchange()?;
        let result = f();
        self.exchange()?;
        result
    }

    /// Ends the training: with a moving average, its values become the tensors'.
    pub fn finish(mut self) -> Result<()> {
        self.exchange()
    }

    /// Puts the moving average, if there is one, in the tensors' place, and the other way round.
    fn exchange(&mut self) -> Result<()> {
        self.ema.as_mut().map_or(Ok(()), |ema| self.optimizer.exchange(ema.averages_mut()))
    }

    /// Adds `share` times the gradients of the next batch's loss, and times the scale of the loss.
    fn accumulate(&mut self, share: f64, sums: &mut Gradients) -> Result<Unread> {
        let draw = self.epochs.draws();
        let indices = self.epochs.next().unwrap_or_default();
        for (network, dropout) in &self.inputs.dropouts {
            dropout.set(Some(Generator::stream(self.inputs.seed, &format!("lora dropout {network}"), draw)));
        }
        let (batch, sources) = self.prepare(&indices, draw)?;
        let prior = self.inputs.class.map(|(_, weight)| (indices.len(), weight));
        let factor = share * self.loss_scale();
        let each = !self.source_losses.is_empty();
        let Passed { losses, each, gradients } =
            pass::run(&mut self.replay, self.inputs.predictor, &self.optimizer, &batch, prior, each, factor)?;
        // The next batch's would overwrite them.
        let overwritten = share < 1.0 && self.replay.reuses();
        let kept = |t: Tensor| if overwritten { t.detach().copy() } else { Ok(t) };
        for (name, gradient) in gradients {
            let sum = match sums.remove(&name) {
                Some(sum) => (sum + gradient)?,
                None => kept(gradient)?,
            };
            sums.insert(name, sum);
        }
        let each =
            each.into_iter().zip(sources).map(|(loss, (source, weight))| Ok::<_, Error>((kept(loss)?, source, weight)));
        Ok(Unread {
            losses: losses.into_iter().map(kept).collect::<candle_core::Result<_>>()?,
            each: each.collect::<Result<_>>()?,
        })
    }

    /// A batch's losses from what was read, and those of its sources.
    fn read(&mut self, batch: &Unread, values: &mut impl Iterator<Item = f64>) -> Result<Losses> {
        let losses: Vec<f64> = values.by_ref().take(batch.losses.len()).collect();
        for ((_, source, weight), loss) in batch.each.iter().zip(values) {
            let of = &mut self.source_losses[*source];
            of.samples += 1;
            of.sum += loss / weight;
        }
        let (total, parts) = match losses[..] {
            [total, instance, prior] => (total, [instance, prior]),
            _ => (losses.first().copied().unwrap_or(f64::NAN), [0.0; 2]),
        };
        // In f16 the step is skipped.
        if self.scaler.is_none() {
            self.finite("loss", total)?;
        }
        Ok(Losses { total, parts })
    }

    /// The items `indices` with their noise, drawn as number `draw`; with prior preservation both
    /// halves. Behind it the source and the weight of each sample.
    fn prepare(&self, indices: &[usize], draw: u64) -> Result<(UnetBatch, Vec<(usize, f64)>)> {
        let TrainerInputs { predictor, vae, examples, train, seed, items, .. } = &self.inputs;
        let noise = |latents: &Tensor, samples: usize| {
            let (_, c, h, w) = latents.dims4()?;
            let steps = predictor.schedule.len();
            NoiseSample::new(&[samples, c, h, w], steps, train, *seed, draw, latents.device())
        };
        let instance = examples.batch(&items.images(indices), vae, *seed, draw)?;
        let batch = match self.inputs.class {
            None => instance,
            Some((class, _)) => {
                let mut class = class.batch(&items.class(indices), vae, *seed, draw)?;
                class.sources.iter_mut().for_each(|source| *source += examples.source_count());
                Batch::cat(&instance, &class)?
            }
        };
        let noise = noise(&batch.latents, batch.captions.len())?;
        let sources = batch.sources.iter().copied().zip(batch.weights.iter().copied()).collect();
        Ok((predictor.prepare(&batch, &noise)?, sources))
    }

    fn finite(&self, what: &str, value: f64) -> Result<()> {
        if value.is_finite() {
            return Ok(());
        }
        let step = self.done + 1;
        Err(Error::run(format!("the {what} of step {step} is not finite ({value}): the training has diverged"))
            .hint("lower train.learning_rate or train.max_grad_norm, and start over with --force"))
    }
}
