//! Reading typed values out of one table: a missing key is `None`, a wrong one is a problem with
//! its place.
//!
//! In: the tree. Out: numbers in range, texts, folders that exist. Reading goes on after a problem,
//! so that all of them are found.

use std::ops::{Bound, RangeBounds, RangeInclusive};
use std::path::{Path, PathBuf};

use super::reader::{join, similar};
use super::tree::SINGLE_QUOTES;
use super::{Entry, Place, Problem, Reader, Table, Value};
use crate::config::has_pack_ending;
use crate::config::keys::kind::Kind;
use crate::config::keys::value::Setting;
use crate::weights::{SAFETENSORS, has_weights_ending};

/// What to do about a model in a file that is not opened.
pub const NOT_SAFETENSORS: &str = "only .safetensors files are opened, because a pickle can run any code; in Python, \
     `StableDiffusionPipeline.from_single_file(FILE).save_pretrained(DIR)` makes a folder of it that is read";

/// What a key may name beside a folder.
#[derive(Clone, Copy, PartialEq)]
enum OrFile {
    None,
    Model,
    Pack,
}

impl OrFile {
    fn takes(self, name: &str) -> bool {
        match self {
            Self::None => false,
            Self::Model => is_safetensors(name),
            Self::Pack => has_pack_ending(name),
        }
    }

    fn fault(self) -> &'static str {
        match self {
            Self::None => "is a file, not a folder",
            Self::Model => "is neither a folder nor a .safetensors file",
            Self::Pack => "is neither a folder nor a .parquet, .tar, .tar.gz or .zip file",
        }
    }
}

/// One table of the experiment, there or not.
pub(crate) struct Section<'a> {
    reader: &'a Reader<'a>,
    path: String,
    at: Place,
    table: Option<&'a Table>,
    /// Something else was written where the table belongs: said once is enough.
    broken: bool,
}

impl Reader<'_> {
    /// The top level.
    pub fn root(&self) -> Section<'_> {
        Section::new(self, String::new(), Place::file(), Some(self.root))
    }
}

impl<'a> Section<'a> {
    fn new(reader: &'a Reader<'a>, path: String, at: Place, table: Option<&'a Table>) -> Self {
        reader.accept(&path, &[]);
        Self { reader, path, at, table, broken: false }
    }

