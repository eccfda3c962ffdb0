//! Writing pictures: single PNG files, folders of training pictures, and contact sheets.

use std::io::Write;
use std::path::Path;

use fs_err as fs;
use serde::Serialize;

use crate::caption;
use crate::picture::picture;
use crate::rng::Rng;
use crate::scene::{Action, Animal, Coat, Detail, Place, Scene};
use crate::subject;

/// What can go wrong: the folder cannot be written.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// One line of `metadata.jsonl`.
#[derive(Serialize)]
struct Entry<'a> {
    file_name: &'a str,
    text: &'a str,
    animal: Animal,
    coat: Coat,
    action: Action,
    place: Place,
    details: &'a [Detail],
}

/// Picture `index` of the world of `seed`, with its caption.
pub fn draw_one(seed: u64, index: u64) -> (Scene, String) {
    let mut rng = Rng::new(seed, index);
    let scene = Scene::random(&mut rng);
    let text = caption::random(&scene, &mut rng);
    (scene, text)
}

/// The first `count` pictures of the world of `seed`, 64 x 64, with their captions and labels.
pub fn draw_world(folder: &Path, count: usize, seed: u64) -> Result<()> {
    fs::create_dir_all(folder)?;
    let mut metadata = std::io::BufWriter::new(fs::File::create(folder.join("metadata.jsonl"))?);
    for index in 0..count {
        let (scene, text) = draw_one(seed, index as u64);
        let file_name = format!("{index:06}.png");
        write_png(&folder.join(&file_name), &picture(&scene, 64), 64, 64)?;
        let Scene { animal, coat, action, place, ref details, .. } = scene;
        serde_json::to_writer(
            &mut metadata,
            &Entry { file_name: &file_name, text: &text, animal, coat, action, place, details },
        )?;
        metadata.write_all(b"\n")?;
    }
    Ok(metadata.flush()?)
}

/// The subject's five pictures.
pub fn draw_subject(folder: &Path, size: usize) -> Result<()> {
    fs::create_dir_all(folder)?;
    for (i, scene) in subject::five().iter().enumerate() {
        write_png(&folder.join(format!("{i}.png")), &subject::picture(scene, size), size, size)?;
    }
    Ok(())
}

/// A contact sheet of rows of equal pictures, each `size` square, with a white gap.
pub fn write_sheet(file: &Path, rows: &[Vec<Vec<u8>>], size: usize) -> Result<()> {
    let gap = size / 16;
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let (wide, high) = (columns * (size + gap) + gap, rows.len() * (size + gap) + gap);
    let mut sheet = vec![255; wide * high * 3];
    for (r, row) in rows.iter().enumerate() {
        for (c, picture) in row.iter().enumerate() {
            let (x, y) = (gap + c * (size + gap), gap + r * (size + gap));
            for (line, pixels) in picture.chunks_exact(size * 3).enumerate() {
                let start = ((y + line) * wide + x) * 3;
                sheet[start..start + size * 3].copy_from_slice(pixels);
            }
        }
    }
    write_png(file, &sheet, wide, high)
}

fn write_png(file: &Path, rgb: &[u8], wide: usize, high: usize) -> Result<()> {
    let mut encoder = png::Encoder::new(std::io::BufWriter::new(fs::File::create(file)?), wide as u32, high as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(rgb)?;
    Ok(writer.finish()?)
}
