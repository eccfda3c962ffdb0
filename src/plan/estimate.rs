//! How much a plan trains, and how much memory it needs, roughly, before anything is loaded.
//!
//! In: the plan, its networks, and whether a CUDA card computes. Out: counts, and bytes in parts.
//! The formula, in 32-bit floats but for what `train.dtype` shortens, the UNet's frozen weights
//! everywhere and its activations on a card:
//!
//! - *weights*: UNet, VAE and text encoders as they are stored, and a LoRA's own; on a card also what
//!   a step rounds of weights that are trained;
//! - *gradients*: one number for each trained one; *moments*: what the optimizer keeps, two of
//!   AdamW; *average*: one, if there is an EMA;
//! - *activations*, for each sample of the batch (DreamBooth has two for each photograph): the
//!   outputs of all the UNet's modules, which is about what the tape keeps (attention's maps are
//!   computed again on the way back); the text encoders' likewise, if they are trained.
//!
//! Gradient checkpointing keeps only what goes into each stage (a resnet and the transformer behind
//! it, as [`crate::model::recompute`] has them: as much as the resnet's first norm puts out) and
//! computes one stage at a time again, so the activations are the sum of those inputs and the
//! largest stage.
//!
//! For LoRA on Stable Diffusion 1.5 at 256 × 256 and batch 1 this gives 4.6 GB, where PyTorch needs
//! 5.0; training all of the UNet takes 3.4 GB of weights, as much for gradients and 6.9 GB for
//! moments. It is an estimate: what a device's libraries keep for themselves is not in it.

use std::collections::BTreeMap;

use super::networks::{FLOAT, Networks};
use crate::adapter;
use crate::config::{Adapter, Dtype, Objective, Plan};
use crate::model::build::Trainable;
use crate::model::describe::{Module, Network};
use crate::train::optimizer::state_names;

/// What a plan trains, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trained {
    /// Of the UNet, or beside it.
    pub unet: usize,
    /// Of the text encoders, or beside them.
    pub text_encoder: usize,
}

impl Trained {
    /// What the adapter trains of these networks.
    pub fn new(adapter: &Adapter, networks: &Networks) -> Self {
        let method = adapter::method(adapter);
        let count = |trained: &Trainable, network: &Network| match trained {
            Trainable::None => 0,
            Trainable::Lora(config) => config.rank * network.lora_parameters(&config.targets),
            Trainable::Full => network.parameters(),
        };
        let text_encoders = networks.text_encoders.values();
        Self {
            unet: count(&method.unet, &networks.unet),
            text_encoder: text_encoders.map(|encoder| count(&method.text_encoder, &encoder.read)).sum(),
        }
    }

    /// Both together.
    pub fn total(&self) -> usize {
        self.unet + self.text_encoder
    }
}

/// Bytes that a run will need, in parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// The model, and a LoRA beside it.
    pub weights: u64,
    /// Of what is trained.
    pub gradients: u64,
    /// What the optimizer keeps of each trained tensor.
    pub moments: u64,
    /// The weights' moving average.
    pub average: u64,
    /// What the forward pass keeps for the backward pass, as the plan has it.
    pub activations: u64,
    /// What gradient checkpointing takes off the activations, or would.
    pub checkpointing_saves: u64,
}

impl Memory {
    /// All parts together.
    pub fn total(&self) -> u64 {
        self.weights + self.gradients + self.moments + self.average + self.activations
    }
}

/// The memory that training needs; `on_card`: a CUDA card computes.
pub fn estimate(plan: &Plan, networks: &Networks, on_card: bool) -> Memory {
    let trained = Trained::new(&plan.adapter, networks);
    let numbers = FLOAT * trained.total() as u64;
    let method = adapter::method(&plan.adapter);
    let beside = if method.trains_weights() { 0 } else { numbers };
    let average = if method.ema_decay.is_some() { numbers } else { 0 };
    let short = if plan.train.dtype == Dtype::F32 { FLOAT } else { FLOAT / 2 };
    // A card keeps what it has rounded of trained weights from the forward to the backward pass.
    let rounded = if on_card && short < FLOAT { short } else { 0 };
    let of_weight = if method.trains_weights() { FLOAT + rounded } else { short };
    let of_activation = if on_card { short } else { FLOAT };
    let halves = if matches!(plan.objective, Objective::DreamBooth(_)) { 2 } else { 1 };
    let samples = plan.train.batch_size as u64 * halves;
    // Buckets have no more than the resolution's area.
    let pixels = plan.dataset.resolution.area() / networks.downscale.pow(2);
    // Each chunk has a begin and an end, which are read, and of which the UNet sees one.
    let sample = Sample { pixels, tokens: networks.tokens * plan.text.chunks };
    let text_encoders = networks.text_encoders.values().filter(|_| trained.text_encoder > 0);
    let of_text = text_encoders.map(|encoder| sample.text_activations(&encoder.read)).sum::<u64>();
    let stages = Stages::new(&networks.unet, sample);
    let bytes = |of_unet: u64| samples * (of_activation * of_unet + FLOAT * of_text);
    let (all, kept) = (bytes(stages.all()), bytes(stages.checkpointed()));
    Memory {
        weights: networks.unet.parameters() as u64 * of_weight + networks.others + beside,
        gradients: numbers,
        moments: state_names(&plan.train.optimizer).len() as u64 * numbers,
        average,
        activations: if plan.train.gradient_checkpointing { kept } else { all },
        checkpointing_saves: all - kept,
    }
}

/// The size of one sample.
#[derive(Clone, Copy)]
struct Sample {
    /// Of its latent picture.
    pixels: usize,
    /// Of its caption.
    tokens: usize,
}

impl Sample {
    /// Numbers that a module puts out.
    fn activations(self, module: &Module) -> u64 {
        (module.positions.count(self.pixels, self.tokens) * module.outputs()) as u64
    }

    /// Numbers that the text encoder's layers put out.
    fn text_activations(self, text_encoder: &Network) -> u64 {
        let in_layers = text_encoder.modules.iter().filter(|module| module.name.contains(".layers."));
        in_layers.map(|module| self.activations(module)).sum()
    }
}

/// What the UNet's stages keep for one sample, in numbers.
struct Stages {
    /// By the stage's name: what it keeps, and what goes into it.
    stages: BTreeMap<String, (u64, u64)>,
    /// Kept outside of them.
    outside: u64,
}

impl Stages {
    fn new(unet: &Network, sample: Sample) -> Self {
        let mut found = Self { stages: BTreeMap::new(), outside: 0 };
        for module in &unet.modules {
            let kept = sample.activations(module);
            let Some(name) = stage(&module.name) else {
                found.outside += kept;
                continue;
            };
            let (all, input) = found.stages.entry(name).or_default();
            *all += kept;
            // A stage begins with a norm over its input.
            if *input == 0 {
                *input = kept;
            }
        }
        found
    }

    fn all(&self) -> u64 {
        self.outside + self.stages.values().map(|(all, _)| all).sum::<u64>()
    }

    fn checkpointed(&self) -> u64 {
        let largest = self.stages.values().map(|(all, _)| *all).max().unwrap_or(0);
        self.outside + largest + self.stages.values().map(|(_, input)| input).sum::<u64>()
    }
}

/// The stage that a module belongs to: a resnet and the transformer of the same number behind it,
/// such as `down_blocks.0.1` for `down_blocks.0.resnets.1.conv1`. Nothing for what is in neither.
fn stage(module: &str) -> Option<String> {
    let (level, rest) = module.split_once(".resnets.").or_else(|| module.split_once(".attentions."))?;
    Some(format!("{level}.{}", rest.split('.').next()?))
}
