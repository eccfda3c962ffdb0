//! One walk over all keys, for whoever wants them: to read, to write, or to list them.
//!
//! In: settings that visit their keys one by one. Out: the settings changed to what is written; or
//! lines of TOML; or a [`Listing`].

use super::listing::{Known, Listing};
use super::write::Lines;
use super::{Affects, Key, Value};
use crate::config::experiment::Section;

/// What is done with each key.
pub(crate) struct Visit<'a> {
    mode: Mode<'a>,
    part: Option<Part>,
}

enum Mode<'a> {
    /// Change the field to what the table says.
    Read(Section<'a>),
    /// Write the field down.
    Write(&'a mut Lines),
    /// Note the key, with the field as its default; every case of an enum is visited.
    List(&'a mut Listing),
}

/// The one key of some settings that is visited now, under another name.
#[derive(Clone, Copy)]
struct Part {
    key: &'static str,
    name: &'static str,
    affects: Affects,
}

/// Settings that have keys.
pub(crate) trait Keys {
    /// What they are about.
    const ABOUT: &'static str;

    /// Visits the keys, in the order in which they are written.
    fn keys(&mut self, visit: &mut Visit);
}

/// What is said about a field of `settings!`.
pub(crate) trait Stated<T> {
    /// Visits the field.
    fn state(self, name: &'static str, doc: &'static str, field: &mut T, visit: &mut Visit);
}

impl<T: Value> Stated<T> for Key {
    fn state(self, name: &'static str, doc: &'static str, field: &mut T, visit: &mut Visit) {
        visit.key(self.named(name, doc), field);
    }
}

/// The field has keys of its own.
pub(crate) enum Inner {
    /// In this very table.
    Here,
    /// In a table of the field's name.
    Table,
    /// Some of them in this very table: (the key, its name here), and what they affect here.
    Part(&'static [(&'static str, &'static str)], Affects),
}

impl<T: Keys> Stated<T> for Inner {
    fn state(self, name: &'static str, _doc: &'static str, field: &mut T, visit: &mut Visit) {
        match self {
            Self::Here => field.keys(visit),
            Self::Table => visit.table(name, T::ABOUT, |visit| field.keys(visit)),
            Self::Part(keys, affects) => {
                for (key, name) in keys {
                    visit.part = Some(Part { key, name, affects });
                    field.keys(visit);
                }
                visit.part = None;
            }
        }
    }
}

/// The field is a table of its name, which need not be there.
pub(crate) struct MaybeTable;

impl<T: Keys + Default> Stated<Option<T>> for MaybeTable {
    fn state(self, name: &'static str, _doc: &'static str, field: &mut Option<T>, visit: &mut Visit) {
        visit.optional(name, field);
    }
}

/// The field is a list of tables: `[[name]]`.
pub(crate) struct Each;

impl<T: Keys + Default> Stated<Vec<T>> for Each {
    fn state(self, name: &'static str, _doc: &'static str, field: &mut Vec<T>, visit: &mut Visit) {
        visit.each(name, field);
    }
}

/// The field follows from others and is no key.
pub(crate) struct NoKey;

impl<T> Stated<T> for NoKey {
    fn state(self, _name: &'static str, _doc: &'static str, _field: &mut T, _visit: &mut Visit) {}
}

impl<'a> Visit<'a> {
    /// Settings become what the table says.
    pub fn read(section: Section<'a>) -> Self {
        Self { mode: Mode::Read(section), part: None }
    }

    /// Settings become lines.
    pub fn write(lines: &'a mut Lines) -> Self {
        Self { mode: Mode::Write(lines), part: None }
    }

    /// Keys are noted.
    pub fn list(listing: &'a mut Listing) -> Self {
        Self { mode: Mode::List(listing), part: None }
    }

    /// The table that is read, if one is.
    pub fn section(&self) -> Option<&Section<'a>> {
        if let Mode::Read(section) = &self.mode { Some(section) } else { None }
    }

    /// Are the keys listed, those of every case of an enum?
    pub fn lists(&self) -> bool {
        matches!(self.mode, Mode::List(_))
    }

    /// One key and its field, which begins as the default.
    pub fn key<T: Value>(&mut self, key: Key, field: &mut T) {
        let key = match self.part {
            None => key,
            Some(Part { key: only, name, affects }) if only == key.name => Key { name, affects, ..key },
            Some(_) => return,
        };
        match &mut self.mode {
            Mode::Read(section) => {
                if let Some(value) = section.read(key.name, &key.kind).and_then(T::from_setting) {
                    *field = value;
                }
            }
            Mode::Write(lines) => lines.key(&key, field.to_setting()),
            Mode::List(listing) => listing.key(key, field.to_setting()),
        }
    }

    /// The keys in a table of this one.
    pub fn table(&mut self, name: &'static str, about: &'static str, inner: impl FnOnce(&mut Self)) {
        match &mut self.mode {
            Mode::Read(section) => {
                let inside = section.section(name);
                let outside = std::mem::replace(section, inside);
                inner(self);
                self.mode = Mode::Read(outside);
            }
            Mode::Write(_) | Mode::List(_) => {
                self.enter(name, about);
                inner(self);
                self.leave();
            }
        }
    }

    fn enter(&mut self, name: &str, about: &'static str) {
        match &mut self.mode {
            Mode::Write(lines) => lines.enter(name),
            Mode::List(listing) => listing.enter(name, about),
            Mode::Read(_) => {}
        }
    }

    fn leave(&mut self) {
        match &mut self.mode {
            Mode::Write(lines) => lines.leave(),
            Mode::List(listing) => listing.leave(),
            Mode::Read(_) => {}
        }
    }

    /// A table that need not be there.
    pub fn optional<T: Keys + Default>(&mut self, name: &'static str, field: &mut Option<T>) {
        let is_there = match &self.mode {
            Mode::Read(section) => section.has(name),
            Mode::Write(_) => field.is_some(),
            Mode::List(_) => true,
        };
        if is_there {
            let mut inner = field.take().unwrap_or_default();
            self.table(name, T::ABOUT, |visit| inner.keys(visit));
            *field = Some(inner);
        }
    }

    /// A list of tables, none if it is not there.
    pub fn each<T: Keys + Default>(&mut self, name: &'static str, list: &mut Vec<T>) {
        if let Mode::Read(section) = &self.mode {
            list.clear();
            for item in section.tables_of(name) {
                let mut inner = T::default();
                inner.keys(&mut Visit::read(item));
                list.push(inner);
            }
            return;
        }
        let mut one = [T::default()];
        let items = if self.lists() { &mut one[..] } else { &mut list[..] };
        for item in items {
            match &mut self.mode {
                Mode::Write(lines) => lines.enter_item(name),
                Mode::List(listing) => listing.enter_item(name, T::ABOUT),
                Mode::Read(_) => {}
            }
            item.keys(self);
            self.leave();
        }
    }

    /// The tables to visit of several that exclude each other: the one that is written, which
    /// `written` finds; the `current` one; or all.
    pub fn tables(
        &mut self,
        names: &[&'static str],
        current: &'static str,
        written: impl FnOnce(&Section) -> Option<&'static str>,
    ) -> Vec<&'static str> {
        match &mut self.mode {
            Mode::Read(section) => vec![written(section).unwrap_or(current)],
            Mode::Write(_) => vec![current],
            Mode::List(listing) => {
                listing.choose(names);
                names.into()
            }
        }
    }
}

impl Known {
    /// The part of the path before the key's own name.
    pub fn table(&self) -> &str {
        self.path.rsplit_once('.').map_or("", |(table, _)| table)
    }
}
