//! Where files come from: the model or the images.
//!
//! In: `[model]` or `[dataset]`, or what `--model` names. Out: a [`Source`], which says what to
//! fetch, if anything.

use std::path::PathBuf;

use super::experiment::{Section, is_repository};
use super::keys::{Key, Named, Stated, Visit, folder, one_of, repository, text};
use crate::builtin::Builtin;
use crate::error::{Error, Result};
use crate::weights::has_weights_ending;

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
    builtin: Option<Builtin>,
}

const KEYS: [&str; 5] = ["path", "repo", "revision", "modelscope", "builtin"];

impl Role {
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
        }
    }

    fn key(&mut self, name: &str, role: Role, visit: &mut Visit) {
        match name {
            "path" => {
                let doc = "A folder (a model's in diffusers' layout); wins over `repo` and `modelscope`.";
                visit.key(folder().named("path", doc), &mut self.path);
            }
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

    fn source(self) -> Source {
        let Self { path, repo, revision, modelscope, builtin } = self;
        let or = |usual: &str| revision.clone().unwrap_or_else(|| usual.into());
        match (builtin, path, repo, modelscope) {
            (Some(builtin), ..) => Source::Builtin(builtin),
            (_, Some(path), ..) => Source::Path(path),
            (_, _, Some(repo), modelscope) => Source::HuggingFace { repo, revision: or("main"), modelscope },
            (_, _, None, Some(repo)) => Source::ModelScope { repo, revision: or("master") },
            (_, _, None, None) => Source::nowhere(),
        }
    }
}

/// The keys that count in a table, after complaints about those beside them.
fn counting(s: &Section, role: Role) -> &'static [&'static str] {
    if s.has("builtin") {
        s.accept(&["revision"]);
        for other in ["path", "repo", "modelscope"].into_iter().filter(|key| s.has(key)) {
            s.reject(other, format!("`{other}` beside `builtin`: only one of them can count"), "leave one out");
        }
        return &["builtin"];
    }
    if s.has("path") {
        s.accept(&["repo", "modelscope", "revision"]);
        return &["path"];
    }
    if !s.has("repo") && !s.has("modelscope") {
        s.missing(role.missing(), "`path`, `repo`, `modelscope` or `builtin`");
    }
    &["revision", "repo", "modelscope"]
}

impl Stated<Source> for Role {
    fn state(self, _name: &'static str, _doc: &'static str, field: &mut Source, visit: &mut Visit) {
        let (mut written, keys): (_, &[&str]) = match (visit.section(), &field) {
            (Some(section), _) => (Written::default(), counting(section, self)),
            _ if visit.lists() => (Written::default(), &KEYS),
            (None, Source::ModelScope { .. }) => (Written::new(field), &["modelscope", "revision"]),
            (None, _) => (Written::new(field), &KEYS),
        };
        for key in keys {
            written.key(key, self, visit);
        }
        *field = written.source();
    }
}

impl Source {
    /// As a plan has it whose source is not known.
    pub(super) fn nowhere() -> Self {
        Self::Path(PathBuf::new())
    }

    /// What `--model` names: `builtin:mini`, a folder or file that exists, otherwise a repository
    /// `owner/name` on Hugging Face.
    ///
    /// Errors: none of them.
    pub fn from_argument(text: &str) -> Result<Self> {
        if let Some(name) = text.strip_prefix("builtin:") {
            return Self::builtin_model(name);
        }
        // A file is named for what it is where its folder would be read.
        if let Ok(path) = fs_err::canonicalize(text) {
            return Ok(Self::Path(path));
        }
        if has_weights_ending(text) {
            return Err(Error::input(format!("no model: there is no file {text:?}")).hint(
                "give a folder in diffusers' layout or a repository's `owner/name`; single files are not read yet",
            ));
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
        }
    }

    /// Is it on this machine by its very nature, so that no hub is ever asked?
    pub fn is_here(&self) -> bool {
        matches!(self, Self::Path(_) | Self::Builtin(_))
    }
}
