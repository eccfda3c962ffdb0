//! A folder of pictures → [`Picture`]s with captions, in byte order of their relative paths.
//!
//! Captions, first that applies:
//! 1. `prompt` of the experiment, for every picture. The experiment's file is what a reader of the results sees, so what it
//!    says is what is trained; captions that lie in the folder are then not used, and a warning says so.
//! 2. the folder's `metadata.jsonl` or `metadata.csv`;
//! 3. the `.txt` file beside each picture.
//!
//! With a table, pictures may lie in folders below; without one they must lie in the folder itself. All that is wrong with a
//! folder is reported in one error. `skip_broken` leaves out what cannot be used as a picture (a file that is broken, stray
//! or missing), with a warning for each; a picture without a caption or a faulty table stays an error, for there the remedy
//! is a guess.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::cache::sha256;
use super::captions::{Table, read_side_car};
use super::folder::{Entries, METADATA, name, pictures_folder};
use super::image::{BROKEN_HINT, Rgb, decode};
use crate::error::{Error, Result};

/// Problems listed in one error; a folder of the wrong kind would fill the screen many times over.
const MAX_LISTED: usize = 100;

/// The remedy for a picture that nothing describes.
const UNCAPTIONED_HINT: &str =
    "set `prompt` in [dataset], or give each picture a caption: a row in `metadata.jsonl`, or `x.txt` beside `x.jpg`";

/// One picture of a dataset: checked, hashed and captioned. Its pixels are decoded when they are asked for, so a folder of
/// any size fits in memory.
#[derive(Debug, Clone)]
pub struct Picture {
    /// Relative to the folder of the pictures.
    pub path: PathBuf,
    /// What the model is told about it; never empty, unless the experiment's prompt is.
    pub caption: String,
    /// Of the file's bytes, in lower-case hexadecimal.
    pub sha256: String,
    /// Upright, in pixels.
    pub width: usize,
    /// Upright, in pixels.
    pub height: usize,
    file: PathBuf,
}

impl Picture {
    /// Decodes the picture. Fails when the file is no longer what it was when the dataset was loaded.
    pub fn image(&self) -> Result<Rgb> {
        let bytes = fs_err::read(&self.file)?;
        if sha256(&bytes) != self.sha256 {
            return Err(Error::run(format!("`{}` has changed since the run began", self.file.display())));
        }
        decode(&bytes).map_err(|reason| Error::run(format!("`{}` {reason}", self.file.display())))
    }
}

/// What is wrong with a folder, as sentences that name the file.
#[derive(Default)]
struct Problems {
    /// Errors in any case.
    fatal: Vec<String>,
    /// Files that `skip_broken` leaves out.
    broken: Vec<String>,
    /// Pictures without a caption; errors in any case, with a remedy of their own.
    uncaptioned: Vec<String>,
}

/// Loads, checks and captions every picture in `root`. `prompt` is the experiment's; `warn` gets one sentence for each thing
/// that is passed over.
pub fn load_dataset(
    root: &Path,
    prompt: Option<&str>,
    skip_broken: bool,
    warn: &mut dyn FnMut(String),
) -> Result<Vec<Picture>> {
    let base = pictures_folder(root, warn)?;
    let mut problems = Problems::default();
    let table = Table::read(&base, prompt.is_none(), &mut problems.fatal)?;
    let entries = Entries::list(&base, table.is_some())?;
    let (images, side_cars) = sort_files(entries, &mut problems);
    if let Some(table) = &table {
        problems.broken.extend(missing_files(table, &images));
    }
    let captions = Captions { prompt, table: table.as_ref(), side_cars: &side_cars };
    if let Some(unused) = captions.unused() {
        warn(format!("`prompt` of [dataset] is used for every picture; {unused} in `{}` are not used", base.display()));
    }
    let checked: Vec<_> = images.into_par_iter().map(|path| (check(&base, &path), path)).collect();
    let mut pictures = Vec::new();
    for (result, path) in checked {
        match result {
            Err(reason) => problems.broken.push(format!("`{}` {reason}", name(&path))),
            Ok(content) => match captions.of(&base, &path) {
                Ok(caption) => pictures.push(content.into_picture(&base, path, caption)),
                Err(reason) => problems.uncaptioned.push(reason),
            },
        }
    }
    problems.report(&base, skip_broken, warn)?;
    if pictures.is_empty() {
        return Err(Error::input(format!("the dataset folder `{}` holds no pictures", base.display()))
            .hint("put PNG, JPEG or WebP files into it, or set `path` in [dataset] to the folder that has them"));
    }
    Ok(pictures)
}

/// The pictures `paths` in the folder `base`, and no others, each with this caption.
///
/// # Errors
/// One of them is missing or no picture.
pub fn load_pictures(base: &Path, paths: impl IntoIterator<Item = PathBuf>, caption: &str) -> Result<Vec<Picture>> {
    let load = |path: PathBuf| match check(base, &path) {
        Ok(content) => Ok(content.into_picture(base, path, caption.to_owned())),
        Err(reason) => Err(Error::run(format!("`{}` {reason}", base.join(path).display()))),
    };
    paths.into_iter().map(load).collect()
}

