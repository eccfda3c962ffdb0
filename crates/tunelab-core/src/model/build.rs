//! Where the layers of a network get their tensors, and what of it is trained.
//!
//! In: checked files ([`crate::weights::Loader`]), the tensors of a network that exists already,
//! nothing but a seed (an untrained network), or nothing at all (a network that is only described),
//! and what to train. Out: tensors for the layers, and [`Parameters`]: all of them by name, from
//! which the same network can be built again over the same memory, without dropout and with or
//! without its adapter (for sampling, and for the base pictures).

use super::Dtype;
use super::lora::{self, Dropout, LoraConfig, LoraLayer, LoraLayers};
use super::module::{Positions, Requests};
use super::targets;
use super::untrained::untrained;
use crate::error::{Error, Result};
use crate::weights::{Loader, placeholder};
use candle_core::{DType, Device, Tensor, Var};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::rc::Rc;
use std::sync::Arc;
use tunelab_ops::Weight;

/// What of a network is trained.
#[derive(Debug, Clone, PartialEq)]
pub enum Trainable {
    /// Every weight is frozen.
    None,
    /// A new LoRA beside the frozen weights.
    Lora(LoraConfig),
    /// Every weight.
    Full,
}

/// All tensors of a network.
#[derive(Default, Clone)]
pub struct Parameters {
    /// Weights by name, but for those in `half_weights`.
    pub weights: BTreeMap<String, Tensor>,
    /// Frozen weights in bf16 or f16 by name.
    pub half_weights: BTreeMap<String, Weight>,
    /// Frozen weights that lie one below the other, by the first one's module path; each of them is
    /// among the others too, in this memory.
    pub packed_weights: BTreeMap<String, Weight>,
    /// The type of what goes through the network, if it is not what comes in: f16 or bf16 on a CUDA
    /// card.
    pub activations: Option<DType>,
    /// Adapters by module path.
    pub lora: LoraLayers,
    dropout: Option<Arc<Dropout>>,
}

impl Parameters {
    /// The same tensors without dropout: for sampling while training goes on. No memory is copied.
    #[must_use]
    pub fn without_dropout(&self) -> Self {
        let lora = self.lora.iter().map(|(path, l)| (path.clone(), l.without_dropout())).collect();
        Self { lora, dropout: None, ..self.clone() }
    }

    /// The same without the adapter: the base model, if only an adapter is trained.
    #[must_use]
    pub fn without_lora(mut self) -> Self {
        self.lora.clear();
        self
    }

    /// The same with these adapters.
    #[must_use]
    pub fn with_lora(self, lora: LoraLayers) -> Self {
        Self { lora, ..self }
    }

    /// The same with alpha / rank multiplied into the adapters' B: what is drawn with, as it is
    /// what is written.
    pub fn folded(self) -> Result<Self> {
        Ok(Self { lora: lora::folded(&self.lora)?, ..self })
    }

    /// The trained tensors by name, in the order of their names: weights as they are called,
    /// adapters as `<path>.lora_A.weight` and `<path>.lora_B.weight`.
    pub fn trained(&self) -> BTreeMap<String, Tensor> {
        let lora = self
            .lora
            .iter()
            .flat_map(|(path, layer)| layer.tensors().map(|(name, tensor)| (format!("{path}.{name}"), tensor.clone())));
        let all = self.weights.iter().map(|(name, t)| (name.clone(), t.clone())).chain(lora);
        all.filter(|(_, t)| t.is_variable()).collect()
    }

    /// The dropout of the adapters, for the trainer to start and stop.
    pub fn dropout(&self) -> Option<&Arc<Dropout>> {
        self.dropout.as_ref()
    }

    /// All numbers in the weights (adapters not counted).
    pub fn weight_count(&self) -> usize {
        self.dims().map(|(_, dims)| dims.iter().product::<usize>()).sum()
    }

    /// Names and dimensions of all weights.
    pub fn dims(&self) -> impl Iterator<Item = (&String, Vec<usize>)> {
        let half = self.half_weights.iter().map(|(name, weight)| (name, weight.dims()));
        self.weights.iter().map(|(name, t)| (name, t.dims().to_vec())).chain(half)
    }
}

/// Hands tensors to the layers below a path, such as `down_blocks.0.resnets.1`.
#[derive(Clone)]
pub struct Build {
    shared: Rc<Shared>,
    path: String,
    positions: Positions,
}

struct Shared {
    source: Source,
    trained: Trainable,
    /// The type that frozen weights of linear maps and convolutions are rounded to.
    half_type: Option<DType>,
    seed: u64,
    device: Device,
    dropout: Arc<Dropout>,
    made: RefCell<Parameters>,
}

enum Source {
    Files(Loader),
    Memory(Parameters),
    Random,
    Shapes(Requests),
}

