//! Where files come from: the model or the images.
//!
//! In: `[model]` or `[dataset]`, or what `--model` names. Out: a [`Source`], which says what to
//! fetch, if anything. A model in one file on this machine is looked at here: what it is, is said
//! with the key.

use std::path::{Path, PathBuf};

use super::experiment::{NOT_SAFETENSORS, Section, is_repository};
use super::keys::{Key, Named, Stated, Visit, folder, folder_or_model, folder_or_pack, one_of, repository, text};
use super::selection;
use crate::builtin::Builtin;
use crate::error::{Error, Result};
use crate::weights::original::recognise;
use crate::weights::{SAFETENSORS, has_weights_ending};

/// Where files come from: the model or the images.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// A local folder: absolute, and it existed when the plan was made.
    Path(PathBuf),
    /// A repository on Hugging Face.
    HuggingFace {
        /// `owner/name`.
        repo: String,
        /// Branch, tag or commit.
        revision: String,
        /// A ModelScope repository to try when Hugging Face cannot be reached.
        modelscope: Option<String>,
    },
    /// A repository on ModelScope.
    ModelScope {
        /// `owner/name`.
        repo: String,
        /// Branch, tag or commit.
        revision: String,
    },
    /// Compiled into this program.
    Builtin(Builtin),
    /// A model in one file.
    SingleFile(Box<FileSource>),
}

/// Where a model in one file comes from, and what it lacks.
#[derive(Debug, Clone, PartialEq)]
pub struct FileSource {
    /// The file, or the repository that has it.
    pub at: Source,
    /// Its name in the repository; none for a file on this machine.
    pub file: Option<String>,
    /// A folder in diffusers' layout whose configurations, tokenizer and scheduler go with it, in
    /// place of those that are compiled in.
    pub config: Option<PathBuf>,
}

/// What a source is of.
#[derive(Debug, Clone, Copy)]
pub(super) enum Role {
    Model,
    Dataset,
}

/// The keys as they are written: not all of them count.
#[derive(Default)]
struct Written {
    path: Option<PathBuf>,
    repo: Option<String>,
    revision: Option<String>,
    modelscope: Option<String>,
    file: Option<String>,
    config: Option<PathBuf>,
    builtin: Option<Builtin>,
}

const KEYS: [&str; 5] = ["path", "repo", "revision", "modelscope", "builtin"];

/// Those of a model.
const MODEL_KEYS: [&str; 7] = ["path", "repo", "file", "revision", "modelscope", "config", "builtin"];

impl Role {
    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Model => &MODEL_KEYS,
            Self::Dataset => &KEYS,
        }
    }

    fn builtin(self) -> Key {
        let names = |all: &[(&'static str, Builtin)]| one_of(&all.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        let (key, doc) = match self {
            Self::Model => (names(&Builtin::MODELS), "The miniature that this program brings along; stands alone."),
            Self::Dataset => (names(&Builtin::DATASETS), "Five small images of one dog; stands alone."),
        };
        key.named("builtin", doc)
    }

    fn missing(self) -> &'static str {
        match self {
            Self::Model => "which model to train",
            Self::Dataset => "which pictures to train on",
        }
    }
}

impl Named for Builtin {
    fn names() -> Vec<(&'static str, Self)> {
        Self::MODELS.into_iter().chain(Self::DATASETS).collect()
    }
}

impl Written {
    fn new(source: &Source) -> Self {
        match source.clone() {
            Source::Path(path) => Self { path: Some(path), ..Self::default() },
            Source::HuggingFace { repo, revision, modelscope } => {
                Self { repo: Some(repo), revision: Some(revision), modelscope, ..Self::default() }
            }
            Source::ModelScope { repo, revision } => {
                Self { modelscope: Some(repo), revision: Some(revision), ..Self::default() }
            }
            Source::Builtin(builtin) => Self { builtin: Some(builtin), ..Self::default() },
            Source::SingleFile(single) => {
                let FileSource { at, file, config } = *single;
                Self { file, config, ..Self::new(&at) }
            }
        }
    }

