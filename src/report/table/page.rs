//! The table as a part of the page: sortable, columns that differ first.
//!
//! In: a [`Table`], and the folder of each of its runs. Out: HTML. A column that says the same of all runs is
//! a line below; a ratio to the baseline is a second, small line of its number; a row of published figures stays below its
//! run.

use maud::{Markup, html};

use super::cell::times;
use super::column::{Align, COLUMNS, Column};
use super::rows::{Kind, Row, Table};

/// A column for readers: its place in [`COLUMNS`], itself, its heading.
type Shown = (usize, &'static Column, &'static str);

/// The table; `folders` are those of the runs in its order, as links begin. Without `links` nothing leads to files beside the page.
pub fn to_page(table: &Table, folders: &[String], links: bool) -> Markup {
    let (same, shown): (Vec<Shown>, Vec<Shown>) =
        filled(table).into_iter().partition(|(at, column, _)| !is_name(column) && is_same(table, *at));
    let baseline = table.baseline.as_deref().unwrap_or_default();
    html! {
        .scroll {
            table #runs-table .sortable {
                thead { tr { @for (_, column, heading) in &shown { (head(column, heading)) } } }
                tbody { @for group in groups(table, folders) { (rows(&group, &shown, links)) } }
            }
        }
        @if !same.is_empty() {
            p.note { "The same in all runs: " (words(table, &same)) "." }
        }
        @if table.rows.iter().any(|row| row.ratios.iter().any(Option::is_some)) {
            p.note { "The small × are ratios to " (baseline) ": 2.00× is twice and 0.50× half of its number." }
        }
        @if links { p.note { "The same as numbers: " a href="table.csv" { "table.csv" } ", " a href="table.md" { "table.md" } ", "
            a href="table.tex" { "table.tex" } "." } }
    }
}

fn is_name(column: &Column) -> bool {
    column.key == "name"
}

/// A run's row with the row of published figures below it.
struct Group<'a> {
    rows: Vec<&'a Row>,
    folder: Option<&'a String>,
}

fn groups<'a>(table: &'a Table, folders: &'a [String]) -> Vec<Group<'a>> {
    let mut groups: Vec<Group> = Vec::new();
    for row in &table.rows {
        match groups.last_mut() {
            Some(group) if row.kind == Kind::Reference => group.rows.push(row),
            _ => groups.push(Group { rows: vec![row], folder: folders.get(groups.len()) }),
        }
    }
    groups
}

/// The columns for readers in which any row has something.
fn filled(table: &Table) -> Vec<Shown> {
    let has_any = |at: usize| table.rows.iter().any(|row| row.cells[at].rounded().is_some());
    let shown = COLUMNS.iter().enumerate().filter_map(|(at, column)| Some((at, column, column.heading?)));
    shown.filter(|(at, ..)| has_any(*at)).collect()
}

/// Whether all of several runs say the same there.
fn is_same(table: &Table, at: usize) -> bool {
    let mut runs = table.rows.iter().filter(|row| row.kind != Kind::Reference);
    let Some(first) = runs.next() else { return false };
    let mut others = runs.peekable();
    others.peek().is_some() && others.all(|row| row.cells[at] == first.cells[at])
}

fn words(table: &Table, same: &[Shown]) -> String {
    let cell = |at: usize| table.rows.first().and_then(|row| row.cells[at].rounded()).unwrap_or_default();
    same.iter().map(|(at, _, heading)| format!("{heading} {}", cell(*at))).collect::<Vec<_>>().join(", ")
}

fn head(column: &Column, heading: &str) -> Markup {
    html! {
        th.number[column.align == Align::Right] scope="col" aria-sort="none" { button type="button" { (heading) } }
    }
}

fn rows(group: &Group, shown: &[Shown], links: bool) -> Markup {
    html! {
        @for row in &group.rows {
            tr.reference[row.kind == Kind::Reference] data-run=[group.folder.filter(|_| row.kind != Kind::Reference)] {
                @for (at, column, _) in shown { (cell(row, *at, column, group.folder.filter(|_| links))) }
            }
        }
    }
}

fn cell(row: &Row, at: usize, column: &Column, folder: Option<&String>) -> Markup {
    let value = &row.cells[at];
    let is_reference = row.kind == Kind::Reference;
    html! {
        td.number[column.align == Align::Right] data-value=(value.exact()) {
            @if is_name(column) {
                strong { (value.exact()) }
                @if row.kind == Kind::StandIn { " " (mark()) }
                @if let Some(folder) = folder.filter(|_| !is_reference) {
                    small { @for file in ["plan.toml", "loss.csv", "run.json"] {
                        a href=(format!("{folder}/{file}")) { (file) } " "
                    } }
                }
            } @else {
                (value.rounded().map_or_else(|| "–".to_owned(), |text| text.replace(", STAND-IN", "")))
                @if let Some(ratio) = row.ratios[at] { small { (times(ratio)) } }
            }
        }
    }
}

/// The mark of a stand-in.
pub fn mark() -> Markup {
    html! { span.mark title="a stand-in: see the top of the page" { "stand-in" } }
}
