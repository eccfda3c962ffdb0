//! Older spellings of keys, which are read for ever.
//!
//! In: what the statements of the keys say of earlier versions; a plan that was stored by one. Out: the plan with the
//! paths of today. [`crate::config::experiment`] does the same for what a person writes, with carets.

use toml::{Table, Value};

use crate::config::Plan;

/// Where a key was, and where it is.
pub(crate) struct Spelling {
    /// The path in an earlier version.
    pub old: &'static str,
    /// The path of today.
    pub new: String,
}

/// All older spellings.
pub(crate) fn spellings() -> Vec<Spelling> {
    let keys = Plan::keys().keys.into_iter();
    keys.filter_map(|known| Some(Spelling { old: known.key.old?, new: known.path })).collect()
}

/// Moves what a stored plan says in an older spelling to the path of today; whether there was any.
pub fn rename_old_keys(plan: &mut Table) -> bool {
    let mut renamed = false;
    for Spelling { old, new } in spellings() {
        if let Some(value) = take(plan, old) {
            put(plan, &new, value);
            renamed = true;
        }
    }
    renamed
}

fn take(table: &mut Table, path: &str) -> Option<Value> {
    match path.split_once('.') {
        Some((first, rest)) => take(table.get_mut(first)?.as_table_mut()?, rest),
        None => table.remove(path),
    }
}

fn put(table: &mut Table, path: &str, value: Value) {
    match path.split_once('.') {
        Some((first, rest)) => {
            let inner = table.entry(first).or_insert_with(|| Table::new().into());
            if let Some(inner) = inner.as_table_mut() {
                put(inner, rest, value);
            }
        }
        None => drop(table.entry(path).or_insert(value)),
    }
}
