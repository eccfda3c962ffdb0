//! Reading typed values out of an experiment: a missing key is `None`, a wrong one is a problem with its place.
//!
//! In: the tree. Out: numbers, texts and paths in range, and at the end every problem at once. A [`Reader`] remembers
//! which keys were asked for, so what nobody asked for is unknown, and the keys need no second list.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, RangeBounds, RangeInclusive};
use std::path::{Path, PathBuf};

use super::{Entry, Experiment, Place, Problem, Table, Value, report};
use crate::error::Result;

/// Collects what was asked and what was wrong while an experiment is read.
pub(crate) struct Reader<'a> {
    experiment: &'a Experiment,
    problems: RefCell<Vec<Problem>>,
    /// Keys by section ("" is the top level), in the order of asking.
    asked: RefCell<BTreeMap<String, Vec<&'static str>>>,
    /// Keys that were found unknown already, with their sections.
    unknown: RefCell<BTreeSet<String>>,
}

impl<'a> Reader<'a> {
    pub fn new(experiment: &'a Experiment) -> Self {
        Self { experiment, problems: RefCell::default(), asked: RefCell::default(), unknown: RefCell::default() }
    }

    /// The top level.
    pub fn root(&self) -> Section<'_> {
        Section { reader: self, path: String::new(), at: Place::file(), table: Some(&self.experiment.root) }
    }

    /// The value, if nothing was wrong and every key was asked for.
    pub fn finish<T>(self, value: T) -> Result<T> {
        self.unknown_keys("", &self.experiment.root);
        let problems = self.problems.into_inner();
        if problems.is_empty() { Ok(value) } else { Err(report(problems, &self.experiment.texts)) }
    }

    fn unknown_keys(&self, section: &str, table: &Table) {
        let asked = self.asked.borrow();
        let known = asked.get(section).map_or(&[][..], Vec::as_slice);
        for (key, entry) in table {
            let inner = join(section, key);
            if self.unknown.borrow().contains(&inner) {
                continue;
            }
            if !known.contains(&key.as_str()) {
                let place = if section.is_empty() { "at the top level".into() } else { format!("in [{section}]") };
                let problem = Problem::new(entry.key.clone(), format!("unknown key `{key}` {place}"));
                self.push(problem.label(advice(key, section, &asked)));
            } else if let (true, Value::Table(table)) = (asked.contains_key(&inner), &entry.value) {
                self.unknown_keys(&inner, table);
            }
        }
    }

    fn push(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }
}

/// What the writer of an unknown key may have meant.
fn advice(key: &str, section: &str, asked: &BTreeMap<String, Vec<&'static str>>) -> String {
    let here = asked.get(section).map_or(&[][..], Vec::as_slice);
    if let Some(near) = similar(key, here) {
        return format!("did you mean `{near}`?");
    }
    if let Some((other, _)) = asked.iter().find(|(_, keys)| keys.contains(&key)) {
        return if other.is_empty() {
            "it belongs at the top level".into()
        } else {
            format!("it belongs in [{other}]")
        };
    }
    let all: Vec<String> = here.iter().map(|k| format!("`{k}`")).collect();
    format!("the keys here are {}", all.join(", "))
}

/// The name that `word` is a slip or a longer form of (`rnak`, `num_train_epochs`).
fn similar<'k>(word: &str, names: &[&'k str]) -> Option<&'k str> {
    let distance = |name: &str| strsim::damerau_levenshtein(&word.to_lowercase(), name);
    let near = names.iter().copied().min_by_key(|name| distance(name))?;
    if distance(near) <= (near.len() / 3).max(1) && near.len() > 1 {
        return Some(near);
    }
    names.iter().copied().filter(|name| name.len() > 3 && word.contains(name)).max_by_key(|name| name.len())
}

fn join(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_string() } else { format!("{section}.{key}") }
}

/// One table of the experiment, there or not.
pub(crate) struct Section<'a> {
    reader: &'a Reader<'a>,
    path: String,
    at: Place,
    table: Option<&'a Table>,
}

