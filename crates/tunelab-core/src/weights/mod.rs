//! Weight files: safetensors read and written, every claim of a header checked against the file.
//!
//! In: paths of safetensors files, the tensors that a network asks for. Out: tensors, or errors
//! that name the file and the tensor. No other format is read: opening a pickle can run any code.
//! Models in one file are read under diffusers' names ([`original`]).

mod extras;
mod header;
mod loader;
mod open;
pub mod original;
mod save;

use std::fmt;
use std::path::PathBuf;

pub use header::is_pickle;
pub use loader::{Loader, placeholder};
pub use open::{TEXT_PROJECTION, Weights};
pub use save::write_safetensors;

/// How the names of files end that are opened.
pub const SAFETENSORS: &str = ".safetensors";

/// How the names of files with weights end, those among them that are not opened.
const ENDINGS: [&str; 5] = [".safetensors", ".ckpt", ".pt", ".pth", ".bin"];

/// Whether a file's name says that it holds weights.
pub fn has_weights_ending(name: &str) -> bool {
    let name = name.to_lowercase();
    ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// Which networks a model has, and how they work together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Stable Diffusion 1.x: OpenAI's CLIP, and its hidden states alone for the UNet.
    Sd1,
    /// Stable Diffusion 2.x: the same with `OpenCLIP`'s ViT-H.
    Sd2,
    /// Stable Diffusion XL's base model: two text encoders, and sizes.
    Sdxl,
}

/// The parts of models that have weights, in the order in which they are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PartName {
    /// The noise predictor.
    Unet,
    /// The image autoencoder.
    Vae,
    /// CLIP's text model.
    TextEncoder,
    /// Stable Diffusion XL's second text model, OpenCLIP's bigG.
    TextEncoder2,
}

impl PartName {
    /// Its folder's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unet => "unet",
            Self::Vae => "vae",
            Self::TextEncoder => "text_encoder",
            Self::TextEncoder2 => "text_encoder_2",
        }
    }
}

impl fmt::Display for PartName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One part of a model.
#[derive(Debug, Clone)]
pub struct Part {
    /// Which one.
    pub name: PartName,
    /// Its `config.json`.
    pub config: PathBuf,
    /// One safetensors file, or the shards.
    pub weights: Vec<PathBuf>,
    /// Whether only the float16 variant was there; it is widened on load.
    pub half: bool,
    /// Which part of one file with all parts it is, if it is.
    pub original: Option<original::Original>,
}
