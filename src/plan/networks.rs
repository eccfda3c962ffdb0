//! What a plan has to know of its model's networks: their family, modules and sizes.
//!
//! In: where the model comes from. Out: [`Networks`], by the configs and files that are at hand,
//! otherwise those of the best known model of its family, which for a model that is not here is
//! taken from its repository's name.

use std::collections::BTreeMap;
use std::path::Path;

use crate::config::Source;
use crate::config::local;
use crate::error::Result;
use crate::model::clip::ClipConfig;
use crate::model::describe::{Module, Network};
use crate::model::unet::UnetConfig;
use crate::model::vae::VaeConfig;
use crate::pipeline::{Configs, Family};
use crate::weights::original::recognise;
use crate::weights::{PartName, Weights};

/// Bytes of a number in 32 bits.
pub(super) const FLOAT: u64 = 4;

/// The networks of a model.
#[derive(Debug, Clone)]
pub struct Networks {
    /// What the model is.
    pub family: Family,
    /// The noise predictor's modules.
    pub unet: Network,
    /// The VAE's numbers.
    pub vae_parameters: usize,
    /// Each text encoder.
    pub text_encoders: BTreeMap<PartName, TextEncoder>,
    /// Tokens of a caption, padding included.
    pub tokens: usize,
    /// Bytes of the VAE and the text encoders.
    pub others: u64,
    /// Pixels of a picture for one of its latents, in each direction.
    pub downscale: usize,
}

/// A text encoder of a model.
#[derive(Debug, Clone)]
pub struct TextEncoder {
    /// All of its modules.
    pub network: Network,
    /// Those that the UNet's conditioning depends on.
    pub read: Network,
}

impl TextEncoder {
    fn new(family: Family, config: &ClipConfig) -> Result<Self> {
        let network = config.describe()?;
        let is_read = |module: &&Module| family.conditioning().reads(&format!("{}.", module.name), Some(config));
        let read = Network { modules: network.modules.iter().filter(is_read).cloned().collect() };
        Ok(Self { network, read })
    }
}

impl Networks {
    /// Those of `model`.
    ///
    /// Errors: they are of a kind that is not built.
    pub fn of(model: &Source) -> Result<Self> {
        Self::new(&configs(model)?, |part| bytes(model, part))
    }

    /// Those of a family's best known model.
    pub fn usual(family: Family) -> Result<Self> {
        Self::new(&Configs::of(family)?, |_| None)
    }

    /// `bytes` of a part that is at hand; any other's are those of its numbers in 32 bits.
    fn new(configs: &Configs, bytes: impl Fn(PartName) -> Option<u64>) -> Result<Self> {
        let tokens = configs.text_encoders.values().map(|config| config.max_position_embeddings).max();
        let text_encoder =
            |(part, config): (&PartName, &ClipConfig)| Ok((*part, TextEncoder::new(configs.family, config)?));
        let networks = Self {
            family: configs.family,
            unet: configs.unet.describe()?,
            vae_parameters: configs.vae.describe()?.parameters(),
            text_encoders: configs.text_encoders.iter().map(text_encoder).collect::<Result<_>>()?,
            tokens: tokens.unwrap_or(0),
            others: 0,
            downscale: configs.vae.downscale(),
        };
        let others = networks.text_encoders.keys().copied().chain([PartName::Vae]);
        let size = |part| bytes(part).unwrap_or_else(|| FLOAT * networks.parameters(part) as u64);
        Ok(Self { others: others.map(size).sum(), ..networks })
    }

    /// Numbers in a part.
    pub fn parameters(&self, part: PartName) -> usize {
        match part {
            PartName::Unet => self.unet.parameters(),
            PartName::Vae => self.vae_parameters,
            text => self.text_encoders.get(&text).map_or(0, |encoder| encoder.network.parameters()),
        }
    }
}

/// The sizes of the model's networks.
fn configs(model: &Source) -> Result<Configs> {
    let mut configs = Configs::of(local::of_files(model).unwrap_or_else(|| local::family(model)))?;
    if let Some(unet) = parsed(model, PartName::Unet, UnetConfig::parse)? {
        configs.unet = unet;
    }
    // What is wrong with a VAE is told where it is loaded.
    if let Ok(Some(vae)) = parsed(model, PartName::Vae, VaeConfig::parse) {
        configs.vae = vae;
    }
    for (part, config) in &mut configs.text_encoders {
        if let Some(found) = parsed(model, *part, ClipConfig::parse)? {
            *config = found;
        }
    }
    Ok(configs)
}

/// The sizes of the model's UNet.
pub(super) fn unet(model: &Source) -> Result<UnetConfig> {
    Ok(configs(model)?.unet)
}

/// The config of one part, if it is at hand.
fn parsed<T>(model: &Source, part: PartName, parse: fn(&str, &Path) -> Result<T>) -> Result<Option<T>> {
    let file = format!("{part}/config.json");
    local::config(model, part.as_str()).map(|text| parse(&text, Path::new(&file))).transpose()
}

/// The size of one part's weights, if they are at hand.
fn bytes(model: &Source, part: PartName) -> Option<u64> {
    if let Source::SingleFile(single) = model {
        return of_single_file(&local::single_file(single)?, part);
    }
    let size = |file: &str| match model {
        Source::Path(root) => Some(fs_err::metadata(root.join(part.as_str()).join(file)).ok()?.len()),
        // Stored in 16 bits, computed in 32.
        Source::Builtin(builtin) => Some(2 * builtin.file(&format!("{part}/{file}"))?.len() as u64),
        Source::HuggingFace { .. } | Source::ModelScope { .. } | Source::SingleFile(_) => None,
    };
    ["diffusion_pytorch_model.safetensors", "model.safetensors"].into_iter().find_map(size)
}

/// The same of a part of one file, in 32 bits.
fn of_single_file(file: &Path, part: PartName) -> Option<u64> {
    let parts = recognise(file).ok()?.parts;
    let (_, original) = parts.iter().find(|(name, _)| *name == part)?;
    let weights = Weights::open(&[file.to_owned()]).ok()?;
    let own = weights.names().filter(|name| name.starts_with(original.prefix()));
    let sizes = own.filter_map(|name| weights.shape(name)).map(|shape| shape.iter().product::<usize>() as u64);
    Some(FLOAT * sizes.sum::<u64>())
}
