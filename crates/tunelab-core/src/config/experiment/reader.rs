//! What was asked while an experiment was read, and everything that was wrong with it.
//!
//! In: the tree. Out: all its problems. What nobody asked for is unknown, so the keys need no
//! second list, and the names that were asked for serve as suggestions.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::{Experiment, Problem, Table, Value};

/// Collects what was asked and what was wrong while an experiment is read.
pub(crate) struct Reader<'a> {
    pub experiment: &'a Experiment,
    pub(super) root: &'a Table,
    problems: RefCell<Vec<Problem>>,
    /// Keys by section ("" is the top level), in the order of asking.
    asked: RefCell<BTreeMap<String, Vec<String>>>,
    /// Keys that were found unknown already, with their sections.
    unknown: RefCell<BTreeSet<String>>,
}

impl<'a> Reader<'a> {
    /// `root` is the experiment's own tree, or its stand-in's.
    pub fn new(experiment: &'a Experiment, root: &'a Table) -> Self {
        let (problems, asked, unknown) = <_>::default();
        Self { experiment, root, problems, asked, unknown }
    }

    /// Everything that was wrong, unknown keys included.
    pub fn finish(self) -> Vec<Problem> {
        self.unknown_keys("", self.root);
        self.problems.into_inner()
    }

    fn unknown_keys(&self, section: &str, table: &Table) {
        let asked = self.asked.borrow();
        let known = asked.get(section).map_or(&[][..], Vec::as_slice);
        for (key, entry) in table {
            let inner = join(section, key);
            if self.unknown.borrow().contains(&inner) {
                continue;
            }
            if !known.contains(key) {
                let place = if section.is_empty() { "at the top level".into() } else { format!("in [{section}]") };
                let problem = Problem::new(entry.key.clone(), format!("unknown key `{key}` {place}"));
                self.push(problem.label(advice(key, section, &asked)));
            } else if asked.contains_key(&inner) {
                match &entry.value {
                    Value::Table(table) => self.unknown_keys(&inner, table),
                    Value::List(items) => {
                        for item in items {
                            if let Value::Table(table) = &item.value {
                                self.unknown_keys(&inner, table);
                            }
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    /// These keys of the section are known.
    pub fn accept(&self, section: &str, names: &[&str]) {
        let mut asked = self.asked.borrow_mut();
        let keys = asked.entry(section.into()).or_default();
        for name in names {
            if !keys.iter().any(|key| key == name) {
                keys.push((*name).into());
            }
        }
    }

    /// This key was found unknown, and a better complaint than the usual one was made about it.
    pub fn refuse(&self, section: &str, key: &str) {
        self.unknown.borrow_mut().insert(join(section, key));
    }

    /// Adds a complaint.
    pub fn push(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }
}

/// What the writer of an unknown key may have meant.
fn advice(key: &str, section: &str, asked: &BTreeMap<String, Vec<String>>) -> String {
    let here: Vec<&str> = asked.get(section).into_iter().flatten().map(String::as_str).collect();
    if let Some(near) = similar(key, &here) {
        return format!("did you mean `{near}`?");
    }
    if let Some((other, _)) = asked.iter().find(|(_, keys)| keys.iter().any(|known| known == key)) {
        return if other.is_empty() {
            "it belongs at the top level".into()
        } else {
            format!("it belongs in [{other}]")
        };
    }
    let all: Vec<String> = here.iter().map(|k| format!("`{k}`")).collect();
    format!("the keys here are {}", all.join(", "))
}

/// The name that `word` is a slip of (`rnak`), the beginning (`warmup`), a longer form
/// (`num_train_epochs`) or the initials (`lr`).
pub fn similar<'k>(word: &str, names: &[&'k str]) -> Option<&'k str> {
    let word = word.to_lowercase();
    let distance = |name: &str| {
        let beginning: String = name.chars().take(word.chars().count().max(4)).collect();
        strsim::damerau_levenshtein(&word, name).min(strsim::damerau_levenshtein(&word, &beginning))
    };
    let near = names.iter().copied().filter(|name| distance(name) <= (name.len().min(word.len()) / 3).max(1));
    let initials = |name: &str| name.split('_').filter_map(|part| part.chars().next()).collect::<String>();
    let inside = |name: &&&str| name.len() > 3 && word.contains(**name);
    near.min_by_key(|name| (distance(name), strsim::damerau_levenshtein(&word, name)))
        .or_else(|| names.iter().filter(inside).max_by_key(|name| name.len()).copied())
        .or_else(|| names.iter().find(|name| name.contains('_') && initials(name) == word).copied())
}

/// `section.key`; the top level's name is empty.
pub(super) fn join(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_string() } else { format!("{section}.{key}") }
}
