//! A document as a list of blocks, written as Markdown or as one HTML page.
//!
//! In: headings, paragraphs, tables, images, commands. Out: `report.md` and `index.html`, which
//! so always say the same. Links are relative to the document, and whatever came from outside
//! (names, prompts, paths) is escaped.

use std::fmt::Write;

/// The page's whole style: one column that fits phones and paper, tables that scroll by themselves.
const STYLE: &str = include_str!("style.css");

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

/// The document as one HTML page; `title` is for the window's bar.
pub fn to_html(title: &str, blocks: &[Block]) -> String {
    let body: String = blocks.iter().map(html).collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n{}{body}</body>\n</html>\n",
        escape_html(title),
        contents(blocks)
    )
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

fn html(block: &Block) -> String {
    match block {
        Block::Heading(level, text) => {
            format!("<h{level} id=\"{}\">{}</h{level}>\n", anchor(text), escape_html(text))
        }
        Block::Text(text) => format!("<p>{}</p>\n", escape_html(text)),
        Block::Banner(text) => format!("<p class=\"banner\">{}</p>\n", escape_html(text)),
        Block::Table(grid) => html_table(grid),
        Block::Image(Image { path, caption, vector, narrow }) => {
            let class = if *narrow { " class=\"narrow\"" } else { "" };
            let (source, caption) = (encode(vector.as_ref().unwrap_or(path)), escape_html(caption));
            format!(
                "<figure{class}><a href=\"{}\"><img src=\"{source}\" alt=\"{caption}\" loading=\"lazy\"></a>\
                 <figcaption>{caption}</figcaption></figure>\n",
                encode(path)
            )
        }
        Block::Commands(text) => format!("<pre><code>{}</code></pre>\n", escape_html(text)),
    }
}

fn html_table(grid: &Grid) -> String {
    let class = |column: usize| {
        let is_number = grid.headings.get(column).is_some_and(|heading| heading.starts_with('>'));
        if is_number { " class=\"number\"" } else { "" }
    };
    let row = |cells: &[String], tag: &str| {
        let cell = |(at, cell): (usize, &String)| format!("<{tag}{}>{}</{tag}>", class(at), escape_html(plain(cell)));
        format!("<tr>{}</tr>\n", cells.iter().enumerate().map(cell).collect::<String>())
    };
    let rows: String = grid.rows.iter().map(|cells| row(cells, "td")).collect();
    let head = row(&grid.headings, "th");
    format!("<div class=\"table\"><table>\n<thead>{head}</thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n")
}

/// Links to the second-level headings.
fn contents(blocks: &[Block]) -> String {
    let mut links = String::new();
    for block in blocks {
        if let Block::Heading(2, text) = block {
            // Writing to a string cannot fail.
            let _ = writeln!(links, "<a href=\"#{}\">{}</a>", anchor(text), escape_html(text));
        }
    }
    format!("<nav>\n{links}</nav>\n")
}

/// A heading without its mark for numbers.
fn plain(heading: &str) -> &str {
    heading.strip_prefix('>').unwrap_or(heading)
}

fn anchor(text: &str) -> String {
    let letters = text.to_lowercase();
    let words = letters.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-")
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

fn escape_html(text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    escaped.chars().filter(|c| !c.is_control() || *c == '\n').collect()
}

/// A path as part of a link.
fn encode(path: &str) -> String {
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