impl Build {
    /// From files. `trained` says what becomes trainable; a new adapter draws from the streams of
    /// `seed`.
    pub fn from_files(loader: Loader, trained: Trainable, seed: u64) -> Self {
        let device = loader.device().clone();
        Self::new(Source::Files(loader), trained, seed, device)
    }

    /// From the tensors of an existing network, shared and as they are.
    pub fn from_parameters(parameters: Parameters) -> Self {
        let device = parameters.weights.values().next().map_or(Device::Cpu, |t| t.device().clone());
        Self::new(Source::Memory(parameters), Trainable::None, 0, device)
    }

    /// An untrained network: every tensor is drawn from a stream of `seed` named by the tensor, in
    /// f32.
    pub fn untrained(trained: Trainable, seed: u64, device: &Device) -> Self {
        Self::new(Source::Random, trained, seed, device.clone())
    }

    /// No network that computes: every tensor is a placeholder without memory, and `requests` notes
    /// its shape.
    pub(super) fn from_shapes(requests: Requests) -> Self {
        Self::new(Source::Shapes(requests), Trainable::None, 0, Device::Cpu)
    }

    fn new(source: Source, trained: Trainable, seed: u64, device: Device) -> Self {
        let p = if let Trainable::Lora(config) = &trained { config.dropout } else { 0.0 };
        let dropout = Arc::new(Dropout::new(p));
        let activations = if let Source::Memory(parameters) = &source { parameters.activations } else { None };
        let kept = (p > 0.0).then(|| Arc::clone(&dropout));
        let made = RefCell::new(Parameters { activations, dropout: kept, ..Parameters::default() });
        Self {
            shared: Rc::new(Shared { source, trained, half_type: None, seed, device, dropout, made }),
            path: String::new(),
            positions: Positions::Pixels { level: 0 },
        }
    }

    /// The same with frozen weights of this type, and on a CUDA card with activations of it; to be
    /// said before anything is built.
    #[must_use]
    pub fn of_type(mut self, dtype: Dtype) -> Self {
        if let Some(shared) = Rc::get_mut(&mut self.shared) {
            shared.half_type = match dtype {
                Dtype::F32 => None,
                Dtype::Bf16 => Some(DType::BF16),
                Dtype::F16 => Some(DType::F16),
            };
            shared.made.get_mut().activations = shared.half_type.filter(|_| shared.device.is_cuda());
        }
        self
    }

    /// The type of what goes through the network, if it is not what comes in.
    pub fn activations(&self) -> Option<DType> {
        self.shared.made.borrow().activations
    }

    /// One step down the path.
    #[must_use]
    pub fn pp(&self, step: impl Display) -> Self {
        let path = if self.path.is_empty() { step.to_string() } else { format!("{}.{step}", self.path) };
        Self { shared: Rc::clone(&self.shared), path, positions: self.positions }
    }

    /// The same for modules that work on these positions, of which [`super::describe`] tells.
    #[must_use]
    pub fn over(&self, positions: Positions) -> Self {
        Self { positions, ..self.clone() }
    }

    /// The weight `name` below the path, of the given shape.
    pub fn get(&self, dims: &[usize], name: &str) -> Result<Tensor> {
        self.tensor(dims, name, false)
    }

    /// As [`Build::get`]; `multiplies`: the weight of a linear map or convolution.
    fn tensor(&self, dims: &[usize], name: &str, multiplies: bool) -> Result<Tensor> {
        let full = self.pp(name).path;
        let tensor = match &self.shared.source {
            Source::Files(loader) => loader.get(dims, &full)?,
            Source::Memory(parameters) => parameters
                .weights
                .get(&full)
                .filter(|t| t.dims() == dims)
                .cloned()
                .ok_or_else(|| Error::run(format!("no weight `{full}` of shape {dims:?} to build from")))?,
            Source::Random => untrained(dims, &full, self.shared.seed, &self.shared.device)?,
            Source::Shapes(requests) => {
                requests.note(&full, dims, multiplies, self.positions);
                placeholder(dims, DType::F32, &self.shared.device)?
            }
        };
        // A placeholder is not contiguous; it only keeps the building going.
        let tensor = if self.shared.trained == Trainable::Full && tensor.is_contiguous() {
            Var::from_tensor(&tensor)?.into_inner()
        } else {
            tensor
        };
        self.shared.made.borrow_mut().weights.insert(full, tensor.clone());
        Ok(tensor)
    }

    /// The bias of the linear map at this path. A frozen one has the activations' type, in which it
    /// is added.
    pub fn bias(&self, outputs: usize) -> Result<Tensor> {
        let bias = self.get(&[outputs], "bias")?;
        match self.activations() {
            Some(dtype) if self.shared.trained != Trainable::Full && bias.is_contiguous() && !bias.is_variable() => {
                let bias = bias.to_dtype(dtype)?;
                self.shared.made.borrow_mut().weights.insert(self.pp("bias").path, bias.clone());
                Ok(bias)
            }
            _ => Ok(bias),
        }
    }