    fn key(&mut self, name: &str, role: Role, visit: &mut Visit) {
        match name {
            "path" => {
                let key = match role {
                    Role::Model => folder_or_model().named("path", MODEL_PATH),
                    Role::Dataset => folder_or_pack().named("path", DATASET_PATH),
                };
                visit.key(key, &mut self.path);
            }
            "file" => visit.key(text().named("file", FILE), &mut self.file),
            "config" => visit.key(folder().named("config", CONFIG).usual("what is compiled in"), &mut self.config),
            "repo" => visit.key(repository().named("repo", "A repository on Hugging Face."), &mut self.repo),
            "revision" => {
                let doc = "Branch, tag or commit of `repo`, or of `modelscope` where there is no `repo`.";
                visit.key(text().named("revision", doc).usual("main (ModelScope: master)"), &mut self.revision);
            }
            "modelscope" => {
                let doc = "A repository on ModelScope: alone, or for when Hugging Face cannot be reached.";
                visit.key(repository().named("modelscope", doc), &mut self.modelscope);
            }
            _ => visit.key(role.builtin(), &mut self.builtin),
        }
    }

    fn source(self, role: Role) -> Source {
        let Self { path, repo, revision, modelscope, file, config, builtin } = self;
        let or = |usual: &str| revision.clone().unwrap_or_else(|| usual.into());
        let file = file.filter(|_| path.is_none());
        let is_model = matches!(role, Role::Model);
        let is_file = is_model && (file.is_some() || path.as_ref().is_some_and(|path| path.is_file()));
        let at = match (builtin, path, repo, modelscope) {
            (Some(builtin), ..) => Source::Builtin(builtin),
            (_, Some(path), ..) => Source::Path(path),
            (_, _, Some(repo), modelscope) => Source::HuggingFace { repo, revision: or("main"), modelscope },
            (_, _, None, Some(repo)) => Source::ModelScope { repo, revision: or("master") },
            (_, _, None, None) => Source::nowhere(),
        };
        match at {
            Source::Builtin(_) => at,
            _ if is_file => Source::SingleFile(Box::new(FileSource { at, file, config })),
            _ => at,
        }
    }
}

const MODEL_PATH: &str =
    "A model's folder in diffusers' layout, or a model in one .safetensors file; wins over `repo` and `modelscope`.";
const DATASET_PATH: &str = "A folder, or a .parquet, .tar or .zip file; wins over `repo` and `modelscope`.";
const FILE: &str = "The model in one .safetensors file of the repository, in place of its folders.";
const CONFIG: &str = "For a model in one file: a folder in diffusers' layout whose config.json files, tokenizer and scheduler go with it.";

/// The keys that count in a table, after complaints about those beside them.
fn counting(s: &Section, role: Role) -> &'static [&'static str] {
    if s.has("builtin") {
        s.accept(&["revision"]);
        let others = role.keys().iter().filter(|key| !["revision", "builtin"].contains(key) && s.has(key));
        for other in others {
            s.reject(other, format!("`{other}` beside `builtin`: only one of them can count"), "leave one out");
        }
        return &["builtin"];
    }
    let is_model = matches!(role, Role::Model);
    if !is_model && s.has_tables("sources") {
        s.accept(role.keys());
        for key in role.keys().iter().chain(&selection::KEYS).filter(|key| s.has(key)) {
            s.reject(key, format!("`{key}` beside `sources`, which say where the images come from"), "leave one out");
        }
        return &[];
    }
    if s.has("path") {
        s.accept(&["repo", "modelscope", "revision"]);
        if is_model {
            s.accept(&["file"]);
        }
        return if is_model { &["path", "config"] } else { &["path"] };
    }
    if !s.has("repo") && !s.has("modelscope") {
        s.missing(role.missing(), "`path`, `repo`, `modelscope` or `builtin`");
    }
    if is_model { &["revision", "repo", "modelscope", "file", "config"] } else { &["revision", "repo", "modelscope"] }
}

/// Complaints about a model in one file: what it is, or that it is none.
fn check(s: &Section, source: &Source) {
    match source {
        Source::SingleFile(single) => {
            if let Some(file) = &single.file {
                let is_plain = |name: &str| !["", ".", ".."].contains(&name) && !name.contains(['\\', ':']);
                if !file.split('/').all(is_plain) {
                    s.reject("file", format!("`file`: {file:?} cannot be a file in a repository"), "");
                } else if !file.to_lowercase().ends_with(SAFETENSORS) {
                    s.reject("file", format!("`file`: {file} is no .safetensors file"), NOT_SAFETENSORS);
                }
            }
            if let (Source::Path(path), None) = (&single.at, &single.file)
                && let Err(error) = recognise(path)
            {
                s.reject("path", format!("`path`: {}", error.line()), error.remedy().unwrap_or_default());
            }
        }
        _ if s.has("config") => {
            s.reject(
                "config",
                "`config` goes with a model in one file, and this is a folder's or a repository's",
                "leave it out",
            );
        }
        _ => {}
    }
}

