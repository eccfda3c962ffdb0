//! What a network consists of, told by the network itself.
//!
//! In: a network's config. Out: its [`Network`]: every module that has weights, in the order of the
//! data through them, with its diffusers (transformers) name, the shapes of its weights and what it
//! is applied to. The constructor that builds a network from files is run over a [`Build`] that
//! hands out shapes and no numbers, so nothing of the weights' size is allocated and nothing is
//! said twice.

use super::build::Build;
use super::clip::{ClipConfig, ClipText};
use super::family::Family;
use super::module::Requests;
use super::published;
use super::targets;
use super::unet::{Unet, UnetConfig};
use super::vae::{Vae, VaeConfig};
use crate::error::Result;
use std::collections::BTreeSet;
use std::sync::LazyLock;

pub use super::module::{Kind, Module, Network, Positions};

/// The modules that `new` asks its builder for.
fn network<T>(new: impl FnOnce(Build) -> Result<T>) -> Result<Network> {
    let requests = Requests::default();
    new(Build::from_shapes(requests.clone()))?;
    Ok(Network { modules: requests.take() })
}

impl UnetConfig {
    /// The network of these sizes.
    pub fn describe(&self) -> Result<Network> {
        network(|build| Unet::new(self, build))
    }
}

impl ClipConfig {
    /// The network of these sizes.
    pub fn describe(&self) -> Result<Network> {
        network(|build| ClipText::new(self, build))
    }
}

impl VaeConfig {
    /// The network of these sizes; each half begins at its own picture, so that level 0 is the
    /// picture's.
    pub fn describe(&self) -> Result<Network> {
        network(|build| Vae::new(self, build))
    }
}

/// Can `target` name a module of some UNet of this class? Answered without its config, by the last
/// part of the name: the blocks before it differ from model to model.
///
/// Errors: it cannot; with the names that can.
pub fn plausible_target(target: &str) -> std::result::Result<(), BTreeSet<String>> {
    // A sweep asks this for every target of every run.
    static ADAPTED: LazyLock<Vec<String>> = LazyLock::new(|| {
        let unet = published::unet(Family::Sd1).and_then(|config| config.describe());
        let modules = unet.map(|unet| unet.modules).unwrap_or_default();
        modules.into_iter().filter(Module::takes_lora).map(|module| module.name).collect()
    });
    if ADAPTED.iter().any(|name| targets::matches(name, target)) {
        return Ok(());
    }
    let ends: BTreeSet<String> = ADAPTED.iter().map(|name| ending(name).to_owned()).collect();
    if ends.iter().any(|end| target.ends_with(&format!(".{end}"))) { Ok(()) } else { Err(ends) }
}

/// The last part of a name, with the part before it where the last is a number: `to_out.0`.
fn ending(name: &str) -> &str {
    let numbered = |c: char| c.is_ascii_digit() || c == '.';
    let word = name.trim_end_matches(numbered);
    word.rfind('.').map_or(name, |at| &name[at + 1..])
}
