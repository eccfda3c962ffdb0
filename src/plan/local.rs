//! What of a plan is on this machine already, without loading or fetching anything.
//!
//! In: a plan. Out: the number of pictures of a local or built-in dataset, and the list of what
//! would be downloaded.

use std::path::Path;

use hf_hub::RepoType;

use crate::config::local::{cached, single_file};
use crate::config::{Plan, Source};
use crate::data::{has_image_ending, is_named_mask};
use crate::metrics::EncoderName;
use crate::pipeline::Family;

/// The files of a model of this family that a run would download first; none of what is here.
pub(super) fn missing_files(model: &Source, family: Family) -> Vec<String> {
    let files = family.usual_files();
    if let Source::SingleFile(single) = model {
        let file = single.file.clone().filter(|_| single_file(single).is_none());
        return file.into_iter().collect();
    }
    let Source::HuggingFace { repo, revision, .. } = model else {
        return if model.is_here() { Vec::new() } else { files };
    };
    let here = |file: &str| cached(repo, revision, RepoType::Model, file).is_some();
    let half = |file: &str| file.replace(".safetensors", ".fp16.safetensors");
    files.into_iter().filter(|file| !here(file) && !here(&half(file))).collect()
}

/// The encoders that a run would download first.
pub(crate) fn missing_encoders(plan: &Plan) -> Vec<EncoderName> {
    let is_missing = |name: &EncoderName| {
        let repo = name.repo().filter(|_| plan.metrics.paths.get(*name).is_none());
        repo.is_some_and(|(repo, revision)| cached(repo, revision, RepoType::Model, "model.safetensors").is_none())
    };
    let encoders = plan.metrics.encoders.iter().copied();
    encoders.filter(|name| plan.is_measured() && is_missing(name)).collect()
}

/// How many files of a local or built-in dataset look like pictures.
pub(super) fn pictures(dataset: &Source) -> Option<usize> {
    match dataset {
        Source::Path(root) => pictures_in(root),
        Source::Builtin(builtin) => {
            Some(builtin.files().iter().filter(|(path, _)| is_picture(Path::new(path))).count())
        }
        Source::HuggingFace { .. } | Source::ModelScope { .. } | Source::SingleFile(_) => None,
    }
}

/// How many files of a folder look like pictures.
pub(crate) fn pictures_in(root: &Path) -> Option<usize> {
    let entries = fs_err::read_dir(root).ok()?;
    Some(entries.filter_map(Result::ok).filter(|entry| is_picture(&entry.path())).count())
}

fn is_picture(path: &Path) -> bool {
    // macOS leaves a hidden `._x.png` beside each picture that it copies to other file systems.
    if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
        return false;
    }
    let name = path.to_string_lossy();
    has_image_ending(&name) && !is_named_mask(&name)
}
