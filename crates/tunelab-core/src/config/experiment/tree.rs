//! Text → tree: the values of a TOML document or of a `--set` argument, each with its place.
//!
//! In: texts. Out: tables whose entries know where they stand, or what is wrong with the text.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::place::Place;
use super::problem::Problem;

/// The entries of one table.
pub(crate) type Table = BTreeMap<String, Entry>;

/// One value, where it stands, and where its key stands (for an element of a list: the element).
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub key: Place,
    pub at: Place,
    pub value: Value,
    /// The key's name as it is written, where that is an older spelling.
    pub spelled: Option<&'static str>,
}

/// A TOML value.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Text(String),
    /// Wider than TOML's 64 bits, so that a number out of range is told from one that is none.
    Integer(i128),
    Float(f64),
    Flag(bool),
    Date,
    List(Vec<Entry>),
    Table(Table),
}

/// All syntax errors of the file go to `problems`, as far as the parser can find its feet again.
pub(super) fn parse_document(text: &str, problems: &mut Vec<Problem>) -> Table {
    let (table, errors) = DeTable::parse_recoverable(text);
    problems.extend(errors.iter().map(|e| syntax_problem(e, text)));
    convert_table(table.get_ref(), 0)
}

fn syntax_problem(e: &toml::de::Error, text: &str) -> Problem {
    let place = e.span().map_or(Place { text: 0, range: None }, |range| Place::new(0, &range));
    let problem = Problem::new(place, format!("not valid TOML: {}", e.message()));
    let in_path = e.span().is_some_and(|range| is_behind_a_backslash(text, range.end));
    if in_path { problem.label(SINGLE_QUOTES) } else { problem }
}

/// Most who meet an escape have written a path of Windows.
pub(super) const SINGLE_QUOTES: &str =
    r"in double quotes `\` begins an escape: write a path in single quotes, 'C:\...'";

/// Whether a place in a line is behind a backslash in double quotes.
fn is_behind_a_backslash(text: &str, at: usize) -> bool {
    let before = text.get(..at).unwrap_or_default();
    let line = before.rfind('\n').map_or(0, |i| i + 1);
    let quoted = before[line..].find('"').map(|quote| &text[line + quote..]);
    quoted.is_some_and(|rest| rest.find('\\').is_some_and(|slash| text.len() - rest.len() + slash <= at))
}

/// `key.path=value` is itself TOML; where the value is not, it is taken as text (`model.path=/x/y`
/// without quotes).
pub(super) fn parse_argument(arg: &str, text: usize) -> std::result::Result<Table, Problem> {
    if let Ok(table) = DeTable::parse(arg)
        && arg.contains('=')
    {
        return Ok(convert_table(table.get_ref(), text));
    }
    let Some((key, value)) = arg.split_once('=') else {
        let whole = Place::new(text, &(0..arg.len()));
        return Err(Problem::new(whole, "--set needs key.path=value").label("there is no `=`"));
    };
    let stand_in = format!("{key}=0");
    let table = DeTable::parse(&stand_in).map_err(|e| {
        let range = e.span().map_or(0..key.len(), |r| r.start.min(key.len())..r.end.min(key.len()));
        Problem::new(Place::new(text, &range), format!("--set needs key.path=value: {}", e.message()))
    })?;
    let mut table = convert_table(table.get_ref(), text);
    let value_at = Place::new(text, &(key.len() + 1..arg.len()));
    set_leaf(&mut table, &value_at, value);
    Ok(table)
}

/// Replaces the one leaf of a parsed `key.path=0`.
fn set_leaf(table: &mut Table, at: &Place, text: &str) {
    for entry in table.values_mut() {
        if let Value::Table(inner) = &mut entry.value {
            set_leaf(inner, at, text);
        } else {
            entry.value = Value::Text(text.into());
            entry.at = at.clone();
        }
    }
}

fn convert_table(table: &DeTable, text: usize) -> Table {
    table
        .iter()
        .map(|(key, value)| (key.get_ref().to_string(), convert(value, Place::new(text, &key.span()), text)))
        .collect()
}

fn convert(value: &Spanned<DeValue>, key: Place, text: usize) -> Entry {
    let at = Place::new(text, &value.span());
    let value = match value.get_ref() {
        DeValue::String(s) => Value::Text(s.to_string()),
        DeValue::Integer(i) => Value::Integer(i128::from_str_radix(i.as_str(), i.radix()).unwrap_or(i128::MAX)),
        DeValue::Float(f) => Value::Float(f.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(b) => Value::Flag(*b),
        DeValue::Datetime(_) => Value::Date,
        DeValue::Array(items) => {
            Value::List(items.iter().map(|v| convert(v, Place::new(text, &v.span()), text)).collect())
        }
        DeValue::Table(table) => Value::Table(convert_table(table, text)),
    };
    Entry { key, at, value, spelled: None }
}