    /// The table `key` in this one; where the file has none, all its keys are missing.
    pub fn section(&self, key: &str) -> Section<'a> {
        let path = join(&self.path, key);
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
        Section { broken: entry.is_some() && table.is_none(), ..Section::new(self.reader, path, at, table) }
    }

    /// The tables of the list `key` in this one; none where the file has no such list.
    pub fn tables_of(&self, key: &str) -> Vec<Section<'a>> {
        let path = join(&self.path, key);
        let Some(entry) = self.entry(key) else { return Vec::new() };
        let wrong = |at: &Place| {
            self.problem(at.clone(), format!("`{key}` must be a list of tables"), format!("write [[{path}]]"));
        };
        let Value::List(items) = &entry.value else {
            wrong(&entry.key);
            return Vec::new();
        };
        let mut sections = Vec::with_capacity(items.len());
        for item in items {
            match &item.value {
                Value::Table(table) => {
                    sections.push(Section::new(self.reader, path.clone(), item.key.clone(), Some(table)));
                }
                _ => wrong(&item.at),
            }
        }
        sections
    }

    /// Is the key written?
    pub fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    /// Does the table have a list of tables of this name, with one at least? Asking does not make the name known.
    pub fn has_tables(&self, key: &str) -> bool {
        let is_such = |entry: &Entry| matches!(&entry.value, Value::List(items) if !items.is_empty());
        self.table.is_some_and(|table| table.get(key).is_some_and(is_such))
    }

    /// The value of a key of this kind.
    pub fn read(&self, key: &str, kind: &Kind) -> Option<Setting> {
        Some(match kind {
            Kind::Whole { range, multiple_of } => Setting::Whole(self.whole(key, range, *multiple_of)?),
            Kind::Sides { range, square, pair } => self.sides(key, range, *square, *pair)?,
            Kind::Number(low, high) => Setting::Number(self.number(key, (*low, *high))?),
            Kind::Flag => Setting::Flag(self.flag(key)?),
            Kind::Text => Setting::Text(self.text(key)?),
            Kind::AnyText => Setting::Text(self.any_text(key)?),
            Kind::Texts => Setting::Texts(self.texts(key)?),
            Kind::Choice(names) => Setting::Text(self.choice(key, names)?),
            Kind::Choices(names) => Setting::Texts(self.choices(key, names)?),
            Kind::Folder => Setting::Text(self.folder(key, OrFile::None)?.to_str()?.into()),
            Kind::FolderOrModel => Setting::Text(self.folder(key, OrFile::Model)?.to_str()?.into()),
            Kind::FolderOrPack => Setting::Text(self.folder(key, OrFile::Pack)?.to_str()?.into()),
            Kind::Repository => Setting::Text(self.repository(key)?),
        })
    }

    /// A whole number in the range.
    fn whole(&self, key: &str, range: &RangeInclusive<u64>, multiple_of: u64) -> Option<u64> {
        let entry = self.entry(key)?;
        let number = match entry.value {
            Value::Integer(i) if i > i128::from(*range.end()) => {
                return self.wrong(key, entry, &format!("at most {}", range.end()));
            }
            Value::Integer(i) => u64::try_from(i).ok().filter(|i| range.contains(i)),
            _ => None,
        };
        let Some(number) = number else { return self.wrong(key, entry, &describe_whole(range)) };
        if !number.is_multiple_of(multiple_of) {
            let below = number / multiple_of * multiple_of;
            let label = format!("{below} and {} are", below + multiple_of);
            self.problem(entry.at.clone(), format!("`{key}` must be a multiple of {multiple_of}"), label);
        }
        Some(number)
    }

    /// A whole number, or a list of two.
    fn sides(&self, key: &str, range: &RangeInclusive<u64>, square: u64, pair: u64) -> Option<Setting> {
        let entry = self.entry(key)?;
        let Value::List(items) = &entry.value else { return Some(Setting::Whole(self.whole(key, range, square)?)) };
        let [width, height] = &items[..] else {
            return self.wrong(key, entry, "one whole number, or two: [width, height]");
        };
        let side = |item: &Entry| match item.value {
            Value::Integer(i) => u64::try_from(i).ok().filter(|side| range.contains(side) && side.is_multiple_of(pair)),
            _ => None,
        };
        let [width, height] = [width, height].map(|item| {
            let found = side(item);
            if found.is_none() {
                let wanted = format!("{} in multiples of {pair}", describe_whole(range));
                self.problem(item.at.clone(), format!("`{key}`: each side must be {wanted}"), String::new());
            }
            found
        });
        Some(Setting::Wholes(vec![width?, height?]))
    }

    /// A finite number in the range; whole numbers serve too.
    fn number(&self, key: &str, range: (Bound<f64>, Bound<f64>)) -> Option<f64> {
        let entry = self.entry(key)?;
        let value = match entry.value {
            Value::Float(f) => f,
            Value::Integer(i) => i as f64,
            _ => f64::NAN,
        };
        if value.is_finite() && range.contains(&value) {
            return Some(value);
        }
        self.wrong(key, entry, &describe_numbers(range))
    }

    /// `true` or `false`.
    fn flag(&self, key: &str) -> Option<bool> {
        let entry = self.entry(key)?;
        match entry.value {
            Value::Flag(b) => Some(b),
            _ => self.wrong(key, entry, "true or false"),
        }
    }

    /// A text, which may be empty.
    fn any_text(&self, key: &str) -> Option<String> {
        let entry = self.entry(key)?;
        self.text_of(key, entry)
    }

    /// A text with something in it.
    pub fn text(&self, key: &str) -> Option<String> {
        let entry = self.entry(key)?;
        self.filled(key, entry)
    }

    /// A list of texts, each with something in it.
    fn texts(&self, key: &str) -> Option<Vec<String>> {
        let entry = self.entry(key)?;
        if let Value::Text(text) = &entry.value {
            let label = format!("write {key} = [{text:?}]");
            self.problem(entry.at.clone(), format!("`{key}` must be a list of texts, not one text"), label);
            return None;
        }
        let Value::List(items) = &entry.value else {
            return self.wrong(key, entry, "a list of texts, such as [\"a dog\", \"a cat\"]");
        };
        let mut texts = Vec::new();
        for item in items {
            let Some(text) = self.filled(key, item) else { continue };
            if texts.contains(&text) {
                self.problem(item.at.clone(), format!("`{key}` names {text:?} twice"), "leave one of them out".into());
            }
            texts.push(text);
        }
        Some(texts)
    }

    /// One of the names.
    fn choice(&self, key: &str, names: &[&str]) -> Option<String> {
        let entry = self.entry(key)?;
        let expected = format!("one of {}", names.iter().map(|w| format!("\"{w}\"")).collect::<Vec<_>>().join(", "));
        let Value::Text(text) = &entry.value else { return self.wrong(key, entry, &expected) };
        if names.contains(&text.as_str()) {
            return Some(text.clone());
        }
        let label = similar(text, names).map(|near| format!("did you mean \"{near}\"?")).unwrap_or_default();
        self.problem(entry.at.clone(), format!("`{key}` must be {expected}"), label);
        None
    }

    /// A list of different ones of the names.
    fn choices(&self, key: &str, names: &[&str]) -> Option<Vec<String>> {
        let texts = self.texts(key)?;
        for text in texts.iter().filter(|text| !names.contains(&text.as_str())) {
            let near = similar(text, names).map(|near| format!("did you mean \"{near}\"?"));
            let label = near.unwrap_or_else(|| format!("there is {}", names.join(", ")));
            self.reject_item(key, text, format!("`{key}`: there is no \"{text}\""), label);
        }
        texts.iter().all(|text| names.contains(&text.as_str())).then_some(texts)
    }

    /// A repository's `owner/name`.
    fn repository(&self, key: &str) -> Option<String> {
        let text = self.text(key)?;
        if is_repository(&text) {
            return Some(text);
        }
        self.reject(key, format!("`{key}` must be a repository's `owner/name`"), "for a folder say `path`");
        None
    }

    /// A folder that exists, or a file of that kind, as an absolute path without links; relative ones start at the file's folder,
    /// or for `--set` at the working folder.
    fn folder(&self, key: &str, or: OrFile) -> Option<PathBuf> {
        let text = self.text(key)?;
        let entry = self.entry(key)?;
        let file = &self.reader.experiment.file;
        let base = if entry.at.is_set() { Path::new("") } else { file.parent().unwrap_or(Path::new("")) };
        let written = base.join(&text);
        let fault = match fs_err::canonicalize(&written) {
            Ok(path) if !path.is_dir() && !or.takes(&text) => or.fault(),
            Ok(path) if path.to_str().is_none() => "lies under a folder whose name is not UTF-8",
            Ok(path) => return Some(path),
            Err(_) => "does not exist",
        };
        let label = match &text {
            text if text.starts_with('~') => "`~` means nothing here: write the whole path",
            text if text.contains(char::is_control) => SINGLE_QUOTES,
            text if or == OrFile::Model && written.is_file() && has_weights_ending(text) => NOT_SAFETENSORS,
            _ => "",
        };
        let subject = if written.is_file() { "" } else { "the folder " };
        let written = std::path::absolute(&written).unwrap_or(written);
        let shown = visible(&written.display().to_string());
        self.problem(entry.at.clone(), format!("`{key}`: {subject}{shown} {fault}"), label.into());
        None
    }

    /// Complains about the value of a key that was read well but cannot be right.
    pub fn reject(&self, key: &str, message: impl Into<String>, label: impl Into<String>) {
        let at = self.entry(key).map_or_else(|| self.at.clone(), |e| e.at.clone());
        self.problem(at, message.into(), label.into());
    }

    /// Complains about one text of a list.
    pub fn reject_item(&self, key: &str, item: &str, message: impl Into<String>, label: impl Into<String>) {
        let Some(Entry { value: Value::List(items), .. }) = self.entry(key) else { return };
        if let Some(entry) = items.iter().find(|entry| matches!(&entry.value, Value::Text(text) if text == item)) {
            self.problem(entry.at.clone(), message.into(), label.into());
        }
    }

    /// Complains that none of `keys` is written.
    pub fn missing(&self, what: &str, keys: &str) {
        if self.broken {
            return;
        }
        let path = &self.path;
        let label = if self.table.is_some() { format!("add {keys}") } else { format!("add [{path}] with {keys}") };
        self.problem(self.at.clone(), format!("nothing says {what}"), label);
    }

    /// Complains unless exactly one of `names` is written, and nothing else; `noun` says what they
    /// are.
    pub fn exactly_one(&self, noun: &str, names: &[&str]) {
        self.no_others(noun, names);
        self.one(noun, names, &self.table.into_iter().flatten().collect::<Vec<_>>());
    }

    /// Complains if more than one of `names` is written, or anything else, and gives advice; the one
    /// that is, if any.
    pub fn at_most_one<'n>(&self, noun: &str, names: &[&'n str], advice: &str) -> Option<&'n str> {
        self.no_others(noun, names);
        self.accept(names);
        let written: Vec<_> = self.table.into_iter().flatten().collect();
        if written.len() > 1 {
            self.more_than_one(noun, &written, format!("an experiment has one, and {advice}"));
        }
        names.iter().copied().find(|name| self.has(name))
    }

    fn no_others(&self, noun: &str, names: &[&str]) {
        for (key, entry) in self.table.into_iter().flatten().filter(|(key, _)| !names.contains(&key.as_str())) {
            self.reader.refuse(&self.path, key);
            let near = similar(key, names).map(|near| format!("did you mean `{near}`?"));
            let label = near.unwrap_or_else(|| format!("there is {}", self.tables(names)));
            self.problem(entry.key.clone(), format!("unknown {noun} `{key}`"), label);
        }
    }

    /// Complains unless exactly one of `names` is written, whatever else is; `noun` says what they
    /// are.
    pub fn one_of(&self, noun: &str, names: &[&str]) {
        let named = |(key, _): &(&String, &Entry)| names.contains(&key.as_str());
        self.one(noun, names, &self.table.into_iter().flatten().filter(named).collect::<Vec<_>>());
    }

    fn one(&self, noun: &str, names: &[&str], written: &[(&String, &Entry)]) {
        self.accept(names);
        match written {
            [] if !self.broken => {
                self.problem(self.at.clone(), format!("no {noun}"), format!("add {}", self.tables(names)));
            }
            [] | [_] => {}
            more => self.more_than_one(noun, more, "an experiment has exactly one".into()),
        }
    }

    /// Complains at the last of several keys.
    fn more_than_one(&self, noun: &str, written: &[(&String, &Entry)], label: String) {
        let keys = written.iter().map(|(key, _)| format!("`{key}`")).collect::<Vec<_>>().join(", ");
        let last = written.iter().map(|(_, entry)| &entry.key).max().unwrap_or(&self.at);
        self.problem(last.clone(), format!("more than one {noun}: {keys}"), label);
    }

    /// `[adapter.lora], [adapter.full] or [adapter.dreambooth]`.
    fn tables(&self, names: &[&str]) -> String {
        let shown: Vec<String> = names.iter().map(|name| format!("[{}.{name}]", self.path)).collect();
        match &shown[..] {
            [before @ .., last] if !before.is_empty() => format!("{} or {last}", before.join(", ")),
            _ => shown.concat(),
        }
    }

    /// These keys are known, even if nobody reads them this time.
    pub fn accept(&self, names: &[&str]) {
        self.reader.accept(&self.path, names);
    }

    fn entry(&self, key: &str) -> Option<&'a Entry> {
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
            // `--set model.revision=1234567` means the text; nobody quotes for the shell and for
            // TOML.
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
        let key = entry.spelled.unwrap_or(key);
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

