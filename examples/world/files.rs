//! Writing pictures: single PNG files, folders of training pictures, and contact sheets.

use std::io::Write;
use std::ops::Range;
use std::path::Path;

use fs_err as fs;
use serde::Serialize;

use crate::caption;
use crate::picture::picture;
use crate::rng::Rng;
use crate::scene::{Action, Animal, Coat, Detail, Place, Scene};
use crate::subject;

/// What can go wrong: the folder cannot be written.
pub type Result<T> = std::result::Result<T, Error>;

/// Whatever went wrong.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

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

/// Picture `index` of the world of `seed`, with its caption. Half of the animals of a `mirrored` world face left; in one
/// that is not, all face right.
pub fn draw_one(seed: u64, index: u64, mirrored: bool) -> (Scene, String) {
    let mut rng = Rng::new(seed, index);
    let scene = Scene::random(&mut rng);
    let scene = if mirrored { scene } else { scene.facing_right() };
    let text = caption::random(&scene, &mut rng);
    (scene, text)
}

/// The first `count` pictures of the world of `seed`, 64 x 64, with their captions and labels. The threads share the
/// work; nothing depends on how many there are.
pub fn draw_world(folder: &Path, count: usize, seed: u64, mirrored: bool) -> Result<()> {
    fs::create_dir_all(folder)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = count.div_ceil(threads).max(1);
    let mut metadata = std::io::BufWriter::new(fs::File::create(folder.join("metadata.jsonl"))?);
    std::thread::scope(|scope| {
        let part =
            |from: usize| scope.spawn(move || draw_part(folder, from..(from + share).min(count), seed, mirrored));
        let parts: Vec<_> = (0..count).step_by(share).map(part).collect();
        for part in parts {
            let lines = part.join().map_err(|_| Error::from("a drawing thread stopped"))??;
            metadata.write_all(lines.as_bytes())?;
        }
        Ok(metadata.flush()?)
    })
}

/// Some of the pictures; returns their lines of metadata.
fn draw_part(folder: &Path, indices: Range<usize>, seed: u64, mirrored: bool) -> Result<String> {
    let mut lines = String::new();
    for index in indices {
        let (scene, text) = draw_one(seed, index as u64, mirrored);
        let file_name = format!("{index:06}.png");
        write_png(&folder.join(&file_name), &picture(&scene, 64), 64, 64)?;
        let Scene { animal, coat, action, place, ref details, .. } = scene;
        let entry = Entry { file_name: &file_name, text: &text, animal, coat, action, place, details };
        lines += &serde_json::to_string(&entry)?;
        lines.push('\n');
    }
    Ok(lines)
}

/// The subject's five pictures.
pub fn draw_subject(folder: &Path, size: usize) -> Result<()> {
    fs::create_dir_all(folder)?;
    for (i, scene) in subject::five().iter().enumerate() {
        write_png(&folder.join(format!("{}.png", i + 1)), &subject::picture(scene, size), size, size)?;
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
