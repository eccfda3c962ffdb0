//! Everything that comes from outside: model folders, repositories, data sets, weight files. Found, fetched, checked, hashed.
//!
//! In: a `Source`. Out: paths of files that are there and whole, and tensors of which every claim was checked. Only
//! safetensors weights are read: opening a pickle can run any code.

use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::Result;

pub mod builtin;
mod download;
mod find;
mod header;
pub mod hub;
mod layout;
mod loader;
pub mod local;
pub mod modelscope;
mod pictures;
mod reach;
mod save;
mod settings;
mod web;
mod weights;

pub use find::{find_dataset, find_model};
pub use loader::Loader;
pub use reach::Reach;
pub use save::write_safetensors;
pub use settings::{Hub, HubSettings, Hubs, Token};
pub use web::{Failed, Tried};
pub use weights::Weights;

/// The files of one model in the diffusers layout.
#[derive(Debug, Clone)]
pub struct ModelFiles {
    /// The folder that holds `model_index.json`.
    pub root: PathBuf,
    /// The noise predictor.
    pub unet: Part,
    /// The image autoencoder.
    pub vae: Part,
    /// CLIP's text model.
    pub text_encoder: Part,
    /// The tokenizer's folder: `tokenizer.json`, or `vocab.json` and `merges.txt`.
    pub tokenizer: PathBuf,
    /// `scheduler/scheduler_config.json`.
    pub scheduler_config: PathBuf,
}

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

/// The SHA-256 of a file's bytes, in lower-case hexadecimal; read in blocks.
pub fn sha256(path: &Path) -> Result<String> {
    let mut file = fs_err::File::open(path)?;
    let mut hash = Sha256::new();
    let mut block = vec![0; 1 << 20];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(hex(&hash.finalize())),
            n => hash.update(&block[..n]),
        }
    }
}

/// Lower-case hexadecimal.
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
