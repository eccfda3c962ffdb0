//! Images in the rows of a Parquet file, as the hub keeps data sets.
//!
//! In: a file and the columns that are meant. Out: its rows as samples. Only these columns are read, a few rows at a time: a row group
//! may be larger than the memory.

use std::path::Path;

use fs_err::File;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};

use super::columns::{BYTES, Columns, PATH, text_names};
use super::samples::{Sample, Samples};
use crate::assets::layout::stays_inside;
use crate::assets::pack_kind::damaged;
use crate::config::Selection;
use crate::error::{Error, Result};

/// Rows that are decoded at once.
const ROWS: usize = 8;

/// How many rows a file has.
pub(super) fn row_count(file: &Path) -> Result<usize> {
    Ok(usize::try_from(open(file)?.metadata().file_metadata().num_rows()).unwrap_or(0))
}

/// Adds the file's rows; gives what is to be said of them whenever they are used.
///
/// # Errors
/// It is damaged or packed in a way that is not read, lacks a column, or a row has no image.
pub(super) fn read(file: &Path, selection: &Selection, samples: &mut Samples) -> Result<Option<String>> {
    let reader = open(file)?;
    let schema = reader.metadata().file_metadata().schema();
    let columns = Columns::find(schema, selection, file)?;
    let note = columns.caption.is_none().then(|| {
        let texts = text_names(schema);
        let there =
            if texts.is_empty() { "no column has texts".to_owned() } else { format!("columns of texts: {texts}") };
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        format!("{name}: no captions are taken; {there}; `caption_column` in [dataset] names one")
    });
    let rows = RowIter::from_file(Some(columns.projection.clone()), &reader).map_err(|e| fault(file, &e))?;
    for (index, row) in rows.with_batch_size(ROWS).enumerate() {
        if samples.is_full() {
            break;
        }
        let row = row.map_err(|e| fault(file, &e))?;
        let sample = sample(&row, &columns, file);
        let of_row = |why: String| Error::input(format!("{}: row {index}, counted from 0: {why}", file.display()));
        samples.add(sample.map_err(of_row)?)?;
    }
    Ok(note)
}

fn open(file: &Path) -> Result<impl FileReader> {
    SerializedFileReader::new(File::open(file)?.into_file()).map_err(|e| fault(file, &e))
}

fn fault(file: &Path, error: &ParquetError) -> Error {
    let text = error.to_string();
    if text.contains("Disabled feature") || text.contains("not supported") || text.contains("NYI") {
        return Error::input(format!("{}: is packed in a way that is not read: {text}", file.display()))
            .hint("write it again with the compression snappy, zstd, gzip, lz4 or none");
    }
    damaged(file, text)
}

/// The error is the rest of a sentence that begins with the row.
fn sample(row: &Row, columns: &Columns, file: &Path) -> std::result::Result<Sample, String> {
    let cell = |name: &str| row.get_column_iter().find(|(column, _)| *column == name).map(|(_, field)| field);
    let (image, name) = match cell(&columns.image) {
        Some(Field::Bytes(bytes)) => (Some(bytes.data().to_vec()), None),
        Some(Field::Group(of)) => {
            let part = |wanted: &str| of.get_column_iter().find(|(part, _)| *part == wanted).map(|(_, field)| field);
            let bytes = match part(BYTES) {
                Some(Field::Bytes(bytes)) => Some(bytes.data().to_vec()),
                _ => None,
            };
            (bytes, part(PATH).and_then(text))
        }
        _ => (None, None),
    };
    let image = match (image, &name) {
        (Some(image), _) => image,
        (None, Some(name)) => beside(file, name)?,
        // The data set's check names it, and `skip_broken` leaves it out.
        (None, None) => Vec::new(),
    };
    let captions = columns.caption.as_ref().map(|column| cell(column).map_or_else(Vec::new, texts));
    Ok(Sample { image, name, captions })
}

/// An image that lies beside the file, which names it.
fn beside(file: &Path, name: &str) -> std::result::Result<Vec<u8>, String> {
    if !stays_inside(name) {
        return Err(format!("its image is not in the file but at `{name}`, outside of the file's folder"));
    }
    let at = file.parent().unwrap_or(Path::new("")).join(name);
    fs_err::read(&at).map_err(|e| format!("its image is not in the file but beside it, where it cannot be read: {e}"))
}

fn text(field: &Field) -> Option<String> {
    match field {
        Field::Str(text) => Some(text.trim().to_owned()),
        Field::Bytes(bytes) => Some(std::str::from_utf8(bytes.data()).ok()?.trim().to_owned()),
        _ => None,
    }
}

fn texts(field: &Field) -> Vec<String> {
    match field {
        Field::ListInternal(list) => list.elements().iter().filter_map(text).collect(),
        field => text(field).into_iter().collect(),
    }
}
