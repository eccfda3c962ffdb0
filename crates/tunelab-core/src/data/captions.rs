//! Where captions are written: a table for the whole folder, a file beside each picture, or the picture's name.
//!
//! `metadata.jsonl` holds one object a line, `metadata.csv` a header line and then rows; both name a picture in `file_name`
//! (relative, with `/` or `\`) and describe it in `text`, as the hub's `ImageFolder` has it, or in columns that `[dataset]` names, or
//! in ModelScope's `Target:FILE` and `Text`; in JSON a list of texts is several captions. `metadata.json` is kohya's: an object whose names are pictures. `x.txt` or `x.caption` holds the caption of `x.jpg`, or
//! one a line, `x.json` holds it as ai-toolkit has it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Component, Path, PathBuf};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::caption_json;
use super::folder::{IMAGE_ENDINGS, METADATA, METADATA_CSV, METADATA_JSON, has_image_ending};
use super::name::{key, shortened, slashed as name};
use super::quotes;
use super::text;
use crate::config::{CaptionLines, Selection};
use crate::error::{Error, Result};

/// The columns of a table.
const FILE_NAME: &str = "file_name";
const TEXT: &str = "text";

/// ModelScope's names for them; the first is the end of one.
const FILE_ENDING: &str = ":FILE";
const OTHER_TEXT: &str = "Text";

/// Which columns hold the names of the images and their captions.
#[derive(Clone, Copy)]
struct Columns<'a> {
    file: Option<&'a str>,
    text: Option<&'a str>,
    /// Whether captions are asked for.
    texts: bool,
}

impl<'a> Columns<'a> {
    fn new(selection: &'a Selection, texts: bool) -> Self {
        Self { file: selection.image_column.as_deref(), text: selection.caption_column.as_deref(), texts }
    }

    /// The names of the two among those that a table has, those that it lacks too.
    fn among<'n>(self, names: &[&'n str]) -> (&'n str, Option<&'n str>)
    where
        'a: 'n,
    {
        let find = |is_meant: &dyn Fn(&str) -> bool| names.iter().copied().find(|name| is_meant(name));
        let file =
            self.file.or_else(|| find(&|name| name == FILE_NAME)).or_else(|| find(&|name| name.ends_with(FILE_ENDING)));
        let text = self.text.or_else(|| find(&|name| name == TEXT)).or_else(|| find(&|name| name == OTHER_TEXT));
        (file.unwrap_or(FILE_NAME), self.texts.then(|| text.unwrap_or(TEXT)))
    }
}

/// The most bytes of a table, and of a caption's file: what is larger is something else.
const MAX_TABLE: u64 = 1 << 30;
const MAX_CAPTION: u64 = 1 << 20;

/// Columns that are listed in a message.
const MAX_COLUMNS: usize = 10;

/// One row of a caption table.
#[derive(Debug)]
pub(super) struct Row {
    /// Line in the file, from 1; in kohya's, which of the entries.
    pub line: u64,
    /// The picture, as the row spells it.
    pub path: PathBuf,
    /// Trimmed and not empty, one or several; none where captions were not asked for.
    pub texts: Vec<String>,
}

/// A folder's caption table.
#[derive(Debug)]
pub(super) struct Table {
    /// One of [`METADATA`].
    pub file: &'static str,
    /// By the key of the picture's name.
    pub rows: BTreeMap<String, Row>,
    /// False where a fault hides a row or all of them: a picture without one may be that row's.
    pub is_whole: bool,
}

impl Table {
    /// Reads the folder's table, if it has one, in the columns of the selection. With `texts`, each row must have a caption; without,
    /// only file names are read. What is wrong with it goes to `problems`.
    pub(super) fn read(
        base: &Path,
        selection: &Selection,
        texts: bool,
        problems: &mut Vec<String>,
    ) -> Result<Option<Self>> {
        let columns = Columns::new(selection, texts);
        let present: Vec<_> = METADATA.into_iter().filter(|name| base.join(name).exists()).collect();
        let file = match present[..] {
            [] => return Ok(None),
            [file] => file,
            ref several => {
                let names = several.join("` and `");
                return Err(Error::input(format!("`{}` holds both `{names}`", base.display())).hint("keep one of them"));
            }
        };
        let mut table = Self { file, rows: BTreeMap::new(), is_whole: true };
        match text::read(&base.join(file), MAX_TABLE) {
            Ok(content) => table.add_lines(base, &content, columns, problems),
            Err(reason) => {
                table.is_whole = false;
                problems.push(format!("`{file}` {reason}"));
            }
        }
        Ok(Some(table))
    }

