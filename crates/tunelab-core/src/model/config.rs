//! Reading the `config.json` of a part or an encoder: typed values with defaults, and a clear
//! refusal of every option that is not built.
//!
//! In: the file or its text. Out: numbers, flags, lists, the tables in it. Errors name the file and
//! the key.

use crate::error::{Error, Result};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// One `config.json`, or a table in it.
pub struct Config {
    file: PathBuf,
    /// What stands before a key in a message: the tables around it, each with a point.
    tables: String,
    values: Map<String, Value>,
}

impl Config {
    /// Reads the file's text.
    pub fn text(file: &Path) -> Result<String> {
        fs_err::read_to_string(file).map_err(|e| Error::input(e.to_string()))
    }

    /// Parses the text and checks that the class that it is for, where it says one, is one of
    /// `classes`.
    pub fn parse(text: &str, file: &Path, classes: &[&str]) -> Result<Self> {
        let config = Self::of_any_class(text, file)?;
        if let Some(said) = config.class().filter(|said| !classes.contains(said)) {
            let expected = classes.join(" or ");
            return Err(Error::input(format!("{}: the class is {said}, expected {expected}", file.display()))
                .hint("tunelab trains models of the classes of Stable Diffusion 1.x, 2.x and XL"));
        }
        Ok(config)
    }

    /// The class that it is for: `_class_name` of diffusers, `architectures` of transformers.
    pub fn class(&self) -> Option<&str> {
        let named = self.values.get("_class_name");
        named.or_else(|| self.values.get("architectures").and_then(|a| a.get(0))).and_then(Value::as_str)
    }

    /// Parses the text, whatever it is for.
    pub fn of_any_class(text: &str, file: &Path) -> Result<Self> {
        let values = serde_json::from_str(text)
            .map_err(|e| Error::input(format!("{}: not a JSON object", file.display())).cause(e))?;
        Ok(Self { file: file.to_owned(), tables: String::new(), values })
    }

    /// The table below a key; an empty one where there is none.
    pub fn table(&self, key: &str) -> Result<Self> {
        let values = match self.value(key) {
            None => Map::new(),
            Some(Value::Object(values)) => values.clone(),
            Some(v) => return Err(self.error(key, format!("is {v}, expected a table"))),
        };
        Ok(Self { file: self.file.clone(), tables: format!("{}{key}.", self.tables), values })
    }

    /// A key's value; `null` counts as absent.
    fn value(&self, key: &str) -> Option<&Value> {
        self.values.get(key).filter(|v| !v.is_null())
    }

    /// An error about one key.
    pub fn error(&self, key: &str, what: impl std::fmt::Display) -> Error {
        Error::input(format!("{}: `{}{key}` {what}", self.file.display(), self.tables))
    }

    /// A positive whole number.
    pub fn size(&self, key: &str, default: Option<usize>) -> Result<usize> {
        match (self.value(key), default) {
            (None, Some(default)) => Ok(default),
            (None, None) => Err(self.error(key, "is missing")),
            (Some(v), _) => match v.as_u64() {
                Some(n @ 1..=1_000_000) => Ok(n as usize),
                _ => Err(self.error(key, format!("is {v}, expected a whole number from 1 to 1000000"))),
            },
        }
    }

    /// A finite number.
    pub fn number(&self, key: &str, default: f64) -> Result<f64> {
        match self.value(key) {
            None => Ok(default),
            Some(v) => v.as_f64().ok_or_else(|| self.error(key, format!("is {v}, expected a number"))),
        }
    }

    /// true or false.
    pub fn flag(&self, key: &str, default: bool) -> Result<bool> {
        match self.value(key) {
            None => Ok(default),
            Some(v) => v.as_bool().ok_or_else(|| self.error(key, format!("is {v}, expected true or false"))),
        }
    }

    /// A string.
    pub fn string(&self, key: &str, default: &str) -> Result<String> {
        match self.value(key) {
            None => Ok(default.to_owned()),
            Some(Value::String(s)) => Ok(s.clone()),
            Some(v) => Err(self.error(key, format!("is {v}, expected a string"))),
        }
    }

    /// A list of positive whole numbers; a single number stands for `len` equal ones.
    pub fn sizes(&self, key: &str, len: Option<usize>, default: Option<usize>) -> Result<Vec<usize>> {
        let Some(Value::Array(items)) = self.value(key) else {
            return self.size(key, default).map(|n| vec![n; len.unwrap_or(1)]);
        };
        let sizes: Option<Vec<usize>> = items.iter().map(|v| v.as_u64().map(|n| n as usize)).collect();
        let sizes = sizes.filter(|s| !s.is_empty() && s.iter().all(|n| (1..=1_000_000).contains(n)));
        let sizes = sizes.ok_or_else(|| self.error(key, "must be a list of whole numbers from 1 to 1000000"))?;
        match len {
            Some(len) if sizes.len() != len => {
                Err(self.error(key, format!("has {} entries, expected {len}", sizes.len())))
            }
            _ => Ok(sizes),
        }
    }

    /// Height and width: a list of both, or one number for a square.
    pub fn square_or_pair(&self, key: &str, default: usize) -> Result<[usize; 2]> {
        match self.sizes(key, None, Some(default))?[..] {
            [side] => Ok([side; 2]),
            [height, width] => Ok([height, width]),
            _ => Err(self.error(key, "must be a number, or a height and a width")),
        }
    }

    /// Refuses the file if `key` is true, or a list in which anything is.
    pub fn off(&self, key: &str) -> Result<()> {
        match self.value(key) {
            Some(Value::Array(items)) if items.iter().all(|item| *item == Value::Bool(false)) => Ok(()),
            _ => self.only(key, &[Value::Bool(false)]),
        }
    }

    /// A list of strings.
    pub fn strings(&self, key: &str) -> Result<Vec<String>> {
        let items = self.value(key).and_then(Value::as_array).ok_or_else(|| self.error(key, "must be a list"))?;
        let texts: Option<Vec<String>> = items.iter().map(|v| v.as_str().map(str::to_owned)).collect();
        texts.ok_or_else(|| self.error(key, "must be a list of strings"))
    }

    /// Refuses the file if `key` is there with a value other than `only`: an option that this crate
    /// does not build.
    pub fn only(&self, key: &str, only: &[Value]) -> Result<()> {
        match self.value(key) {
            Some(v) if !only.contains(v) => {
                let hint = "tunelab builds the options that Stable Diffusion 1.x, 2.x and XL use";
                Err(self.error(key, format!("is {v}, which is not supported")).hint(hint))
            }
            _ => Ok(()),
        }
    }
}
