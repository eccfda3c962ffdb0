//! The table for a terminal: no line is wider than it.
//!
//! In: a [`Table`], which columns are wanted, and a width. Out: text. Every row of a run has its
//! ratios in a second line, each under its number. Without a choice of columns, those that are equal
//! in all rows are said once below, headings and names become shorter where they must, and columns
//! that do not fit are left out, by their rank in [`COLUMNS`], with a word on how to see them. Chosen
//! columns are all shown, in blocks one below the other, each with the runs' names.

use super::cell::times;
use super::column::{Align, COLUMNS};
use super::field::Field;
use super::rows::{Kind, Row, Table};
use super::sheet::{METRICS, NONE};
use crate::cli::terminal::{self, left, right, shortened, width, wrapped};

/// Between two columns.
const GAP: usize = 2;
/// Names of runs are shortened no further than this, and other texts to it.
const SHORT: usize = 20;

/// Which columns are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum View {
    /// Those that say something and fit.
    Fitting,
    /// All that say something, those that only the CSV has too.
    All,
    /// These, whatever they say; the run's name stands before them.
    Only(Vec<Field>),
}

/// A column as it is printed.
struct Printed {
    field: Field,
    /// Lines; the last one stands above the cells.
    heading: Vec<String>,
    /// For each row its cell, and the ratio under it.
    cells: Vec<(String, String)>,
    width: usize,
}

/// [`to_text`] of what fits into the terminal that stdout is.
pub fn to_terminal(table: &Table) -> String {
    to_text(table, &View::Fitting, terminal::columns())
}

/// The table in lines of at most `columns` columns.
pub fn to_text(table: &Table, view: &View, columns: usize) -> String {
    let Some(name) = Field::name() else { return String::new() };
    let has_something = |field: &Field| table.rows.iter().any(|row| field.rounded(row).is_some());
    let values = || (0..COLUMNS.len()).map(Field::Value).filter(|field| *field != name && has_something(field));
    match view {
        View::Fitting => fitting(table, name, values().filter(|f| COLUMNS[f.column()].heading.is_some()), columns),
        View::All => blocks(table, name, values(), columns),
        View::Only(fields) => {
            let mut chosen: Vec<Field> = Vec::new();
            for field in fields.iter().filter(|field| **field != name) {
                if !chosen.contains(field) {
                    chosen.push(*field);
                }
            }
            blocks(table, name, chosen.into_iter(), columns)
        }
    }
}

/// One block of what fits.
fn fitting(table: &Table, name: Field, fields: impl Iterator<Item = Field>, columns: usize) -> String {
    let (same, fields): (Vec<Field>, Vec<Field>) = fields.partition(|field| is_same(table, *field));
    let build = |tight: bool| -> Vec<Printed> {
        let names = Printed::names(table, name, if tight { short_names(table, name, columns) } else { columns });
        let others = fields.iter().map(|field| {
            let printed = Printed::new(table, *field, if tight { SHORT } else { columns });
            if tight { printed.with_short_heading() } else { printed }
        });
        [names].into_iter().chain(others).collect()
    };
    let mut shown = build(false);
    if total(&shown) > columns {
        shown = build(true);
    }
    let mut left_out = Vec::new();
    while shown.len() > 1 && total(&shown) > columns {
        // Of equal ones the last.
        let Some(at) = (1..shown.len()).max_by_key(|&at| COLUMNS[shown[at].field.column()].rank) else { break };
        left_out.push(shown.remove(at).field);
    }
    left_out.sort_by_key(|field| field.column());
    let mut below = Vec::new();
    below.extend(said_once(table, &same));
    below.extend(notes(table, &shown, &same));
    below.extend(left_out_note(&left_out));
    let below = below.iter().flat_map(|note| wrapped(&terminal::printable(note), columns));
    block(table, &shown.iter().collect::<Vec<_>>()) + &below.map(|line| line + "\n").collect::<String>()
}

