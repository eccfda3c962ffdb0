//! A text file → its text.
//!
//! In: a caption or a caption table. Out: the text, or what is wrong with how it was saved, as the rest of a sentence.

use std::io::Read;
use std::path::Path;

use super::folder::{open, unreadable};
use crate::config::experiment::{NotUtf8, decode};

/// The text of a file that has at most `most` bytes. The error is the rest of a sentence that begins with the file's name.
pub(super) fn read(path: &Path, most: u64) -> Result<String, String> {
    let (mut file, length) = open(path)?;
    if length > most {
        return Err(format!("has {length} bytes; at most {most} are read"));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|e| unreadable(&e))?;
    decode(bytes).map_err(|fault| format!("{}; save it as UTF-8", reason(&fault)))
}

fn reason(fault: &NotUtf8) -> String {
    match fault {
        NotUtf8::Utf16 => "is UTF-16 text".to_owned(),
        NotUtf8::Zero(at) => format!("holds a zero byte in line {}, as UTF-16 text does", at.line),
        NotUtf8::Byte(at, byte, letter) => {
            let letter = letter.map_or_else(String::new, |letter| format!(", which is “{letter}” in Windows-1252"));
            format!("is not UTF-8 text: line {} holds the byte 0x{byte:02X}{letter}", at.line)
        }
    }
}
