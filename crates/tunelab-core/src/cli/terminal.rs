//! The terminal that stdout is: how wide it is, and texts that fit into it.
//!
//! In: the environment, and text. Out: a number of columns; text that is shortened, padded or broken
//! into lines, measured in columns as terminals count them: a Chinese character and an emoji take
//! two.

use std::env;
use std::io;

use unicode_width::UnicodeWidthStr;

/// Columns where stdout is no terminal and `COLUMNS` says nothing: the same in every log.
pub const WITHOUT_TERMINAL: usize = 100;
/// What is narrower is written as wide as this: no number is shortened.
const LEAST: usize = 32;

/// How wide text on stdout may be: what `COLUMNS` says, else as wide as the terminal is, else
/// [`WITHOUT_TERMINAL`].
pub fn columns() -> usize {
    let asked = env::var("COLUMNS").ok().and_then(|text| text.trim().parse::<usize>().ok());
    let terminal = || terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| usize::from(width.0));
    let is_some = |columns: &usize| *columns > 0;
    let columns = asked.filter(is_some).or_else(|| terminal().filter(is_some));
    columns.map_or(WITHOUT_TERMINAL, |columns| columns.max(LEAST))
}

/// Columns that a text takes.
pub fn width(text: &str) -> usize {
    text.width()
}

/// Without what would move the cursor: line ends, tabs, escapes.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// At most so many columns. The beginning of names, prompts and paths is often the same, so the
/// middle is left out.
pub fn shortened(text: &str, most: usize) -> String {
    let text = printable(text);
    if width(&text) <= most {
        return text;
    }
    if most == 0 {
        return String::new();
    }
    let (head, tail) = (beginning(&text, most / 3), ending(&text, most - most / 3 - 1));
    // Whole words, where there are some.
    let head = head.rfind(' ').map_or(head, |space| &head[..space]);
    let tail = tail.find(' ').map_or(tail, |space| &tail[space + 1..]);
    format!("{head}…{tail}")
}

/// The longest beginning that fits.
fn beginning(text: &str, most: usize) -> &str {
    let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
    &text[..ends.take_while(|&end| width(&text[..end]) <= most).last().unwrap_or(0)]
}

/// The longest ending that fits.
fn ending(text: &str, most: usize) -> &str {
    let begins = text.char_indices().rev().map(|(at, _)| at);
    &text[begins.take_while(|&begin| width(&text[begin..]) <= most).last().unwrap_or(text.len())..]
}

/// With spaces behind it, up to so many columns.
pub fn left(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

/// With spaces before it, up to so many columns.
pub fn right(text: &str, columns: usize) -> String {
    format!("{}{text}", " ".repeat(columns.saturating_sub(width(text))))
}

/// Lines of at most so many columns, broken between words, and within a word that is longer.
pub fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if width(line) + 1 + width(word) <= columns => line.extend([" ", word]),
            _ => lines.extend(broken(word, columns)),
        }
    }
    lines
}

/// A word in parts that fit.
fn broken(mut word: &str, columns: usize) -> Vec<String> {
    let mut parts = Vec::new();
    while width(word) > columns {
        let part = beginning(word, columns);
        // Nothing is narrower than its first character.
        let end = if part.is_empty() { word.chars().next().map_or(word.len(), char::len_utf8) } else { part.len() };
        parts.push(word[..end].to_owned());
        word = &word[end..];
    }
    if !word.is_empty() || parts.is_empty() {
        parts.push(word.to_owned());
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_shortened_in_the_middle_and_never_wider_than_they_may_be() {
        assert_eq!(shortened("lora_dog-with-a-long-name-stand-in", 16), "lora_…e-stand-in");
        assert_eq!(shortened("a photo of a sks dog on the beach", 20), "a…on the beach");
        let family = "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}";
        for text in ["一只在海滩上的狗和一只猫", "🐕🐈🐕🐈🐕🐈 dogs", &family.repeat(9), "a\tb\nc\u{1b}[31m", "x"]
        {
            for most in 0..40 {
                let short = shortened(text, most);
                assert!(width(&short) <= most && !short.chars().any(char::is_control), "{most}: {short}");
            }
        }
    }

    #[test]
    fn lines_are_as_long_as_they_may_be() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("a 狗狗狗狗 bcdefgh", 5), ["a", "狗狗", "狗狗", "bcdef", "gh"]);
        assert_eq!(wrapped("狗", 1), ["狗"]);
        assert_eq!((left("狗", 4), right("狗", 4), left("long", 2)), ("狗  ".into(), "  狗".into(), "long".into()));
    }
}
