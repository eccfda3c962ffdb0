//! Laying one table over another: a variant over the file, a stand-in over that, a `--set` argument
//! over all.
//!
//! In: two tables. Out: the first with the second's values. Tables are merged, everything else is
//! replaced, and of keys that exclude each other those of the table above win.

use super::{Entry, Table, Value};

/// The table's name.
pub(super) const STAND_IN: &str = "stand_in";

/// Which keys give way to a rival that is laid over them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rivals {
    /// Sources, lengths and class images, and also adapters: a variant may compare ways of
    /// training, and a stand-in may train otherwise.
    Variant,
    /// Sources, lengths and class images. An argument goes to every variant, and `--set
    /// adapter.lora.rank=8` must not turn the one that trains everything into a LoRA: that stays an
    /// error.
    Argument,
}

/// By table: groups of keys of which only one group can count, and whether that holds for arguments
/// too.
const RIVALS: [(&str, &[&[&str]], Rivals); 7] = [
    ("model", &[&["path"], &["repo", "modelscope", "file"], &["builtin"]], Rivals::Argument),
    ("model", &[&["config"], &["builtin"]], Rivals::Argument),
    ("dataset", &[&["path"], &["repo", "modelscope"], &["builtin"], &["sources"]], Rivals::Argument),
    ("train", &[&["epochs"], &["steps"]], Rivals::Argument),
    ("adapter", &[&["lora"], &["full"], &["dreambooth"]], Rivals::Variant),
    ("adapter.dreambooth", &[&["lora"], &["full"]], Rivals::Variant),
    ("adapter.dreambooth", &[&["class_images"], &["class_path"]], Rivals::Argument),
];

/// Lays `over` on `base`.
pub(super) fn lay(base: &mut Table, over: Table, rivals: Rivals) {
    merge(base, over, rivals, "");
}

fn merge(base: &mut Table, over: Table, rivals: Rivals, path: &str) {
    for key in over.keys() {
        base.retain(|other, _| !excludes(key, other, rivals, path));
    }
    for (key, entry) in over {
        match (base.get_mut(&key), entry) {
            (Some(Entry { value: Value::Table(below), .. }), Entry { value: Value::Table(above), .. }) => {
                // What lies in a stand-in's table are the experiment's own keys.
                let inner = if key == STAND_IN { String::new() } else { super::reader::join(path, &key) };
                merge(below, above, rivals, &inner);
            }
            (_, entry) => {
                base.insert(key, entry);
            }
        }
    }
}

/// Does `key`, laid over a table that has `other`, take its place?
fn excludes(key: &str, other: &str, rivals: Rivals, path: &str) -> bool {
    RIVALS.iter().filter(|(table, _, holds)| *table == path && (rivals == Rivals::Variant || *holds == rivals)).any(
        |(_, groups, _)| {
            let group = |key: &str| groups.iter().position(|group| group.contains(&key));
            group(key).zip(group(other)).is_some_and(|(a, b)| a != b)
        },
    )
}
