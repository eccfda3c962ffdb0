//! Everything that comes from outside: model folders, repositories, data sets, weight files. Found, fetched, checked, hashed.
//!
//! In: a `Source`. Out: paths of files that are there and whole, and tensors of which every claim was checked. Only
//! safetensors weights are read: opening a pickle can run any code.

use std::path::PathBuf;

pub mod builtin;
mod download;
mod family;
mod find;
mod hash;
pub mod hub;
mod layout;
pub mod local;
pub mod modelscope;
mod own;
mod pictures;
mod reach;
mod settings;
mod web;

use crate::weights::Part;
use layout::{SCHEDULER, TOKENIZER};

pub use find::{find_dataset, find_model};
pub use hash::{hash_model, hex, sha256, slashed};
pub use layout::TOKENIZER_FILES;
pub use reach::Reach;
pub use settings::{Hub, HubSettings, Hubs, Token};
pub use web::{Failed, Tried};

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
    /// The tokenizer's folder: `tokenizer.json`, or `vocab.json` and `merges.txt`, and beside them more of
    /// [`TOKENIZER_FILES`].
    pub tokenizer: PathBuf,
    /// `scheduler/scheduler_config.json`.
    pub scheduler_config: PathBuf,
}

impl ModelFiles {
    /// Every file that can change a number, by its path in the folder. Whatever guards a result (checkpoints, caches, class
    /// images, finished runs) hashes these: a file that is read and not listed here would be changed unseen.
    pub fn inputs(&self) -> Vec<(String, PathBuf)> {
        let parts = [&self.unet, &self.vae, &self.text_encoder];
        let of_part = |part: &Part| -> Vec<(String, PathBuf)> {
            let name =
                |path: &PathBuf| format!("{}/{}", part.name, slashed(path.file_name().unwrap_or_default().as_ref()));
            part.weights.iter().chain([&part.config]).map(|path| (name(path), path.clone())).collect()
        };
        let tokenizer = TOKENIZER_FILES.map(|name| (format!("{TOKENIZER}/{name}"), self.tokenizer.join(name)));
        let scheduler = (SCHEDULER.to_owned(), self.scheduler_config.clone());
        let tokenizer = tokenizer.into_iter().filter(|(_, path)| path.is_file());
        parts.into_iter().flat_map(of_part).chain(tokenizer).chain([scheduler]).collect()
    }
}
