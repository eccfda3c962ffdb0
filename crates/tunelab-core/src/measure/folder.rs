//! A folder of pictures that somebody wants measured or compared with.
//!
//! In: the folder. Out: the files that have a picture's ending, in folders below it too.

use std::path::{Path, PathBuf};

use crate::data::has_image_ending;
use crate::error::{Error, Result};

/// All pictures below the folder that `what` names, sorted; hidden files and folders are passed over, links to folders not
/// followed.
///
/// Errors: wrong input, if there is no such folder or no picture in it.
pub fn pictures_in(dir: &Path, what: &str) -> Result<Vec<PathBuf>> {
    if !dir.is_dir() {
        let wrong = if dir.exists() { "not a folder" } else { "there is no such folder" };
        return Err(Error::input(format!("{what} {}: {wrong}", dir.display())));
    }
    let mut found = Vec::new();
    collect(dir, &mut found)?;
    found.sort();
    if found.is_empty() {
        return Err(Error::input(format!("{what} {}: there are no pictures in it", dir.display()))
            .hint("PNG, JPEG, WebP, BMP, GIF and TIFF files are pictures"));
    }
    Ok(found)
}

fn collect(dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let unreadable = |e| Error::input("cannot list a folder of pictures").cause(e);
    for entry in fs_err::read_dir(dir).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        if entry.file_type().map_err(unreadable)?.is_dir() {
            collect(&entry.path(), found)?;
        } else if has_image_ending(&name) {
            found.push(entry.path());
        }
    }
    Ok(())
}
