//! `tunelab diff`: what is not the same in two runs.
//!
//! In: two [`Side`]s, each read from a run's folder. Out: text in groups, `key  a  b`, no line wider
//! than the terminal, or one JSON object with the exact values. What always differs, the times,
//! comes last. What single prompts and intervals of metrics differ in is counted in the text, and
//! shown with `--all`, as is what is equal.

mod side;
mod text;

use serde_json::{Map, Value, json};

use crate::cli::DiffArgs;
use crate::cli::output::print;
use crate::cli::terminal;
use crate::error::Result;

pub use side::{Group, Side};
pub use text::to_text;

/// `tunelab diff RUN RUN`.
///
/// # Errors
/// Wrong input: a folder that is no run's, or a damaged file in it.
pub fn command(args: &DiffArgs) -> Result<()> {
    let sides = [&args.a, &args.b].map(|path| Side::read(path));
    let [a, b] = sides;
    let (a, b) = (a?, b?);
    print(&if args.json { to_json(&a, &b, args.all) } else { to_text(&a, &b, args.all, terminal::columns()) })
}

/// One key of a group; of at least one side there is a value.
#[derive(Debug, Clone, PartialEq)]
struct Pair<'a> {
    key: &'a str,
    a: Option<&'a side::Entry>,
    b: Option<&'a side::Entry>,
}

impl Pair<'_> {
    fn is_same(&self) -> bool {
        let value = |entry: Option<&side::Entry>| entry.map(|entry| entry.value.clone());
        value(self.a) == value(self.b)
    }

    /// Whether it is one of many numbers behind another.
    fn is_detail(&self) -> bool {
        [self.a, self.b].into_iter().flatten().all(|entry| entry.is_detail)
    }
}

/// Every key of a group; none where one side knows nothing of it.
fn pairs<'a>(a: &'a Side, b: &'a Side, group: Group) -> Option<Vec<Pair<'a>>> {
    let (a, b) = (a.group(group)?, b.group(group)?);
    let find = |entries: &'a [side::Entry], key: &str| entries.iter().find(|entry| entry.key == key);
    let of_a = a.iter().map(|entry| Pair { key: &entry.key, a: Some(entry), b: find(b, &entry.key) });
    let of_b = b.iter().filter(|entry| find(a, &entry.key).is_none());
    let mut pairs: Vec<Pair> =
        of_a.chain(of_b.map(|entry| Pair { key: &entry.key, a: None, b: Some(entry) })).collect();
    if group == Group::Settings {
        let keys: Vec<String> = pairs.iter().map(|pair| pair.key.to_owned()).collect();
        let order = super::settings::sorted(keys.iter());
        pairs.sort_by_key(|pair| order.iter().position(|key| *key == pair.key));
    }
    Some(pairs)
}

/// The two runs, and of each group the keys that differ, or all: null is what a run does not have. A
/// group of which one run knows nothing is null as a whole.
pub fn to_json(a: &Side, b: &Side, all: bool) -> String {
    let run = |side: &Side| json!({"name": side.name, "folder": side.folder, "finished": side.unfinished.is_none()});
    let value = |entry: Option<&side::Entry>| entry.map_or(Value::Null, |entry| entry.value.clone());
    let group = |group: Group| {
        let kept = pairs(a, b, group)?.into_iter().filter(|pair| all || !pair.is_same());
        let object = kept.map(|pair| (pair.key.to_owned(), json!({"a": value(pair.a), "b": value(pair.b)})));
        Some(Value::Object(object.collect()))
    };
    let mut out = Map::new();
    out.insert("runs".to_owned(), json!({"a": run(a), "b": run(b)}));
    out.extend(Group::ALL.map(|of| (of.name().to_owned(), group(of).unwrap_or(Value::Null))));
    format!("{:#}\n", Value::Object(out))
}
