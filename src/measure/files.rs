//! An encoder's folder, in the layout of its Hugging Face repository, as candle wants it.
//!
//! In: `model.safetensors` and, where it is there, `config.json`. Out: the configuration and a `VarBuilder` over checked
//! tensors. candle fills in what it does not find in some places and passes over what it does not know, so both are looked
//! at here.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device};
use candle_nn::VarBuilder;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::metrics::EncoderName;
use crate::weights::Weights;

/// The file of the weights.
pub(super) const WEIGHTS: &str = "model.safetensors";
/// The file of the sizes.
pub(super) const CONFIG: &str = "config.json";

/// What `config.json` says, or `None` where the folder has none.
pub(super) fn config<T: DeserializeOwned>(dir: &Path) -> Result<Option<T>> {
    let path = dir.join(CONFIG);
    if !path.is_file() {
        return Ok(None);
    }
    let text = fs_err::read_to_string(&path).map_err(|e| Error::input("cannot read an encoder's sizes").cause(e))?;
    let config = serde_json::from_str(&text).map_err(|e| Error::input(format!("{}: {e}", path.display())))?;
    Ok(Some(config))
}

/// The weights of an encoder, all of them in memory.
pub(super) struct Opened {
    file: PathBuf,
    name: EncoderName,
    pub tensors: VarBuilder<'static>,
}

impl Opened {
    /// Reads the weights. `layers` says how many layers lie under each prefix of names.
    pub fn read(dir: &Path, name: EncoderName, layers: &[(&str, usize)], device: &Device) -> Result<Self> {
        let file = dir.join(WEIGHTS);
        if !file.is_file() {
            return Err(missing(dir, name));
        }
        let weights = Weights::open(std::slice::from_ref(&file))?;
        for (prefix, count) in layers {
            let number = |name: &str| name.strip_prefix(prefix)?.split('.').next()?.parse::<usize>().ok();
            let found = weights.names().filter_map(number).max().map_or(0, |last| last + 1);
            if found != *count {
                let what = format!("{}: {found} layers `{prefix}N`, where {count} belong", file.display());
                return Err(Error::input(what).hint(remedy(name)));
            }
        }
        let wanted = weights.names().filter(|name| !name.ends_with("position_ids"));
        let loaded = wanted.map(|name| Ok((name.to_owned(), weights.load(name, device, DType::F32)?)));
        let tensors = VarBuilder::from_tensors(loaded.collect::<Result<HashMap<_, _>>>()?, DType::F32, device);
        Ok(Self { file, name, tensors })
    }

    /// Refuses a file without this tensor, which candle would draw at random.
    pub fn require(&self, tensor: &str) -> Result<()> {
        if self.tensors.contains_tensor(tensor) {
            return Ok(());
        }
        let what = format!("{}: there is no tensor `{tensor}`", self.file.display());
        Err(Error::input(what).hint(remedy(self.name)))
    }

    /// What candle could not build.
    pub fn unbuilt(&self, error: &candle_core::Error) -> Error {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        Error::input(format!("{}: not the weights of {}: {first}", self.file.display(), self.name))
            .hint(remedy(self.name))
    }
}

fn missing(dir: &Path, name: EncoderName) -> Error {
    let what = if !dir.is_dir() {
        "there is no such folder".to_owned()
    } else if dir.join("pytorch_model.bin").is_file() {
        format!("there is no {WEIGHTS}, and pytorch_model.bin, a pickle, is not opened: it can run any code")
    } else {
        format!("there is no {WEIGHTS}")
    };
    Error::input(format!("{}: {what}", dir.display())).hint(remedy(name))
}

fn remedy(name: EncoderName) -> String {
    let (repo, revision) = name.repo();
    format!("{name} is {repo} at the revision {revision}, which has its weights as {WEIGHTS}")
}