    /// The weight of the linear map or convolution at this path, of the given shape.
    pub fn weight(&self, dims: &[usize]) -> Result<Weight> {
        let Shared { source, trained, half_type, device, made, .. } = &*self.shared;
        let full = self.pp("weight").path;
        if let Source::Memory(parameters) = source
            && let Some(weight) = parameters.half_weights.get(&full).filter(|weight| weight.dims() == dims)
        {
            made.borrow_mut().half_weights.insert(full, weight.clone());
            return Ok(weight.clone());
        }
        let values = self.tensor(dims, "weight", true)?;
        let Some(dtype) = half_type.filter(|_| *trained != Trainable::Full && values.is_contiguous()) else {
            return Ok(values.into());
        };
        let weight = if device.is_cuda() { Weight::half(&values, dtype)? } else { Weight::bf16(&values)? };
        let mut made = made.borrow_mut();
        made.weights.remove(&full);
        made.half_weights.insert(full, weight.clone());
        Ok(weight)
    }

    /// The weights of the modules `names` below the path, which have been had from [`Build::weight`],
    /// one below the other where that makes them faster ([`Weight::packed`]).
    pub fn packed(&self, names: &[&str]) -> Result<Option<Weight>> {
        let Shared { source, made, .. } = &*self.shared;
        let mut made = made.borrow_mut();
        let paths: Vec<String> = names.iter().map(|name| self.pp(name).pp("weight").path).collect();
        let Some(first) = paths.first().cloned() else { return Ok(None) };
        if let Source::Memory(parameters) = source {
            let packed = parameters.packed_weights.get(&first).cloned();
            made.packed_weights.extend(packed.clone().map(|packed| (first, packed)));
            return Ok(packed);
        }
        let Parameters { weights, half_weights, packed_weights, .. } = &mut *made;
        let of =
            |path: &String| half_weights.get(path).cloned().or_else(|| weights.get(path).cloned().map(Weight::from));
        let Some(parts) = paths.iter().map(of).collect::<Option<Vec<_>>>() else { return Ok(None) };
        let Some(packed) = Weight::packed(&parts.iter().collect::<Vec<_>>())? else { return Ok(None) };
        for (i, path) in paths.into_iter().enumerate() {
            match packed.part(i, parts.len())? {
                Weight::Full(values) => drop(weights.insert(path, values)),
                half => drop(half_weights.insert(path, half)),
            }
        }
        packed_weights.insert(first, packed.clone());
        Ok(Some(packed))
    }

    /// The adapter of the module at this path, whose weight has the shape `weight`, if it has one.
    pub fn lora(&self, weight: &[usize]) -> Result<Option<LoraLayer>> {
        let Shared { source, trained, seed, device, dropout, made, .. } = &*self.shared;
        let layer = match (source, trained) {
            (Source::Memory(parameters), _) => parameters.lora.get(&self.path).cloned(),
            (_, Trainable::Lora(config)) if targets::contains(&config.targets, &self.path) => {
                Some(LoraLayer::fresh(config, &self.path, weight, *seed, dropout, device)?)
            }
            (Source::Files(_) | Source::Random | Source::Shapes(_), _) => None,
        };
        if let Some(layer) = &layer {
            layer.check(&self.path, weight)?;
            made.borrow_mut().lora.insert(self.path.clone(), layer.clone());
        }
        Ok(layer)
    }

    /// Ends the building: all that was handed out. Errors if files and network do not fit, or an
    /// adapter fits no module.
    pub fn finish(self) -> Result<Parameters> {
        let made = self.shared.made.take();
        match &self.shared.source {
            Source::Files(loader) => loader.finish()?,
            Source::Random | Source::Shapes(_) => {}
            Source::Memory(parameters) => {
                if let Some(path) = parameters.lora.keys().find(|path| !made.lora.contains_key(*path)) {
                    return Err(Error::input(format!(
                        "the LoRA has weights for `{path}`, but the model has no such module"
                    ))
                    .hint("this LoRA was trained for another base model"));
                }
            }
        }
        if let Trainable::Lora(config) = &self.shared.trained {
            let unmatched =
                config.targets.iter().find(|target| !made.lora.keys().any(|path| targets::matches(path, target)));
            if let Some(target) = unmatched {
                return Err(Error::input(format!("the LoRA targets `{target}`, but the model has no such module"))
                    .hint("module names end in to_q, to_k, to_v, to_out.0, proj_in, proj_out, ff.net.0.proj, ff.net.2, conv1, conv2, …"));
            }
        }
        Ok(made)
    }
}
