//! The networks and the noise schedule of each family's best known model: Stable Diffusion 1.5, 2.1
//! and XL's base.
//!
//! In: a family. Out: configs, for when a model is not on this machine, and for measuring its work;
//! of the `config.json` files that are compiled in.

use super::clip::ClipConfig;
use super::family::{Family, SCHEDULER};
use super::unet::UnetConfig;
use super::vae::VaeConfig;
use crate::diffusion::NoiseSchedule;
use crate::error::{Error, Result};
use crate::weights::PartName;
use std::path::Path;

/// `unet/config.json`.
pub fn unet(family: Family) -> Result<UnetConfig> {
    read(family, "unet/config.json", UnetConfig::parse)
}

/// `vae/config.json`.
pub fn vae(family: Family) -> Result<VaeConfig> {
    read(family, "vae/config.json", VaeConfig::parse)
}

/// The `config.json` of a text encoder.
pub fn text_encoder(family: Family, part: PartName) -> Result<ClipConfig> {
    read(family, &format!("{part}/config.json"), ClipConfig::parse)
}

/// How noise is added.
pub fn schedule(family: Family) -> Result<NoiseSchedule> {
    read(family, SCHEDULER, NoiseSchedule::from_config)
}

fn read<T>(family: Family, name: &str, parse: impl Fn(&str, &Path) -> Result<T>) -> Result<T> {
    let text = family.compiled_in().file(name).and_then(|bytes| std::str::from_utf8(bytes).ok());
    let text = text.ok_or_else(|| Error::run(format!("{name} of {} is not compiled in", family.name())))?;
    parse(text, Path::new(name))
}
