//! What a row holds, by the names that the CSV has for it: the one list for `table.csv`, `--json`,
//! `--columns` and `--sort`.
//!
//! In: a name, a row. Out: a [`Field`], its exact text, what readers see, what rows are sorted by.

use std::cmp::Ordering;
use std::str::FromStr;

use serde_json::{Number, Value};

use super::cell::{Cell, times};
use super::column::{COLUMNS, Column};
use super::rows::{Kind, Row, Table};
use crate::config::experiment::similar;
use crate::error::{Error, Result};

/// A part of a row, by the place of its column in `COLUMNS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// The column's own value.
    Value(usize),
    /// A metric before training.
    Base(usize),
    /// The value divided by the baseline's.
    Ratio(usize),
}

impl Field {
    /// Every field, in the order of the CSV: ratios behind all columns.
    pub fn all() -> impl Iterator<Item = Self> {
        let own = |(at, column): (usize, &Column)| {
            [Self::Value(at)].into_iter().chain(column.base.is_some().then_some(Self::Base(at)))
        };
        let ratios = COLUMNS.iter().enumerate().filter(|(_, column)| column.ratio.is_some());
        COLUMNS.iter().enumerate().flat_map(own).chain(ratios.map(|(at, _)| Self::Ratio(at)))
    }

    /// The run's name.
    pub(super) fn name() -> Option<Self> {
        Self::all().find(|field| field.key() == "name")
    }

    /// The field that the CSV calls `key`.
    ///
    /// # Errors
    /// Wrong input: there is none; the hint has the nearest name, and all of them.
    pub fn named(key: &str) -> Result<Self> {
        Self::all().find(|field| field.key() == key).ok_or_else(|| {
            let keys: Vec<&str> = Self::all().map(Self::key).collect();
            let near = similar(key, &keys).map_or_else(String::new, |near| format!("did you mean {near}? "));
            Error::input(format!("the table has no column `{key}`"))
                .hint(format!("{near}the columns are those of table.csv: {}", keys.join(", ")))
        })
    }

    /// The place of its column in [`COLUMNS`].
    pub(super) fn column(self) -> usize {
        let (Self::Value(at) | Self::Base(at) | Self::Ratio(at)) = self;
        at
    }

    /// Its name in the CSV.
    pub fn key(self) -> &'static str {
        let column = &COLUMNS[self.column()];
        let other = match self {
            Self::Value(_) => None,
            Self::Base(_) => column.base,
            Self::Ratio(_) => column.ratio,
        };
        other.unwrap_or(column.key)
    }

    /// Its name for readers; what only the CSV has is called as there.
    pub fn heading(self) -> &'static str {
        match self {
            Self::Value(at) => COLUMNS[at].heading.unwrap_or(COLUMNS[at].key),
            Self::Base(_) | Self::Ratio(_) => self.key(),
        }
    }

    /// Whether readers see it in the table.
    pub fn is_shown(self) -> bool {
        matches!(self, Self::Value(at) if COLUMNS[at].heading.is_some())
    }

    /// Whether it is what images were measured to be after training.
    pub fn is_metric(self) -> bool {
        matches!(self, Self::Value(at) if COLUMNS[at].base.is_some())
    }

    /// All digits, nothing added; empty where nothing is known.
    pub fn exact(self, row: &Row) -> String {
        match self {
            Self::Value(at) => row.cells[at].exact(),
            Self::Base(at) => row.cells[at].exact_base(),
            Self::Ratio(at) => row.ratios[at].map_or_else(String::new, |ratio| ratio.to_string()),
        }
    }

    /// Rounded for readers; `None` where nothing is known.
    pub(super) fn rounded(self, row: &Row) -> Option<String> {
        match self {
            Self::Value(at) => row.cells[at].rounded(),
            Self::Base(at) => match row.cells[at] {
                Cell::Change(change) => change.before().words(),
                _ => None,
            },
            Self::Ratio(at) => row.ratios[at].map(times),
        }
    }

    /// As JSON: a text, a number with all its digits, or null.
    pub(super) fn json(self, row: &Row) -> Value {
        let text = self.exact(row);
        if self.is_text(row) {
            return Value::String(text);
        }
        Number::from_str(&text).map_or(Value::Null, Value::Number)
    }

    fn is_text(self, row: &Row) -> bool {
        matches!((self, &row.cells[self.column()]), (Self::Value(_), Cell::Text(_) | Cell::StandIn(_)))
    }

    /// Texts by their letters, numbers by their size, and what is not known behind all others.
    fn compare(self, a: &Row, b: &Row, descending: bool) -> Ordering {
        let directed = |order: Ordering| if descending { order.reverse() } else { order };
        if self.is_text(a) && self.is_text(b) {
            return directed(self.exact(a).cmp(&self.exact(b)));
        }
        let number = |row: &Row| self.exact(row).parse::<f64>().ok().filter(|number| !number.is_nan());
        match (number(a), number(b)) {
            (Some(a), Some(b)) => directed(a.total_cmp(&b)),
            (a, b) => a.is_none().cmp(&b.is_none()),
        }
    }
}

impl Table {
    /// The rows sorted by the column `order`, or with `-` before its name from the largest to the
    /// smallest. A report's figures stay below their run, runs that are equal keep their order, and
    /// the baseline stays the same.
    ///
    /// # Errors
    /// Wrong input: there is no such column.
    pub fn sorted(mut self, order: &str) -> Result<Self> {
        let (key, descending) = order.strip_prefix('-').map_or((order, false), |key| (key, true));
        let field = Field::named(key)?;
        let mut groups: Vec<Vec<Row>> = Vec::new();
        for row in self.rows {
            match groups.last_mut() {
                Some(group) if row.kind == Kind::Reference => group.push(row),
                _ => groups.push(vec![row]),
            }
        }
        groups.sort_by(|a, b| field.compare(&a[0], &b[0], descending));
        self.rows = groups.into_iter().flatten().collect();
        Ok(self)
    }
}
