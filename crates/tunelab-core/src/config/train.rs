//! How the adapter is trained: `[train]`.
//!
//! In: what the table says. Out: settings, whose keys are stated here, and the steps that they
//! amount to.

use std::fmt;
use std::ops::Bound;

use super::keys::{Inner, Keys, Named, Visit, above, at_least, between, choice, count, flag, named, settings};
use super::optimizer::Optimizer;
use crate::diffusion::{HuberSchedule, LossFunction, NoiseSchedule};
use crate::error::Result;
use crate::model::Dtype;

settings! {
    /// How the adapter is trained.
    pub struct Train {
        /// Epochs or steps.
        length: Length = Length::Epochs(100) => Inner::Here;
        /// Images in one forward pass.
        batch_size: usize = 1 => count(1);
        /// Forward passes in one optimizer step.
        gradient_accumulation: usize = 1 => count(1);
        /// Peak learning rate.
        learning_rate: f64 = 1e-4 => between(Bound::Excluded(0.0), Bound::Included(1.0))
            .usual("LoRA 1e-4, full 1e-5, full with DreamBooth 5e-6");
        /// How the learning rate goes on after the warm-up.
        lr_scheduler: LrScheduler = LrScheduler::Constant => choice::<LrScheduler>();
        /// Optimizer steps during which the learning rate rises from 0; for every schedule.
        warmup_steps: usize = 0 => count(0);
        /// Gradients are clipped to this global norm.
        max_grad_norm: f64 = 1.0 => above(0.0);
        /// What a difference counts: its square, or scheduled pseudo-Huber losses (Khrapov et al. 2024).
        loss: Loss = Loss::L2 => choice::<Loss>();
        /// How the threshold c of huber and `smooth_l1` follows the timestep.
        huber_schedule: HuberSchedule = HuberSchedule::Snr => choice::<HuberSchedule>();
        /// The threshold at the noisiest timestep: differences above it count linearly.
        huber_c: f64 = 0.1 => above(0.0);
        /// Betas that end in pure noise (Lin et al. 2023); for models that predict v, drawn with ddim unless said.
        zero_terminal_snr: bool = false => flag();
        /// Gamma of min-SNR weighting of the loss (Hang et al. 2023); without it none.
        snr_gamma: Option<f64> = None => above(0.0);
        /// Strength of the offset noise, which is constant over a channel.
        noise_offset: f64 = 0.0 => at_least(0.0);
        /// Strength of another noise in the UNet's input, which the target lacks (Ning et al. 2023).
        input_perturbation: f64 = 0.0 => at_least(0.0);
        /// Type of the UNet's frozen weights; bf16 is fast with AMX or AVX-512, f16 needs CUDA.
        dtype: Dtype = Dtype::F32 => choice::<Dtype>();
        /// Products and convolutions of f32 may round their operands to TF32; needs CUDA.
        tf32: bool = false => flag().quiet();
        /// Compute activations again in the backward pass: less memory, a third more time.
        gradient_checkpointing: bool = false => flag();
        /// Optimizer steps between two checkpoints; 0: only the one that an interrupt writes.
        checkpoint_every: usize = 100 => count(0);
        /// How many checkpoints stay, the newest.
        keep_checkpoints: usize = 1 => count(1);
        /// The optimizer.
        optimizer: Optimizer = Optimizer::default() => Inner::Table;
    }
}

/// How long training lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// Passes over the data.
    Epochs(usize),
    /// Optimizer steps.
    Steps(usize),
}

/// How the learning rate goes on after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LrScheduler {
    /// Stays.
    Constant,
    /// Falls to 0 on a line.
    Linear,
    /// Falls to 0 on half a cosine.
    Cosine,
    /// Falls to 1e-7 on a line (power 1, as diffusers' default).
    Polynomial,
}

/// What a difference of prediction and target counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Its square.
    L2,
    /// 2c (√(d² + c²) − c).
    Huber,
    /// 2 (√(d² + c²) − c).
    SmoothL1,
}

impl Train {
    /// The loss with its threshold.
    pub fn loss_function(&self) -> LossFunction {
        match self.loss {
            Loss::L2 => LossFunction::L2,
            Loss::Huber => LossFunction::Huber(self.huber_schedule, self.huber_c),
            Loss::SmoothL1 => LossFunction::SmoothL1(self.huber_schedule, self.huber_c),
        }
    }

    /// The noise schedule of training and of drawing what it trained, from the model's own.
    ///
    /// Errors: zero-terminal SNR for a model that predicts ε.
    pub fn noise_schedule(&self, own: NoiseSchedule) -> Result<NoiseSchedule> {
        if self.zero_terminal_snr { own.with_zero_terminal_snr() } else { Ok(own) }
    }

    /// Optimizer steps of the whole run on `images` photographs: an epoch's last batch and last
    /// accumulation may be smaller than the others, as in diffusers.
    pub fn total_steps(&self, images: usize) -> usize {
        match self.length {
            Length::Steps(steps) => steps,
            Length::Epochs(epochs) => epochs * self.steps_per_epoch(images),
        }
    }

    /// As [`Train::total_steps`], where an epoch has so many batches.
    pub fn total_steps_of_batches(&self, batches: usize) -> usize {
        match self.length {
            Length::Steps(steps) => steps,
            Length::Epochs(epochs) => epochs * batches.div_ceil(self.gradient_accumulation),
        }
    }

    /// Optimizer steps of one pass over `images` photographs.
    pub fn steps_per_epoch(&self, images: usize) -> usize {
        images.div_ceil(self.batch_size).div_ceil(self.gradient_accumulation)
    }
}

impl Keys for Length {
    const ABOUT: &'static str = "How long training lasts.";

    fn keys(&mut self, visit: &mut Visit) {
        let (mut epochs, mut steps) = match *self {
            Self::Epochs(n) => (Some(n), None),
            Self::Steps(n) => (None, Some(n)),
        };
        visit.key(count(1).named("epochs", "Passes over the data."), &mut epochs);
        visit.key(count(1).named("steps", "Optimizer steps; wins over `epochs`."), &mut steps);
        *self = steps.map(Self::Steps).or(epochs.map(Self::Epochs)).unwrap_or(*self);
    }
}

impl Named for LrScheduler {
    fn names() -> Vec<(&'static str, Self)> {
        vec![
            ("constant", Self::Constant),
            ("linear", Self::Linear),
            ("cosine", Self::Cosine),
            ("polynomial", Self::Polynomial),
        ]
    }
}

impl Named for Loss {
    fn names() -> Vec<(&'static str, Self)> {
        vec![("l2", Self::L2), ("huber", Self::Huber), ("smooth_l1", Self::SmoothL1)]
    }
}

impl Named for HuberSchedule {
    fn names() -> Vec<(&'static str, Self)> {
        vec![("snr", Self::Snr), ("exponential", Self::Exponential), ("constant", Self::Constant)]
    }
}

impl fmt::Display for HuberSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(named(*self))
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(named(*self))
    }
}

impl Named for Dtype {
    fn names() -> Vec<(&'static str, Self)> {
        Self::NAMES.into()
    }
}

impl fmt::Display for LrScheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(named(*self))
    }
}
