//! What of a plan is on this machine already, without loading or fetching anything.
//!
//! In: a plan. Out: the networks' configs and the sizes of the model's parts where they are at hand, the number of pictures
//! of a local or built-in dataset, and the list of what would be downloaded.

use std::path::Path;

use hf_hub::RepoType;
use serde::Deserialize;

use super::estimate::{Others, SD15_OTHERS, SD15_TEXT_ENCODER_BYTES, SD15_VAE_BYTES};
use crate::config::Source;
use crate::config::count::{SD15_UNET, Unet};
use crate::config::local::{cached, config};
use crate::config::text_encoder::{SD15_TEXT_ENCODER, TextEncoder};
use crate::data::has_image_ending;
use crate::error;
use crate::pipeline::Family;

/// The UNet and the text encoder of the model, by their configs where these are here, otherwise Stable Diffusion 1.5's.
///
/// Errors: they are of another kind.
pub(super) fn networks(model: &Source) -> error::Result<(Unet, TextEncoder)> {
    let (unet, text) = (config(model, "unet"), config(model, "text_encoder"));
    let unet = Unet::from_config(unet.as_deref().unwrap_or(SD15_UNET))?;
    Ok((unet, TextEncoder::from_config(text.as_deref().unwrap_or(SD15_TEXT_ENCODER))?))
}

/// Sizes of the VAE and the text encoder: of their files and configs where these are here, otherwise Stable Diffusion 1.5's.
pub(super) fn others(model: &Source) -> Others {
    let size = |part: &str, usual| {
        match model {
            Source::Path(root) => weights_size(|file| Some(fs_err::metadata(root.join(part).join(file)).ok()?.len())),
            // Stored in 16 bits, computed in 32.
            Source::Builtin(builtin) => weights_size(|f| Some(2 * builtin.file(&format!("{part}/{f}"))?.len() as u64)),
            _ => None,
        }
        .unwrap_or(usual)
    };
    let bytes = size("vae", SD15_VAE_BYTES) + size("text_encoder", SD15_TEXT_ENCODER_BYTES);
    let levels =
        config(model, "vae").and_then(|text| Some(serde_json::from_str::<Vae>(&text).ok()?.block_out_channels));
    let downscale = levels.map_or(SD15_OTHERS.downscale, |levels| 1 << (levels.len().clamp(1, 16) - 1));
    Others { bytes, downscale }
}

/// What is read of a VAE's config: it halves a picture between its levels.
#[derive(Deserialize)]
struct Vae {
    block_out_channels: Vec<usize>,
}

fn weights_size(size: impl Fn(&str) -> Option<u64>) -> Option<u64> {
    ["diffusion_pytorch_model.safetensors", "model.safetensors"].into_iter().find_map(size)
}

/// The model's files that a run would download first; none of what is here.
pub(super) fn missing_files(model: &Source) -> Vec<String> {
    // What a model is that is not here is not known before it is asked for.
    let files = Family::Sd1.usual_files();
    let Source::HuggingFace { repo, revision, .. } = model else {
        return if model.is_here() { Vec::new() } else { files };
    };
    let here = |file: &str| cached(repo, revision, RepoType::Model, file).is_some();
    let half = |file: &str| file.replace(".safetensors", ".fp16.safetensors");
    files.into_iter().filter(|file| !here(file) && !here(&half(file))).collect()
}

/// How many files of a local or built-in dataset look like pictures.
pub(super) fn pictures(dataset: &Source) -> Option<usize> {
    match dataset {
        Source::Path(root) => pictures_in(root),
        Source::Builtin(builtin) => {
            Some(builtin.files().iter().filter(|(path, _)| is_picture(Path::new(path))).count())
        }
        Source::HuggingFace { .. } | Source::ModelScope { .. } => None,
    }
}

/// How many files of a folder look like pictures.
pub(super) fn pictures_in(root: &Path) -> Option<usize> {
    let entries = fs_err::read_dir(root).ok()?;
    Some(entries.filter_map(Result::ok).filter(|entry| is_picture(&entry.path())).count())
}

fn is_picture(path: &Path) -> bool {
    // macOS leaves a hidden `._x.png` beside each picture that it copies to other file systems.
    if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
        return false;
    }
    has_image_ending(&path.to_string_lossy())
}
