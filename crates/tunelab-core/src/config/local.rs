//! Small files of a model that is on this machine already, without loading or fetching anything.
//!
//! In: where a model comes from. Out: the text of its configs and its noise schedule, where they
//! are at hand.

use std::path::{Path, PathBuf};

use hf_hub::{Cache, Repo, RepoType};

use super::{FileSource, Source};
use crate::diffusion::NoiseSchedule;
use crate::model::clip::ClipConfig;
use crate::model::family::{Family, SCHEDULER};
use crate::model::published;
use crate::model::unet::UnetConfig;
use crate::model::vae::VaeConfig;
use crate::weights::original::recognise;

/// The text of the `config.json` of the model's `part`, if it is on this machine.
pub fn config(model: &Source, part: &str) -> Option<String> {
    text(model, &format!("{part}/config.json"))
}

/// The model's noise schedule, if it is on this machine and can be read: what is wrong with it is
/// told where it is loaded.
pub fn schedule(model: &Source) -> Option<NoiseSchedule> {
    NoiseSchedule::from_config(&text(model, SCHEDULER)?, Path::new(SCHEDULER)).ok()
}

/// The file of a model in one file, if it is on this machine.
pub fn single_file(single: &FileSource) -> Option<PathBuf> {
    match (&single.at, &single.file) {
        (Source::Path(path), _) => Some(path.clone()),
        (Source::HuggingFace { repo, revision, .. }, Some(file)) => cached(repo, revision, RepoType::Model, file),
        _ => None,
    }
}

/// What goes with a model in one file: from its folder, or compiled in.
fn beside(single: &FileSource, name: &str) -> Option<String> {
    let found = recognise(&single_file(single)?).ok()?;
    if let Some(folder) = &single.config {
        return fs_err::read_to_string(folder.join(name)).ok();
    }
    let bytes = found.family.compiled_in().file(found.compiled_in_name(name))?;
    String::from_utf8(bytes.to_vec()).ok()
}

/// What the model is: by its files, or for a repository by its name alone, so that a plan does not change with what was
/// fetched.
pub fn family(model: &Source) -> Family {
    match model {
        Source::HuggingFace { repo, .. } | Source::ModelScope { repo, .. } => Family::by_repo_name(repo),
        Source::SingleFile(single) if !single.at.is_here() => family(&single.at),
        Source::Path(_) | Source::Builtin(_) | Source::SingleFile(_) => of_files(model).unwrap_or(Family::Sd1),
    }
}

/// What a model is whose configurations are on this machine and can be read.
pub fn of_files(model: &Source) -> Option<Family> {
    let unet = UnetConfig::parse(&config(model, "unet")?, Path::new("unet/config.json")).ok()?;
    if unet.text_time.is_some() {
        return Some(Family::Sdxl);
    }
    let text_encoder = ClipConfig::parse(&config(model, "text_encoder")?, Path::new("text_encoder/config.json"));
    Some(text_encoder.map_or(Family::Sd1, |config| Family::Sd1.by_text_encoder(&config)))
}

/// What the sides of an image must be multiples of, so that the model's networks can halve them as often as they do: by its
/// configurations if they are on this machine, otherwise by its family's.
pub fn multiple(model: &Source, family: Family) -> usize {
    let unet = config(model, "unet").and_then(|text| UnetConfig::parse(&text, Path::new("unet/config.json")).ok());
    let vae = config(model, "vae").and_then(|text| VaeConfig::parse(&text, Path::new("vae/config.json")).ok());
    let levels = unet.or_else(|| published::unet(family).ok()).map_or(1, |unet| unet.block_out_channels.len());
    let downscale = vae.or_else(|| published::vae(family).ok()).map_or(1, |vae| vae.downscale());
    downscale << (levels - 1)
}

/// The text of one of the model's small files, if it is on this machine.
fn text(model: &Source, name: &str) -> Option<String> {
    let file = match model {
        Source::SingleFile(single) => return beside(single, name),
        // As a plan has it whose folder is not there.
        Source::Path(root) if root.as_os_str().is_empty() => return None,
        Source::Path(root) => root.join(name),
        Source::HuggingFace { repo, revision, .. } => cached(repo, revision, RepoType::Model, name)?,
        Source::ModelScope { .. } => return None,
        Source::Builtin(builtin) => return String::from_utf8(builtin.file(name)?.to_vec()).ok(),
    };
    fs_err::read_to_string(file).ok()
}

/// A file in the cache that is shared with Python's `huggingface_hub`, which lies where the same
/// variables say.
pub fn cached(repo: &str, revision: &str, kind: RepoType, file: &str) -> Option<PathBuf> {
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let user = || named("XDG_CACHE_HOME").or_else(|| Some(std::env::home_dir()?.join(".cache")));
    let home = || named("HF_HOME").or_else(|| Some(user()?.join("huggingface")));
    let folder = named("HF_HUB_CACHE").or_else(|| named("HUGGINGFACE_HUB_CACHE"));
    let folder = folder.or_else(|| Some(home()?.join("hub")))?;
    Cache::new(folder).repo(Repo::with_revision(repo.into(), kind, revision.into())).get(file)
}
