//! An encoder's folder, in the layout of its Hugging Face repository, as candle wants it.
//!
//! In: `model.safetensors` and, where it is there, `config.json`. Out: checked sizes and a `VarBuilder` over checked tensors.
//! candle fills in what it does not find in some places, passes over what it does not know, and panics at sizes that do not
//! fit together, so both are looked at here.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device};
use candle_nn::VarBuilder;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::metrics::EncoderName;
use crate::model::config::Config;
use crate::weights::Weights;

/// The file of the weights.
pub(super) const WEIGHTS: &str = "model.safetensors";
/// The file of the sizes.
pub(super) const CONFIG: &str = "config.json";

/// Most patches along a side of a picture.
const MAX_PATCHES: usize = 1000;

/// What `config.json` says of a model of the type `model_type`; where the folder has none, what is `published`.
pub(super) fn config(dir: &Path, name: EncoderName, model_type: &str, published: &Value) -> Result<Config> {
    let path = dir.join(CONFIG);
    let text = if path.is_file() { Config::text(&path)? } else { published.to_string() };
    let config = Config::of_any_class(&text, &path)?;
    let said = config.string("model_type", model_type)?;
    if said == model_type {
        return Ok(config);
    }
    let what = format!("is {said}: this is a model of the type {said}, and {name} is one of the type {model_type}");
    Err(config.error("model_type", what).hint(remedy(name)))
}

/// `hidden_size` and `num_attention_heads`, which must divide it.
pub(super) fn heads(config: &Config, hidden_size: usize, heads: usize) -> Result<[usize; 2]> {
    let (hidden_size, heads) =
        (config.size("hidden_size", Some(hidden_size))?, config.size("num_attention_heads", Some(heads))?);
    if hidden_size.is_multiple_of(heads) {
        return Ok([hidden_size, heads]);
    }
    Err(config.error("num_attention_heads", format!("is {heads}, which does not divide `hidden_size`, {hidden_size}")))
}

/// Colors of a picture.
pub(super) const CHANNELS: usize = 3;

/// `image_size` and `patch_size`: a picture is at least one patch and not absurdly many, of [`CHANNELS`] colors.
pub(super) fn patches(config: &Config, patch_size: usize) -> Result<[usize; 2]> {
    let channels = config.size("num_channels", Some(CHANNELS))?;
    if channels != CHANNELS {
        return Err(config.error("num_channels", format!("is {channels}, and pictures have {CHANNELS}")));
    }
    let image_size = config.size("image_size", Some(224))?;
    let patch_size = config.size("patch_size", Some(patch_size))?;
    if (1..=MAX_PATCHES).contains(&(image_size / patch_size)) {
        return Ok([image_size, patch_size]);
    }
    let what = format!("is {patch_size}: `image_size`, {image_size}, must be 1 to {MAX_PATCHES} times that");
    Err(config.error("patch_size", what))
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
    match name.repo() {
        Some((repo, revision)) => {
            format!("{name} is {repo} at the revision {revision}, which has its weights as {WEIGHTS}")
        }
        None => format!("{name} is compiled in"),
    }
}
