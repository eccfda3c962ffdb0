//! The files of one model in diffusers' layout, by part.
//!
//! In: what was found or fetched. Out: each part's files by its name, and the one list of all files
//! that can change a number, with their hashes as `run.json` records them.

use super::{Family, SCHEDULER};
use crate::data::slashed;
use crate::diffusion::NoiseSchedule;
use crate::error::{Error, Result};
use crate::hash::sha256_of_file;
use crate::weights::{Part, PartName};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Every file that can decide an id: what is read of a tokenizer's folder, fetched where it is
/// there, and hashed.
pub const TOKENIZER_FILES: [&str; 6] = [
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
];

/// The files of one model.
#[derive(Debug, Clone)]
pub struct ModelFiles {
    /// What the model is.
    pub family: Family,
    /// The folder that holds `model_index.json`, or the one file with all parts.
    pub root: PathBuf,
    /// Configuration and weights of each part.
    pub parts: BTreeMap<PartName, Part>,
    /// The tokenizers' folders, by the text encoder that reads their ids: `tokenizer.json`, or
    /// `vocab.json` and `merges.txt`, and beside them more of [`TOKENIZER_FILES`].
    pub tokenizers: BTreeMap<PartName, PathBuf>,
    /// [`SCHEDULER`].
    pub scheduler_config: PathBuf,
    /// What lies in a model's one file and is no part of it, in a line.
    pub beside: Option<String>,
}

impl ModelFiles {
    /// The files of a part. Errors if the model has no such part.
    pub fn part(&self, name: PartName) -> Result<&Part> {
        self.parts.get(&name).ok_or_else(|| self.lacks(name.as_str()))
    }

    /// The folder of a text encoder's tokenizer. Errors if the model has none.
    pub fn tokenizer(&self, of: PartName) -> Result<&Path> {
        self.tokenizers.get(&of).map(PathBuf::as_path).ok_or_else(|| self.lacks(&format!("tokenizer for {of}")))
    }

    fn lacks(&self, what: &str) -> Error {
        Error::run(format!("{}: this model has no {what}", self.root.display()))
    }

    /// How noise is added.
    pub fn noise_schedule(&self) -> Result<NoiseSchedule> {
        let json = fs_err::read_to_string(&self.scheduler_config).map_err(|e| Error::input(e.to_string()))?;
        NoiseSchedule::from_config(&json, &self.scheduler_config)
    }

    /// Every file that can change a number, by its path in the folder. Whatever guards a result
    /// (checkpoints, caches, class images, finished runs) hashes these: a file that is read and not
    /// listed here would be changed unseen.
    pub fn inputs(&self) -> Vec<(String, PathBuf)> {
        let last_name = |path: &Path| slashed(path.file_name().unwrap_or_default().as_ref());
        let of_part = |part: &Part| -> Vec<(String, PathBuf)> {
            let name = |path: &PathBuf| format!("{}/{}", part.name, last_name(path));
            part.weights.iter().chain([&part.config]).map(|path| (name(path), path.clone())).collect()
        };
        let of_tokenizer =
            |folder: &PathBuf| TOKENIZER_FILES.map(|name| (format!("{}/{name}", last_name(folder)), folder.join(name)));
        let tokenizers = self.tokenizers.values().flat_map(of_tokenizer).filter(|(_, path)| path.is_file());
        let scheduler = (SCHEDULER.to_owned(), self.scheduler_config.clone());
        self.parts.values().flat_map(of_part).chain(tokenizers).chain([scheduler]).collect()
    }

    /// SHA-256 of every file that [`ModelFiles::inputs`] lists, by its name there.
    pub fn hashes(&self) -> Result<BTreeMap<String, String>> {
        let inputs = self.inputs();
        // One file may hold all parts.
        let paths: BTreeSet<&PathBuf> = inputs.iter().map(|(_, path)| path).collect();
        let hashes: Result<BTreeMap<&PathBuf, String>> =
            paths.into_par_iter().map(|path| Ok((path, sha256_of_file(path)?))).collect();
        let hashes = hashes?;
        Ok(inputs.iter().map(|(name, path)| (name.clone(), hashes[path].clone())).collect())
    }
}