/// All of them, in as many blocks as it takes.
fn blocks(table: &Table, name: Field, fields: impl Iterator<Item = Field>, columns: usize) -> String {
    let longest = Printed::names(table, name, columns).width;
    let names = Printed::names(table, name, longest.min(short_names(table, name, columns)));
    let room = columns - names.width - GAP;
    let mut blocks: Vec<Vec<Printed>> = Vec::new();
    for field in fields {
        let printed = Printed::new(table, field, room).with_short_heading();
        match blocks.last_mut() {
            Some(block) if total(block) + GAP + printed.width <= room => block.push(printed),
            _ => blocks.push(vec![printed]),
        }
    }
    let below = notes(table, blocks.iter().flatten(), &[]);
    let text = |shown: &Vec<Printed>| block(table, &[&names].into_iter().chain(shown).collect::<Vec<_>>());
    let mut texts: Vec<String> = blocks.iter().map(text).collect();
    if texts.is_empty() {
        texts.push(block(table, &[&names]));
    }
    let below = below.iter().flat_map(|note| wrapped(&terminal::printable(note), columns));
    texts.join("\n") + &below.map(|line| line + "\n").collect::<String>()
}

/// What all rows have in common: of a report's figures, as far as they say anything.
fn is_same(table: &Table, field: Field) -> bool {
    let mut cells = table.rows.iter().filter(|row| row.kind != Kind::Reference || field.rounded(row).is_some());
    let first = cells.next();
    let Some(first) = first.filter(|_| is_compared(table)) else { return false };
    cells.all(|row| row.cells[field.column()] == first.cells[field.column()])
}

/// Whether there is more than one run.
fn is_compared(table: &Table) -> bool {
    table.rows.iter().filter(|row| row.kind != Kind::Reference).count() > 1
}

fn said_once(table: &Table, same: &[Field]) -> Option<String> {
    let first = table.rows.first()?;
    let words = |field: &Field| Some(format!("{} {}", field.heading(), field.rounded(first)?));
    let words: Vec<String> = same.iter().filter_map(words).collect();
    (!words.is_empty()).then(|| format!("The same in all: {}.", words.join("; ")))
}

/// What metrics, ratios and the mark of stand-ins mean.
fn notes<'a>(table: &Table, shown: impl IntoIterator<Item = &'a Printed>, same: &[Field]) -> Vec<String> {
    let (mut metrics, mut ratios, mut theirs) = (same.iter().any(|field| is_metric(*field)), false, false);
    for printed in shown {
        metrics |= is_metric(printed.field);
        let is_ratio = matches!(printed.field, Field::Ratio(_));
        for (row, (_, ratio)) in table.rows.iter().zip(&printed.cells) {
            let has_ratio = !ratio.is_empty() || is_ratio && printed.field.rounded(row).is_some();
            ratios |= has_ratio;
            theirs |= has_ratio && row.kind == Kind::Reference;
        }
    }
    let baseline = table.baseline.as_deref().unwrap_or_default();
    let reported =
        if theirs { format!("; in an indented row, of what is reported for {baseline}") } else { String::new() };
    let ratios = ratios.then(|| format!("2.00× is twice and 0.50× half of {baseline}'s number{reported}."));
    let stand_ins = table.stand_ins.iter().map(|what| format!("STAND-IN: {what}."));
    metrics.then(|| METRICS.to_owned()).into_iter().chain(ratios).chain(stand_ins).collect()
}

fn is_metric(field: Field) -> bool {
    COLUMNS[field.column()].base.is_some()
}

fn left_out_note(fields: &[Field]) -> Option<String> {
    let keys: Vec<&str> = fields.iter().map(|field| field.key()).collect();
    (!keys.is_empty()).then(|| {
        format!(
            "Left out, as there is no room: {}. `tunelab table --all` shows all columns, `--columns KEY,…` those that you name.",
            keys.join(", ")
        )
    })
}

/// How wide the names are where room is short: a third of it, or as much more, up to a half, as it
/// takes to tell them apart.
fn short_names(table: &Table, name: Field, columns: usize) -> usize {
    let distinct = |most: usize| {
        let mut names: Vec<String> =
            Printed::names(table, name, most).cells.into_iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        names.dedup();
        names.len()
    };
    let (least, most) = ((columns / 3).max(SHORT.min(columns / 2)), columns / 2);
    let whole = distinct(usize::MAX);
    (least..most).find(|&width| distinct(width) == whole).unwrap_or(most)
}

