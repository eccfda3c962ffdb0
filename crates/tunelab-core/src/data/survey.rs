//! How large a dataset's images are, without decoding them: for a plan, before anything is loaded.
//!
//! In: a folder of pictures. Out: names, and heights and widths of the upright images; what cannot be read is left out, for a run
//! tells it.

use std::path::Path;

use rayon::prelude::*;

use super::folder::{Entries, METADATA, has_image_ending, is_named_mask, pictures_folder};
use super::image::read_picture;
use super::name::slashed;
use super::orientation::image_size;
use crate::config::Selection;

/// The images of a part of a folder by their names, in its order, with height and width.
pub fn image_sizes(root: &Path, selection: &Selection) -> Vec<(String, [usize; 2])> {
    let Ok(base) = pictures_folder(root, selection, &mut |_| {}) else { return Vec::new() };
    let has_table = METADATA.iter().any(|table| base.join(table).is_file());
    let Ok(entries) = Entries::list(&base, has_table) else { return Vec::new() };
    let is_image = |name: &str| has_image_ending(name) && !is_named_mask(name);
    let files: Vec<_> = entries.files.into_iter().filter(|path| is_image(&path.to_string_lossy())).collect();
    let most = selection.max_samples.unwrap_or(usize::MAX);
    let size = |path: &std::path::PathBuf| Some((slashed(path), image_size(&read_picture(&base.join(path)).ok()?)?));
    files.par_iter().take(most).filter_map(size).collect()
}
