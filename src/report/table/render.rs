//! The table as CSV, Markdown, LaTeX and text for a terminal.
//!
//! In: a [`Table`]. Out: its text in each form.

use crate::error::{Error, Result};

use super::cell::Cell;
use super::column::{Align, COLUMNS, Column};
use super::rows::{Kind, Row, Table};
use super::sheet::{Heading, Sheet};
use crate::report::document::escape_markdown;

/// All numbers as they are, empty where there is none; the columns are always the same.
pub fn to_csv(table: &Table) -> Result<String> {
    let failed = |e: &dyn std::fmt::Display| Error::run("table.csv cannot be made").cause(e);
    let mut writer = csv::Writer::from_writer(Vec::new());
    let ratios = COLUMNS.iter().filter_map(|column| column.ratio);
    let keys = COLUMNS.iter().flat_map(|column| [column.key].into_iter().chain(column.base));
    writer.write_record(keys.chain(ratios)).map_err(|e| failed(&e))?;
    for row in &table.rows {
        writer.write_record(csv_cells(row)).map_err(|e| failed(&e))?;
    }
    let bytes = writer.into_inner().map_err(|e| failed(&e))?;
    String::from_utf8(bytes).map_err(|e| failed(&e))
}

/// A row's cells, and behind them its ratios.
fn csv_cells(row: &Row) -> impl Iterator<Item = String> {
    let ratios = COLUMNS.iter().zip(&row.ratios).filter(|(column, _)| column.ratio.is_some());
    let ratio = |ratio: &Option<f64>| ratio.map_or_else(String::new, |ratio| ratio.to_string());
    let cells = COLUMNS.iter().zip(&row.cells);
    let exact =
        |(column, cell): (&Column, &Cell)| [cell.exact()].into_iter().chain(column.base.map(|_| cell.exact_base()));
    cells.flat_map(exact).chain(ratios.map(move |(_, value)| ratio(value)))
}

/// A GitHub table; rows of reported figures in italics.
pub fn to_markdown(table: &Table) -> String {
    let sheet = Sheet::new(table);
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let rule = |align: Align| if align == Align::Right { "---:|" } else { "---|" };
    let rules: String = sheet.headings.iter().map(|heading| rule(heading.align)).collect();
    let headings: Vec<String> = sheet.headings.iter().map(|heading| escape_markdown(&heading.text)).collect();
    let mut out = line(&headings) + "|" + &rules + "\n";
    for (kind, cells) in &sheet.rows {
        let mut cells: Vec<String> = cells.iter().map(|cell| escape_markdown(cell)).collect();
        if *kind == Kind::Reference {
            cells[0] = format!("*{}*", cells[0]);
        }
        out += &line(&cells);
    }
    if sheet.note.is_empty() { out } else { format!("{out}\n{}\n", escape_markdown(&sheet.note)) }
}

/// Headings (marked with `>` above numbers), rows and the note, for [`crate::report::document`].
pub fn to_cells(table: &Table) -> (Vec<String>, Vec<Vec<String>>, String) {
    let sheet = Sheet::new(table);
    let mark = |align: Align| if align == Align::Right { ">" } else { "" };
    let headings = sheet.headings.iter().map(|heading| format!("{}{}", mark(heading.align), heading.text)).collect();
    (headings, sheet.rows.into_iter().map(|(_, cells)| cells).collect(), sheet.note)
}

/// A `tabular` that needs no package and is set with booktabs' rules where that is loaded.
pub fn to_latex(table: &Table) -> String {
    let sheet = Sheet::new(table);
    let align = |heading: &Heading| if heading.align == Align::Right { 'r' } else { 'l' };
    let columns: String = sheet.headings.iter().map(align).collect();
    let line = |cells: Vec<String>| format!("{} \\\\\n", cells.join(" & "));
    let mut out = format!(
        "% Written by tunelab. \\usepackage{{booktabs}} sets finer rules; the table works without it.\n\
         % Too wide for the page? \\resizebox{{\\textwidth}}{{!}}{{\\input{{table}}}} of the package graphicx shrinks it.\n\
         \\providecommand{{\\toprule}}{{\\hline}}\n\
         \\providecommand{{\\midrule}}{{\\hline}}\n\
         \\providecommand{{\\bottomrule}}{{\\hline}}\n\
         \\begin{{tabular}}{{@{{}}{columns}@{{}}}}\n\\toprule\n"
    );
    out += &line(sheet.headings.iter().map(|heading| latex(&heading.text)).collect());
    out += "\\midrule\n";
    for (kind, cells) in &sheet.rows {
        let mut cells: Vec<String> = cells.iter().map(|cell| latex(cell)).collect();
        if *kind == Kind::Reference {
            cells[0] = format!("\\textit{{{}}}", cells[0]);
        }
        out += &line(cells);
    }
    out += "\\bottomrule\n";
    if !sheet.note.is_empty() {
        let across = sheet.headings.len().to_string();
        let note = latex(&sheet.note);
        out.extend(["\\multicolumn{", &across, "}{@{}l@{}}{\\footnotesize ", &note, "} \\\\\n"]);
    }
    out + "\\end{tabular}\n"
}

