//! The experiments that a command names: files, or folders of files.
//!
//! In: paths and `--set` arguments. Out: each file with its plans or its problems, as a whole and
//! variant by variant, in the order of the arguments, each file once; and whether two of them,
//! stand-ins included, would write into one results folder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::resolve::{self, Resolved};
use super::{Plan, Planned};
use crate::config::experiment::{Experiment, is_settings, similar};
use crate::error::{Error, Result};

/// A file and what it says: one plan, or one for each variant, with their stand-ins.
#[derive(Debug)]
pub struct Loaded {
    /// As it was named, or found in a folder that was named.
    pub file: PathBuf,
    /// All its problems, if it has any.
    pub error: Option<Error>,
    /// Each variant's name, if it has one, and its plan or its own problems; nothing, where the
    /// file as a whole cannot be read.
    pub variants: Vec<(Option<String>, Result<Planned>)>,
    /// What its `[sweep]` states, if it has one and all is right with it.
    pub sweep: Option<Sweep>,
}

/// What a `[sweep]` states.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sweep {
    /// The experiment's name, with which every run's begins.
    pub name: String,
    /// The paths of the keys that are given values, in the order of the names' parts.
    pub keys: Vec<String>,
    /// Its runs.
    pub runs: Vec<SweptRun>,
    /// Those whose folder holds the results of another plan, of before the file was changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outdated: Vec<String>,
}

/// One run of a sweep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweptRun {
    /// Its name.
    pub name: String,
    /// The name of what stands in for it, if anything does.
    pub stand_in: Option<String>,
    /// The `[[variant]]` that it belongs to, if the file has any.
    pub variant: Option<String>,
}

impl Loaded {
    /// Reads a file.
    pub fn of(file: PathBuf, set: &[String]) -> Self {
        match Experiment::load(&file, set, &Plan::keys().spellings()) {
            Ok(found) => {
                let Resolved { error, variants } = resolve::resolve_each(&found);
                let sweep = if error.is_none() { Sweep::of(&found, &variants) } else { None };
                Self { file, error, variants, sweep }
            }
            Err(error) => Self { file, error: Some(error), variants: Vec::new(), sweep: None },
        }
    }

    /// The plans of the variants that have no problem.
    pub fn plans(&self) -> impl Iterator<Item = &Planned> {
        self.variants.iter().filter_map(|(_, planned)| planned.as_ref().ok())
    }
}

impl Sweep {
    fn of(experiments: &[Experiment], variants: &[(Option<String>, Result<Planned>)]) -> Option<Self> {
        let (first, (variant, planned)) = (experiments.first()?, variants.first()?);
        if first.swept.is_empty() {
            return None;
        }
        let behind = format!("-{}", variant.as_deref()?);
        let name = planned.as_ref().ok()?.plan.name.strip_suffix(&behind)?.to_owned();
        let run = |(of, (_, planned)): (&Experiment, &(_, Result<Planned>))| {
            let Planned { plan, stand_in } = planned.as_ref().ok()?;
            let stand_in = stand_in.as_ref().map(|plan| plan.name.clone());
            Some(SweptRun { name: plan.name.clone(), stand_in, variant: of.named_variant.clone() })
        };
        let runs = experiments.iter().zip(variants).filter_map(run).collect();
        Some(Self { name, keys: first.swept.to_vec(), runs, outdated: Vec::new() })
    }
}

/// Loads everything that `paths` name; a folder stands for its `*.toml` files in the order of their
/// names. `note` hears which of them are passed over.
///
/// Errors: a folder cannot be read or holds no such file. What is wrong in a file is in its own
/// result.
pub fn load(paths: &[PathBuf], set: &[String], note: &mut dyn FnMut(String)) -> Result<Vec<Loaded>> {
    let mut seen = BTreeSet::new();
    let mut loaded = Vec::new();
    let files = paths.iter().map(|path| expand(path, note)).collect::<Result<Vec<_>>>()?;
    for file in files.into_iter().flatten() {
        let same = fs_err::canonicalize(&file).unwrap_or_else(|_| file.clone());
        if seen.insert(same) {
            loaded.push(Loaded::of(file, set));
        }
    }
    Ok(loaded)
}

