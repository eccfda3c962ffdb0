//! Large folders, whose images are checked by their structure: nothing of it differs from what their pixels say.

use std::path::Path;

use tempfile::TempDir;
use tunelab::data::{Picture, load_dataset};
use tunelab::error::{Kind, Result};

use super::pixels::fixture;

/// From so many images on a folder is large.
const LARGE: usize = 256;

/// A folder with these files, and with as many copies of a good one as make it large if it is to be.
fn folder(files: &[(String, Vec<u8>)], is_large: bool) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let good = fs_err::read(fixture("formats/rgb.png")).unwrap();
    for index in 0..if is_large { LARGE } else { 1 } {
        fs_err::write(folder.path().join(format!("good{index:03}.png")), &good).unwrap();
    }
    for (name, bytes) in files {
        fs_err::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

fn load(folder: &Path, skip_broken: bool) -> Result<Vec<Picture>> {
    load_dataset(folder, Some("a dog"), skip_broken, &mut |_| {})
}

/// What is said of the files in a small and in a large folder: their sizes, or what is wrong, line by line.
fn told(files: &[(String, Vec<u8>)], is_large: bool) -> Vec<String> {
    match load(folder(files, is_large).path(), false) {
        Ok(pictures) => {
            let pictures = pictures.iter().filter(|picture| !picture.name().starts_with("good"));
            pictures.map(|p| format!("{} {} x {} {}", p.name(), p.width, p.height, p.sha256)).collect()
        }
        Err(error) => {
            assert_eq!(error.kind(), Kind::Input);
            error.to_string().lines().skip(1).map(str::to_owned).collect()
        }
    }
}

fn files(folder: &str) -> Vec<(String, Vec<u8>)> {
    let entries = fs_err::read_dir(fixture("..").join(folder)).unwrap();
    let files = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    files.map(|path| (name(&path), fs_err::read(path).unwrap())).filter(|(name, _)| !name.ends_with("json")).collect()
}

/// The coded data of a JPEG made into what no code table has: sixteen ones. The file's structure stays whole.
pub fn damaged(jpeg: &[u8]) -> Vec<u8> {
    let mut bytes = jpeg.to_vec();
    let end = bytes.len() - 2;
    let middle = (bytes.len() * 3 / 4) & !1;
    bytes[middle..end].as_chunks_mut::<2>().0.fill([0xFF, 0x00]);
    bytes
}

#[test]
fn sizes_of_every_kind_are_those_of_the_pixels() {
    for group in ["resize/formats", "resize/orientation", "jpeg"] {
        let files = files(group);
        assert!(files.len() > 5, "{group}");
        let [small, large] = [false, true].map(|is_large| told(&files, is_large));
        assert_eq!(small.len(), files.len(), "{small:?}");
        assert_eq!(small, large);
    }
}

#[test]
fn what_is_broken_is_refused_in_the_same_words() {
    for (name, bytes) in files("resize/broken") {
        let one = [(name, bytes)];
        assert_eq!(told(&one, false), told(&one, true));
    }
    for name in ["grey.jpg", "progressive.jpg", "rgb.png", "lossy.webp"] {
        let bytes = fs_err::read(fixture("formats").join(name)).unwrap();
        // Cut off anywhere, and each of many bytes another one.
        for at in (20..bytes.len()).step_by(bytes.len() / 23) {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            for (what, bytes) in [("cut", bytes[..at].to_vec()), ("changed", changed)] {
                let one = [(name.to_owned(), bytes)];
                let [small, large] = [false, true].map(|is_large| told(&one, is_large));
                // A JPEG's coded data has no checksum: in a large folder it is decoded later.
                let is_later = what == "changed" && name.ends_with("jpg") && large[0].starts_with(name);
                assert!(small == large || is_later, "{name} {what} at {at}: {small:?}, {large:?}");
            }
        }
    }
}

#[test]
fn coded_data_that_is_damaged_is_told_when_it_is_decoded() {
    let bytes = damaged(&fs_err::read(fixture("formats/grey.jpg")).unwrap());
    let files = [("bad.jpg".to_owned(), bytes)];
    assert!(told(&files, false).concat().contains("`bad.jpg` is damaged or cut off"));
    let large = folder(&files, true);
    let pictures = load(large.path(), false).unwrap();
    let bad = pictures.iter().find(|picture| picture.name() == "bad.jpg").unwrap();
    let error = bad.image().unwrap_err();
    assert_eq!(error.kind(), Kind::Input);
    let text = error.to_string();
    assert!(text.contains("bad.jpg` is damaged or cut off") && text.contains("skip_broken = true"), "{text}");
    // Who asks for what is broken to be left out has every pixel looked at.
    let left = load(large.path(), true).unwrap();
    assert!(left.len() == LARGE && left.iter().all(|picture| picture.name() != "bad.jpg"));
}
