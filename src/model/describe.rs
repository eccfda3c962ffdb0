//! What a network consists of, told by the network itself.
//!
//! In: a network's config. Out: its [`Network`]: every module that has weights, in the order of the
//! data through them, with its diffusers (transformers) name, the shapes of its weights and what it
//! is applied to. The constructor that builds a network from files is run over a [`Build`] that
//! hands out shapes and no numbers, so nothing of the weights' size is allocated and nothing is
//! said twice.

use super::build::Build;
use super::clip::{ClipConfig, ClipText};
use super::targets;
use super::unet::{Unet, UnetConfig};
use super::vae::{Vae, VaeConfig};
use crate::error::Result;
use std::cell::RefCell;
use std::rc::Rc;

/// The modules of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// All modules with weights, in the order of the data through them.
    pub modules: Vec<Module>,
}

/// One module that has weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Its path: `down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q`.
    pub name: String,
    /// What it computes.
    pub kind: Kind,
    /// The shape of its weight: `[outputs, inputs, …]`; of a norm `[channels]`.
    pub weight: Vec<usize>,
    /// Has a bias too, one number for each output.
    pub bias: bool,
    /// What it is applied to.
    pub positions: Positions,
}

/// What a module computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A matrix times each position.
    Linear,
    /// A convolution.
    Conv,
    /// A group or layer norm with a scale and a shift for each channel.
    Norm,
    /// A table of vectors, one of which is looked up.
    Embedding,
}

/// What a module works on in one sample, each with the same weights: its results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Positions {
    /// The pixels of the picture, which has been halved so often: 0 for the outermost blocks.
    Pixels {
        /// Halvings of both sides.
        level: usize,
    },
    /// The caption's tokens.
    Tokens,
    /// The whole sample once: its timestep.
    Sample,
}

impl Positions {
    /// How many they are in a sample of so many pixels and tokens.
    pub fn count(self, pixels: usize, tokens: usize) -> usize {
        match self {
            Self::Pixels { level } => (pixels >> (2 * level)).max(1),
            Self::Tokens => tokens,
            Self::Sample => 1,
        }
    }
}

impl Network {
    /// Numbers in all weights: 859,520,964 for Stable Diffusion 1.5's UNet.
    pub fn parameters(&self) -> usize {
        self.modules.iter().map(Module::parameters).sum()
    }

    /// The modules that get a LoRA.
    pub fn targeted<'a, T: AsRef<str>>(&'a self, targets: &'a [T]) -> impl Iterator<Item = &'a Module> {
        self.modules.iter().filter(|module| module.takes_lora() && targets::contains(targets, &module.name))
    }

    /// Numbers in a LoRA of rank 1: 199,296 for Stable Diffusion 1.5's UNet and the default
    /// targets.
    pub fn lora_parameters<T: AsRef<str>>(&self, targets: &[T]) -> usize {
        self.targeted(targets).map(Module::lora_parameters).sum()
    }
}

impl Module {
    /// Its own weights.
    pub fn parameters(&self) -> usize {
        self.weight.iter().product::<usize>() + if self.bias { self.weight[0] } else { 0 }
    }

    /// Whether a LoRA can stand beside it.
    pub fn takes_lora(&self) -> bool {
        matches!(self.kind, Kind::Linear | Kind::Conv)
    }

    /// Weights of a LoRA of rank 1 beside it: A has the module's own kernel, B is 1 × 1, as PEFT
    /// makes them.
    pub fn lora_parameters(&self) -> usize {
        if self.takes_lora() { self.products() / self.outputs() + self.outputs() } else { 0 }
    }

    /// Weights that each position is multiplied by.
    pub fn products(&self) -> usize {
        if self.takes_lora() { self.weight.iter().product() } else { 0 }
    }

    /// Channels of its output.
    pub fn outputs(&self) -> usize {
        match self.kind {
            Kind::Embedding => self.weight[1],
            Kind::Linear | Kind::Conv | Kind::Norm => self.weight[0],
        }
    }
}

/// What a [`Build`] without weights is asked for, in order.
#[derive(Clone, Default)]
pub(super) struct Requests(Rc<RefCell<Vec<Module>>>);

impl Requests {
    /// Notes the tensor `name` of this shape; `multiplies`: a linear map's or a convolution's
    /// weight.
    pub(super) fn note(&self, name: &str, dims: &[usize], multiplies: bool, positions: Positions) {
        let (module, leaf) = name.rsplit_once('.').unwrap_or(("", name));
        let mut modules = self.0.borrow_mut();
        match modules.last_mut() {
            Some(last) if last.name == module && leaf == "bias" => last.bias = true,
            _ => {
                let kind = match (multiplies, dims.len()) {
                    (true, 2) => Kind::Linear,
                    (true, _) => Kind::Conv,
                    (false, 1) => Kind::Norm,
                    (false, _) => Kind::Embedding,
                };
                modules.push(Module { name: module.to_owned(), kind, weight: dims.to_vec(), bias: false, positions });
            }
        }
    }
}

/// The modules that `new` asks its builder for.
fn network<T>(new: impl FnOnce(Build) -> Result<T>) -> Result<Network> {
    let requests = Requests::default();
    new(Build::from_shapes(requests.clone()))?;
    Ok(Network { modules: requests.0.take() })
}

impl UnetConfig {
    /// The network of these sizes.
    pub fn describe(&self) -> Result<Network> {
        network(|build| Unet::new(self, build))
    }
}

impl ClipConfig {
    /// The network of these sizes.
    pub fn describe(&self) -> Result<Network> {
        network(|build| ClipText::new(self, build))
    }
}

impl VaeConfig {
    /// The network of these sizes; each half begins at its own picture, so that level 0 is the
    /// picture's.
    pub fn describe(&self) -> Result<Network> {
        network(|build| Vae::new(self, build))
    }
}
