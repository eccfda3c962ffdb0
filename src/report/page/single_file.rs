//! The page with everything in it: one file to send.
//!
//! In: a [`Page`] and the runs that it tells of. Out: the page with every image that it shows as a `data:` link.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::error::Result;
use crate::report::document::{Block, Image, encode};
use crate::report::runs::Run;

use super::html::Page;

/// Puts the images into the page of `runs`, which lies in `results`.
pub(super) fn inline(results: &Path, runs: &[Run], page: &mut Page) -> Result<()> {
    let blocks = page
        .grids
        .iter()
        .chain(&page.sweeps)
        .chain(&page.figures)
        .chain(page.details.iter().flat_map(|(_, blocks)| blocks));
    let shown = blocks.filter_map(|block| if let Block::Image(image) = block { Some(shown(image)) } else { None });
    let figures = shown.map(|path| Ok((path.to_owned(), data_link(&results.join(path))?)));
    page.images = figures.collect::<Result<_>>()?;
    page.data.files = samples(runs, page)?;
    Ok(())
}

/// The file that stands for an image: the one that scales, where there is one.
pub(super) fn shown(image: &Image) -> &str {
    image.vector.as_ref().unwrap_or(&image.path)
}

/// Every image that the script shows, by its link.
fn samples(runs: &[Run], page: &Page) -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    for (run, view) in runs.iter().zip(&page.data.runs) {
        for set in &view.sets {
            for (prompt, images) in view.prompts.iter().zip(&set.images) {
                for image in 0..*images {
                    let within = format!("samples/{}/{}/{image}.png", set.folder, prompt.folder);
                    files.insert(format!("{}/{within}", encode(&run.folder())), data_link(&run.path.join(within))?);
                }
            }
        }
    }
    Ok(files)
}

/// A file as a link that holds it.
fn data_link(path: &Path) -> Result<String> {
    let kind = if path.extension().is_some_and(|ending| ending == "svg") { "svg+xml" } else { "png" };
    Ok(format!("data:image/{kind};base64,{}", STANDARD.encode(fs_err::read(path)?)))
}
