//! Weight files: safetensors read and written, every claim of a header checked against the file.
//!
//! In: paths of safetensors files, the tensors that a network asks for. Out: tensors, or errors
//! that name the file and the tensor. No other format is read: opening a pickle can run any code.

mod extras;
mod header;
mod loader;
mod open;
mod save;

use std::path::PathBuf;

pub use header::is_pickle;
pub use loader::{Loader, placeholder};
pub use open::Weights;
pub use save::write_safetensors;

/// One part of a model.
#[derive(Debug, Clone)]
pub struct Part {
    /// Its folder's name: `unet`, `vae` or `text_encoder`.
    pub name: &'static str,
    /// Its `config.json`.
    pub config: PathBuf,
    /// One safetensors file, or the shards.
    pub weights: Vec<PathBuf>,
    /// Whether only the float16 variant was there; it is widened on load.
    pub half: bool,
}
