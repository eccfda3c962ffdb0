//! The contact sheet: all images as they are cropped, with their captions, as one image.
//!
//! In: the sheet. Out: columns of thumbnails, each over its name, its size and its caption, of which a part that is cut off is red and
//! struck through; by bucket, class images last. Of very many images the first thousand are shown.

use super::Sheet;
use super::look::Look;
use crate::data::Rgb;
use crate::error::Result;
use crate::numbers::counted;
use crate::report::text::{BOLD, Color, Face, REGULAR};

const PAPER: Color = [255, 255, 255];
const INK: Color = [26, 26, 26];
const SOFT: Color = [110, 110, 110];
const RED: Color = [190, 40, 30];
const CELL: usize = 224;
const GAP: usize = 14;
const EM: f32 = 13.0;
/// Lines of text below an image: its name, its size, its caption.
const LINES: usize = 6;
/// Images on the sheet.
const MOST: usize = 1000;

/// Draws the sheet.
pub(super) fn draw(sheet: &Sheet) -> Result<Rgb> {
    let (words, bold) = (Face::new(REGULAR, EM)?, Face::new(BOLD, EM * 1.3)?);
    let groups = groups(sheet);
    let longest = groups.iter().map(|(_, images)| images.len()).max().unwrap_or(1);
    let columns = (sheet.images.len() + sheet.class.len()).isqrt().clamp(4, 10).min(longest.max(4));
    let (line, heading) = (words.line_height() as usize, (bold.line_height() * 1.6) as usize);
    let row = CELL + LINES * line + GAP;
    let height: usize = groups.iter().map(|(_, images)| heading + images.len().div_ceil(columns) * row).sum();
    let width = columns * (CELL + GAP) + GAP;
    let height = height + heading + GAP;
    let pixels = std::iter::repeat_n(PAPER, width * height).flatten().collect();
    let mut canvas = Rgb { width, height, pixels };
    let mut top = heading;
    let title = format!("{}: {}", sheet.name, sheet.summary());
    bold.draw(&mut canvas, GAP as f32, top as f32 * 0.7, &title, INK);
    for (title, images) in groups {
        bold.draw(&mut canvas, GAP as f32, (top + heading * 7 / 10) as f32, &title, INK);
        top += heading;
        for images in images.chunks(columns) {
            for (column, image) in images.iter().enumerate() {
                cell(&mut canvas, &words, image, (GAP + column * (CELL + GAP), top));
            }
            top += row;
        }
    }
    Ok(canvas)
}

/// Images under their headings.
fn groups(sheet: &Sheet) -> Vec<(String, Vec<&Look>)> {
    let mut sizes: Vec<Option<[usize; 2]>> = sheet.images.iter().map(|image| image.cut.map(|cut| cut.size)).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let mut groups: Vec<(String, Vec<&Look>)> = Vec::new();
    for size in sizes {
        let images = sheet.images.iter().filter(|image| image.cut.map(|cut| cut.size) == size).collect();
        groups.push((size.map_or_else(String::new, |[height, width]| format!("{width} x {height}: ")), images));
    }
    if !sheet.class.is_empty() {
        groups.push(("class: ".to_owned(), sheet.class.iter().collect()));
    }
    let mut left = MOST;
    for (title, images) in &mut groups {
        let (all, shown) = (images.len(), images.len().min(left));
        left -= shown;
        images.truncate(shown);
        title.push_str(&counted(all, "image"));
        if shown < all {
            title.extend([" (the first ", &shown.to_string(), ")"]);
        }
    }
    groups
}

/// One image in its place.
fn cell(canvas: &mut Rgb, words: &Face, image: &Look, (left, top): (usize, usize)) {
    let thumbnail = &image.thumbnail;
    let at = (left + (CELL - thumbnail.width) / 2, top + (CELL - thumbnail.height) / 2);
    for y in 0..thumbnail.height {
        let to = 3 * ((at.1 + y) * canvas.width + at.0);
        let from = 3 * y * thumbnail.width;
        canvas.pixels[to..to + 3 * thumbnail.width]
            .copy_from_slice(&thumbnail.pixels[from..from + 3 * thumbnail.width]);
    }
    let line = words.line_height();
    let mut baseline = (top + CELL) as f32 + line;
    let mut write = |text: &str, color: Color, most: usize, struck: bool| {
        let mut written = 0;
        for part in words.wrap(text, CELL as f32, most) {
            words.draw(canvas, left as f32, baseline, &part, color);
            if struck {
                strike(canvas, (left, (baseline - EM * 0.32) as usize), words.width(&part) as usize);
            }
            baseline += line;
            written += 1;
        }
        written
    };
    let [height, width] = image.original;
    write(&image.name, INK, 1, false);
    let mask = if image.is_masked { ", masked" } else { "" };
    let enlarged = if image.is_enlarged() { ", enlarged" } else { "" };
    let lost = image.cut.map_or(0.0, |cut| 100.0 * cut.lost());
    let tokens = image.tokens();
    let size = format!("{width} x {height}, cut {lost:.0} %{enlarged}{mask}, {tokens} tokens");
    let soft = write(&size, SOFT, 2, false);
    let mut room = LINES - 1 - soft;
    for caption in &image.captions {
        let (kept, cut) = caption.parts();
        // A line is left for what is cut off.
        let kept = write(kept, INK, if cut.is_empty() { room } else { room.saturating_sub(1) }, false);
        room = room.saturating_sub(kept);
        room = room.saturating_sub(write(cut, RED, room, true));
    }
}

fn strike(canvas: &mut Rgb, (left, y): (usize, usize), width: usize) {
    let right = (left + width).min(canvas.width);
    if y < canvas.height && left < right {
        let row = 3 * y * canvas.width;
        canvas.pixels[row + 3 * left..row + 3 * right]
            .chunks_exact_mut(3)
            .for_each(|pixel| pixel.copy_from_slice(&RED));
    }
}
