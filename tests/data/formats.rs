//! BMP, GIF and TIFF, and colour profiles, against what Pillow and its `ImageCms` make of the same files.

use crate::fixture::fixture;
use tunelab::data::{image_size, load_image};

#[test]
fn formats_and_profiles_equal_pillow() {
    let folder = fixture("more_formats");
    let mut names: Vec<String> =
        fs_err::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| !name.ends_with(".expected.png") && name != "no.avif");
    names.sort();
    assert_eq!(names.len(), 20);
    for name in names {
        let ours = load_image(&folder.join(&name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let wanted = load_image(&folder.join(format!("{name}.expected.png"))).unwrap();
        assert_eq!((ours.width, ours.height), (wanted.width, wanted.height), "{name}");
        let difference = ours.pixels.iter().zip(&wanted.pixels).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        let limit = match name.as_str() {
            // Samples differ from libjpeg's by up to 3; the profile is three times as steep where it takes colours out of gamut.
            "wide.jpg" => 9,
            // Profiles are computed in other numbers.
            _ if name.starts_with("wide") || name.starts_with("grey_profile") => 2,
            // Pillow cuts 16 bits to 8, here they are rounded.
            "grey16.tiff" | "cmyk.tiff" => 1,
            _ => 0,
        };
        assert!(difference <= limit, "{name}: differs by {difference}");
        let bytes = fs_err::read(folder.join(&name)).unwrap();
        assert_eq!(image_size(&bytes), Some([ours.height, ours.width]), "{name}, without decoding");
    }
}

#[test]
fn a_profile_that_is_ignored_would_be_noticed() {
    let plain = load_image(&fixture("more_formats/rgb.tiff")).unwrap();
    let wide = load_image(&fixture("more_formats/wide.png")).unwrap();
    let raw = image::ImageReader::open(fixture("more_formats/wide.png")).unwrap().decode().unwrap().to_rgb8();
    let difference = wide.pixels.iter().zip(raw.as_raw()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    assert!(difference > 15, "the profile moves colours by {difference}");
    assert_eq!((plain.width, plain.height), (23, 17));
}

#[test]
fn avif_is_refused_by_name() {
    let error = load_image(&fixture("more_formats/no.avif")).unwrap_err().to_string();
    assert!(error.contains("is a AVIF file; pictures are read from PNG, JPEG, WebP, BMP, GIF and TIFF"), "{error}");
}
