//! Images with their captions, written into a folder one by one.
//!
//! In: an image file's bytes and its captions. Out: `00000000.jpg`, …, in the order in which they came, and a row each in
//! `metadata.jsonl`. What an image is, is told by its first bytes; what is none gets a name all the same, so that the data set's check
//! names it and `skip_broken` can leave it out.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use fs_err::File;
use serde_json::json;

use crate::error::Result;
use crate::interrupt;

/// One image and what belongs to it.
pub(super) struct Sample {
    pub image: Vec<u8>,
    /// What the file was called, for what its bytes do not tell.
    pub name: Option<String>,
    /// `None`: the data set has none.
    pub captions: Option<Vec<String>>,
}

/// A folder that is being filled.
pub(super) struct Samples {
    folder: PathBuf,
    table: Option<BufWriter<File>>,
    count: usize,
    most: usize,
}

impl Samples {
    /// `most` images, from the first on.
    pub(super) fn new(folder: &Path, most: Option<usize>) -> Self {
        Self { folder: folder.to_owned(), table: None, count: 0, most: most.unwrap_or(usize::MAX) }
    }

    /// Whether no more are wanted.
    pub(super) fn is_full(&self) -> bool {
        self.count >= self.most
    }

    /// Writes one, unless no more are wanted.
    ///
    /// # Errors
    /// It cannot be written; interrupted.
    pub(super) fn add(&mut self, sample: Sample) -> Result<()> {
        interrupt::check_process()?;
        if self.is_full() {
            return Ok(());
        }
        let name = format!("{:08}.{}", self.count, ending(&sample.image, sample.name.as_deref()));
        fs_err::write(self.folder.join(&name), &sample.image)?;
        if let Some(captions) = sample.captions {
            if self.table.is_none() {
                self.table = Some(BufWriter::new(File::create(self.folder.join("metadata.jsonl"))?));
            }
            let row = match &captions[..] {
                [only] => json!({ "file_name": name, "text": only }),
                several => json!({ "file_name": name, "text": several }),
            };
            if let Some(table) = &mut self.table {
                writeln!(table, "{row}")?;
            }
        }
        self.count += 1;
        Ok(())
    }

    /// How many there are, all of them on the disk.
    pub(super) fn finish(self) -> Result<usize> {
        if let Some(mut table) = self.table {
            table.flush()?;
        }
        Ok(self.count)
    }
}

/// By the first bytes, else as the file was called, else `bin`.
fn ending(image: &[u8], name: Option<&str>) -> String {
    let by_bytes = image::guess_format(image).ok().and_then(|format| format.extensions_str().first());
    let by_name = || name?.rsplit_once('.').map(|(_, ending)| ending.to_lowercase());
    let by_name =
        || by_name().filter(|e| !e.is_empty() && e.len() <= 5 && e.bytes().all(|b| b.is_ascii_alphanumeric()));
    by_bytes.map(|ending| (*ending).to_owned()).or_else(by_name).unwrap_or_else(|| "bin".to_owned())
}