/// Text as LaTeX sets it literally.
fn latex(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => out.extend(['\\', c]),
            '\\' => out += "\\textbackslash{}",
            '~' => out += "\\textasciitilde{}",
            '^' => out += "\\textasciicircum{}",
            '<' => out += "\\textless{}",
            '>' => out += "\\textgreater{}",
            '|' => out += "\\textbar{}",
            '"' => out += "\\textquotedbl{}",
            '×' => out += "$\\times$",
            '–' => out += "--",
            '→' => out += "$\\to$",
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    // A bracket after a line's end would be read as the end's option.
    if out.starts_with('[') { format!("{{}}{out}") } else { out }
}

/// [`to_text`] for the terminal that stdout is; unbroken where it is none.
pub fn to_terminal(table: &Table) -> String {
    let size = terminal_size::terminal_size_of(std::io::stdout());
    to_text(table, size.map(|(width, _)| usize::from(width.0)))
}

/// Columns padded with spaces, numbers to the right. What does not fit into `width` goes into
/// further blocks below, each with the runs' names again.
pub fn to_text(table: &Table, width: Option<usize>) -> String {
    let sheet = Sheet::new(table);
    let mut rows: Vec<Vec<String>> = vec![sheet.headings.iter().map(|heading| heading.text.clone()).collect()];
    rows.extend(sheet.rows.iter().map(|(kind, cells)| {
        let mut cells = cells.clone();
        if *kind == Kind::Reference {
            cells[0] = format!("  {}", cells[0]);
        }
        cells
    }));
    let widest = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..sheet.headings.len()).map(widest).collect();
    let pad = |row: &[String], column: usize| {
        let (cell, width) = (&row[column], widths[column]);
        match sheet.headings[column].align {
            Align::Left => format!("{cell:<width$}"),
            Align::Right => format!("{cell:>width$}"),
        }
    };
    let line = |row: &Vec<String>, block: &[usize]| {
        let cells: Vec<String> = block.iter().map(|&column| pad(row, column)).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    let blocks = blocks(&sheet, &widths, width.unwrap_or(usize::MAX));
    let texts = blocks.iter().map(|block| rows.iter().map(|row| line(row, block)).collect::<String>());
    let text = texts.collect::<Vec<_>>().join("\n");
    if sheet.note.is_empty() { text } else { text + &wrapped(&sheet.note, width.unwrap_or(usize::MAX)) }
}

/// Lines of at most `width` characters, where the words allow it.
fn wrapped(text: &str, width: usize) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => line.extend([" ", word]),
            _ => lines.push(word.to_string()),
        }
    }
    lines.join("\n") + "\n"
}

/// Which columns go into which block; a ratio stays beside its number.
fn blocks(sheet: &Sheet, widths: &[usize], limit: usize) -> Vec<Vec<usize>> {
    let mut units: Vec<Vec<usize>> = Vec::new();
    for (column, heading) in sheet.headings.iter().enumerate().skip(1) {
        match units.last_mut() {
            Some(unit) if heading.is_ratio => unit.push(column),
            _ => units.push(vec![column]),
        }
    }
    let wide = |columns: &[usize]| columns.iter().map(|&column| widths[column] + 2).sum::<usize>();
    let mut blocks = vec![vec![0]];
    for unit in units {
        let fits = blocks.last().is_some_and(|block| block.len() == 1 || wide(block) + wide(&unit) - 2 <= limit);
        if !fits {
            blocks.push(vec![0]);
        }
        if let Some(block) = blocks.last_mut() {
            block.extend(unit);
        }
    }
    blocks
}
