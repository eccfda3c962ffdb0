//! From a model's files to its networks.
//!
//! In: [`ModelFiles`] and a device. Out: each network with its parameters; every error names the file.

use crate::assets::ModelFiles;
use crate::config::Dtype;
use crate::diffusion::NoiseSchedule;
use crate::error::{Error, Result};
use crate::model::build::{Build, Parameters, Trainable};
use crate::model::clip::{ClipConfig, ClipText};
use crate::model::unet::{Unet, UnetConfig};
use crate::model::vae::{Vae, VaeConfig};
use crate::weights::{Loader, Weights};
use candle_core::{DType, Device};

fn build(weights: Weights, device: &Device, trained: Trainable, seed: u64) -> Build {
    Build::from_files(Loader::new(weights, device, DType::F32), trained, seed)
}

/// What the files hold and no network takes, one line for a part: tensors for other uses, and layers of the text encoder above
/// those of its config.json (which is how some leave out the last ones: "clip skip").
pub fn passed_over(files: &ModelFiles) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    for part in [&files.unet, &files.vae, &files.text_encoder] {
        notes.extend(Weights::open_part(part)?.passed_over(part.name));
    }
    let layers = ClipConfig::read(&files.text_encoder.config)?.num_hidden_layers;
    let there =
        Weights::open_part(&files.text_encoder)?.names().filter_map(text_layer).max().map_or(0, |last| last + 1);
    if there > layers {
        notes.push(format!("text_encoder: {there} layers, of which config.json takes the first {layers}"));
    }
    Ok(notes)
}

/// The number of the text encoder's layer that a tensor belongs to.
fn text_layer(name: &str) -> Option<usize> {
    name.strip_prefix("text_model.encoder.layers.")?.split('.').next()?.parse().ok()
}

/// The text encoder; a new adapter draws from the streams of `seed`.
pub fn text_encoder(
    files: &ModelFiles,
    device: &Device,
    trained: Trainable,
    seed: u64,
) -> Result<(ClipText, Parameters)> {
    let config = ClipConfig::read(&files.text_encoder.config)?;
    let above = |name: &str| text_layer(name).is_some_and(|layer| layer >= config.num_hidden_layers);
    let weights = Weights::open_part(&files.text_encoder)?.without(above);
    ClipText::new(&config, build(weights, device, trained, seed))
}

/// The VAE, frozen.
pub fn vae(files: &ModelFiles, device: &Device) -> Result<Vae> {
    let config = VaeConfig::read(&files.vae.config)?;
    Ok(Vae::new(&config, build(Weights::open_part(&files.vae)?, device, Trainable::None, 0))?.0)
}

/// The UNet, with frozen weights of type `dtype`; a new adapter draws from the streams of `seed`.
pub fn unet(
    files: &ModelFiles,
    device: &Device,
    trained: Trainable,
    seed: u64,
    dtype: Dtype,
) -> Result<(Unet, Parameters)> {
    let config = UnetConfig::read(&files.unet.config)?;
    Unet::new(&config, build(Weights::open_part(&files.unet)?, device, trained, seed).of_type(dtype))
}

/// The noise schedule.
pub fn schedule(files: &ModelFiles) -> Result<NoiseSchedule> {
    let json = fs_err::read_to_string(&files.scheduler_config).map_err(|e| Error::input(e.to_string()))?;
    NoiseSchedule::from_config(&json, &files.scheduler_config)
}

/// Errors if the parts do not belong together: the sizes in which they meet must agree.
pub fn check_sizes(unet: &UnetConfig, vae: &VaeConfig, text: &ClipConfig) -> Result<()> {
    let pairs = [
        ("unet in_channels", unet.in_channels, "vae latent_channels", vae.latent_channels),
        ("unet out_channels", unet.out_channels, "vae latent_channels", vae.latent_channels),
        ("unet cross_attention_dim", unet.cross_attention_dim, "text_encoder hidden_size", text.hidden_size),
    ];
    let Some((a_name, a, b_name, b)) = pairs.iter().find(|(_, a, _, b)| a != b) else { return Ok(()) };
    let error = Error::input(format!("{a_name} is {a}, but {b_name} is {b}"));
    Err(match unet.in_channels.checked_sub(unet.out_channels) {
        // The picture to be filled and its mask; an instruction's picture.
        Some(extra @ (4 | 5)) => {
            let kind = if extra == 5 { "an inpainting model" } else { "a model that edits or enlarges a picture" };
            error.hint(format!("this is the UNet of {kind}, which tunelab does not train: take a text-to-image model"))
        }
        _ => error.hint("take unet/, vae/ and text_encoder/ from the same repository"),
    })
}
