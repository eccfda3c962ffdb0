//! LoRA files: written for diffusers and PEFT and, beside it, in kohya's naming; read in all spellings that are about.
//!
//! | written by | name of A (B alike) | alpha |
//! |---|---|---|
//! | PEFT, diffusers | `unet.<path>.lora_A.weight` | JSON in the header's `lora_adapter_metadata` |
//! | diffusers' scripts | `unet.<path>.lora.down.weight`, `…lora_linear_layer.down.weight` | rank |
//! | older diffusers | `unet.<attention>.processor.to_q_lora.down.weight` | rank |
//! | kohya | `lora_unet_<path with _ for .>.lora_down.weight` | tensor `.alpha` |
//!
//! In: files and the network's weights (for the names and shapes of its modules). Out: adapters by module path.

use super::build::Parameters;
use super::lora::{LoraLayer, LoraLayers};
use crate::assets::{Weights, write_safetensors};
use crate::error::{Error, Result};
use candle_core::{DType, Device, Tensor};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// The networks of a pipeline that a file may hold adapters for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Component {
    /// The UNet.
    Unet,
    /// The text encoder.
    TextEncoder,
}

/// Which tensor of an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Down,
    Up,
    Alpha,
}

const ROLES: [(&str, Role); 13] = [
    (".lora_A.weight", Role::Down),
    (".lora_B.weight", Role::Up),
    (".lora_A.default.weight", Role::Down),
    (".lora_B.default.weight", Role::Up),
    (".lora.down.weight", Role::Down),
    (".lora.up.weight", Role::Up),
    (".lora_linear_layer.down.weight", Role::Down),
    (".lora_linear_layer.up.weight", Role::Up),
    (".lora_down.weight", Role::Down),
    (".lora_up.weight", Role::Up),
    ("_lora.down.weight", Role::Down),
    ("_lora.up.weight", Role::Up),
    (".alpha", Role::Alpha),
];

const COMPONENTS: [(&str, Component); 6] = [
    ("unet.", Component::Unet),
    ("lora_unet_", Component::Unet),
    ("text_encoder.", Component::TextEncoder),
    ("lora_te1_", Component::TextEncoder),
    ("lora_te_", Component::TextEncoder),
    ("base_model.model.", Component::Unet),
];

/// An adapter as far as it has been read.
#[derive(Default)]
struct Parts {
    down: Option<Tensor>,
    up: Option<Tensor>,
    alpha: Option<f64>,
}

/// The modules of both networks: for each the spelling with `_` for `.`, to its path and the shape of its weight.
pub struct Modules(BTreeMap<(Component, String), (String, Vec<usize>)>);

impl Modules {
    /// From the weights of both networks.
    pub fn new(unet: &Parameters, text_encoder: &Parameters) -> Self {
        let both = [(Component::Unet, unet), (Component::TextEncoder, text_encoder)];
        let entries = both.into_iter().flat_map(|(component, parameters)| {
            parameters.dims().filter_map(move |(name, dims)| {
                let path = name.strip_suffix(".weight").filter(|_| dims.len() >= 2)?;
                Some(((component, path.replace('.', "_")), (path.to_owned(), dims)))
            })
        });
        Self(entries.collect())
    }

    /// The module that a file calls `spelled`, whatever its spelling.
    fn find(&self, component: Component, spelled: &str) -> Option<&(String, Vec<usize>)> {
        let flat = spelled.replace('.', "_").replace("_processor_", "_");
        let spellings = [flat.clone(), format!("{flat}_0"), format!("text_model_{flat}")];
        spellings.into_iter().find_map(|s| self.0.get(&(component, s)))
    }
}

