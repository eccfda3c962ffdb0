//! The grid of a run's data: `data.png`.
//!
//! In: the images that training sees, and the class images where there are any (`DreamBooth`).
//! Out: rows of five, the first 5 and the first 10 of them, with how many there are beside them.
//! Images larger than a cell are scaled down to it.

use std::path::Path;

use crate::data::{Picture, Rgb, Shapes, resize_short_side};
use crate::error::Result;
use crate::results::write_png;

use super::grid::{Row, grid};

/// Images in a row.
const COLUMNS: usize = 5;
/// Rows of instance and of class images.
const INSTANCE_ROWS: usize = 1;
const CLASS_ROWS: usize = 2;
/// The longest short side of a cell.
const CELL: usize = 256;

/// Writes `data.png` into a run's folder: the instance images cut to the centre, as they are trained on, and class images.
pub fn write(run: &Path, instance: &[Picture], class: &[Picture], shapes: &Shapes) -> Result<()> {
    let centered = |picture: &Picture| {
        let image = picture.image()?;
        Ok(shapes.cut([image.height, image.width]).map_or_else(|| image.clone(), |cut| cut.centered(&image)))
    };
    write_png(&run.join("data.png"), &data_grid(instance, class, centered)?, &[])
}

/// The image itself. `class` is empty but for `DreamBooth`; with no images at all it is an
/// error. `load` gives an image's pixels, and is asked for those that are shown only.
pub fn data_grid<P>(instance: &[P], class: &[P], load: impl Fn(&P) -> Result<Rgb>) -> Result<Rgb> {
    let name = if class.is_empty() { "training" } else { "instance" };
    let mut rows = labeled(name, instance, INSTANCE_ROWS, &load)?;
    rows.extend(labeled("class", class, CLASS_ROWS, &load)?);
    grid(&[], &rows)
}

/// Rows of images; the first says what they are and how many of how many are shown.
fn labeled<P>(name: &str, images: &[P], most_rows: usize, load: &impl Fn(&P) -> Result<Rgb>) -> Result<Vec<Row>> {
    let shown = images.len().min(COLUMNS * most_rows);
    let label = match (images.len(), shown) {
        (1, _) => format!("1 {name} image"),
        (all, shown) if shown < all => format!("{name} images: first {shown} of {all}"),
        (all, _) => format!("{all} {name} images"),
    };
    let rows = images[..shown].chunks(COLUMNS).enumerate();
    let row = |(index, images): (usize, &[P])| {
        let label = if index == 0 { label.clone() } else { String::new() };
        let images = images.iter().map(|image| Ok(small(load(image)?))).collect::<Result<_>>()?;
        Ok(Row { label, images })
    };
    rows.map(row).collect()
}

fn small(image: Rgb) -> Rgb {
    if image.width.min(image.height) > CELL { resize_short_side(&image, CELL) } else { image }
}