impl Printed {
    fn names(table: &Table, name: Field, most: usize) -> Self {
        let cell = |row: &Row| {
            let indent = if row.kind == Kind::Reference { "  " } else { "" };
            let text = name.rounded(row).unwrap_or_else(|| NONE.to_owned());
            (format!("{indent}{}", shortened(&text, most.saturating_sub(indent.len()))), String::new())
        };
        Self::sized(name, table.rows.iter().map(cell).collect())
    }

    fn new(table: &Table, field: Field, most: usize) -> Self {
        let at = field.column();
        let has_ratio = |row: &&Row| row.ratios[at].is_some();
        let below =
            matches!(field, Field::Value(_)) && is_compared(table) && table.rows.iter().filter(has_ratio).count() > 1;
        let cell = |row: &Row| {
            let text = shortened(&field.rounded(row).unwrap_or_else(|| NONE.to_owned()), most);
            let ratio = row.ratios[at].filter(|_| below && !row.is_baseline);
            (text, ratio.map_or_else(String::new, times))
        };
        let mut printed = Self::sized(field, table.rows.iter().map(cell).collect());
        if printed.heading.iter().any(|line| width(line) > most) {
            printed.heading = wrapped(field.heading(), most);
            printed.width = printed.widest();
        }
        printed
    }

    fn sized(field: Field, cells: Vec<(String, String)>) -> Self {
        let mut printed = Self { field, heading: vec![field.heading().to_owned()], cells, width: 0 };
        printed.width = printed.widest();
        printed
    }

    fn widest(&self) -> usize {
        let heading = self.heading.iter().map(|line| width(line));
        let cells = self.cells.iter().flat_map(|(cell, ratio)| [width(cell), width(ratio)]);
        heading.chain(cells).max().unwrap_or(0)
    }

    /// The heading in lines no wider than its longest word, or than the cells.
    fn with_short_heading(mut self) -> Self {
        let cells = self.cells.iter().flat_map(|(cell, ratio)| [width(cell), width(ratio)]).max().unwrap_or(0);
        let words = self.heading.iter().flat_map(|line| line.split(' ')).map(width).max().unwrap_or(0);
        self.heading = wrapped(&self.heading.join(" "), words.max(cells));
        self.width = self.widest();
        self
    }

    fn align(&self) -> Align {
        match self.field {
            Field::Value(at) => COLUMNS[at].align,
            Field::Base(_) | Field::Ratio(_) => Align::Right,
        }
    }

    fn padded(&self, text: &str) -> String {
        match self.align() {
            Align::Left => left(text, self.width),
            Align::Right => right(text, self.width),
        }
    }
}

/// How wide a block is.
fn total(shown: &[Printed]) -> usize {
    shown.iter().map(|printed| printed.width + GAP).sum::<usize>().saturating_sub(GAP)
}

/// Headings and rows; a line for ratios only below a row that has some.
fn block(table: &Table, shown: &[&Printed]) -> String {
    let line = |cells: &mut dyn Iterator<Item = String>| {
        let line = cells.collect::<Vec<_>>().join(&" ".repeat(GAP));
        format!("{}\n", line.trim_end())
    };
    let height = shown.iter().map(|printed| printed.heading.len()).max().unwrap_or(0);
    let heading = |printed: &&Printed, at: usize| {
        let above = height - printed.heading.len();
        printed.padded(at.checked_sub(above).map_or("", |at| &printed.heading[at]))
    };
    let mut out: String = (0..height).map(|at| line(&mut shown.iter().map(|printed| heading(printed, at)))).collect();
    for row in 0..table.rows.len() {
        out += &line(&mut shown.iter().map(|printed| printed.padded(&printed.cells[row].0)));
        if shown.iter().any(|printed| !printed.cells[row].1.is_empty()) {
            out += &line(&mut shown.iter().map(|printed| printed.padded(&printed.cells[row].1)));
        }
    }
    out
}