impl Stated<Source> for Role {
    fn state(self, _name: &'static str, _doc: &'static str, field: &mut Source, visit: &mut Visit) {
        let (mut written, keys): (_, &[&str]) = match (visit.section(), &*field) {
            (Some(section), _) => (Written::default(), counting(section, self)),
            _ if visit.lists() => (Written::default(), self.keys()),
            (None, _) if *field == Source::nowhere() => (Written::default(), &[]),
            (None, Source::ModelScope { .. }) => (Written::new(field), &["modelscope", "revision"]),
            (None, _) => (Written::new(field), self.keys()),
        };
        for key in keys {
            written.key(key, self, visit);
        }
        *field = written.source(self);
        if let (Self::Model, Some(section)) = (self, visit.section()) {
            check(section, field);
        }
    }
}

impl Source {
    /// As a plan has it whose source is not known.
    pub(super) fn nowhere() -> Self {
        Self::Path(PathBuf::new())
    }

    /// A model in one file on this machine.
    pub fn of_file(path: PathBuf) -> Self {
        Self::SingleFile(Box::new(FileSource { at: Self::Path(path), file: None, config: None }))
    }

    /// The same with the configurations, the tokenizer and the scheduler of a folder.
    ///
    /// Errors: it is no single file, or there is no such folder.
    pub fn with_config(self, config: &Path) -> Result<Self> {
        let Self::SingleFile(single) = self else {
            return Err(Error::input("a configuration goes with a model in one file").hint("leave it out"));
        };
        let folder = fs_err::canonicalize(config).ok().filter(|path| path.is_dir());
        let folder = folder.ok_or_else(|| Error::input(format!("{}: there is no such folder", config.display())))?;
        Ok(Self::SingleFile(Box::new(FileSource { config: Some(folder), ..*single })))
    }

    /// The same where it was found: a repository's as the folder or file on this machine.
    #[must_use]
    pub fn found_at(&self, root: &Path) -> Self {
        match self {
            _ if self.is_here() => self.clone(),
            Self::SingleFile(single) => {
                let at = Self::Path(root.to_path_buf());
                Self::SingleFile(Box::new(FileSource { at, file: None, config: single.config.clone() }))
            }
            _ => Self::Path(root.to_path_buf()),
        }
    }

    /// What `--model` names: `builtin:mini`, a folder or file that exists, otherwise a repository
    /// `owner/name` on Hugging Face.
    ///
    /// Errors: none of them.
    pub fn from_argument(text: &str) -> Result<Self> {
        if let Some(name) = text.strip_prefix("builtin:") {
            return Self::builtin_model(name);
        }
        if let Ok(path) = fs_err::canonicalize(text) {
            return Ok(if path.is_file() { Self::of_file(path) } else { Self::Path(path) });
        }
        if has_weights_ending(text) {
            return Err(Error::input(format!("no model: there is no file {text:?}"))
                .hint("give a model in one file, a folder in diffusers' layout or a repository's `owner/name`"));
        }
        if is_repository(text) {
            return Ok(Self::HuggingFace { repo: text.into(), revision: "main".into(), modelscope: None });
        }
        Err(Error::input(format!("no model: {text:?} is neither a folder here nor a repository's `owner/name`")))
    }

    fn builtin_model(name: &str) -> Result<Self> {
        if let Some((_, builtin)) = Builtin::MODELS.iter().find(|(known, _)| *known == name) {
            return Ok(Self::Builtin(*builtin));
        }
        let known = Builtin::MODELS.map(|(_, builtin)| builtin.to_string()).join(", ");
        Err(Error::input(format!("no model called {name:?} is built in")).hint(format!("there is {known}")))
    }

    /// `builtin:mini`, `owner/name`, or a folder's last name: no path of this machine goes into
    /// what is shared.
    pub fn short(&self) -> String {
        match self {
            Self::Path(path) => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            Self::HuggingFace { repo, .. } | Self::ModelScope { repo, .. } => repo.clone(),
            Self::Builtin(builtin) => builtin.to_string(),
            Self::SingleFile(single) => match &single.file {
                Some(file) => format!("{}/{file}", single.at.short()),
                None => single.at.short(),
            },
        }
    }

    /// Is it on this machine by its very nature, so that no hub is ever asked?
    pub fn is_here(&self) -> bool {
        match self {
            Self::Path(_) | Self::Builtin(_) => true,
            Self::SingleFile(single) => single.at.is_here(),
            Self::HuggingFace { .. } | Self::ModelScope { .. } => false,
        }
    }
}
