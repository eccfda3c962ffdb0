//! How large a dataset's images are, without decoding them: for a plan, before anything is loaded.
//!
//! In: a folder of pictures, or a file's bytes. Out: names, and heights and widths of the upright images; what cannot be read is
//! left out, for a run tells it.

use std::io::Cursor;
use std::path::Path;

use image::{ImageDecoder, ImageReader};
use rayon::prelude::*;

use super::folder::{Entries, METADATA, has_image_ending, pictures_folder};
use super::image::read_picture;
use super::mask::is_named_mask;
use super::name::slashed;
use super::orientation::{orientation, turns};
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

/// Height and width of an upright image, by what its file's header claims.
pub fn image_size(bytes: &[u8]) -> Option<[usize; 2]> {
    let format = image::guess_format(bytes).ok()?;
    let (width, height) = if format == image::ImageFormat::Jpeg {
        let mut decoder = jpeg_decoder::Decoder::new(bytes);
        decoder.read_info().ok()?;
        let info = decoder.info()?;
        (u32::from(info.width), u32::from(info.height))
    } else {
        ImageReader::with_format(Cursor::new(bytes), format).into_decoder().ok()?.dimensions()
    };
    let [height, width] = [height as usize, width as usize];
    Some(if turns(orientation(format, bytes)) { [width, height] } else { [height, width] })
}
