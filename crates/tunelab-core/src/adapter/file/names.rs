//! How programs spell the modules and the tensors of a LoRA file.
//!
//! In: the networks' weights, and a tensor's name. Out: the module that it belongs to and what it
//! is of its adapter. A name is looked up among the spellings of our own modules and never taken
//! apart: `_` stands for `.` in some, and is in the names as well.

use crate::model::build::Parameters;
use crate::pipeline::original_names::{self, UnetLevels};
use crate::weights::PartName;
use std::collections::BTreeMap;

/// Which tensor of an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Down,
    Up,
    Alpha,
}

/// How names end, and what of an adapter they are. In a network's own tensors PEFT calls an adapter
/// `default`.
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

const UNET: &[PartName] = &[PartName::Unet];
const TEXT: &[PartName] = &[PartName::TextEncoder];
const TEXT_2: &[PartName] = &[PartName::TextEncoder2];
const EITHER: &[PartName] = &[PartName::Unet, PartName::TextEncoder, PartName::TextEncoder2];

/// What PEFT's own files put before every name.
pub(super) const PEFT: &str = "base_model.model.";

/// How names begin, and which network that means. Where it may be either, the module tells.
const PREFIXES: [(&str, &[PartName]); 19] = [
    // PEFT itself.
    (PEFT, EITHER),
    // diffusers.
    ("unet.", UNET),
    ("text_encoder.", TEXT),
    ("text_encoder_2.", TEXT_2),
    // kohya; `lora_te1_` is the first of SDXL's encoders, and what some write for the only one.
    ("lora_unet_", UNET),
    ("lora_te_", TEXT),
    ("lora_te1_", TEXT),
    ("lora_te2_", TEXT_2),
    // LyCORIS under SimpleTuner.
    ("lycoris_", EITHER),
    // OneTrainer inside, and its open format.
    ("lora_unet.", UNET),
    ("lora_te.", TEXT),
    ("lora_te1.", TEXT),
    ("lora_te2.", TEXT_2),
    ("clip_l.", TEXT),
    ("clip_g.", TEXT_2),
    // ComfyUI, and OneTrainer for it.
    ("diffusion_model.", UNET),
    ("text_encoders.clip_l.transformer.", TEXT),
    ("text_encoders.clip_g.transformer.", TEXT_2),
    // diffusers' first files, and those that it saves of a UNet alone.
    ("", EITHER),
];

/// A tensor's name, taken apart.
pub(super) struct Name<'a> {
    /// How it begins: one of [`PREFIXES`].
    pub prefix: &'static str,
    /// The networks that the module may be in.
    pub networks: &'static [PartName],
    /// The module in the file's spelling.
    pub module: &'a str,
    pub role: Role,
}

impl<'a> Name<'a> {
    /// `None` for anything that is no part of a plain LoRA.
    pub fn parse(name: &'a str) -> Option<Self> {
        let (module, role) = ROLES.iter().find_map(|(end, role)| Some((name.strip_suffix(end)?, *role)))?;
        let of = |(prefix, networks): &(&'static str, &'static [PartName])| {
            Some(Self { prefix, networks, module: module.strip_prefix(prefix)?, role })
        };
        PREFIXES.iter().find_map(of)
    }
}

/// A module that can have an adapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Module {
    pub part: PartName,
    /// As in diffusers.
    pub path: String,
    /// Of its weight.
    pub shape: Vec<usize>,
}

/// The modules of the networks by their spelling with `_` for `.`, under diffusers' names and under
/// the original ones.
pub struct Modules(BTreeMap<(PartName, String), Module>);

impl Modules {
    /// From the networks' weights.
    pub fn new(networks: &BTreeMap<PartName, Parameters>) -> Self {
        let of_unet = networks.get(&PartName::Unet);
        let levels =
            UnetLevels::of_names(of_unet.into_iter().flat_map(|unet| unet.dims().map(|(name, _)| name.as_str())));
        let mut modules = BTreeMap::new();
        for (&part, parameters) in networks {
            for (name, shape) in parameters.dims().filter(|(_, shape)| shape.len() >= 2) {
                let Some(path) = name.strip_suffix(".weight") else { continue };
                let module = Module { part, path: path.to_owned(), shape };
                let original = (part == PartName::Unet).then(|| original_names::unet(name, &levels)).flatten();
                let spellings = [Some(name.clone()), original].into_iter().flatten();
                modules.extend(spellings.map(|spelled| {
                    let spelled = spelled.trim_end_matches(".weight").replace('.', "_");
                    ((part, spelled), module.clone())
                }));
            }
        }
        Self(modules)
    }

    /// The module that a file calls so.
    pub(super) fn find(&self, name: &Name) -> Option<&Module> {
        name.networks.iter().find_map(|part| self.of(*part, name.module))
    }

    /// Whether the model is Stable Diffusion XL.
    pub(super) fn is_xl(&self) -> bool {
        self.0.keys().any(|(part, _)| *part == PartName::TextEncoder2)
            || self.0.contains_key(&(PartName::Unet, "add_embedding_linear_1".to_owned()))
    }

    /// Width of the text's states that the UNet reads.
    pub(super) fn text_width(&self) -> Option<usize> {
        let reads_text = |module: &&Module| module.part == PartName::Unet && module.path.ends_with("attn2.to_k");
        self.0.values().find(reads_text)?.shape.get(1).copied()
    }

    fn of(&self, part: PartName, spelled: &str) -> Option<&Module> {
        let flat = spelled.replace('.', "_").replace("_processor_", "_");
        let spellings = match part {
            // The first files call `to_out.0` `to_out`.
            PartName::Unet | PartName::Vae => [flat.clone(), format!("{flat}_0")],
            PartName::TextEncoder | PartName::TextEncoder2 => {
                let flat = as_clip(flat);
                // transformers 5 leaves the prefix out.
                [format!("text_model_{flat}"), flat]
            }
        };
        spellings.into_iter().find_map(|spelled| self.0.get(&(part, spelled)))
    }

    /// Whether a tensor of this name is one of the networks' own, and of no adapter.
    pub(super) fn has_weight(&self, name: &str) -> bool {
        let Some(path) = name.strip_suffix(".weight").or_else(|| name.strip_suffix(".bias")) else { return false };
        EITHER.iter().any(|part| self.of(*part, path).is_some())
    }
}

/// The projections of a text encoder as diffusers 0.15 to 0.17 called them, under CLIP's names.
fn as_clip(flat: String) -> String {
    const OLD: [(&str, &str); 4] = [("to_q", "q_proj"), ("to_k", "k_proj"), ("to_v", "v_proj"), ("to_out", "out_proj")];
    let renamed = OLD.iter().find_map(|(old, new)| Some(format!("{}{new}", flat.strip_suffix(old)?)));
    renamed.unwrap_or(flat)
}
