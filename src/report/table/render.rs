//! The table as CSV, JSON, Markdown and LaTeX.
//!
//! In: a [`Table`]. Out: its text in each form.

use crate::error::{Error, Result};

use serde_json::Value;

use super::column::Align;
use super::field::Field;
use super::rows::{Kind, Row, Table};
use super::sheet::{Heading, Sheet};
use crate::report::document::escape_markdown;

/// All numbers as they are, empty where there is none; the columns are always the same.
pub fn to_csv(table: &Table) -> Result<String> {
    let failed = |e: &dyn std::fmt::Display| Error::run("table.csv cannot be made").cause(e);
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(Field::all().map(Field::key)).map_err(|e| failed(&e))?;
    for row in &table.rows {
        writer.write_record(Field::all().map(|field| field.exact(row))).map_err(|e| failed(&e))?;
    }
    let bytes = writer.into_inner().map_err(|e| failed(&e))?;
    String::from_utf8(bytes).map_err(|e| failed(&e))
}

/// A list with an object for each row, on a line of its own: the CSV's names, numbers with all their
/// digits, null where there is none.
pub fn to_json(table: &Table, fields: &[Field]) -> String {
    let object = |row: &Row| {
        let pairs = fields.iter().map(|field| (field.key().to_owned(), field.json(row)));
        Value::Object(pairs.collect()).to_string()
    };
    let objects: Vec<String> = table.rows.iter().map(object).collect();
    format!("[\n{}\n]\n", objects.join(",\n"))
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
