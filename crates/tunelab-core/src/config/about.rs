//! The comment that opens an experiment: what it asks, and what its author says of it.
//!
//! In: the text of an experiment or of a plan. Out: the comment's text, its lines joined to paragraphs;
//! and the comment again, as a plan has it.

/// The comment lines that a file begins with, up to its first other line: paragraphs, parted by a
/// line feed. Directives such as `#:schema` are for programs. `None` where there is none.
pub fn about(text: &str) -> Option<String> {
    let comment = text.strip_prefix('\u{feff}').unwrap_or(text).lines().map_while(|line| line.strip_prefix('#'));
    let mut paragraphs = vec![String::new()];
    for line in comment.filter(|line| !line.starts_with(':')).map(str::trim) {
        match paragraphs.last_mut() {
            Some(last) if line.is_empty() && !last.is_empty() => paragraphs.push(String::new()),
            Some(last) if last.is_empty() => last.push_str(line),
            Some(last) => last.extend([" ", line]),
            None => {}
        }
    }
    paragraphs.retain(|paragraph| !paragraph.is_empty());
    (!paragraphs.is_empty()).then(|| paragraphs.join("\n"))
}

/// The comment that [`about`] reads as this text.
pub(super) fn comment(about: Option<&str>) -> String {
    about.map_or_else(String::new, |text| format!("# {}\n\n", text.replace('\n', "\n#\n# ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_opening_comment_is_read_and_written() {
        let text = "#:schema ./tunelab.schema.json\n# Does it\n#  learn?\n#\n#\n# Settings of\n# the report.\nseed = 1\n# not this\n";
        let found = about(text).unwrap();
        assert_eq!(found, "Does it learn?\nSettings of the report.");
        assert_eq!(comment(Some(&found)), "# Does it learn?\n#\n# Settings of the report.\n\n");
        assert_eq!(about(&(comment(Some(&found)) + "seed = 1")), Some(found));
        for none in ["", "seed = 1", "\n# behind a line", "#\n# \n#:schema x\nseed = 1"] {
            assert_eq!(about(none), None, "{none}");
        }
        assert_eq!(about("\u{feff}# Größe?\r\n# 🐶\r\n"), Some("Größe? 🐶".to_owned()));
        assert_eq!(comment(None), "");
    }
}