/// Parts the files into pictures and captions' files. What cannot be either is a problem: folders that were not entered,
/// tables in a form that is not read, captions without a picture.
fn sort_files(entries: Entries, problems: &mut Problems) -> (Vec<PathBuf>, BTreeSet<PathBuf>) {
    for folder in entries.folders {
        problems.broken.push(format!(
            "`{}/` is a folder; pictures in folders are used only where a `metadata.jsonl` or `metadata.csv` names them",
            name(&folder)
        ));
    }
    let (texts, images): (Vec<_>, Vec<_>) = entries
        .files
        .into_iter()
        .filter(|path| !METADATA.iter().any(|table| path.as_os_str() == *table))
        .partition(|path| path.extension().is_some_and(|extension| extension == "txt"));
    let stems: BTreeSet<_> = images.iter().map(|path| path.with_extension("")).collect();
    let (side_cars, stray): (Vec<_>, Vec<_>) =
        texts.into_iter().partition(|text| stems.contains(&text.with_extension("")));
    problems.broken.extend(stray.iter().map(|text| format!("`{}` has no picture of its name beside it", name(text))));
    (images, side_cars.into_iter().collect())
}

/// Rows of the table whose picture is not there.
fn missing_files(table: &Table, images: &[PathBuf]) -> Vec<String> {
    let present: BTreeSet<String> = images.iter().map(|path| name(path)).collect();
    let missing = table.rows.iter().filter(|(file, _)| !present.contains(*file));
    missing.map(|(file, row)| format!("`{}` line {}: the file `{file}` does not exist", table.file, row.line)).collect()
}

/// What checking a file yields, beside the assurance that it can be decoded.
struct Content {
    sha256: String,
    width: usize,
    height: usize,
}

impl Content {
    fn into_picture(self, base: &Path, path: PathBuf, caption: String) -> Picture {
        let Self { sha256, width, height } = self;
        Picture { file: base.join(&path), path, caption, sha256, width, height }
    }
}

fn check(base: &Path, path: &Path) -> std::result::Result<Content, String> {
    if path.extension().is_some_and(|extension| extension == "parquet") {
        return Err("is a Parquet file; extract the pictures from it and list them in a `metadata.jsonl`".to_owned());
    }
    let bytes = fs_err::read(base.join(path)).map_err(|e| format!("cannot be read: {e}"))?;
    let Rgb { width, height, .. } = decode(&bytes)?;
    Ok(Content { sha256: sha256(&bytes), width, height })
}

/// Where captions come from.
struct Captions<'a> {
    prompt: Option<&'a str>,
    table: Option<&'a Table>,
    side_cars: &'a BTreeSet<PathBuf>,
}

impl Captions<'_> {
    /// The captions that the experiment's prompt puts aside, as a sentence's subject.
    fn unused(&self) -> Option<String> {
        self.prompt?;
        match (self.table, self.side_cars.len()) {
            (Some(table), _) => Some(format!("the captions of `{}`", table.file)),
            (None, 0) => None,
            (None, n) => Some(format!("the captions of {n} `.txt` file(s)")),
        }
    }

    /// The caption of one picture, or a sentence that says why it has none.
    fn of(&self, base: &Path, path: &Path) -> std::result::Result<String, String> {
        if let Some(prompt) = self.prompt {
            return Ok(prompt.to_owned());
        }
        if let Some(table) = self.table {
            let text = table.rows.get(&name(path)).and_then(|row| row.text.clone());
            return text.ok_or_else(|| format!("`{}` has no row in `{}`", name(path), table.file));
        }
        let text = path.with_extension("txt");
        if !self.side_cars.contains(&text) {
            return Err(format!("`{}` has no caption", name(path)));
        }
        read_side_car(&base.join(&text)).map_err(|reason| format!("`{}` {reason}", name(&text)))
    }
}

impl Problems {
    /// One error with everything in it, or, with `skip_broken` and nothing worse, a warning for each file left out.
    fn report(mut self, base: &Path, skip_broken: bool, warn: &mut dyn FnMut(String)) -> Result<()> {
        let mut hints = Vec::new();
        if skip_broken {
            self.broken.drain(..).for_each(|problem| warn(format!("left out: {problem}")));
        } else if !self.broken.is_empty() {
            hints.push(BROKEN_HINT);
        }
        if !self.uncaptioned.is_empty() {
            hints.push(UNCAPTIONED_HINT);
        }
        let all = [self.fatal, self.uncaptioned, self.broken].concat();
        if all.is_empty() {
            return Ok(());
        }
        let problems = if all.len() == 1 { "a problem".to_owned() } else { format!("{} problems", all.len()) };
        let mut error = Error::input(format!("the dataset folder `{}` has {problems}", base.display()));
        for problem in all.iter().take(MAX_LISTED) {
            error = error.cause(problem);
        }
        if all.len() > MAX_LISTED {
            error = error.cause(format!("and {} more", all.len() - MAX_LISTED));
        }
        Err(if hints.is_empty() { error } else { error.hint(hints.join("; ")) })
    }
}
