//! LoRA files: written for diffusers and PEFT and, beside it, in kohya's naming; read in all
//! spellings that are about.
//!
//! | written by | name of A (B alike) | alpha |
//! |---|---|---|
//! | diffusers | `unet.<path>.lora_A.weight` | JSON in the header's `lora_adapter_metadata`; none: the rank |
//! | PEFT | `base_model.model.<path>.lora_A.weight` | `adapter_config.json` beside the file |
//! | diffusers' scripts | `unet.<path>.lora.down.weight`, `…lora_linear_layer.down.weight` | rank |
//! | older diffusers | `unet.<attention>.processor.to_q_lora.down.weight` | rank |
//! | kohya, LyCORIS | `lora_unet_<path with _ for .>.lora_down.weight` | tensor `.alpha`; none: the rank |
//! | ComfyUI, OneTrainer | `diffusion_model.<original path>.lora_A.weight` | tensor `.alpha` |
//!
//! In: files and the network's weights (for the names and shapes of its modules). Out: adapters by
//! module path. `names` holds the spellings, `config` PEFT's configuration, `foreign` what is
//! refused and as what, `find` which file of a folder is meant.

mod config;
mod find;
mod foreign;
mod names;
mod write;

pub use find::find;
pub use names::Modules;
pub use write::{Written, write_diffusers, write_kohya};

use crate::error::{Error, Result};
use crate::model::lora::{LoraLayer, LoraLayers};
use crate::weights::{PartName, Weights, is_pickle};
use candle_core::{DType, Device, Tensor};
use config::Configs;
use names::{Module, Name, Role};
use std::collections::BTreeMap;
use std::path::Path;

/// The adapters in `file`, in f32 on `device`, scaled by `strength`. Every tensor that fits no
/// module is named in the error.
pub fn read(file: &Path, modules: &Modules, device: &Device, strength: f64) -> Result<BTreeMap<PartName, LoraLayers>> {
    if is_pickle(file)? {
        return Err(pickle(file));
    }
    let weights = Weights::open(&[file.to_owned()])?;
    foreign::refuse(file, &weights, modules)?;
    let configs = Configs::read(file, &weights)?;
    let mut adapters: BTreeMap<PartName, LoraLayers> = BTreeMap::new();
    for ((part, path), found) in by_module(file, &weights, modules)? {
        let layer = found.layer(file, &weights, &configs, device, strength)?;
        adapters.entry(part).or_default().insert(path, layer);
    }
    Ok(adapters)
}

/// The tensors of a file, by the module that they belong to.
fn by_module<'a>(
    file: &Path,
    weights: &'a Weights,
    modules: &'a Modules,
) -> Result<BTreeMap<(PartName, String), Found<'a>>> {
    let mut found: BTreeMap<(PartName, String), Found> = BTreeMap::new();
    let mut strange = Vec::new();
    for name in weights.names() {
        let known = Name::parse(name).and_then(|parsed| Some((modules.find(&parsed)?, parsed)));
        let Some((module, parsed)) = known else {
            strange.push(name);
            continue;
        };
        let key = (module.part, module.path.clone());
        found.entry(key).or_insert_with(|| Found::new(module)).add(file, name, &parsed)?;
    }
    if strange.is_empty() && !found.is_empty() {
        return Ok(found);
    }
    Err(unusable(file, weights, &strange))
}

/// The names of the tensors of one module's adapter.
struct Found<'a> {
    module: &'a Module,
    /// How the file spells the module: a prefix and the rest.
    spelled: (&'static str, &'a str),
    down: Option<&'a str>,
    up: Option<&'a str>,
    alpha: Option<&'a str>,
}

impl<'a> Found<'a> {
    fn new(module: &'a Module) -> Self {
        Self { module, spelled: ("", &module.path), down: None, up: None, alpha: None }
    }

    /// Errors: the file has such a tensor already, in another spelling.
    fn add(&mut self, file: &Path, name: &'a str, parsed: &Name<'a>) -> Result<()> {
        self.spelled = (parsed.prefix, parsed.module);
        let place = match parsed.role {
            Role::Down => &mut self.down,
            Role::Up => &mut self.up,
            Role::Alpha => &mut self.alpha,
        };
        match place.replace(name) {
            None => Ok(()),
            Some(other) => Err(Error::input(format!(
                "{}: `{other}` and `{name}` are the same tensor in two spellings",
                file.display()
            ))
            .hint("two adapters are in one file: save one of them alone")),
        }
    }

    fn layer(
        &self,
        file: &Path,
        weights: &Weights,
        configs: &Configs,
        device: &Device,
        strength: f64,
    ) -> Result<LoraLayer> {
        let Module { part, path, shape } = self.module;
        let (Some(down), Some(up)) = (self.down, self.up) else {
            return Err(Error::input(format!("{}: the LoRA of `{path}` is incomplete", file.display()))
                .hint("the file was saved or changed by a program that left something out: take another copy"));
        };
        let load = |name: &str| like_weight(weights.load(name, device, DType::F32)?, shape.len());
        let (down, up) = (load(down)?, load(up)?);
        let rank = down.dims().first().copied().unwrap_or(0);
        let (inputs, ours) = (down.dims().get(1).copied(), shape.get(1).copied());
        let mut layer = LoraLayer::from_tensors(down, up, rank as f64, strength);
        layer.check(path, shape).map_err(|e| {
            let why = foreign::other_base(path, inputs, ours);
            e.context(format!("{} does not fit the model", file.display())).hint(why)
        })?;
        layer.alpha = match self.alpha {
            Some(name) => weights.number(name)?,
            None => configs.alpha(file, *part, self.spelled, rank)?,
        };
        Ok(layer)
    }
}

/// A and B with as many axes as the module's weight: 1x1 kernels are written with and without their
/// axes of 1.
fn like_weight(t: Tensor, rank: usize) -> Result<Tensor> {
    match (t.rank(), rank) {
        (4, 2) if t.dims()[2..] == [1, 1] => Ok(t.flatten_from(1)?),
        (2, 4) => Ok(t.unsqueeze(2)?.unsqueeze(3)?),
        _ => Ok(t),
    }
}

/// The error for a file of which `strange` belongs to no module.
fn unusable(file: &Path, weights: &Weights, strange: &[&str]) -> Error {
    let shown: String = strange.iter().take(10).flat_map(|name| ["\n    ", name]).collect();
    let more = if strange.len() > 10 { format!("\n    … and {} more", strange.len() - 10) } else { String::new() };
    let what =
        if strange.is_empty() { "holds no LoRA".to_owned() } else { "has tensors that fit no module:".to_owned() };
    let error = Error::input(format!("{} {what}{shown}{more}", file.display())).hint(
        "a LoRA fits the base model that it was trained for; what is read is plain LoRA of the UNet and the text encoders",
    );
    let said =
        ["ss_base_model_version", "modelspec.architecture"].into_iter().find_map(|key| weights.metadata().get(key));
    match said {
        Some(base) => error.cause(format!("its header says that it was trained for `{base}`")),
        None => error,
    }
}

/// The refusal of a pickled LoRA.
fn pickle(file: &Path) -> Error {
    Error::input(format!(
        "{}: a pickled LoRA is not read, because opening a pickle can run any code that its author put there",
        file.display()
    ))
    .hint(
        "take the .safetensors file of it, or convert it on a machine you do not mind: in Python \
         `safetensors.torch.save_file(torch.load(FILE, weights_only=True), \"NEW.safetensors\")`",
    )
}
