//! What differs between a stored plan and a wanted one, and so what is to be done again.
//!
//! In: the texts of two resolved plans. Out: the farthest-reaching difference, from what each key
//! affects.

use toml::{Table, Value};

use super::Plan;
use super::keys::spelling::Spelling;
use super::keys::{Affects, Listing, Setting};

/// The farthest-reaching difference of two plans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanDiff {
    /// None, but for line ends, which version control may change, older spellings of keys, and keys
    /// that an earlier version had not, at their defaults.
    Equal,
    /// Only what is said about the run: nothing that is computed.
    MetadataOnly,
    /// Only how images are measured.
    MeasuringOnly,
    /// Only what is drawn after training.
    SamplingOnly,
    /// Something else.
    Training,
}

impl PlanDiff {
    /// Compares the stored plan with the wanted one.
    pub fn of(stored: &str, wanted: &str) -> Self {
        if stored.trim_end().lines().eq(wanted.trim_end().lines()) {
            return Self::Equal;
        }
        let (Ok(mut stored), Ok(mut wanted)) = (stored.parse::<Table>(), wanted.parse::<Table>()) else {
            return Self::Training;
        };
        let keys = Plan::keys();
        let older =
            [rename(&mut stored, &keys), rename(&mut wanted, &keys), add_newer_keys(&mut stored, &wanted, &keys)];
        if older.contains(&true) && stored == wanted {
            return Self::Equal;
        }
        let steps = [
            (Affects::Metadata, Self::MetadataOnly),
            (Affects::Measuring, Self::MeasuringOnly),
            (Affects::Sampling, Self::SamplingOnly),
        ];
        for (affects, diff) in steps {
            remove(&mut stored, "", affects, &keys);
            remove(&mut wanted, "", affects, &keys);
            if stored == wanted {
                return diff;
            }
        }
        Self::Training
    }
}

/// Removes the keys that affect no more than this, and tables that have no others.
fn remove(table: &mut Table, path: &str, affects: Affects, keys: &Listing) {
    table.retain(|name, value| {
        let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        let inside = format!("{path}.");
        let mut known =
            keys.keys.iter().filter(|known| known.path == path || known.path.starts_with(&inside)).peekable();
        if known.peek().is_some() && known.all(|known| known.key.affects == affects) {
            return false;
        }
        if let Value::Table(table) = value {
            remove(table, &path, affects, keys);
        }
        true
    });
}

/// Moves what a stored plan says in an older spelling to the path of today; whether there was any.
pub fn rename_old_keys(plan: &mut Table) -> bool {
    rename(plan, &Plan::keys())
}

fn rename(plan: &mut Table, keys: &Listing) -> bool {
    let mut renamed = false;
    for Spelling { old, new } in keys.spellings() {
        if let Some(value) = take(plan, old) {
            put(plan, &new, value);
            renamed = true;
        }
    }
    renamed
}

/// Adds what a stored plan lacks and the wanted one has at its default: keys that the version that
/// stored it had not; whether there was any. A plan says everything, so nothing else is lacking.
fn add_newer_keys(stored: &mut Table, wanted: &Table, keys: &Listing) -> bool {
    let mut added = false;
    for known in &keys.keys {
        let Some(default) = known.default.as_ref().and_then(toml_value) else { continue };
        if get(stored, &known.path).is_none() && get(wanted, &known.path) == Some(&default) {
            put(stored, &known.path, default);
            added = true;
        }
    }
    added
}

fn toml_value(setting: &Setting) -> Option<Value> {
    format!("value = {}", setting.to_toml()).parse::<Table>().ok()?.remove("value")
}

fn get<'a>(table: &'a Table, path: &str) -> Option<&'a Value> {
    match path.split_once('.') {
        Some((first, rest)) => get(table.get(first)?.as_table()?, rest),
        None => table.get(path),
    }
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