/// Those of the experiments that have one of the names, their stand-ins' among them; all, where no name is given.
///
/// # Errors
/// Wrong input: there is none of such a name; the hint has the nearest.
pub fn only(planned: impl Iterator<Item = Planned>, names: &[String]) -> Result<Vec<Planned>> {
    let mut planned: Vec<Planned> = planned.collect();
    let is_called = |of: &Planned, name: &String| {
        of.plan.name == *name || of.stand_in.as_ref().is_some_and(|stand_in| stand_in.name == *name)
    };
    if let Some(unknown) = names.iter().find(|name| !planned.iter().any(|of| is_called(of, name))) {
        let all: Vec<&str> = planned.iter().map(|of| of.plan.name.as_str()).collect();
        let near = similar(unknown, &all).map_or_else(String::new, |near| format!("did you mean {near}? "));
        return Err(Error::input(format!("there is no run called {unknown}"))
            .hint(format!("{near}`tunelab plan FILE` lists the runs of a file")));
    }
    planned.retain(|of| names.is_empty() || names.iter().any(|name| is_called(of, name)));
    Ok(planned)
}

/// The files that a path stands for. A results folder stays itself: reading it says what to name in
/// its place.
fn expand(path: &Path, note: &mut dyn FnMut(String)) -> Result<Vec<PathBuf>> {
    if !path.is_dir() || path.join("plan.toml").is_file() {
        return Ok(vec![path.into()]);
    }
    let entries = fs_err::read_dir(path).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let entries = entries.map_err(|e| Error::input(format!("cannot read the folder {}", path.display())).cause(e))?;
    let is_toml = |file: &PathBuf| file.extension().is_some_and(|e| e.eq_ignore_ascii_case("toml")) && file.is_file();
    let mut files: Vec<PathBuf> = entries.iter().map(fs_err::DirEntry::path).filter(is_toml).collect();
    files.sort();
    let (files, others): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| !is_anothers(file));
    if let [first, more @ ..] = others.as_slice() {
        let names = more.iter().fold(first.display().to_string(), |names, file| format!("{names}, {}", file.display()));
        note(format!("passed over, as no experiment: {names}"));
    }
    if files.is_empty() {
        return Err(Error::input(format!("the folder {} holds no experiment (*.toml)", path.display())));
    }
    Ok(files)
}

/// Whether a file of this name is another program's: hidden ones, such as `._x.toml` that macOS
/// leaves beside `x.toml` on foreign disks, and the settings of projects.
fn is_anothers(file: &Path) -> bool {
    file.file_name().unwrap_or_default().to_string_lossy().starts_with('.') || is_settings(file)
}

/// Complains about each file that states an experiment of a name that another states before it.
/// Upper and lower case are one, as some file systems have it.
pub fn clashes(loaded: &[Loaded]) -> Vec<Error> {
    let mut names: BTreeMap<String, &Path> = BTreeMap::new();
    let mut errors = Vec::new();
    for of in loaded {
        let file = &of.file;
        for plan in of.plans().flat_map(|planned| [&planned.plan].into_iter().chain(&planned.stand_in)) {
            if let Some(other) = names.insert(plan.name.to_lowercase(), file) {
                let is_one = file == other;
                let (file, other, name) = (file.display(), other.display(), &plan.name);
                errors.push(if is_one {
                    Error::input(format!("two runs of {file} would be called {name}"))
                        .hint("upper and lower case are one in names; write their values otherwise, or leave one out")
                } else {
                    Error::input(format!("{file} has the same name as {other}: {name}"))
                        .hint("both would write into one results folder; give one of them another `name`")
                });
            }
        }
    }
    errors
}