/// The adapters in `file`, in f32 on `device`, scaled by `strength`. Every tensor that fits no module is named in the
/// error.
pub fn read(file: &Path, modules: &Modules, device: &Device, strength: f64) -> Result<BTreeMap<Component, LoraLayers>> {
    let weights = Weights::open(&[file.to_owned()])?;
    let config = AdapterConfig::read(&weights, file)?;
    let mut parts: BTreeMap<(Component, String), Parts> = BTreeMap::new();
    let mut strange = Vec::new();
    for name in weights.names() {
        let Some((component, spelled, role)) = split(name) else {
            strange.push(name.to_owned());
            continue;
        };
        let Some((path, shape)) = modules.find(component, spelled) else {
            strange.push(name.to_owned());
            continue;
        };
        let tensor = weights.load(name, device, DType::F32)?;
        let part = parts.entry((component, path.clone())).or_default();
        match role {
            Role::Down => part.down = Some(like_weight(tensor, shape.len())?),
            Role::Up => part.up = Some(like_weight(tensor, shape.len())?),
            Role::Alpha => part.alpha = Some(f64::from(tensor.flatten_all()?.mean_all()?.to_scalar::<f32>()?)),
        }
    }
    if !strange.is_empty() || parts.is_empty() {
        return Err(unusable(file, &strange));
    }
    let mut adapters: BTreeMap<Component, LoraLayers> = BTreeMap::new();
    for ((component, path), part) in parts {
        let (Some(down), Some(up)) = (part.down, part.up) else {
            return Err(Error::input(format!("{}: the LoRA of `{path}` is incomplete", file.display())));
        };
        let alpha = part.alpha.unwrap_or_else(|| config.alpha(component, &path, down.dims()[0]));
        let layer = LoraLayer::from_tensors(down, up, alpha, strength);
        let shape = &modules.0[&(component, path.replace('.', "_"))].1;
        layer.check(&path, shape).map_err(|e| e.context(format!("{} does not fit the model", file.display())))?;
        adapters.entry(component).or_default().insert(path, layer);
    }
    Ok(adapters)
}

/// Component, the module as it is spelled, and the tensor's role; `None` for anything that is no plain LoRA.
fn split(name: &str) -> Option<(Component, &str, Role)> {
    let (module, role) = ROLES.iter().find_map(|(suffix, role)| Some((name.strip_suffix(suffix)?, *role)))?;
    let component = COMPONENTS.iter().find_map(|(prefix, component)| Some((module.strip_prefix(prefix)?, *component)));
    let (module, component) = component.unwrap_or((module, Component::Unet));
    Some((component, module, role))
}

/// A and B with as many axes as the module's weight: 1x1 kernels are written with and without their axes of 1.
fn like_weight(t: Tensor, rank: usize) -> Result<Tensor> {
    match (t.rank(), rank) {
        (4, 2) if t.dims()[2..] == [1, 1] => Ok(t.flatten_from(1)?),
        (2, 4) => Ok(t.unsqueeze(2)?.unsqueeze(3)?),
        _ => Ok(t),
    }
}

fn unusable(file: &Path, strange: &[String]) -> Error {
    let shown: String = strange.iter().take(10).flat_map(|name| ["\n    ", name]).collect();
    let more = if strange.len() > 10 { format!("\n    … and {} more", strange.len() - 10) } else { String::new() };
    let what =
        if strange.is_empty() { "holds no LoRA".to_owned() } else { "has tensors that fit no module:".to_owned() };
    Error::input(format!("{} {what}{shown}{more}", file.display()))
        .hint("tunelab reads plain LoRA of Stable Diffusion's UNet and text encoder (no LoHa, LoKr or DoRA)")
}

/// What the header says of PEFT's configuration, by component.
struct AdapterConfig(Map<String, Value>);

impl AdapterConfig {
    fn read(weights: &Weights, file: &Path) -> Result<Self> {
        let Some(text) = weights.metadata().get("lora_adapter_metadata") else { return Ok(Self(Map::new())) };
        let map: Map<String, Value> = serde_json::from_str(text)
            .map_err(|e| Error::input(format!("{}: broken `lora_adapter_metadata`", file.display())).cause(e))?;
        if map.iter().any(|(key, v)| key.ends_with(".use_dora") && v.as_bool() == Some(true)) {
            return Err(Error::input(format!("{} is a DoRA, which is not supported", file.display())));
        }
        Ok(Self(map))
    }

