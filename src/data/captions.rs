//! Where captions are written: a table for the whole folder, or a text file beside each picture.
//!
//! `metadata.jsonl` holds one object a line, `metadata.csv` a header line and then rows; both name a picture in `file_name`
//! (relative, with `/`) and describe it in `text`, as the hub's `ImageFolder` has it. `x.txt` holds the caption of `x.jpg`.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use super::folder::{self, METADATA, METADATA_CSV};
use crate::error::{Error, Result};

/// One row of a caption table.
#[derive(Debug)]
pub(super) struct Row {
    /// Line in the file, from 1.
    pub line: u64,
    /// Trimmed and not empty; `None` where captions were not asked for.
    pub text: Option<String>,
}

/// A folder's caption table.
#[derive(Debug)]
pub(super) struct Table {
    /// `metadata.jsonl` or `metadata.csv`.
    pub file: &'static str,
    /// By `file_name`.
    pub rows: BTreeMap<String, Row>,
}

impl Table {
    /// Reads the folder's table, if it has one. With `texts`, each row must have a caption; without, only file names are
    /// read. What is wrong with single lines goes to `problems`.
    pub(super) fn read(base: &Path, texts: bool, problems: &mut Vec<String>) -> Result<Option<Self>> {
        let present: Vec<_> = METADATA.into_iter().filter(|name| base.join(name).exists()).collect();
        let file = match present[..] {
            [] => return Ok(None),
            [file] => file,
            _ => {
                let names = METADATA.join("` and `");
                return Err(Error::input(format!("`{}` holds both `{names}`", base.display())).hint("keep one of them"));
            }
        };
        let content = fs_err::read_to_string(base.join(file)).map_err(|e| Error::input(e.to_string()))?;
        let content = content.trim_start_matches('\u{feff}');
        let lines = if file == METADATA_CSV { csv_lines(content, texts) } else { json_lines(content, texts) };
        let mut table = Self { file, rows: BTreeMap::new() };
        for (line, row) in lines {
            if let Err(reason) = row.and_then(|(name, text)| table.add(line, &name, text)) {
                problems.push(format!("`{file}` line {line}: {reason}"));
            }
        }
        Ok(Some(table))
    }

    fn add(&mut self, line: u64, name: &str, text: Option<String>) -> std::result::Result<(), String> {
        // Only names below the folder: a table from the hub must not reach other files of this machine.
        let parts = || Path::new(name).components().filter(|part| *part != Component::CurDir);
        if parts().count() == 0 || !parts().all(|part| matches!(part, Component::Normal(_))) {
            return Err(format!("the file name `{name}` must be a relative path inside the folder, without `..`"));
        }
        let name = folder::name(&parts().collect::<PathBuf>());
        if text.as_deref() == Some("") {
            return Err(format!("`{name}` has an empty caption"));
        }
        match self.rows.insert(name.clone(), Row { line, text }) {
            Some(first) => Err(format!("`{name}` already has a row in line {}", first.line)),
            None => Ok(()),
        }
    }
}

/// A line's number, and its file name and caption or what is wrong with it.
type Line = (u64, std::result::Result<(String, Option<String>), String>);

fn json_lines(content: &str, texts: bool) -> Vec<Line> {
    let lines = content.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(index, line)| (index as u64 + 1, json_line(line, texts))).collect()
}

fn json_line(line: &str, texts: bool) -> std::result::Result<(String, Option<String>), String> {
    let value: Value = serde_json::from_str(line).map_err(|e| format!("not JSON: {e}"))?;
    let object = value.as_object().ok_or("not a JSON object, as {\"file_name\": …, \"text\": …}")?;
    let field = |key: &str| match object.get(key) {
        Some(Value::String(text)) => Ok(text.trim().to_owned()),
        Some(_) => Err(format!("`{key}` must be a string")),
        None => Err(missing_column(key, object.keys().map(String::as_str))),
    };
    Ok((field("file_name")?, if texts { Some(field("text")?) } else { None }))
}

fn csv_lines(content: &str, texts: bool) -> Vec<Line> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(content.as_bytes());
    let header = match reader.headers() {
        Ok(header) => header.clone(),
        Err(e) => return vec![(1, Err(e.to_string()))],
    };
    let column = |key: &str| header.iter().position(|h| h == key).ok_or_else(|| missing_column(key, header.iter()));
    let columns = column("file_name").and_then(|name| Ok((name, if texts { Some(column("text")?) } else { None })));
    let (name, text) = match columns {
        Ok(columns) => columns,
        Err(reason) => return vec![(1, Err(reason))],
    };
    let cell = |record: &csv::StringRecord, index: usize| record.get(index).unwrap_or_default().to_owned();
    let records = reader.into_records().map(|record| match record {
        Ok(record) => (
            record.position().map_or(0, csv::Position::line),
            Ok((cell(&record, name), text.map(|text| cell(&record, text)))),
        ),
        Err(e) => (e.position().map_or(0, csv::Position::line), Err(csv_reason(&e))),
    });
    records.collect()
}

/// The reader's own text repeats record, line and byte; only what is wrong is wanted.
fn csv_reason(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("{len} fields where the header has {expected_len} (a caption with a comma needs double quotes)")
        }
        _ => error.to_string(),
    }
}

fn missing_column<'a>(key: &str, found: impl Iterator<Item = &'a str>) -> String {
    let found = found.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    format!("no `{key}`; found: {}", if found.is_empty() { "nothing" } else { &found })
}

/// The caption in a text file beside a picture: the whole file, white space and line ends collapsed to single spaces, which
/// is what the tokenizer would do. The error is the rest of a sentence that begins with the file's name.
pub(super) fn read_side_car(path: &Path) -> std::result::Result<String, String> {
    let bytes = fs_err::read(path).map_err(|e| format!("cannot be read: {e}"))?;
    let text = String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned())?;
    let caption = text.trim_start_matches('\u{feff}').split_whitespace().collect::<Vec<_>>().join(" ");
    if caption.is_empty() { Err("is an empty caption".to_owned()) } else { Ok(caption) }
}
