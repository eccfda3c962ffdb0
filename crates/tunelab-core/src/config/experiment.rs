//! What a person may write: one TOML file, and `--set key.path=value` arguments on top of it.
//!
//! In: the file's text and the arguments. Out: an [`Experiment`], a tree of values that all
//! remember where they were written, so that every later complaint can point at its line. The tree
//! says nothing about which keys exist: those are stated in [`crate::config::keys`], whose `Visit`
//! reads the tree through `Section`; `tunelab keys` prints them.
//!
//! # Several runs in one file
//!
//! Each `[[variant]]` is a run of its own, in the folder `<name>-<variant's name>`: the file's
//! keys, and over them the variant's. It may say any key (`adapter.lora.rank = 16`); another
//! adapter than the file's takes that one's place.
//!
//! `[sweep]` states a run for each combination of keys' values, `<name>-<keys and values>`; with variants too, each of them
//! for each variant.
//!
//! # The stand-in
//!
//! `[stand_in]` holds any keys. Laid over the experiment (and over its variant) as a variant's are,
//! they give what is run in its place, into `<name>-stand-in`, where no hub can be reached and the
//! model or the pictures are not on this machine. The results say so everywhere.
//!
//! # Arguments
//!
//! `--set` replaces what the file, its variants and its stand-in say for that key, and where two
//! keys exclude each other (`path` and `repo`, `steps` and `epochs`) one given by `--set` or a
//! variant wins over one from the file. A relative path in the file starts at the file's folder,
//! one in `--set` at the working folder.

mod encoding;
mod foreign;
mod older;
mod overlay;
mod place;
mod problem;
mod reader;
mod section;
mod stand_in;
mod sweep;
mod tree;
mod variants;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::config::keys::spelling::Spelling;
use crate::error::{Error, Result};
pub(crate) use encoding::{NotUtf8, decode};
pub(crate) use foreign::is_settings;
use overlay::Rivals;
pub(crate) use place::{Place, Text};
pub(crate) use problem::{Problem, report};
pub(crate) use reader::Reader;
pub use reader::similar;
pub use section::NOT_SAFETENSORS;
pub(crate) use section::{Section, is_repository};
use stand_in::Trees;
use sweep::{Combination, Combinations};
pub(crate) use tree::{Entry, Table, Value};
use variants::Variant;

/// Experiments are small; a larger file is something else (weights, a log) that was named by
/// mistake.
const LARGEST_FILE: u64 = 1 << 20;

/// One experiment as it was written: the file, with one of its variants and the `--set` arguments
/// laid over it; and its stand-in.
#[derive(Debug)]
pub struct Experiment {
    pub(crate) file: PathBuf,
    pub(crate) texts: Rc<[Text]>,
    /// What is wrong with the variant itself; then there is nothing to read.
    pub(crate) problems: Vec<Problem>,
    pub(crate) root: Table,
    /// The variant's name, where the file states several.
    pub(crate) variant: Option<String>,
    /// Where the file has a `[sweep]`, the keys that it gives values.
    pub(crate) swept: Rc<[String]>,
    /// The name of the `[[variant]]` alone, without the sweep's combination.
    pub(crate) named_variant: Option<String>,
    /// The tree of what stands in for it where its model or pictures cannot be had.
    pub(crate) stand_in: Option<Table>,
}

impl Experiment {
    /// Reads the file and lays the `--set` arguments over each of its variants; one experiment, if
    /// it has none. `older` are spellings of keys in earlier versions.
    ///
    /// Errors: the file cannot be read or is no TOML (every syntax error is listed), or an argument
    /// is no `key.path=value`. A variant that has no name or another's keeps that as its own
    /// problem.
    pub(crate) fn load(file: &Path, set: &[String], older: &[Spelling]) -> Result<Vec<Self>> {
        Self::parse(&read(file)?, file, set, older)
    }

    /// As [`Experiment::load`] with the file's text at hand; `file` gives the name and the folder
    /// of relative paths.
    pub(crate) fn parse(text: &str, file: &Path, set: &[String], older: &[Spelling]) -> Result<Vec<Self>> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut texts = vec![Text { title: file.display().to_string(), text: text.into() }];
        texts.extend(set.iter().map(|arg| Text { title: "--set".into(), text: arg.clone() }));
        let mut problems = Vec::new();
        let mut base = tree::parse_document(text, &mut problems);
        if let Some(error) = foreign::refuse(text, file, &base, problems.is_empty()) {
            return Err(error);
        }
        older::rename(&mut base, older, &mut problems);
        let mut arguments = Vec::new();
        for (i, arg) in set.iter().enumerate() {
            match tree::parse_argument(arg, i + 1) {
                Ok(mut table) => {
                    older::rename(&mut table, older, &mut problems);
                    arguments.push(table);
                }
                Err(problem) => problems.push(problem),
            }
        }
        let variants = variants::take(&mut base, &mut arguments, &mut problems);
        let Combinations { keys, all: combinations } = sweep::take(&mut base, &mut arguments, &mut problems);
        let shared: Rc<[Text]> = texts.into();
        let keys: Rc<[String]> = keys.into();
        let experiment = |variant: std::result::Result<Variant, Problem>, (combination, swept): &Combination| {
            let (variant, over, mut problems) = match variant {
                Ok((variant, over)) => (variant, over, Vec::new()),
                Err(problem) => (None, Table::new(), vec![problem]),
            };
            let mut root = base.clone();
            overlay::lay(&mut root, over, Rivals::Variant);
            // What is swept is the last word but for arguments, which cannot say the same keys.
            let last: Vec<Table> = [swept].into_iter().chain(&arguments).cloned().collect();
            let Trees { own, stand_in } = stand_in::part(&root, &last, &mut problems);
            let named_variant = variant.clone();
            let variant = match (variant, combination.as_str()) {
                (variant, "") => variant,
                (None, combination) => Some(combination.to_owned()),
                (Some(variant), combination) => Some(format!("{variant}-{combination}")),
            };
            let (texts, swept) = (Rc::clone(&shared), Rc::clone(&keys));
            Self { file: file.into(), texts, problems, root: own, variant, swept, named_variant, stand_in }
        };
        let all =
            variants.iter().flat_map(|variant| combinations.iter().map(move |combination| (variant, combination)));
        let experiments: Vec<Self> =
            all.map(|(variant, combination)| experiment(variant.clone(), combination)).collect();
        if problems.is_empty() {
            return Ok(experiments);
        }
        problems.extend(experiments.into_iter().flat_map(|experiment| experiment.problems));
        Err(report(problems, &shared))
    }
}

fn read(file: &Path) -> Result<String> {
    let shown = file.display();
    if file.is_dir() {
        let error = Error::input(format!("{shown} is a folder, not an experiment's TOML file"));
        let plan = file.join("plan.toml");
        let hint = format!("the experiment of this results folder is {}", plan.display());
        return Err(if plan.is_file() { error.hint(hint) } else { error });
    }
    let mut bytes = Vec::new();
    fs_err::File::open(file).and_then(|open| open.take(LARGEST_FILE + 1).read_to_end(&mut bytes)).map_err(|e| {
        Error::input(format!("cannot read the experiment {shown}"))
            .cause(e)
            .hint("give the path of a TOML file, such as experiments/lora_dog.toml")
    })?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(Error::input(format!("{shown} is larger than 1 MiB: this is no experiment's TOML file")));
    }
    encoding::text(bytes, &shown.to_string())
}