    fn add_lines(&mut self, base: &Path, content: &str, columns: Columns, problems: &mut Vec<String>) {
        let lines = match self.file {
            METADATA_CSV => csv_lines(content, columns),
            METADATA_JSON => kohya_lines(base, content, columns.texts),
            _ => Ok(json_lines(content, columns)),
        };
        let lines = lines.unwrap_or_else(|(line, reason)| vec![(line, Err(reason))]);
        for (line, row) in lines {
            if let Err(reason) = row.and_then(|(name, texts)| self.add(base, line, &name, texts)) {
                self.is_whole = false;
                problems.push(format!("`{}` {}: {reason}", self.file, self.place(line)));
            }
        }
    }

    /// `line 3`, or `entry 3` of kohya's.
    pub(super) fn place(&self, line: u64) -> String {
        format!("{} {line}", if self.file == METADATA_JSON { "entry" } else { "line" })
    }

    fn add(
        &mut self,
        base: &Path,
        line: u64,
        written: &str,
        texts: Option<Vec<String>>,
    ) -> std::result::Result<(), String> {
        let path = picture_path(base, written).ok_or_else(|| {
            format!("the file name `{}` must be a relative path inside the folder, without `..`", shortened(written))
        })?;
        let shown = shortened(&name(&path));
        if texts.as_ref().is_some_and(|texts| texts.is_empty() || texts.iter().any(String::is_empty)) {
            return Err(format!("`{shown}` has an empty caption"));
        }
        match self.rows.insert(key(&path), Row { line, path, texts: texts.unwrap_or_default() }) {
            Some(first) => Err(format!("`{shown}` already has a row in {}", self.place(first.line))),
            None => Ok(()),
        }
    }
}

/// The path that a row means: only one below the folder, for a table from the hub must not reach other files of this machine. A
/// table that was written on Windows parts folders with `\`, which elsewhere can be a part of a name.
fn picture_path(base: &Path, written: &str) -> Option<PathBuf> {
    let slashed = written.replace('\\', "/");
    let is_its_own = written.contains('\\') && base.join(written).is_file();
    let written = if is_its_own { written } else { &slashed };
    let parts = || Path::new(written).components().filter(|part| *part != Component::CurDir);
    let has_drive = written.as_bytes().get(1) == Some(&b':') && written.as_bytes().get(2) == Some(&b'/');
    let is_inside = parts().count() > 0 && parts().all(|part| matches!(part, Component::Normal(_))) && !has_drive;
    is_inside.then(|| parts().collect())
}

/// A line's number, and its file name and captions or what is wrong with it.
type Line = (u64, std::result::Result<(String, Option<Vec<String>>), String>);

/// A line and what is wrong with it, so that the others cannot be told.
type Fault = (u64, String);

fn json_lines(content: &str, columns: Columns) -> Vec<Line> {
    let lines = content.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(index, line)| (index as u64 + 1, json_line(line, columns))).collect()
}

fn json_line(line: &str, columns: Columns) -> std::result::Result<(String, Option<Vec<String>>), String> {
    let value: Value = serde_json::from_str(line).map_err(|e| not_json(&e))?;
    if !value.is_object() {
        return Err("not a JSON object, as {\"file_name\": …, \"text\": …}".to_owned());
    }
    let Fields(fields) = serde_json::from_str(line).map_err(|e| not_json(&e))?;
    let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
    let (file, text) = columns.among(&names);
    let field = |key: &str| match fields.iter().filter(|(name, _)| name == key).collect::<Vec<_>>()[..] {
        [(_, Value::String(text))] => Ok(vec![text.trim().to_owned()]),
        [(_, value @ Value::Array(_))] if Some(key) == text => caption_json::texts(key, value),
        [_] => Err(format!("`{key}` must be a string")),
        [] => Err(missing_column(key, names.iter().copied())),
        _ => Err(format!("`{key}` is there more than once")),
    };
    Ok((field(file)?.concat(), text.map(field).transpose()?))
}

