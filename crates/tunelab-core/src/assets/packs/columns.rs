//! Which columns of a Parquet file hold the images and their captions.
//!
//! In: its schema and what `[dataset]` names. Out: the two columns, as they are read. An image is a struct {bytes, path}, as the
//! `datasets` library writes it, or bytes alone; a caption a string or a list of such.

use std::path::Path;
use std::sync::Arc;

use parquet::basic::{ConvertedType, LogicalType, Type as Physical};
use parquet::schema::types::{Type, TypePtr};

use crate::assets::pack_kind::damaged;
use crate::config::Selection;
use crate::error::{Error, Result};
use crate::numbers::listed;

/// Names listed in one message.
const MAX_LISTED: usize = 12;

/// The names that are looked for where none is named.
const IMAGE: &str = "image";
const TEXTS: [&str; 3] = ["text", "caption", "prompt"];

/// The parts of a struct that holds an image.
pub(super) const BYTES: &str = "bytes";
pub(super) const PATH: &str = "path";

/// The columns of a file.
#[derive(Debug)]
pub(super) struct Columns {
    pub image: String,
    /// `None`: nothing tells which it is.
    pub caption: Option<String>,
    /// What is read of the file.
    pub projection: Type,
}

impl Columns {
    /// # Errors
    /// A column that is named is not there or not of its kind; no column has images, or several have.
    pub(super) fn find(root: &Type, selection: &Selection, file: &Path) -> Result<Self> {
        let image = image(root, selection.image_column.as_deref(), file)?;
        let caption = caption(root, selection.caption_column.as_deref(), file)?;
        let fields = vec![Some(pixels(&image, file)?), caption.clone()].into_iter().flatten().collect();
        let projection =
            Type::group_type_builder(root.name()).with_fields(fields).build().map_err(|e| damaged(file, e))?;
        Ok(Self { image: image.name().to_owned(), caption: caption.map(|c| c.name().to_owned()), projection })
    }
}

fn image(root: &Type, named: Option<&str>, file: &Path) -> Result<TypePtr> {
    let fields = root.get_fields();
    let images: Vec<&TypePtr> = fields.iter().filter(|field| holds_images(field)).collect();
    if let Some(name) = named {
        let field = column(root, "image_column", name, file)?;
        if !holds_images(field) {
            return Err(wrong(file, "image_column", name, "holds no images, {bytes, path} or bytes", &images));
        }
        return Ok(Arc::clone(field));
    }
    match images.iter().find(|field| field.name() == IMAGE).or(images.first()) {
        Some(field) if images.len() == 1 || field.name() == IMAGE => Ok(Arc::clone(field)),
        Some(_) => Err(Error::input(format!("{}: several columns hold images: {}", file.display(), names(&images)))
            .hint("say which with `image_column` in [dataset]")),
        None => Err(Error::input(format!("{}: no column holds images", file.display()))
            .cause(format!("its columns: {}", names(&fields.iter().collect::<Vec<_>>())))
            .hint("an image is a struct of `bytes` and `path`, as the `datasets` library writes it, or bytes alone")),
    }
}

fn caption(root: &Type, named: Option<&str>, file: &Path) -> Result<Option<TypePtr>> {
    let texts: Vec<&TypePtr> = root.get_fields().iter().filter(|field| holds_texts(field)).collect();
    if let Some(name) = named {
        let field = column(root, "caption_column", name, file)?;
        if !holds_texts(field) {
            return Err(wrong(file, "caption_column", name, "holds no texts", &texts));
        }
        return Ok(Some(Arc::clone(field)));
    }
    let usual = TEXTS.iter().find_map(|name| texts.iter().find(|field| field.name() == *name));
    let only = || texts.first().filter(|_| texts.len() == 1);
    Ok(usual.or_else(only).map(|field| Arc::clone(field)))
}

fn column<'t>(root: &'t Type, key: &str, name: &str, file: &Path) -> Result<&'t TypePtr> {
    let fields = root.get_fields();
    fields.iter().find(|field| field.name() == name).ok_or_else(|| {
        Error::input(format!("{}: there is no column `{name}`, which `{key}` of [dataset] names", file.display()))
            .hint(format!("its columns: {}", names(&fields.iter().collect::<Vec<_>>())))
    })
}

fn wrong(file: &Path, key: &str, name: &str, what: &str, right: &[&TypePtr]) -> Error {
    let error =
        Error::input(format!("{}: the column `{name}`, which `{key}` of [dataset] names, {what}", file.display()));
    if right.is_empty() { error } else { error.hint(format!("these do: {}", names(right))) }
}

fn names(fields: &[&TypePtr]) -> String {
    listed(&fields.iter().map(|field| field.name()).collect::<Vec<_>>(), MAX_LISTED)
}

/// The columns of texts, for a message.
pub(super) fn text_names(root: &Type) -> String {
    names(&root.get_fields().iter().filter(|field| holds_texts(field)).collect::<Vec<_>>())
}

fn holds_images(field: &Type) -> bool {
    if !field.is_group() {
        return is_bytes(field) && !is_text(field);
    }
    !is_list(field) && field.get_fields().iter().any(|inner| inner.name() == BYTES && is_bytes(inner))
}

fn holds_texts(field: &Type) -> bool {
    if !field.is_group() {
        return is_text(field);
    }
    let element = is_list(field).then(|| field.get_fields().first()).flatten();
    let element = element.filter(|inner| inner.is_group()).and_then(|inner| inner.get_fields().first());
    element.is_some_and(|element| is_text(element))
}

fn is_list(field: &Type) -> bool {
    let info = field.get_basic_info();
    info.converted_type() == ConvertedType::LIST || info.logical_type_ref() == Some(&LogicalType::List)
}

fn is_bytes(field: &Type) -> bool {
    field.is_primitive() && field.get_physical_type() == Physical::BYTE_ARRAY
}

fn is_text(field: &Type) -> bool {
    let info = field.get_basic_info();
    let is_named =
        info.converted_type() == ConvertedType::UTF8 || info.logical_type_ref() == Some(&LogicalType::String);
    is_bytes(field) && is_named
}

/// Of an image's struct the bytes and the path alone.
fn pixels(image: &TypePtr, file: &Path) -> Result<TypePtr> {
    if !image.is_group() {
        return Ok(Arc::clone(image));
    }
    let wanted = |field: &&TypePtr| [BYTES, PATH].contains(&field.name()) && is_bytes(field);
    let fields = image.get_fields().iter().filter(wanted).cloned().collect();
    let info = image.get_basic_info();
    let built = Type::group_type_builder(image.name()).with_repetition(info.repetition()).with_fields(fields).build();
    Ok(Arc::new(built.map_err(|e| damaged(file, e))?))
}