impl<'a> Section<'a> {
    /// The table `key` in this one; where the file has none, all its keys are missing.
    pub fn section(&self, key: &'static str) -> Section<'a> {
        let path = join(&self.path, key);
        self.reader.asked.borrow_mut().entry(path.clone()).or_default();
        let entry = self.entry(key);
        let at = entry.map_or_else(|| self.at.clone(), |e| e.key.clone());
        let table = match entry.map(|e| &e.value) {
            None => None,
            Some(Value::Table(table)) => Some(table),
            Some(_) => {
                self.problem(at.clone(), format!("`{key}` must be a table"), format!("write [{path}]"));
                None
            }
        };
        Section { reader: self.reader, path, at, table }
    }

    /// Is the key written?
    pub fn has(&self, key: &'static str) -> bool {
        self.entry(key).is_some()
    }

    /// Was the key given by `--set`?
    pub fn is_set(&self, key: &'static str) -> bool {
        self.entry(key).is_some_and(|e| e.at.is_set())
    }

    /// A whole number in the range.
    pub fn integer(&self, key: &'static str, range: RangeInclusive<i64>) -> Option<i64> {
        let entry = self.entry(key)?;
        let wide = i128::from(*range.start())..=i128::from(*range.end());
        match entry.value {
            Value::Integer(i) if wide.contains(&i) => i64::try_from(i).ok(),
            _ => self.wrong(key, entry, &describe_integers(&range)),
        }
    }

    /// A count: a whole number that fits into memory's own type.
    pub fn count(&self, key: &'static str, range: RangeInclusive<usize>) -> Option<usize> {
        let top = i64::try_from(*range.end()).unwrap_or(i64::MAX);
        self.integer(key, i64::try_from(*range.start()).unwrap_or(0)..=top).and_then(|i| usize::try_from(i).ok())
    }

    /// A finite number in the range; whole numbers serve too.
    pub fn number(&self, key: &'static str, range: impl RangeBounds<f64>) -> Option<f64> {
        let entry = self.entry(key)?;
        let value = match entry.value {
            Value::Float(f) => f,
            Value::Integer(i) => i as f64,
            _ => f64::NAN,
        };
        if value.is_finite() && range.contains(&value) {
            return Some(value);
        }
        self.wrong(key, entry, &describe_numbers(&range))
    }

    /// `true` or `false`.
    pub fn flag(&self, key: &'static str) -> Option<bool> {
        let entry = self.entry(key)?;
        match entry.value {
            Value::Flag(b) => Some(b),
            _ => self.wrong(key, entry, "true or false"),
        }
    }

    /// A text, which may be empty.
    pub fn any_text(&self, key: &'static str) -> Option<String> {
        let entry = self.entry(key)?;
        self.text_of(key, entry)
    }

    /// A text with something in it.
    pub fn text(&self, key: &'static str) -> Option<String> {
        let entry = self.entry(key)?;
        self.filled(key, entry)
    }

    /// A list of texts, each with something in it.
    pub fn texts(&self, key: &'static str) -> Option<Vec<String>> {
        let entry = self.entry(key)?;
        let Value::List(items) = &entry.value else {
            return self.wrong(key, entry, "a list of texts, such as [\"a dog\", \"a cat\"]");
        };
        Some(items.iter().filter_map(|item| self.filled(key, item)).collect())
    }

    /// One of the names, turned into what it names.
    pub fn choice<T: Clone>(&self, key: &'static str, names: &[(&'static str, T)]) -> Option<T> {
        let entry = self.entry(key)?;
        let words: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
        let expected = format!("one of {}", words.iter().map(|w| format!("\"{w}\"")).collect::<Vec<_>>().join(", "));
        let Value::Text(text) = &entry.value else { return self.wrong(key, entry, &expected) };
        if let Some((_, value)) = names.iter().find(|(name, _)| name == text) {
            return Some(value.clone());
        }
        let label = similar(text, &words).map(|near| format!("did you mean \"{near}\"?")).unwrap_or_default();
        self.problem(entry.at.clone(), format!("`{key}` must be {expected}"), label);
        None
    }

    /// A folder that exists, as an absolute path; relative ones start at the file's folder, or for `--set` at the
    /// working folder.
    pub fn folder(&self, key: &'static str) -> Option<PathBuf> {
        let text = self.text(key)?;
        let entry = self.entry(key)?;
        let file = &self.reader.experiment.file;
        let base = if entry.at.is_set() { Path::new("") } else { file.parent().unwrap_or(Path::new("")) };
        let written = base.join(&text);
        let path = std::path::absolute(&written).unwrap_or(written);
        let fault = match fs_err::metadata(&path) {
            Ok(meta) if !meta.is_dir() => "is not a folder",
            Ok(_) if path.to_str().is_none() => "lies under a folder whose name is not UTF-8",
            Ok(_) => return Some(path),
            Err(_) => "does not exist",
        };
        let label = if text.starts_with('~') { "`~` means nothing here: write the whole path" } else { "" };
        self.problem(entry.at.clone(), format!("`{key}`: the folder {} {fault}", path.display()), label.into());
        None
    }

    /// Complains about the value of a key that was read well but cannot be right.
    pub fn reject(&self, key: &'static str, message: impl Into<String>, label: impl Into<String>) {
        let at = self.entry(key).map_or_else(|| self.at.clone(), |e| e.at.clone());
        self.problem(at, message.into(), label.into());
    }

    /// Complains about what is not written.
    pub fn missing(&self, what: &str, label: &str) {
        self.problem(self.at.clone(), format!("{what} in [{}]", self.path), label.into());
    }

    /// Complains unless exactly one of `names` is written, and nothing else; `noun` says what they are.
    pub fn exactly_one(&self, noun: &str, names: &[&'static str]) {
        self.accept(names);
        let list = names.iter().map(|n| format!("[{}.{n}]", self.path)).collect::<Vec<_>>().join(", ");
        let written: Vec<(&String, &Entry)> = self.table.into_iter().flatten().collect();
        for (key, entry) in written.iter().filter(|(key, _)| !names.contains(&key.as_str())) {
            self.reader.unknown.borrow_mut().insert(join(&self.path, key));
            let label = similar(key, names)
                .map_or_else(|| format!("there is {list}"), |near| format!("did you mean `{near}`?"));
            self.problem(entry.key.clone(), format!("unknown {noun} `{key}`"), label);
        }
        match &written[..] {
            [] => self.problem(self.at.clone(), format!("no {noun}"), format!("add one of {list}")),
            [_] => {}
            more => {
                let keys = more.iter().map(|(key, _)| format!("`{key}`")).collect::<Vec<_>>().join(", ");
                let last = more.iter().map(|(_, entry)| &entry.key).max().unwrap_or(&self.at);
                self.problem(
                    last.clone(),
                    format!("more than one {noun}: {keys}"),
                    "an experiment has exactly one".into(),
                );
            }
        }
    }

    /// These keys are known, even if nobody reads them this time.
    pub fn accept(&self, names: &[&'static str]) {
        let mut asked = self.reader.asked.borrow_mut();
        let keys = asked.entry(self.path.clone()).or_default();
        keys.extend(names.iter().filter(|name| !keys.contains(name)).copied().collect::<Vec<_>>());
    }

    fn entry(&self, key: &'static str) -> Option<&'a Entry> {
        self.accept(&[key]);
        self.table?.get(key)
    }

    fn filled(&self, key: &str, entry: &Entry) -> Option<String> {
        let text = self.text_of(key, entry)?;
        if text.trim().is_empty() {
            self.problem(entry.at.clone(), format!("`{key}`: a text with nothing in it"), String::new());
            return None;
        }
        Some(text)
    }

    fn text_of(&self, key: &str, entry: &Entry) -> Option<String> {
        match &entry.value {
            Value::Text(text) if text.contains('\0') => {
                self.problem(entry.at.clone(), format!("`{key}` has a NUL character in it"), String::new());
                None
            }
            Value::Text(text) => Some(text.clone()),
            // `--set model.revision=1234567` means the text; nobody quotes for the shell and for TOML.
            Value::Integer(_) | Value::Float(_) | Value::Flag(_) | Value::Date if entry.at.is_set() => {
                Some(self.source(entry).to_string())
            }
            _ => self.wrong(key, entry, "text in quotes"),
        }
    }

    fn wrong<T>(&self, key: &str, entry: &Entry, expected: &str) -> Option<T> {
        let found = match &entry.value {
            Value::Text(_) => "text",
            Value::Integer(_) | Value::Float(_) => self.source(entry),
            Value::Flag(_) => "true or false",
            Value::Date => "a date",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        };
        self.problem(entry.at.clone(), format!("`{key}` must be {expected}, not {found}"), String::new());
        None
    }

    /// The value as it was written.
    fn source(&self, entry: &Entry) -> &str {
        let text = &self.reader.experiment.texts[entry.at.text].text;
        entry.at.range.and_then(|(start, end)| text.get(start..end)).unwrap_or("")
    }

    fn problem(&self, at: Place, message: String, label: String) {
        self.reader.push(Problem::new(at, message).label(label));
    }
}

/// The range of numbers above `low`.
pub(crate) fn above(low: f64) -> (Bound<f64>, Bound<f64>) {
    (Bound::Excluded(low), Bound::Unbounded)
}

/// The range of numbers from `low` on.
pub(crate) fn at_least(low: f64) -> (Bound<f64>, Bound<f64>) {
    (Bound::Included(low), Bound::Unbounded)
}

fn describe_integers(range: &RangeInclusive<i64>) -> String {
    match (*range.start(), *range.end()) {
        (low, i64::MAX) => format!("a whole number, {low} or more"),
        (low, high) => format!("a whole number from {low} to {high}"),
    }
}

fn describe_numbers(range: &impl RangeBounds<f64>) -> String {
    let low = match range.start_bound() {
        Bound::Excluded(low) => format!(" above {low}"),
        Bound::Included(low) => format!(" from {low}"),
        Bound::Unbounded => String::new(),
    };
    let high = match range.end_bound() {
        Bound::Excluded(high) => format!(" to below {high}"),
        Bound::Included(high) => format!(" to {high}"),
        Bound::Unbounded if low.starts_with(" from") => " on".into(),
        Bound::Unbounded => String::new(),
    };
    format!("a number{low}{high}")
}