fn is_safetensors(name: &str) -> bool {
    name.to_lowercase().ends_with(SAFETENSORS)
}

/// A text with its control characters as TOML writes them: `\n`, `\t`, `\b`.
fn visible(text: &str) -> String {
    let shown = |c: char| match c {
        '\u{8}' => r"\b".to_owned(),
        '\u{c}' => r"\f".to_owned(),
        '\u{1b}' => r"\e".to_owned(),
        c if c.is_control() => c.escape_default().to_string(),
        c => c.to_string(),
    };
    text.chars().map(shown).collect()
}

fn describe_whole(range: &RangeInclusive<u64>) -> String {
    match (*range.start(), *range.end()) {
        (low, 1_000_000_000..) => format!("a whole number, {low} or more"),
        (low, high) => format!("a whole number from {low} to {high}"),
    }
}

fn describe_numbers(range: (Bound<f64>, Bound<f64>)) -> String {
    let low = match range.start_bound() {
        Bound::Excluded(low) => format!(" above {low}"),
        Bound::Included(low) => format!(", {low} or more"),
        Bound::Unbounded => String::new(),
    };
    let high = match range.end_bound() {
        Bound::Excluded(high) => format!(" and below {high}"),
        Bound::Included(high) => format!(" and at most {high}"),
        Bound::Unbounded => String::new(),
    };
    format!("a number{low}{high}")
}

/// `owner/name` as the hubs allow it.
pub(crate) fn is_repository(text: &str) -> bool {
    let plain = |part: &str| part.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    let parts: Vec<&str> = text.split('/').collect();
    parts.len() == 2 && parts.iter().all(|part| !part.is_empty() && !part.starts_with('.') && plain(part))
}
