//! What a plan has to know of its model's networks: their modules and sizes.
//!
//! In: where the model comes from. Out: [`Networks`], by the configs and files that are at hand,
//! otherwise Stable Diffusion 1.5's.

use std::path::Path;

use crate::config::Source;
use crate::config::local::{config, single_file};
use crate::error::Result;
use crate::model::clip::ClipConfig;
use crate::model::describe::Network;
use crate::model::sd15;
use crate::model::unet::UnetConfig;
use crate::model::vae::VaeConfig;
use crate::weights::Weights;
use crate::weights::original::recognise;

/// Bytes of a number in 32 bits.
pub(super) const FLOAT: u64 = 4;

/// The networks of a model.
#[derive(Debug, Clone)]
pub struct Networks {
    /// The noise predictor's modules.
    pub unet: Network,
    /// The text encoder's modules.
    pub text_encoder: Network,
    /// Tokens of a caption, padding included.
    pub tokens: usize,
    /// Bytes of the VAE and the text encoder.
    pub others: u64,
    /// Pixels of a picture for one of its latents, in each direction.
    pub downscale: usize,
}

impl Networks {
    /// Those of `model`.
    ///
    /// Errors: they are of a kind that is not built.
    pub fn of(model: &Source) -> Result<Self> {
        let text_encoder = parsed(model, "text_encoder", ClipConfig::parse)?.unwrap_or_else(sd15::text_encoder);
        // What is wrong with a VAE is told where it is loaded.
        let vae = parsed(model, "vae", VaeConfig::parse).ok().flatten().unwrap_or_else(sd15::vae);
        let bytes = |part: &str| bytes(model, part).map_or_else(|| usual_bytes(part), Ok);
        let others = bytes("vae")? + bytes("text_encoder")?;
        Self::new(&unet(model)?, &text_encoder, &vae, others)
    }

    /// Stable Diffusion 1.5's.
    pub fn sd15() -> Result<Self> {
        let others = usual_bytes("vae")? + usual_bytes("text_encoder")?;
        Self::new(&sd15::unet(), &sd15::text_encoder(), &sd15::vae(), others)
    }

    fn new(unet: &UnetConfig, text_encoder: &ClipConfig, vae: &VaeConfig, others: u64) -> Result<Self> {
        Ok(Self {
            unet: unet.describe()?,
            text_encoder: text_encoder.describe()?,
            tokens: text_encoder.max_position_embeddings,
            others,
            downscale: vae.downscale(),
        })
    }
}

/// The sizes of the model's UNet.
pub(super) fn unet(model: &Source) -> Result<UnetConfig> {
    Ok(parsed(model, "unet", UnetConfig::parse)?.unwrap_or_else(sd15::unet))
}

/// The config of one part, if it is at hand.
fn parsed<T>(model: &Source, part: &str, parse: fn(&str, &Path) -> Result<T>) -> Result<Option<T>> {
    let file = format!("{part}/config.json");
    config(model, part).map(|text| parse(&text, Path::new(&file))).transpose()
}

/// The size in 32 bits of Stable Diffusion 1.5's `vae` or `text_encoder`.
pub(super) fn usual_bytes(part: &str) -> Result<u64> {
    let network = if part == "vae" { sd15::vae().describe() } else { sd15::text_encoder().describe() };
    Ok(FLOAT * network?.parameters() as u64)
}

/// The size of one part's weights, if they are at hand.
fn bytes(model: &Source, part: &str) -> Option<u64> {
    if let Source::SingleFile(single) = model {
        return of_single_file(&single_file(single)?, part);
    }
    let size = |file: &str| match model {
        Source::Path(root) => Some(fs_err::metadata(root.join(part).join(file)).ok()?.len()),
        // Stored in 16 bits, computed in 32.
        Source::Builtin(builtin) => Some(2 * builtin.file(&format!("{part}/{file}"))?.len() as u64),
        Source::HuggingFace { .. } | Source::ModelScope { .. } | Source::SingleFile(_) => None,
    };
    ["diffusion_pytorch_model.safetensors", "model.safetensors"].into_iter().find_map(size)
}

/// The same of a part of one file, in 32 bits.
fn of_single_file(file: &Path, part: &str) -> Option<u64> {
    let parts = recognise(file).ok()?.architecture.parts();
    let (_, original) = parts.iter().find(|(name, _)| name.as_str() == part)?;
    let weights = Weights::open(&[file.to_owned()]).ok()?;
    let own = weights.names().filter(|name| name.starts_with(original.prefix()));
    let sizes = own.filter_map(|name| weights.shape(name)).map(|shape| shape.iter().product::<usize>() as u64);
    Some(FLOAT * sizes.sum::<u64>())
}