    /// alpha such that the update is scaled by alpha / rank; without metadata the rank itself.
    fn alpha(&self, component: Component, path: &str, rank: usize) -> f64 {
        let prefix = component.prefix();
        let get = |key: &str| self.0.get(&format!("{prefix}.{key}"));
        let pattern = get("alpha_pattern").and_then(Value::as_object).into_iter().flatten();
        let special = pattern.filter(|(key, _)| path == *key || path.ends_with(&format!(".{key}"))).map(|(_, v)| v);
        let alpha = special.chain(get("lora_alpha")).find_map(Value::as_f64).unwrap_or(rank as f64);
        // Rank-stabilised LoRA divides by √rank.
        if get("use_rslora").and_then(Value::as_bool) == Some(true) { alpha * (rank as f64).sqrt() } else { alpha }
    }
}

/// The adapters of one network, to be written.
pub struct Written<'a> {
    /// The network.
    pub component: Component,
    /// Its adapters.
    pub layers: &'a LoraLayers,
    /// The ends of their modules' names.
    pub targets: &'a [String],
}

impl Component {
    /// As diffusers' files begin their names.
    fn prefix(self) -> &'static str {
        match self {
            Self::Unet => "unet",
            Self::TextEncoder => "text_encoder",
        }
    }

    /// As kohya's files begin theirs.
    fn kohya_prefix(self) -> &'static str {
        match self {
            Self::Unet => "lora_unet_",
            Self::TextEncoder => "lora_te_",
        }
    }
}

/// Writes adapters for diffusers and PEFT: `pytorch_lora_weights.safetensors` with the configuration in its header, so
/// that alpha ≠ rank survives.
pub fn write_diffusers(file: &Path, networks: &[Written], dropout: f64) -> Result<()> {
    let mut config = Map::new();
    let mut tensors = BTreeMap::new();
    for Written { component, layers, targets } in networks {
        let prefix = component.prefix();
        for (path, l) in *layers {
            tensors.insert(format!("{prefix}.{path}.lora_A.weight"), l.down.clone());
            tensors.insert(format!("{prefix}.{path}.lora_B.weight"), l.up.clone());
        }
        let (rank, alpha) = layers.values().next().map_or((1, 1.0), |l| (l.rank(), l.alpha));
        let alpha = if alpha.fract() == 0.0 { json!(alpha as i64) } else { json!(alpha) };
        let mut targets = targets.to_vec();
        targets.sort();
        let entries = [
            ("alpha_pattern", json!({})),
            ("bias", json!("none")),
            ("init_lora_weights", json!("gaussian")),
            ("lora_alpha", alpha),
            ("lora_dropout", json!(dropout)),
            ("peft_type", json!("LORA")),
            ("r", json!(rank)),
            ("rank_pattern", json!({})),
            ("target_modules", json!(targets)),
            ("use_dora", json!(false)),
            ("use_rslora", json!(false)),
        ];
        config.extend(entries.into_iter().map(|(key, value)| (format!("{prefix}.{key}"), value)));
    }
    let metadata = BTreeMap::from([
        ("format".to_owned(), "pt".to_owned()),
        ("lora_adapter_metadata".to_owned(), Value::Object(config).to_string()),
    ]);
    write_safetensors(file, &tensors, &metadata)
}

/// Writes adapters in kohya's naming, with `.alpha`: for A1111, ComfyUI, stable-diffusion.cpp and diffusers.
pub fn write_kohya(file: &Path, networks: &[Written], metadata: &BTreeMap<String, String>) -> Result<()> {
    let mut tensors = BTreeMap::new();
    for Written { component, layers, .. } in networks {
        for (path, l) in *layers {
            let module = format!("{}{}", component.kohya_prefix(), path.replace('.', "_"));
            tensors.insert(format!("{module}.lora_down.weight"), l.down.clone());
            tensors.insert(format!("{module}.lora_up.weight"), l.up.clone());
            tensors.insert(format!("{module}.alpha"), Tensor::new(l.alpha as f32, &Device::Cpu)?);
        }
    }
    write_safetensors(file, &tensors, metadata)
}
