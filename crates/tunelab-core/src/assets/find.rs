//! From the `Source` that an experiment names to files on this machine.
//!
//! In: a local folder, a Hugging Face or a ModelScope repository, or something built in. Out: the
//! model's files or the data set's folder, unpacked if it was packed. A ModelScope repository that is given beside a Hugging
//! Face one is asked when Hugging Face cannot be reached, and only then: a refusal or a wrong name
//! is told, not hidden behind another source.

use std::path::{Path, PathBuf};

use super::data_files::{DataFiles, told};
use super::data_folder::DataFolder;
use super::pack_kind::is_pack;
use super::settings::{HubSettings, Hubs};
use super::wanted::names_in;
use super::web::Tried;
use super::{hub, local, modelscope, packs, pictures, single_file};
use crate::config::{FileSource, Selection, Source, has_pack_ending};
use crate::data::has_image_ending;
use crate::error::{Error, Result};
use crate::pipeline::ModelFiles;
use crate::progress::Progress;

/// ModelScope's name for what is `main` elsewhere.
pub const MASTER: &str = "master";

/// Finds the model's files, fetching what is not there; settings from the environment.
pub fn find_model(source: &Source, progress: &Progress) -> Result<ModelFiles> {
    Hubs::from_env().find_model(source, progress)
}

/// Finds a part of a data set as a folder, fetching and unpacking what is not there; settings from the environment.
pub fn find_dataset(source: &Source, selection: &Selection, progress: &Progress) -> Result<DataFolder> {
    Hubs::from_env().find_dataset(source, selection, progress)
}

/// One hub's way to find something: repository, revision, settings, progress.
type Find<'f, T> = &'f dyn Fn(&str, &str, &HubSettings, &Progress) -> Tried<T>;

impl Hubs {
    /// As [`find_model`], with these settings.
    pub fn find_model(&self, source: &Source, progress: &Progress) -> Result<ModelFiles> {
        let files = match source {
            Source::SingleFile(single) => {
                single_file::find(&self.find_file(single, progress)?, single.config.as_deref())?
            }
            _ => self.find(source, progress, &local::find, &hub::find_model, &modelscope::find_model)?,
        };
        for part in files.parts.values().filter(|part| part.half) {
            progress.line(format!("{}: only float16 weights are there; they are widened to float32", part.name));
        }
        Ok(files)
    }

    /// As [`find_dataset`], with these settings.
    pub fn find_dataset(&self, source: &Source, selection: &Selection, progress: &Progress) -> Result<DataFolder> {
        let in_huggingface = |repo: &str, revision: &str, settings: &HubSettings, progress: &Progress| {
            hub::find_dataset(repo, revision, selection, settings, progress)
        };
        let in_modelscope = |repo: &str, revision: &str, settings: &HubSettings, progress: &Progress| {
            modelscope::find_dataset(repo, revision, selection, settings, progress)
        };
        let here = |path: &Path| here(path, selection, progress);
        let mut files = self.find(source, progress, &here, &in_huggingface, &in_modelscope)?;
        // A cache that many share may be one that nobody here can write.
        files.roots.extend(self.unpacked.iter().cloned());
        files.folder(selection, progress)
    }

    /// The file of a model in one file, fetched where it is not here.
    fn find_file(&self, single: &FileSource, progress: &Progress) -> Result<PathBuf> {
        let itself = |path: &Path| Ok(path.to_owned());
        let Some(file) = single.file.as_deref() else {
            return self.find(&single.at, progress, &itself, &away, &away);
        };
        let in_huggingface = |repo: &str, revision: &str, settings: &HubSettings, progress: &Progress| {
            hub::find_files(repo, revision, &[file], &[], settings, progress)
        };
        let in_modelscope = |repo: &str, revision: &str, settings: &HubSettings, progress: &Progress| {
            modelscope::find_files((repo, revision), &[file], &[], settings, progress)
        };
        let folder = self.find(&single.at, progress, &itself, &in_huggingface, &in_modelscope)?;
        Ok(folder.join(file))
    }

    fn find<T>(
        &self,
        source: &Source,
        progress: &Progress,
        here: &dyn Fn(&Path) -> Result<T>,
        huggingface: Find<T>,
        modelscope: Find<T>,
    ) -> Result<T> {
        match source {
            Source::Path(path) => here(path),
            Source::Builtin(builtin) => here(&super::builtin::unpack(*builtin)?),
            Source::SingleFile(single) => self.find(&single.at, progress, here, huggingface, modelscope),
            Source::ModelScope { repo, revision } => {
                modelscope(repo, revision, &self.modelscope, progress).map_err(|f| f.error)
            }
            Source::HuggingFace { repo, revision, modelscope: second } => {
                let first = huggingface(repo, revision, &self.huggingface, progress);
                match (first, second) {
                    (Ok(found), _) => Ok(found),
                    (Err(failed), Some(second)) if failed.unreachable => {
                        progress.line(match self.huggingface.offline {
                            Some(variable) => format!("{variable} is set; looking for {second} in ModelScope's cache"),
                            None => format!(
                                "Hugging Face cannot be reached at {}; trying ModelScope's {second}",
                                self.huggingface.endpoint
                            ),
                        });
                        modelscope(second, MASTER, &self.modelscope, progress).map_err(|f| both(failed.error, &f.error))
                    }
                    (Err(failed), _) => Err(failed.error),
                }
            }
        }
    }
}

/// A repository of which no file is named.
fn away(repo: &str, _: &str, _: &HubSettings, _: &Progress) -> Tried<PathBuf> {
    Err(Error::input(format!("{repo}: nothing says which file of it the model is")).hint("add `file`").into())
}

fn both(first: Error, second: &Error) -> Error {
    first.cause(format!("ModelScope, tried next: {}", second.message()))
}

/// The files of a data set that lies on this machine: images as they are, or what they are packed in.
fn here(path: &Path, selection: &Selection, progress: &Progress) -> Result<DataFiles> {
    if path.is_file() && has_pack_ending(&path.to_string_lossy()) {
        let dir = path.parent().unwrap_or(Path::new("")).to_owned();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // A file that is named is meant, whatever it is called; but not where another split is asked for.
        if selection.split.is_some() || selection.subset.is_some() {
            packs::choose(&[name.clone()].into(), selection, &path.display().to_string())?;
        }
        return Ok(DataFiles::new(dir, vec![name], Vec::new()));
    }
    if !path.is_dir() {
        let what = if path.exists() { "not a folder" } else { "there is no such folder" };
        return Err(Error::input(format!("{}: {what}", path.display()))
            .hint("give a folder of pictures under `[dataset] path`"));
    }
    let names = names_in(path);
    let packed: Vec<&String> = names.iter().filter(|name| is_pack(name)).collect();
    // Who has images in a folder means them; shards as the hub has them may lie beside a preview.
    let has_images = names.iter().any(|name| !name.contains('/') && has_image_ending(name));
    if packed.is_empty() || has_images && !packed.iter().any(|name| name.contains("-of-")) {
        return Ok(DataFiles::new(path.to_owned(), Vec::new(), Vec::new()));
    }
    let names = told(pictures::choose(&names, selection, &path.display().to_string())?, progress);
    Ok(DataFiles::new(path.to_owned(), names, Vec::new()))
}
