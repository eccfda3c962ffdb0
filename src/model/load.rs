//! From a model's files to its networks.
//!
//! In: [`ModelFiles`] and a device. Out: each network with its parameters; every error names the file.

use super::build::{Build, Parameters, Trained};
use super::clip::{ClipConfig, ClipText};
use super::unet::{Unet, UnetConfig};
use super::vae::{Vae, VaeConfig};
use crate::assets::{Loader, ModelFiles, Part, Weights};
use crate::diffusion::NoiseSchedule;
use crate::error::{Error, Result};
use crate::plan::Dtype;
use candle_core::{DType, Device};

fn build(part: &Part, device: &Device, trained: Trained, seed: u64) -> Result<Build> {
    Ok(Build::from_files(Loader::new(Weights::open_part(part)?, device, DType::F32), trained, seed))
}

/// The text encoder; a new adapter draws from the streams of `seed`.
pub fn text_encoder(
    files: &ModelFiles,
    device: &Device,
    trained: Trained,
    seed: u64,
) -> Result<(ClipText, Parameters)> {
    let config = ClipConfig::read(&files.text_encoder.config)?;
    ClipText::new(&config, build(&files.text_encoder, device, trained, seed)?)
}

/// The VAE, frozen.
pub fn vae(files: &ModelFiles, device: &Device) -> Result<Vae> {
    let config = VaeConfig::read(&files.vae.config)?;
    Ok(Vae::new(&config, build(&files.vae, device, Trained::Nothing, 0)?)?.0)
}

/// The UNet, with frozen weights of type `dtype`; a new adapter draws from the streams of `seed`.
pub fn unet(
    files: &ModelFiles,
    device: &Device,
    trained: Trained,
    seed: u64,
    dtype: Dtype,
) -> Result<(Unet, Parameters)> {
    let config = UnetConfig::read(&files.unet.config)?;
    Unet::new(&config, build(&files.unet, device, trained, seed)?.of_type(dtype))
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
        ("unet cross_attention_dim", unet.text, "text_encoder hidden_size", text.width),
    ];
    match pairs.iter().find(|(_, a, _, b)| a != b) {
        Some((a_name, a, b_name, b)) => Err(Error::input(format!("{a_name} is {a}, but {b_name} is {b}"))
            .hint("take unet/, vae/ and text_encoder/ from the same repository (inpainting models are not supported)")),
        None => Ok(()),
    }
}
