//! A text file → its text.
//!
//! In: a caption or a caption table. Out: the text without a byte order mark, or what is wrong with how it was saved: only UTF-8 is
//! read, because every other guess would train on wrong letters.

use std::io::Read;
use std::path::Path;

use super::folder::{open, unreadable};

/// Windows-1252 from 0x80 to 0x9F; five of them stand for nothing.
const WINDOWS_1252: &str = "€\u{81}‚ƒ„…†‡ˆ‰Š‹Œ\u{8d}Ž\u{8f}\u{90}‘’“”•–—˜™š›œ\u{9d}žŸ";

/// The text of a file that has at most `most` bytes. The error is the rest of a sentence that begins with the file's name.
pub(super) fn read(path: &Path, most: u64) -> Result<String, String> {
    let (mut file, length) = open(path)?;
    if length > most {
        return Err(format!("has {length} bytes; at most {most} are read"));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|e| unreadable(&e))?;
    decode(bytes)
}

/// The text. The error is the rest of a sentence that begins with the file's name.
fn decode(bytes: Vec<u8>) -> Result<String, String> {
    if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) {
        return Err("is UTF-16 text; save it as UTF-8".to_owned());
    }
    let text = String::from_utf8(bytes).map_err(|e| not_utf8(e.as_bytes(), e.utf8_error().valid_up_to()))?;
    if let Some(at) = text.find('\0') {
        let line = line_of(text.as_bytes(), at);
        return Err(format!("holds a zero byte in line {line}, as UTF-16 text does; save it as UTF-8"));
    }
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

fn not_utf8(bytes: &[u8], at: usize) -> String {
    let line = line_of(bytes, at);
    let Some(&byte) = bytes.get(at) else { return "is not UTF-8 text; save it as UTF-8".to_owned() };
    let letter = match byte {
        0x80..0xA0 => WINDOWS_1252.chars().nth(usize::from(byte - 0x80)).filter(|c| !c.is_control()),
        _ => Some(char::from(byte)),
    };
    let letter = letter.map_or_else(String::new, |letter| format!(", which is “{letter}” in Windows-1252"));
    format!("is not UTF-8 text: line {line} holds the byte 0x{byte:02X}{letter}; save it as UTF-8")
}

/// The line of a position, from 1.
fn line_of(bytes: &[u8], at: usize) -> usize {
    bytes[..at].split(|&byte| byte == b'\n').count()
}