/// kohya's names are a picture's path, whole on the machine that wrote it or relative, or that without its ending.
fn kohya_lines(base: &Path, content: &str, texts: bool) -> std::result::Result<Vec<Line>, Fault> {
    let entries = caption_json::kohya(content).map_err(|reason| (1, reason))?;
    let line = |(i, (name, captions)): (usize, caption_json::Entry)| {
        let named = |captions| (kohya_name(base, &name), captions);
        let row = match captions {
            Ok(captions) => Ok(named(texts.then_some(captions))),
            Err(_) if !texts => Ok(named(None)),
            Err(reason) => Err(format!("`{}` {reason}", shortened(&name))),
        };
        (i as u64 + 1, row)
    };
    Ok(entries.into_iter().enumerate().map(line).collect())
}

fn kohya_name(base: &Path, written: &str) -> String {
    let slashed = written.replace('\\', "/");
    let is_whole = slashed.starts_with('/') || slashed.as_bytes().get(1) == Some(&b':');
    let name = if is_whole { slashed.rsplit('/').next().unwrap_or_default() } else { &slashed };
    if has_image_ending(name) {
        return name.to_owned();
    }
    let endings = IMAGE_ENDINGS.iter().flat_map(|ending| [(*ending).to_owned(), ending.to_uppercase()]);
    let mut names = endings.map(|ending| format!("{name}.{ending}"));
    names.find(|name| base.join(name).is_file()).unwrap_or_else(|| name.to_owned())
}

fn not_json(error: &serde_json::Error) -> String {
    let text = error.to_string();
    // Its line is that of the one line that it was given.
    let text = text.split(" at line ").next().unwrap_or_default();
    let backslash = if text.contains("escape") { "; part folders with `/`, or write each `\\` twice" } else { "" };
    format!("not JSON: {text} in column {}{backslash}", error.column())
}

/// An object's fields in order, those of one name all of them.
struct Fields(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(All)
    }
}

fn csv_lines(content: &str, columns: Columns) -> std::result::Result<Vec<Line>, Fault> {
    if let Some((line, reason)) = quotes::fault(content) {
        return Err((line as u64, reason));
    }
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(content.as_bytes());
    let header = reader.headers().map_err(|e| (1, e.to_string()))?.clone();
    let (file, text) = columns.among(&header.iter().collect::<Vec<_>>());
    let named = |key: &str| (0..header.len()).filter(|&column| &header[column] == key).collect::<Vec<_>>();
    let column = |key: &str| match named(key)[..] {
        [] => Err((1, missing_column(key, header.iter()))),
        [column] => Ok(column),
        _ => Err((1, format!("two columns are named `{key}`"))),
    };
    let name = column(file)?;
    let text = text.map(column).transpose()?;
    let cell = |record: &csv::StringRecord, index: usize| record.get(index).unwrap_or_default().to_owned();
    let records = reader.into_records().map(|record| match record {
        Ok(record) => (
            record.position().map_or(0, csv::Position::line),
            Ok((cell(&record, name), text.map(|text| vec![cell(&record, text)]))),
        ),
        Err(e) => (e.position().map_or(0, csv::Position::line), Err(csv_reason(&e))),
    });
    Ok(records.collect())
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
    let found: Vec<_> = found.map(|name| format!("`{}`", shortened(name))).collect();
    let named = found.iter().take(MAX_COLUMNS).cloned().collect::<Vec<_>>().join(", ");
    // As spreadsheets write it where the comma parts a number.
    let is_parted_otherwise = found.len() == 1 && named.contains(key) && named.contains([';', '\t']);
    match found.len() {
        0 => format!("no `{key}`; found: nothing"),
        1 if is_parted_otherwise => format!("no `{key}`; found: {named}: part the columns with commas"),
        n if n > MAX_COLUMNS => format!("no `{key}`; found: {named} and {} more", n - MAX_COLUMNS),
        _ => format!("no `{key}`; found: {named}"),
    }
}

/// The captions in a file beside a picture; none, if it is empty. White space is collapsed to single spaces, which is what the
/// tokenizer would do. The error is the rest of a sentence that begins with the file's name.
pub(super) fn read_side_car(path: &Path, lines: CaptionLines) -> std::result::Result<Vec<String>, String> {
    let text = text::read(path, MAX_CAPTION)?;
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json")) {
        return Ok(caption_json::beside(&text)?.iter().map(|text| one_line(text)).collect());
    }
    let mut all = text.lines().map(one_line).filter(|line| !line.is_empty());
    Ok(match lines {
        CaptionLines::Join => Some(one_line(&text)).filter(|caption| !caption.is_empty()).into_iter().collect(),
        CaptionLines::First => all.next().into_iter().collect(),
        CaptionLines::Each => all.collect(),
    })
}
