//! The files of a data set, wherever they came from.
//!
//! In: their names in a folder. Out: a folder of images, which are unpacked if they were packed.

use std::path::PathBuf;

use super::data_folder::DataFolder;
use super::native;
use super::pack_kind::is_pack;
use super::packs::{self, Chosen, Files};
use crate::config::Selection;
use crate::error::Result;
use crate::progress::Progress;

/// The files of a data set on this machine.
pub(super) struct DataFiles {
    /// Where they lie.
    pub dir: PathBuf,
    /// Their names in it.
    pub names: Vec<String>,
    /// Where they may be unpacked.
    pub roots: Vec<PathBuf>,
    /// The one that is a table of the others, where it is called otherwise than such tables are.
    pub table: Option<String>,
}

impl DataFiles {
    /// Of names in a folder.
    pub(super) fn new(dir: PathBuf, names: Vec<String>, roots: Vec<PathBuf>) -> Self {
        Self { table: native::table_among(&names), dir, names, roots }
    }

    /// As a folder of images.
    pub(super) fn folder(self, selection: &Selection, progress: &Progress) -> Result<DataFolder> {
        let Self { dir, names, roots, table } = self;
        let is_packed = names.iter().any(|name| is_pack(name));
        if !is_packed && table.is_none() {
            return Ok(DataFolder { root: dir, selection: selection.clone(), numbered: None });
        }
        let files = Files { dir: &dir, names: &names, table: table.as_deref() };
        packs::unpack(&files, selection, &roots, progress)
    }
}

/// The names, once what was passed over is told.
pub(super) fn told(chosen: Chosen, progress: &Progress) -> Vec<String> {
    chosen.notes.iter().for_each(|note| progress.warn(note));
    chosen.names
}
