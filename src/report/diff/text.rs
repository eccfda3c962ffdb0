//! The difference of two runs as text for a terminal.
//!
//! In: two [`Side`]s and a width. Out: lines that are no wider. A value that does not fit is
//! shortened in the middle, or, where both would then be the same, to the part in which they differ.

use serde_json::Value;

use super::side::Entry;
use super::{Group, Pair, Side, pairs};
use crate::cli::terminal::{left, printable, shortened, width, wrapped};

const INDENT: &str = "  ";
/// What stands where a run has no such key, and where it has the same.
const NONE: &str = "–";
const SAME: &str = "=";
/// Digits of a number, as far as they tell two apart.
const DIGITS: usize = 6;

/// A line of the table.
struct Line {
    key: String,
    a: String,
    b: String,
}

/// How wide the three columns are.
#[derive(Debug, Clone, Copy)]
struct Widths {
    key: usize,
    a: usize,
    b: usize,
}

/// What is known of a group.
enum Part {
    /// Of one run nothing.
    Unknown,
    /// Lines, and how many details were left out.
    Lines(Vec<Line>, usize),
}

/// What differs, in groups; with `all` what is equal too.
pub fn to_text(a: &Side, b: &Side, all: bool, columns: usize) -> String {
    // Two runs of one name are told apart by their folders.
    let names = if a.name == b.name { [&a.folder, &b.folder] } else { [&a.name, &b.name] };
    let parts = Group::ALL.map(|group| (group, part(a, b, group, all)));
    let lines = || {
        let in_columns = parts.iter().filter(|(group, _)| *group != Group::Warnings);
        in_columns.flat_map(|(_, part)| if let Part::Lines(lines, _) = part { lines.as_slice() } else { &[] })
    };
    let head = Line { key: String::new(), a: names[0].clone(), b: names[1].clone() };
    let widths = Widths::new(&lines().chain([&head]).collect::<Vec<_>>(), columns);
    let mut out = Vec::new();
    for (side, name) in [a, b].into_iter().zip(names) {
        let known = side.unfinished.as_ref();
        out.extend(
            known
                .into_iter()
                .flat_map(|known| wrapped(&printable(&format!("{name} is not finished: {known}")), columns)),
        );
    }
    if lines().next().is_some() {
        out.push(head.text(widths));
    }
    for (group, part) in &parts {
        match part {
            Part::Unknown => out.extend(wrapped(&format!("{}: not known of both", group.name()), columns)),
            Part::Lines(lines, 0) if lines.is_empty() => out.push(format!("no difference in {}", group.name())),
            Part::Lines(lines, more) => {
                out.push(group.name().to_owned());
                match group {
                    Group::Warnings => out.extend(lines.iter().flat_map(|line| warning(line, names, columns))),
                    _ => out.extend(lines.iter().map(|line| line.text(widths))),
                }
                if *more > 0 {
                    let said = format!("{INDENT}and {more} more of single prompts and intervals: --all shows them");
                    out.extend(wrapped(&said, columns));
                }
            }
        }
    }
    out.join("\n") + "\n"
}

fn part(a: &Side, b: &Side, group: Group, all: bool) -> Part {
    let Some(pairs) = pairs(a, b, group) else { return Part::Unknown };
    let (different, same): (Vec<Pair>, Vec<Pair>) = pairs.into_iter().partition(|pair| !pair.is_same());
    if all {
        return Part::Lines(different.iter().chain(&same).map(line).collect(), 0);
    }
    let (details, means): (Vec<Pair>, Vec<Pair>) = different.into_iter().partition(Pair::is_detail);
    Part::Lines(means.iter().map(line).collect(), details.len())
}

fn line(pair: &Pair) -> Line {
    let key = printable(pair.key);
    let whole = |entry: Option<&Entry>| entry.map_or_else(|| NONE.to_owned(), |entry| printable(&entry.shown));
    if pair.is_same() {
        return Line { key, a: whole(pair.a), b: SAME.to_owned() };
    }
    let [a, b] = [pair.a, pair.b].map(|entry| entry.map_or_else(|| NONE.to_owned(), rounded));
    if a == b { Line { key, a: whole(pair.a), b: whole(pair.b) } } else { Line { key, a, b } }
}

/// A number that was measured with fewer digits.
fn rounded(entry: &Entry) -> String {
    match &entry.value {
        Value::Number(number) if number.is_f64() && entry.shown.len() > DIGITS + 2 => {
            let value = number.as_f64().unwrap_or_default();
            let before = value.abs().log10().floor().max(-3.0) as i64 + 1;
            let after = usize::try_from(DIGITS as i64 - before).unwrap_or(0);
            format!("{value:.after$}")
        }
        _ => printable(&entry.shown),
    }
}

/// A sentence; it is wrapped in place of being shortened.
fn warning(line: &Line, names: [&String; 2], columns: usize) -> Vec<String> {
    let who = match (line.a.as_str(), line.b.as_str()) {
        (_, SAME) => "both".to_owned(),
        (_, NONE) => printable(names[0]),
        _ => printable(names[1]),
    };
    let lines = wrapped(&format!("{who}: {}", line.key), columns - INDENT.len());
    lines.into_iter().map(|line| format!("{INDENT}{line}")).collect()
}

impl Widths {
    /// The key has two fifths at most; what one value does not need is the other's.
    fn new(lines: &[&Line], columns: usize) -> Self {
        let widest = |cell: fn(&Line) -> &str| lines.iter().map(|line| width(cell(line))).max().unwrap_or(0);
        let [key, a, b] = [widest(|line| &line.key), widest(|line| &line.a), widest(|line| &line.b)];
        let key = key.min(columns * 2 / 5);
        let room = columns.saturating_sub(key + 3 * INDENT.len());
        let half = room / 2;
        let a = a.min(half.max(room.saturating_sub(b)));
        Self { key, a, b: b.min(room - a) }
    }
}

impl Line {
    fn text(&self, widths: Widths) -> String {
        let fits = width(&self.a) <= widths.a && width(&self.b) <= widths.b;
        let most = widths.a.min(widths.b);
        let [a, b] = if fits || shortened(&self.a, most) != shortened(&self.b, most) {
            [shortened(&self.a, widths.a), shortened(&self.b, widths.b)]
        } else {
            where_they_differ(&self.a, &self.b, most)
        };
        let (key, a) = (left(&shortened(&self.key, widths.key), widths.key), left(&a, widths.a));
        format!("{INDENT}{key}{INDENT}{a}{INDENT}{b}").trim_end().to_owned()
    }
}

/// Two long texts without most of their common beginning.
fn where_they_differ(a: &str, b: &str, most: usize) -> [String; 2] {
    let common = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
    let begin = common.saturating_sub(most / 4);
    [a, b].map(|text| {
        let rest: String = text.chars().skip(begin).collect();
        let mut kept = String::from("…");
        for c in rest.chars() {
            if width(&kept) + 2 > most {
                kept.push('…');
                break;
            }
            kept.push(c);
        }
        shortened(&kept, most)
    })
}
