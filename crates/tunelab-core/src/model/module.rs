//! The modules of a network: names, shapes, what they work on, and how many numbers that makes.
//!
//! In: the tensors that a network's constructor asks for. Out: its [`Network`].

use super::targets;
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

    /// The names among the targets whose LoRA some programs leave out.
    pub fn left_out_elsewhere<'a, T: AsRef<str>>(&'a self, targets: &'a [T]) -> impl Iterator<Item = &'a str> {
        let names = self.targeted(targets).map(|module| module.name.as_str());
        names.filter(|name| targets::LEFT_OUT_ELSEWHERE.contains(name))
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

/// What a [`super::build::Build`] without weights is asked for, in order.
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

    /// The modules of what was asked for.
    pub(super) fn take(&self) -> Vec<Module> {
        self.0.take()
    }
}
