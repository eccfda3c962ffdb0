//! Names of files as tables, records and messages have them.
//!
//! In: relative paths, and texts of any length. Out: for each path one text, and for no two the same; the key by which a
//! table's spelling finds a file; and what is long, shortened.

use std::path::{Path, PathBuf};

use unicode_normalization::UnicodeNormalization;

/// Names listed in one line.
const MAX_LISTED: usize = 5;

/// Characters of a text that are shown in a message.
const MAX_SHOWN: usize = 80;

/// A relative path with `/` on every system, for records and messages. Bytes that are not UTF-8 (`\xe9`), control characters
/// (`\u{a}`) and the backslash itself (`\\`) are escaped, so that no two paths are written alike.
pub fn slashed(path: &Path) -> String {
    path.iter().map(|part| escaped(part.as_encoded_bytes())).collect::<Vec<_>>().join("/")
}

fn escaped(name: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                c if c.is_control() => text.extend(c.escape_unicode()),
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            // Writing into a String cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// The same for a name however it is spelt: `é` may be one character or an `e` with an accent, and macOS, file servers and
/// archives turn the one into the other.
pub(super) fn key(path: &Path) -> String {
    slashed(path).nfc().collect()
}

/// Some names, in one line.
pub(super) fn listed(paths: &[PathBuf]) -> String {
    let names: Vec<_> = paths.iter().take(MAX_LISTED).map(|path| format!("`{}`", shortened(&slashed(path)))).collect();
    let more = paths.len() - names.len();
    if more == 0 { names.join(", ") } else { format!("{} and {more} more", names.join(", ")) }
}

/// The beginning of a text, if that is too long for a message.
pub fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text[..end].trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_shortened_between_characters() {
        assert_eq!(shortened("a dog"), "a dog");
        let long = shortened(&"é ".repeat(1000));
        assert_eq!(long.chars().count(), 80, "79 and the dots: the last was a space");
        assert!(long.ends_with('…'));
    }

    #[test]
    fn a_list_ends_in_a_count() {
        let paths: Vec<_> = (0..7).map(|i| PathBuf::from(format!("{i}.npz"))).collect();
        assert_eq!(listed(&paths[..2]), "`0.npz`, `1.npz`");
        assert_eq!(listed(&paths), "`0.npz`, `1.npz`, `2.npz`, `3.npz`, `4.npz` and 2 more");
    }

    #[cfg(unix)]
    #[test]
    fn no_two_paths_have_one_name() {
        use std::os::unix::ffi::OsStrExt;
        let of = |bytes: &[u8]| slashed(Path::new(std::ffi::OsStr::from_bytes(bytes)));
        assert_eq!(of(b"sub/a.png"), "sub/a.png");
        assert_eq!(of("hübsch/é.png".as_bytes()), "hübsch/é.png");
        assert_eq!(of(b"\xE9.png"), "\\xe9.png");
        assert_eq!(of(b"\\xE9.png"), "\\\\xE9.png");
        assert_eq!(of(b"a\nb"), "a\\u{a}b");
        assert_ne!(of(b"\xE9.png"), of(b"\xE8.png"));
    }
}
