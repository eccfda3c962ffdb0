//! Every key that an experiment may have, in the order of `plan.toml`.
//!
//! In: a walk over the settings. Out: keys with their paths and defaults, tables, and which tables
//! exclude each other.

use super::spelling::Spelling;
use super::{Key, Kind, Setting};

/// A key and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// `train.learning_rate`.
    pub path: String,
    /// Its statement.
    pub key: Key,
    /// Its default, where that depends on nothing.
    pub default: Option<Setting>,
}

/// All keys.
#[derive(Debug, Default)]
pub struct Listing {
    /// The keys.
    pub keys: Vec<Known>,
    /// The tables, each with what it is about, before those in it.
    pub tables: Vec<(String, &'static str)>,
    /// The tables of which an experiment has one: the path of the table that they are in, and their
    /// names.
    pub choices: Vec<(String, Vec<&'static str>)>,
    /// The paths of tables of which an experiment may have several, `[[so]]`.
    pub lists: Vec<String>,
    path: Vec<String>,
}

impl Listing {
    /// The keys of one table, without those of tables in it.
    pub fn of<'a>(&'a self, table: &'a str) -> impl Iterator<Item = &'a Known> {
        self.keys.iter().filter(move |known| known.table() == table)
    }

    /// All older spellings of keys.
    pub(crate) fn spellings(&self) -> Vec<Spelling> {
        let spelling = |known: &Known| Some(Spelling { old: known.key.old?, new: known.path.clone() });
        self.keys.iter().filter_map(spelling).collect()
    }

    pub(super) fn key(&mut self, key: Key, default: Option<Setting>) {
        let path = self.path.iter().map(String::as_str).chain([key.name]).collect::<Vec<_>>().join(".");
        // A text that must have something in it has no default: it is required.
        let is_default = |value: &Setting| *value != Setting::Text(String::new()) || key.kind == Kind::AnyText;
        let default = default.filter(|value| key.usual.is_none() && is_default(value));
        self.keys.push(Known { path, key, default });
    }

    pub(super) fn enter(&mut self, name: &str, about: &'static str) {
        self.path.push(name.into());
        self.tables.push((self.path.join("."), about.trim()));
    }

    pub(super) fn enter_item(&mut self, name: &str, about: &'static str) {
        self.enter(name, about);
        self.lists.push(self.path.join("."));
    }

    pub(super) fn leave(&mut self) {
        self.path.pop();
    }

    pub(super) fn choose(&mut self, names: &[&'static str]) {
        self.choices.push((self.path.join("."), names.into()));
    }
}
