//! The bytes of a text file as text.
//!
//! In: bytes. Out: the text without a byte-order mark; or what the bytes are, if they are not
//! UTF-8, and where. Nothing else is read: a guess would train on wrong letters.

use crate::error::{Error, Result};

/// UTF-8's byte-order mark.
const MARK: &[u8] = b"\xEF\xBB\xBF";

/// Windows-1252 from 0x80 to 0x9F; five of them stand for nothing.
const WINDOWS_1252: &str = "€\u{81}‚ƒ„…†‡ˆ‰Š‹Œ\u{8d}Ž\u{8f}\u{90}‘’“”•–—˜™š›œ\u{9d}žŸ";

/// What bytes are that are no text in UTF-8.
#[derive(Debug)]
pub(crate) enum NotUtf8 {
    Utf16,
    /// A zero byte. UTF-8 may have it, but texts have it only in UTF-16.
    Zero(Position),
    /// The first byte that is no UTF-8, and its letter in Windows-1252.
    Byte(Position, u8, Option<char>),
}

/// Both count from 1; columns are letters.
#[derive(Debug)]
pub(crate) struct Position {
    pub line: usize,
    pub column: usize,
}

pub(crate) fn decode(mut bytes: Vec<u8>) -> std::result::Result<String, NotUtf8> {
    if is_utf16(&bytes) {
        return Err(NotUtf8::Utf16);
    }
    if bytes.starts_with(MARK) {
        bytes.drain(..MARK.len());
    }
    // Before the letters: where zeros are, a byte that is no UTF-8 is none of Windows-1252 either.
    if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
        return Err(NotUtf8::Zero(position(&bytes[..at])));
    }
    String::from_utf8(bytes).map_err(|e| {
        let (good, rest) = e.as_bytes().split_at(e.utf8_error().valid_up_to());
        let byte = rest.first().copied().unwrap_or_default();
        let letter = match byte {
            0x80..0xA0 => WINDOWS_1252.chars().nth(usize::from(byte - 0x80)).filter(|c| !c.is_control()),
            _ => Some(char::from(byte)),
        };
        NotUtf8::Byte(position(good), byte, letter)
    })
}

/// An experiment's text; `shown` is the file's name.
pub(super) fn text(bytes: Vec<u8>, shown: &str) -> Result<String> {
    let message = |fault| match fault {
        NotUtf8::Utf16 => format!("{shown} is in UTF-16, and an experiment is text in UTF-8"),
        NotUtf8::Zero(Position { line, column }) => {
            format!("{shown}:{line}:{column}: a zero byte, which text has only in UTF-16")
        }
        NotUtf8::Byte(Position { line, column }, byte, letter) => {
            let letter = letter.map_or_else(String::new, |letter| format!(", `{letter}` in Windows-1252"));
            format!("{shown}:{line}:{column}: not text in UTF-8 (the byte {byte:02X}{letter})")
        }
    };
    let remedy = "save it as UTF-8: editors ask for the encoding under \"Save as\"";
    decode(bytes).map_err(|fault| Error::input(message(fault)).hint(remedy))
}

/// A byte-order mark; or zeros in most of every second place, and in none of the others: so Latin
/// letters are there.
fn is_utf16(bytes: &[u8]) -> bool {
    let zeros = |place: usize| bytes.chunks_exact(2).filter(|pair| pair[place] == 0).count();
    let has_mark = bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]);
    let (first, second) = if has_mark { (0, 0) } else { (zeros(0), zeros(1)) };
    has_mark || (first.min(second) == 0 && first.max(second) > bytes.len() / 4)
}

/// The position behind `before`.
fn position(before: &[u8]) -> Position {
    let before = String::from_utf8_lossy(before);
    let last = before.rsplit('\n').next().unwrap_or_default();
    Position { line: before.matches('\n').count() + 1, column: last.chars().count() + 1 }
}
