//! `[[variant]]`: one file states several runs that differ in a few keys.
//!
//! In: the file's tree. Out: each variant's name and the table to lay over the rest of the file, or
//! what is wrong with it. A file without variants is one experiment, with nothing to lay over it.

use super::{Entry, Place, Problem, Table, Value};

/// A variant's name, if the file has variants, and what it lays over the rest of the file.
pub(super) type Variant = (Option<String>, Table);

/// Takes the variants out of the tree; `problems` gets what is wrong with their list.
pub(super) fn take(
    base: &mut Table,
    arguments: &mut [Table],
    problems: &mut Vec<Problem>,
) -> Vec<Result<Variant, Problem>> {
    for entry in arguments.iter_mut().filter_map(|table| table.remove("variant")) {
        problems.push(Problem::new(entry.key, "`variant` cannot be set").label("--set goes to every variant"));
    }
    let Some(entry) = base.remove("variant") else { return vec![Ok((None, Table::new()))] };
    let Value::List(items) = entry.value else {
        problems.push(Problem::new(entry.key, "`variant` must be a list of tables").label("write [[variant]]"));
        return Vec::new();
    };
    if items.is_empty() {
        problems.push(Problem::new(entry.key, "`variant` is empty: there is nothing to run").label("leave it out"));
    }
    let mut variants: Vec<Result<Variant, Problem>> = Vec::new();
    for item in items {
        let variant = named(item).and_then(|(name, at, table)| {
            let taken = variants.iter().flatten().any(|(other, _)| same(other.as_deref(), &name));
            let problem = || Problem::new(at, format!("two variants are called {name:?}"));
            if taken { Err(problem()) } else { Ok((Some(name), table)) }
        });
        variants.push(variant);
    }
    variants
}

/// Names become folders, and not every file system tells `A` from `a`.
fn same(other: Option<&str>, name: &str) -> bool {
    other.is_some_and(|other| other.to_lowercase() == name.to_lowercase())
}

/// The variant's name, where it stands, and the rest of its table.
fn named(item: Entry) -> Result<(String, Place, Table), Problem> {
    let Value::Table(mut table) = item.value else {
        return Err(Problem::new(item.at, "a variant must be a table").label("write [[variant]]"));
    };
    let Some(name) = table.remove("name") else {
        return Err(Problem::new(item.key, "this variant has no name").label("add `name`"));
    };
    match name.value {
        Value::Text(text) if is_plain(&text) => Ok((text, name.at, table)),
        _ => Err(Problem::new(name.at, "a variant's `name` must be letters, digits, `_`, `-` and `.`")
            .label("it becomes the end of a folder's name")),
    }
}

fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_alphanumeric() || "_-.".contains(c);
    !name.is_empty() && name.len() <= 80 && name.chars().all(plain) && !name.ends_with('.')
}
