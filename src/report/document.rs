//! A document as a list of blocks, written as Markdown or as parts of an HTML page.
//!
//! In: headings, paragraphs, tables, images, commands. Out: `report.md`, and the parts of
//! `index.html` that say the same. Links are relative to the document, and whatever came from outside
//! (names, prompts, paths) is escaped.

use std::fmt::Write;

use maud::{Markup, html};

/// One part of a document.
#[derive(Debug, Clone, PartialEq)]
pub enum Block {
    /// A heading; 1 is the document's title.
    Heading(u8, String),
    /// A paragraph.
    Text(String),
    /// A paragraph that nobody may miss.
    Banner(String),
    /// A table.
    Table(Grid),
    /// An image with its caption.
    Image(Image),
    /// Command lines.
    Commands(String),
}

/// A table's cells.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Grid {
    /// The first row; a heading that begins with `>` is for a column of numbers, which keep to the
    /// right.
    pub headings: Vec<String>,
    /// The other rows.
    pub rows: Vec<Vec<String>>,
}

/// An image that lies beside the document.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// Its path from the document, with `/`.
    pub path: String,
    /// What it shows.
    pub caption: String,
    /// The same in a form that scales without loss.
    pub vector: Option<String>,
    /// Whether it is a figure for a paper's column, which needs no whole page's width.
    pub narrow: bool,
}

/// The document as Markdown.
pub fn to_markdown(blocks: &[Block]) -> String {
    let parts: Vec<String> = blocks.iter().map(markdown).collect();
    parts.join("\n")
}

fn markdown(block: &Block) -> String {
    match block {
        Block::Heading(level, text) => format!("{} {}\n", "#".repeat(usize::from(*level)), escape_markdown(text)),
        Block::Text(text) => format!("{}\n", escape_markdown(text)),
        Block::Banner(text) => format!("> {}\n", escape_markdown(text)),
        Block::Table(grid) => {
            let line = |cells: &[String]| {
                let cells: Vec<String> = cells.iter().map(|cell| escape_markdown(cell)).collect();
                format!("| {} |\n", cells.join(" | "))
            };
            let rules: Vec<&str> =
                grid.headings.iter().map(|heading| if heading.starts_with('>') { "---:" } else { "---" }).collect();
            let headings: Vec<String> = grid.headings.iter().map(|heading| plain(heading).to_string()).collect();
            let rows: String = grid.rows.iter().map(|row| line(row)).collect();
            format!("{}|{}|\n{rows}", line(&headings), rules.join("|"))
        }
        Block::Image(Image { path, caption, vector, .. }) => {
            let link = vector.as_ref().map_or_else(String::new, |path| format!(" ([SVG]({}))", encode(path)));
            let caption = escape_markdown(caption);
            format!("![{caption}]({})\n\n*{caption}*{link}\n", encode(path))
        }
        Block::Commands(text) => format!("```sh\n{text}\n```\n"),
    }
}

/// A block as HTML, a part of a page; `link` gives the link to a file that lies beside the page.
pub fn to_html(block: &Block, link: &dyn Fn(&str) -> String) -> Markup {
    html! {
        @match block {
            Block::Heading(1 | 2, text) => h3 { (text) },
            Block::Heading(_, text) => h4 { (text) },
            Block::Text(text) => p { (text) },
            Block::Banner(text) => p.banner { (text) },
            Block::Table(grid) => (html_table(grid)),
            Block::Image(image) => (figure(image, link)),
            Block::Commands(text) => pre { code { (text) } },
        }
    }
}

fn figure(Image { path, caption, vector, narrow }: &Image, link: &dyn Fn(&str) -> String) -> Markup {
    let source = link(vector.as_ref().unwrap_or(path));
    // What is part of the page cannot be gone to.
    let file = (!source.starts_with("data:")).then(|| link(path));
    let image = html! { img src=(source) alt=(caption) loading="lazy"; };
    html! {
        figure.narrow[*narrow] {
            @if let Some(file) = file { a href=(file) { (image) } } @else { (image) }
            figcaption { (caption) }
        }
    }
}

fn html_table(grid: &Grid) -> Markup {
    let is_number = |column: usize| grid.headings.get(column).is_some_and(|heading| heading.starts_with('>'));
    html! {
        .scroll {
            table {
                thead { tr { @for (at, cell) in grid.headings.iter().enumerate() {
                    th.number[is_number(at)] scope="col" { (plain(cell)) }
                } } }
                tbody { @for row in &grid.rows { tr { @for (at, cell) in row.iter().enumerate() {
                    td.number[is_number(at)] { (cell) }
                } } } }
            }
        }
    }
}

/// A heading without its mark for numbers.
fn plain(heading: &str) -> &str {
    heading.strip_prefix('>').unwrap_or(heading)
}

/// Text as Markdown shows it literally, within one line and one table cell.
pub fn escape_markdown(text: &str) -> String {
    let mut out = String::new();
    let mut before = ' ';
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        // An underscore within a word marks nothing.
        let within = before.is_alphanumeric() && rest.peek().is_some_and(|next| next.is_alphanumeric());
        match c {
            '_' if within => out.push(c),
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '~' => out.extend(['\\', c]),
            '#' if out.is_empty() => out += "\\#",
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
        before = c;
    }
    out
}

/// A path as part of a link.
pub fn encode(path: &str) -> String {
    let mut out = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
