//! Pictures that are to become examples: how each is cut and treated, and what that takes.
//!
//! In: pictures of the sources, and the VAE. Out: plain values, for `examples` and `latents`.

use crate::config::Dataset;
use crate::data::{Cache, Cut, Picture};
use crate::interrupt::Interrupt;
use crate::model::vae::Vae;
use crate::progress::Progress;
use candle_core::Device;

/// Which half of a DreamBooth batch the pictures make; also names their streams of randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The subject.
    Instance,
    /// Any member of the class.
    Class,
}

/// How the pictures of one source are treated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Treatment {
    /// Crop the middle; false: a random crop in every step.
    pub center_crop: bool,
    /// Mirror every second picture, at random.
    pub random_flip: bool,
    /// What their loss is multiplied by.
    pub weight: f64,
}

impl Treatment {
    /// That of a data set's one folder.
    pub fn of(dataset: &Dataset) -> Self {
        Self { center_crop: dataset.center_crop, random_flip: dataset.random_flip, weight: 1.0 }
    }
}

/// A picture, how it is cut, how its source is treated and which one that is.
pub(super) struct Planned<'a> {
    pub(super) picture: &'a Picture,
    pub(super) cut: Cut,
    pub(super) how: Treatment,
    pub(super) source: usize,
}

/// What examples are made from.
pub struct Sources<'a> {
    /// Pictures to latents.
    pub vae: &'a Vae,
    /// SHA-256 of the VAE's weights and configuration.
    pub vae_hash: &'a str,
    /// Where latents are kept between runs.
    pub cache: &'a Cache,
    /// Where to compute.
    pub device: &'a Device,
    /// For the bar.
    pub progress: &'a Progress,
    /// Looked at before every picture.
    pub interrupt: &'a Interrupt,
}
