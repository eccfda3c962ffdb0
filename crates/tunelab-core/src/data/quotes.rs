//! Quotes in a CSV file that do not pair.
//!
//! In: the file's text. Out: the line of the first quote that opens a field and is never closed, or is closed in the middle of
//! something. The reader itself takes such a field to the file's end, or to the next quote wherever that stands, and swallows rows.

/// The line, from 1, and what is wrong there.
pub(super) fn fault(content: &str) -> Option<(usize, String)> {
    let mut line = 1;
    let mut starts_field = true;
    let mut bytes = content.bytes().peekable();
    while let Some(byte) = bytes.next() {
        if byte == b'"' && starts_field {
            let opened = line;
            loop {
                match bytes.next() {
                    None => return Some((opened, "the quote that opens here is never closed".to_owned())),
                    Some(b'\n') => line += 1,
                    Some(b'"') if bytes.next_if_eq(&b'"').is_none() => break,
                    Some(_) => {}
                }
            }
            while bytes.next_if(|byte| matches!(byte, b' ' | b'\t')).is_some() {}
            if !matches!(bytes.peek(), None | Some(b',' | b'\r' | b'\n')) {
                return Some((opened, closed_early(opened, line)));
            }
            starts_field = false;
            continue;
        }
        starts_field = matches!(byte, b',' | b'\r' | b'\n');
        line += usize::from(byte == b'\n');
    }
    None
}

fn closed_early(opened: usize, closed: usize) -> String {
    let place = if opened == closed { String::new() } else { format!(" in line {closed}") };
    format!(
        "the quote that opens here closes{place} before the field's end; close it where the field ends, and write a quote inside it twice"
    )
}

#[cfg(test)]
mod tests {
    use super::fault;

    #[test]
    fn quotes_that_pair_are_no_fault() {
        for content in [
            "",
            "a,b\n1,\"a, dog\"\n",
            "a,b\r\n1,\"two\r\nlines\"\r\n",
            "a,b\n1,\"he said \"\"yes\"\"\"\n",
            "a,b\n1,a 12\" ruler\n",
            "a,b\n\"1\" ,\"\"",
        ] {
            assert_eq!(fault(content), None, "{content}");
        }
    }

    #[test]
    fn the_line_is_that_of_the_opening_quote() {
        let line = |content: &str| fault(content).map(|(line, _)| line);
        assert_eq!(line("a,b\n1,\"a dog\n2,a cat\n"), Some(2));
        assert_eq!(line("a,b\n1,\"two\nlines\"\n2,\"a cat\n3,x"), Some(4));
        assert_eq!(line("\"a,b\n"), Some(1));
        // The quote that closes is another row's.
        assert_eq!(line("a,b\n1,\"a dog\n2,\"a, cat\"\n"), Some(2));
        assert_eq!(line("a,b\n1,\"a \"big\" dog\"\n"), Some(2));
    }
}
