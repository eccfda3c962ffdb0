//! From the `Source` that an experiment names to files on this machine.
//!
//! In: a local folder, a Hugging Face or a ModelScope repository, or something built in. Out: the
//! model's files or the data set's folder. A ModelScope repository that is given beside a Hugging
//! Face one is asked when Hugging Face cannot be reached, and only then: a refusal or a wrong name
//! is told, not hidden behind another source.

use std::path::{Path, PathBuf};

use super::settings::{HubSettings, Hubs};
use super::web::Tried;
use super::{hub, local, modelscope, single_file};
use crate::config::{FileSource, Source};
use crate::error::{Error, Result};
use crate::pipeline::ModelFiles;
use crate::progress::Progress;

/// ModelScope's name for what is `main` elsewhere.
pub const MASTER: &str = "master";

/// Finds the model's files, fetching what is not there; settings from the environment.
pub fn find_model(source: &Source, progress: &Progress) -> Result<ModelFiles> {
    Hubs::from_env().find_model(source, progress)
}

/// Finds the data set's folder, fetching what is not there; settings from the environment.
pub fn find_dataset(source: &Source, progress: &Progress) -> Result<PathBuf> {
    Hubs::from_env().find_dataset(source, progress)
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
            _ => self.find(source, progress, local::find, &hub::find_model, &modelscope::find_model)?,
        };
        for part in files.parts.values().filter(|part| part.half) {
            progress.line(format!("{}: only float16 weights are there; they are widened to float32", part.name));
        }
        Ok(files)
    }

    /// As [`find_dataset`], with these settings.
    pub fn find_dataset(&self, source: &Source, progress: &Progress) -> Result<PathBuf> {
        self.find(source, progress, folder, &hub::find_dataset, &modelscope::find_dataset)
    }

    /// The file of a model in one file, fetched where it is not here.
    fn find_file(&self, single: &FileSource, progress: &Progress) -> Result<PathBuf> {
        let Some(file) = single.file.as_deref() else {
            return self.find(&single.at, progress, |path| Ok(path.to_owned()), &away, &away);
        };
        let in_huggingface = |repo: &str, revision: &str, settings: &HubSettings, progress: &Progress| {
            hub::find_files(repo, revision, &[file], &[], settings, progress)
        };
        let in_modelscope = |repo: &str, revision: &str, settings: &HubSettings, progress: &Progress| {
            modelscope::find_files((repo, revision), &[file], &[], settings, progress)
        };
        let folder = self.find(&single.at, progress, |path| Ok(path.to_owned()), &in_huggingface, &in_modelscope)?;
        Ok(folder.join(file))
    }

    fn find<T>(
        &self,
        source: &Source,
        progress: &Progress,
        here: fn(&Path) -> Result<T>,
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

fn folder(path: &Path) -> Result<PathBuf> {
    if path.is_dir() {
        return Ok(path.to_owned());
    }
    let what = if path.exists() { "not a folder" } else { "there is no such folder" };
    Err(Error::input(format!("{}: {what}", path.display())).hint("give a folder of pictures under `[dataset] path`"))
}
