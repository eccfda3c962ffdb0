//! One picture of a data set.
//!
//! In: a file that was checked, what is said of it, and the mask beside it. Out: its pixels, when they are asked for, and its name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::image::{BROKEN_HINT, Rgb, decode, read_picture};
use super::name::slashed as name;
use super::wording::Wordings;
use crate::error::{Error, Result};
use crate::hash::sha256;

/// One picture of a dataset: checked, hashed and captioned. Its pixels are decoded when they are asked for, so a folder of
/// any size fits in memory; in a large folder for the first time.
#[derive(Debug, Clone)]
pub struct Picture {
    /// Relative to the folder of the pictures.
    pub path: PathBuf,
    /// What its source is called, where there are several.
    pub source: Option<Arc<str>>,
    /// What the model is told about it where nothing is drawn; never empty, unless the experiment's prompt is.
    pub caption: String,
    /// All that the model may be told about it.
    pub wordings: Wordings,
    /// Of the file's bytes, in lower-case hexadecimal.
    pub sha256: String,
    /// Upright, in pixels.
    pub width: usize,
    /// Upright, in pixels.
    pub height: usize,
    /// Where it lies.
    pub(super) file: PathBuf,
    /// The file of its mask, and the hash of that.
    pub(super) mask: Option<(PathBuf, String)>,
}

impl Picture {
    /// As one of several sources' pictures.
    #[must_use]
    pub fn of_source(self, source: Option<Arc<str>>) -> Self {
        Self { source, ..self }
    }

    /// Where the mask beside it lies, if there is one.
    pub fn mask_file(&self) -> Option<&Path> {
        self.mask.as_ref().map(|(file, _)| file.as_path())
    }

    /// The name of the mask beside it in the folder, and the SHA-256 of its bytes.
    pub fn mask(&self) -> Option<(String, &str)> {
        let (file, sha256) = self.mask.as_ref()?;
        let beside = name(&self.path.with_file_name(file.file_name()?));
        Some((self.source.as_ref().map_or_else(|| beside.clone(), |source| format!("{source}/{beside}")), sha256))
    }

    /// Where it lies.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Decodes the picture.
    ///
    /// # Errors
    /// The file is no longer what it was when the dataset was loaded, or is damaged where only its pixels show it.
    pub fn image(&self) -> Result<Rgb> {
        let file = self.file.display();
        let bytes = read_picture(&self.file).map_err(|reason| Error::run(format!("`{file}` {reason}")))?;
        if sha256(&bytes) != self.sha256 {
            return Err(Error::run(format!("`{file}` has changed since the run began")));
        }
        let image = decode(&bytes).and_then(|image| {
            let is_known = (image.width, image.height) == (self.width, self.height);
            if is_known { Ok(image) } else { Err("is damaged: its pixels are fewer than its header says".to_owned()) }
        });
        image.map_err(|reason| Error::input(format!("`{file}` {reason}")).hint(BROKEN_HINT))
    }

    /// Its name in the folder, for records: with `/` on every system, and other than every other picture's whatever bytes the
    /// names have.
    pub fn name(&self) -> String {
        let own = name(&self.path);
        self.source.as_ref().map_or_else(|| own.clone(), |source| format!("{source}/{own}"))
    }
}
