//! Writing adapters: for diffusers and PEFT, and in kohya's naming.
//!
//! In: the adapters of one or both networks. Out: a file. Whoever opens the first applies it at
//! alpha = rank if they do not know PEFT's configuration in its header (stable-diffusion.cpp,
//! OneTrainer), so alpha / rank is multiplied into B there. The second says alpha in tensors, which
//! every program that knows its names reads.

use crate::error::{Error, Result};
use crate::model::lora::{LoraLayer, LoraLayers};
use crate::pipeline::original_names::{self, UnetLevels};
use crate::pipeline::{Family, LoraPrefixes};
use crate::weights::{PartName, write_safetensors};
use candle_core::{Device, Tensor};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// The adapters of one network, to be written.
pub struct Written<'a> {
    /// The network.
    pub part: PartName,
    /// Its adapters.
    pub layers: &'a LoraLayers,
    /// The ends of their modules' names.
    pub targets: &'a [String],
}

/// How names begin that belong to a network.
fn prefixes(family: Family, part: PartName) -> Result<LoraPrefixes> {
    family.lora_prefixes(part).ok_or_else(|| Error::run(format!("there is no LoRA of the {part}")))
}

/// Writes adapters for diffusers and PEFT: `pytorch_lora_weights.safetensors`, with alpha / rank in
/// B, and with the configuration in its header.
pub fn write_diffusers(file: &Path, family: Family, networks: &[Written], dropout: f64) -> Result<()> {
    let mut config = Map::new();
    let mut tensors = BTreeMap::new();
    for Written { part, layers, targets } in networks {
        let prefix = prefixes(family, *part)?.diffusers;
        for (path, layer) in *layers {
            let layer = layer.folded()?;
            tensors.extend(layer.tensors().map(|(name, t)| (format!("{prefix}.{path}.{name}"), t.clone())));
        }
        let rank = layers.values().next().map_or(1, LoraLayer::rank);
        let mut targets = targets.to_vec();
        targets.sort();
        let entries = [
            ("alpha_pattern", json!({})),
            ("bias", json!("none")),
            ("init_lora_weights", json!("gaussian")),
            ("lora_alpha", json!(rank)),
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

/// Writes adapters in kohya's naming, with `.alpha`: for kohya, A1111, ComfyUI,
/// stable-diffusion.cpp, OneTrainer and diffusers. The UNet's modules have the names of its family's files, for which its
/// `levels` are asked.
pub fn write_kohya(
    file: &Path,
    family: Family,
    levels: &UnetLevels,
    networks: &[Written],
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let mut tensors = BTreeMap::new();
    for Written { part, layers, .. } in networks {
        let prefix = prefixes(family, *part)?.kohya;
        for (path, l) in *layers {
            let original = || original_names::unet(&format!("{path}.weight"), levels);
            let path = if family.lora_has_original_names() && *part == PartName::Unet {
                let name = original().ok_or_else(|| Error::run(format!("`{path}` has no original name")))?;
                name.trim_end_matches(".weight").to_owned()
            } else {
                path.clone()
            };
            let module = format!("{prefix}{}", path.replace('.', "_"));
            tensors.insert(format!("{module}.lora_down.weight"), l.lora_a.clone());
            tensors.insert(format!("{module}.lora_up.weight"), l.lora_b.clone());
            tensors.insert(format!("{module}.alpha"), Tensor::new(l.alpha as f32, &Device::Cpu)?);
        }
    }
    write_safetensors(file, &tensors, metadata)
}
