//! The reference of the keys, as `tunelab keys` prints it and the README has it.
//!
//! In: all keys, the beginning of the paths that are asked for, a width. Out: for each table its
//! keys, each with its default, and below it what it means and what it may be.

use std::ops::Bound;

use super::{Kind, Known, Listing};
use crate::config::experiment::similar;
use crate::error::{Error, Result};

/// Tables whose keys are those of another, and so are said only if asked for.
const TWINS: [(&str, &str); 3] = [
    ("dataset.sources.captions", "dataset.captions"),
    ("adapter.dreambooth.lora", "adapter.lora"),
    ("adapter.dreambooth.full", "adapter.full"),
];

/// What is said behind all keys.
const AROUND: [(&str, &str); 3] = [
    (
        "[stand_in]",
        "Any of these keys: what the experiment becomes where its model or images cannot be had and no hub answers.",
    ),
    ("[[variant]]", "A `name` and any of these keys: one of several runs that the file states."),
    (
        "[sweep]",
        "Any of these keys, each with a list of values or a range such as \"1..3\": a run for each combination, for each variant. \
         [[sweep.zip]] has lists whose values go together, [[sweep.skip]] values of combinations that are left out.",
    ),
];

/// The keys whose paths begin with `prefix`, all for none, in lines of at most `columns` where
/// words allow it.
///
/// Errors: no path begins so; with the one that may be meant.
pub fn text(listing: &Listing, prefix: &str, columns: usize) -> Result<String> {
    let shown = |known: &Known| {
        let twin = TWINS.iter().any(|(table, _)| known.table() == *table && !prefix.starts_with(table));
        let old = known.key.old.is_some_and(|old| !prefix.is_empty() && old.starts_with(prefix));
        !twin && (known.path.starts_with(prefix) || old)
    };
    if !listing.keys.iter().any(shown) {
        return Err(unknown(listing, prefix));
    }
    let mut out = Page { text: String::new(), columns };
    for known in listing.of("").filter(|known| shown(known)) {
        out.key(known);
    }
    for (table, about) in &listing.tables {
        let keys: Vec<&Known> = listing.of(table).filter(|known| shown(known)).collect();
        let twin = TWINS.iter().find(|(twin, _)| twin == table && prefix.is_empty());
        let holds_tables = prefix.is_empty() && listing.choices.iter().any(|(choice, _)| choice == table);
        if keys.is_empty() && twin.is_none() && !holds_tables {
            continue;
        }
        let about = twin.map_or_else(|| (*about).to_owned(), |(_, other)| format!("The keys of [{other}]."));
        let heading = if listing.lists.contains(table) { format!("[[{table}]]") } else { format!("[{table}]") };
        out.heading(&heading, &about);
        for known in keys {
            out.key(known);
        }
    }
    if prefix.is_empty() {
        for (table, about) in &AROUND {
            out.heading(table, about);
        }
    }
    Ok(out.text)
}

fn unknown(listing: &Listing, prefix: &str) -> Error {
    let error = Error::input(format!("no key begins with `{prefix}`"));
    let paths: Vec<&str> =
        listing.keys.iter().map(|known| &*known.path).chain(listing.tables.iter().map(|(path, _)| &**path)).collect();
    let last = prefix.rsplit('.').next().unwrap_or_default();
    let ends = paths.iter().copied().find(|path| path.rsplit('.').next() == Some(last));
    match ends.or_else(|| similar(prefix, &paths)) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint("`tunelab keys` prints all of them"),
    }
}

/// Lines of text.
struct Page {
    text: String,
    columns: usize,
}

impl Page {
    fn heading(&mut self, table: &str, about: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.extend([table, "\n"]);
        self.wrapped(about, 2);
    }

    fn key(&mut self, known: &Known) {
        let default = known.default.as_ref().map_or_else(String::new, |value| format!(" = {}", value.to_toml()));
        self.text.extend([known.key.name, &default, "\n"]);
        self.wrapped(&[known.key.doc.to_owned(), facts(known)].join(" "), 4);
    }

    /// Words, indented and broken between them.
    fn wrapped(&mut self, text: &str, indent: usize) {
        let mut column = 0;
        for word in text.split_whitespace() {
            let width = word.chars().count();
            if column > 0 && column + 1 + width <= self.columns {
                self.text.extend([" ", word]);
                column += 1 + width;
            } else {
                self.text.extend([if column > 0 { "\n" } else { "" }, &" ".repeat(indent), word]);
                column = indent + width;
            }
        }
        self.text.push('\n');
    }
}

/// What the value may be, the default where that is no value, the older spelling.
fn facts(known: &Known) -> String {
    let mut facts = kind(&known.key.kind);
    if let Some(usual) = known.key.usual {
        facts.extend(["; default: ", usual]);
    }
    if let Some(old) = known.key.old {
        facts.extend(["; old spelling: ", old]);
    }
    let mut letters = facts.chars();
    letters.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), letters.as_str()))
}

fn kind(kind: &Kind) -> String {
    match kind {
        Kind::Whole { range, multiple_of: 1 } if *range.end() >= super::ANY as u64 => {
            format!("whole number from {}", range.start())
        }
        Kind::Whole { range, multiple_of: 1 } => format!("whole number from {} to {}", range.start(), range.end()),
        Kind::Whole { range, multiple_of } => {
            format!("multiple of {multiple_of} from {} to {}", range.start(), range.end())
        }
        Kind::Sides { range, square, pair } => format!(
            "multiple of {square} from {} to {}; or [width, height] in multiples of {pair}",
            range.start(),
            range.end()
        ),
        Kind::Number(low, high) => {
            let bounds = [
                match low {
                    Bound::Included(low) => Some(format!("from {low}")),
                    Bound::Excluded(low) => Some(format!("above {low}")),
                    Bound::Unbounded => None,
                },
                match high {
                    Bound::Included(high) => Some(format!("to {high}")),
                    Bound::Excluded(high) => Some(format!("below {high}")),
                    Bound::Unbounded => None,
                },
            ];
            ["number".to_owned()].into_iter().chain(bounds.into_iter().flatten()).collect::<Vec<_>>().join(" ")
        }
        Kind::Flag => "true or false".into(),
        Kind::Text | Kind::AnyText => "text".into(),
        Kind::Texts => "list of texts".into(),
        Kind::Choice(names) => names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", "),
        Kind::Choices(names) => {
            let names: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
            format!("list of {}", names.join(", "))
        }
        Kind::Folder => "folder".into(),
        Kind::FolderOrModel => "folder or .safetensors file".into(),
        Kind::FolderOrPack => "folder or .parquet, .tar or .zip file".into(),
        Kind::Repository => "repository's owner/name".into(),
    }
}
