//! One thing that is wrong in an experiment, and how it is shown: file, line, column, the line
//! itself and a caret.
//!
//! In: problems with their places. Out: one [`Error`] that lists them all, in the order in which
//! they stand.

use super::place::{Place, Text};
use crate::error::Error;

/// What is wrong, where, and a word beside the caret that helps.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    place: Place,
    message: String,
    label: String,
}

impl Problem {
    pub fn new(place: Place, message: impl Into<String>) -> Self {
        Self { place, message: message.into(), label: String::new() }
    }

    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    fn render(&self, texts: &[Text]) -> String {
        let source = &texts[self.place.text];
        match self.place.range {
            Some((start, end)) => {
                format!(
                    "{}\n{}",
                    self.message,
                    Excerpt::new(&source.text, start, end).show(&self.place, source, &self.label)
                )
            }
            None if self.label.is_empty() => format!("{}\n  --> {}", self.message, source.title),
            None => format!("{}\n  --> {}\n   = {}", self.message, source.title, self.label),
        }
    }
}

/// All problems as one error, each once (variants share most of a file), in the order of their
/// places, each beginning with `error: `.
pub(crate) fn report(mut problems: Vec<Problem>, texts: &[Text]) -> Error {
    problems.sort_by(|a, b| a.place.cmp(&b.place));
    let mut shown: Vec<String> = Vec::new();
    for text in problems.iter().map(|problem| problem.render(texts)) {
        if !shown.contains(&text) {
            shown.push(text);
        }
    }
    let error = Error::input(shown.join("\n\nerror: "));
    if shown.len() > 1 { error.hint(format!("{} problems in {}", shown.len(), texts[0].title)) } else { error }
}

/// The line around a stretch of text.
struct Excerpt<'a> {
    number: usize,
    line: &'a str,
    /// Byte offsets in the line.
    start: usize,
    end: usize,
}

impl<'a> Excerpt<'a> {
    fn new(text: &'a str, start: usize, end: usize) -> Self {
        let start = floor(text, start.min(text.len()));
        let line_start = text[..start].rfind('\n').map_or(0, |i| i + 1);
        let line = text[line_start..].split('\n').next().unwrap_or("").trim_end_matches('\r');
        let number = text[..line_start].matches('\n').count() + 1;
        let start = (start - line_start).min(line.len());
        let end = floor(line, end.saturating_sub(line_start).clamp(start, line.len()));
        Self { number, line, start, end }
    }

    fn show(&self, place: &Place, source: &Text, label: &str) -> String {
        let column = self.line[..self.start].chars().count() + 1;
        let number = if place.is_set() { String::new() } else { self.number.to_string() };
        let title = if place.is_set() { source.title.clone() } else { format!("{}:{number}:{column}", source.title) };
        let margin = " ".repeat(number.len().max(2));
        // A tab is as wide as the terminal likes; a blank is not.
        let line = self.line.replace('\t', " ");
        let before = " ".repeat(width(&self.line[..self.start]));
        let carets = "^".repeat(width(&self.line[self.start..self.end]).max(1));
        format!("{margin}--> {title}\n{margin} |\n{number:>2} | {line}\n{margin} | {before}{carets} {label}")
            .trim_end()
            .to_string()
    }
}

/// Columns that a terminal needs: two for the ideographs and pictographs of common prompts.
fn width(text: &str) -> usize {
    let wide = |c: char| matches!(u32::from(c), 0x1100..=0x115F | 0x2E80..=0xA4CF | 0xAC00..=0xD7A3 | 0xF900..=0xFAFF | 0xFE30..=0xFE6F | 0xFF00..=0xFF60 | 0x1F300..=0x1FAFF);
    text.chars().map(|c| if wide(c) { 2 } else { 1 }).sum()
}

/// The nearest character boundary at or before `at`.
fn floor(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
