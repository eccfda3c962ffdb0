//! Keys in an older spelling, which are read for ever.
//!
//! In: the tree of a text, and where keys were and are. Out: the tree with the paths of today,
//! whose entries still know where they stand and how they are spelled.

use super::overlay::STAND_IN;
use super::{Entry, Problem, Table, Value};
use crate::config::keys::spelling::Spelling;

/// Moves what is spelled in the older way in the text, in its stand-in and in its variants.
pub(super) fn rename(table: &mut Table, spellings: &[Spelling], problems: &mut Vec<Problem>) {
    for Spelling { old, new } in spellings {
        if let Some(mut entry) = take(table, old) {
            let name = old.rsplit('.').next().unwrap_or(old);
            entry.spelled = Some(name);
            if let Some(entry) = put(table, new, entry) {
                let message = format!("`{name}` is the older spelling of `{new}`, which is there too");
                problems.push(Problem::new(entry.key, message).label("leave one of them out"));
            }
        }
    }
    for entry in table.iter_mut().filter(|(key, _)| [STAND_IN, "variant"].contains(&key.as_str())).map(|(_, e)| e) {
        match &mut entry.value {
            Value::Table(inner) => rename(inner, spellings, problems),
            Value::List(items) => {
                for item in items {
                    if let Value::Table(inner) = &mut item.value {
                        rename(inner, spellings, problems);
                    }
                }
            }
            _ => {}
        }
    }
}

fn take(table: &mut Table, path: &str) -> Option<Entry> {
    match (path.split_once('.'), table) {
        (None, table) => table.remove(path),
        (Some((first, rest)), table) => match &mut table.get_mut(first)?.value {
            Value::Table(inner) => take(inner, rest),
            _ => None,
        },
    }
}

/// Gives the entry back where its place is taken.
fn put(table: &mut Table, path: &str, entry: Entry) -> Option<Entry> {
    let Some((first, rest)) = path.split_once('.') else {
        if table.contains_key(path) {
            return Some(entry);
        }
        table.insert(path.into(), entry);
        return None;
    };
    let Entry { key, at, .. } = entry.clone();
    let made = Entry { key, at, value: Value::Table(Table::new()), spelled: None };
    match &mut table.entry(first.into()).or_insert(made).value {
        Value::Table(inner) => put(inner, rest, entry),
        // That is told where the table is read.
        _ => None,
    }
}
