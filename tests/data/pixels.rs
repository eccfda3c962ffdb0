//! Decoding, resizing, cropping and tensors, against what Pillow 13 gave (`tests/fixtures/resize`).

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use image::{ExtendedColorType, ImageEncoder};
use tunelab::data::{Rgb, center_crop, crop, flip, from_tensor, load_image, random_crop, resize_short_side, to_tensor};
use tunelab::random::Generator;

/// A file of the fixtures' folder `resize`.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/resize").join(name)
}

/// The names in a folder of fixtures that end as given, without that ending.
fn cases(folder: &str, ending: &str) -> Vec<String> {
    let entries = fs_err::read_dir(fixture(folder)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter_map(|name| name.strip_suffix(ending).map(str::to_owned)).collect()
}

/// An expected picture: plain RGB PNG.
fn expected(name: &str) -> Rgb {
    let picture = image::open(fixture(name)).unwrap().into_rgb8();
    Rgb { width: picture.width() as usize, height: picture.height() as usize, pixels: picture.into_raw() }
}

fn is_jpeg(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "jpg")
}

fn largest_difference(a: &Rgb, b: &Rgb) -> u8 {
    assert_eq!((a.width, a.height), (b.width, b.height));
    a.pixels.iter().zip(&b.pixels).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

/// A picture in which every pixel differs from every other.
fn numbered(width: usize, height: usize) -> Rgb {
    let pixels = (0..width * height).flat_map(|i| [(i / width) as u8, (i % width) as u8, (i % 251) as u8]).collect();
    Rgb { width, height, pixels }
}

#[test]
fn every_kind_of_file_decodes_as_in_pillow() {
    let names = cases("formats", ".expected.png");
    assert!(names.len() >= 18, "{names:?}");
    for name in names {
        // JPEG and lossy WebP leave the rounding of the inverse transform to the decoder, and how halved chroma is
        // stretched; 16 bits are rounded before alpha is applied. Everything else is exact.
        let allowed = match name.as_str() {
            "rgba16.png" | "grey_alpha16.png" => 1,
            "lossy.webp" => 2,
            "png_named.jpg" => 0,
            _ if is_jpeg(&name) => 3,
            _ => 0,
        };
        let decoded = load_image(&fixture(&format!("formats/{name}"))).unwrap();
        let difference = largest_difference(&decoded, &expected(&format!("formats/{name}.expected.png")));
        assert!(difference <= allowed, "{name} differs by {difference}");
    }
}

#[test]
fn orientation_turns_the_picture() {
    for orientation in 1..=8 {
        let turned = load_image(&fixture(&format!("orientation/{orientation}.jpg"))).unwrap();
        let wanted = expected(&format!("orientation/{orientation}.expected.png"));
        assert!(largest_difference(&turned, &wanted) <= 3, "orientation {orientation}");
    }
}

/// Big-endian TIFF with the one tag "orientation" = 6, as it is in PNG's eXIf and WebP's EXIF chunk.
const LYING: &[u8] = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";

#[test]
fn orientation_is_read_from_png_and_webp_with_and_without_jpegs_prefix() {
    let folder = tempfile::tempdir().unwrap();
    let Rgb { width, height, pixels } = numbered(5, 3);
    for exif in [LYING.to_vec(), [b"Exif\0\0", LYING].concat()] {
        let (png, webp) = (folder.path().join("x.png"), folder.path().join("x.webp"));
        let mut encoder = image::codecs::png::PngEncoder::new(fs_err::File::create(&png).unwrap());
        encoder.set_exif_metadata(exif.clone()).unwrap();
        encoder.write_image(&pixels, width as u32, height as u32, ExtendedColorType::Rgb8).unwrap();
        let mut encoder = image::codecs::webp::WebPEncoder::new_lossless(fs_err::File::create(&webp).unwrap());
        encoder.set_exif_metadata(exif).unwrap();
        encoder.write_image(&pixels, width as u32, height as u32, ExtendedColorType::Rgb8).unwrap();
        for file in [png, webp] {
            let turned = load_image(&file).unwrap();
            assert_eq!((turned.width, turned.height), (3, 5));
            // A quarter turn clockwise: the first row is the stored first column read upwards.
            assert_eq!(turned.pixels[..9], [2, 0, 10, 1, 0, 5, 0, 0, 0]);
        }
    }
}

#[test]
fn sixteen_bits_are_scaled_and_not_saturated() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("grey16.png");
    image::ImageBuffer::<image::Luma<u16>, _>::from_raw(4, 1, vec![0_u16, 0x0101, 0x8080, 0xFFFF])
        .unwrap()
        .save(&path)
        .unwrap();
    assert_eq!(load_image(&path).unwrap().pixels, [0, 0, 0, 1, 1, 1, 128, 128, 128, 255, 255, 255]);
}

#[test]
fn resizing_and_cropping_are_pillows_bit_for_bit() {
    let names = cases("short_side", ".resized.png");
    assert!(names.len() >= 10, "{names:?}");
    for name in names {
        let picture = load_image(&fixture(&format!("short_side/{name}.png"))).unwrap();
        let resized = resize_short_side(&picture, 64);
        assert!(resized == expected(&format!("short_side/{name}.resized.png")), "{name}");
        assert!(center_crop(&resized, 64) == expected(&format!("short_side/{name}.cropped.png")), "{name}");
    }
}

#[test]
fn the_long_side_is_cut_to_whole_pixels() {
    let size = |width, height| {
        let resized = resize_short_side(&numbered(width, height), 64);
        (resized.width, resized.height)
    };
    assert_eq!(size(100, 75), (85, 64));
    assert_eq!(size(75, 100), (64, 85));
    assert_eq!(size(64, 64), (64, 64));
}

#[test]
fn a_centre_crop_rounds_half_to_even() {
    let first = |width, height, size| center_crop(&numbered(width, height), size).pixels[..2].to_vec();
    // (row, column) of the corner: (7 - 4) / 2 = 1.5 → 2, (5 - 4) / 2 = 0.5 → 0, (9 - 4) / 2 = 2.5 → 2, (8 - 4) / 2 = 2.
    assert_eq!(first(5, 7, 4), [2, 0]);
    assert_eq!(first(9, 8, 4), [2, 2]);
    let cropped = center_crop(&numbered(9, 8), 4);
    assert_eq!((cropped.width, cropped.height, cropped.pixels.len()), (4, 4, 48));
}

#[test]
fn a_crop_takes_its_rectangle() {
    let cropped = crop(&numbered(7, 5), 4, 3, 2, 2);
    assert_eq!(cropped.pixels, [3, 4, 25, 3, 5, 26, 4, 4, 32, 4, 5, 33]);
}

#[test]
fn random_crops_are_seeded_and_reach_both_ends() {
    let picture = numbered(7, 6);
    let corners = |seed| {
        let mut generator = Generator::stream(seed, "crop", 0);
        (0..60).map(|_| random_crop(&picture, 5, &mut generator).pixels[..2].to_vec()).collect::<Vec<_>>()
    };
    assert_eq!(corners(1), corners(1));
    assert_ne!(corners(1), corners(2));
    for corner in [[0, 0], [1, 2], [0, 2], [1, 0]] {
        assert!(corners(1).contains(&corner.to_vec()), "{corner:?} was never drawn");
    }
    let mut generator = Generator::stream(3, "crop", 0);
    assert_eq!(random_crop(&numbered(5, 5), 5, &mut generator), numbered(5, 5));
    assert_eq!(generator.randint(1 << 20, 1), Generator::stream(3, "crop", 0).randint(1 << 20, 1));
}

#[test]
fn flipping_exchanges_left_and_right() {
    let picture = Rgb { width: 2, height: 2, pixels: (0..12).collect() };
    assert_eq!(flip(&picture).pixels, [3, 4, 5, 0, 1, 2, 9, 10, 11, 6, 7, 8]);
}

#[test]
fn bytes_become_planes_in_minus_one_to_one() {
    let picture = Rgb { width: 2, height: 1, pixels: vec![0, 51, 255, 102, 204, 128] };
    let tensor = to_tensor(&picture).unwrap();
    assert_eq!(tensor.dims(), [3, 1, 2]);
    let values: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
    for (value, wanted) in values.iter().zip([-1.0, -0.2, -0.6, 0.6, 1.0, 1.0 / 255.0]) {
        assert!((value - wanted).abs() < 1e-6, "{value} is not {wanted}");
    }
}

#[test]
fn tensors_become_pictures_again_and_are_clamped() {
    let (a, b) = (numbered(5, 3), flip(&numbered(5, 3)));
    let batch = Tensor::stack(&[to_tensor(&a).unwrap(), to_tensor(&b).unwrap()], 0).unwrap();
    assert_eq!(from_tensor(&batch).unwrap(), [a, b]);
    // 0.5 · 255 = 127.5 goes to the even 128, as numpy rounds; beyond the range is clamped.
    let values = Tensor::new(&[-3.0_f32, 0.0, 7.0], &Device::Cpu).unwrap().reshape((1, 3, 1, 1)).unwrap();
    assert_eq!(from_tensor(&values).unwrap()[0].pixels, [0, 128, 255]);
    assert!(from_tensor(&batch.narrow(1, 0, 2).unwrap()).is_err());
}

mod bad_files {
    use super::*;
    use tunelab::error::Kind;

    fn message(name: &str, bytes: &[u8]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs_err::write(&path, bytes).unwrap();
        let error = load_image(&path).unwrap_err();
        assert_eq!(error.kind(), Kind::Input);
        let text = error.to_string();
        assert!(text.contains(name), "{text}");
        assert!(text.contains("skip_broken = true"), "{text}");
        text
    }

    #[test]
    fn a_file_cut_off_anywhere_is_refused() {
        for name in ["grey.jpg", "progressive.jpg", "cmyk.jpg", "rgb.png", "lossless_alpha.webp", "lossy.webp"] {
            let bytes = fs_err::read(fixture("formats").join(name)).unwrap();
            for tenths in 1..10 {
                message(name, &bytes[..bytes.len() * tenths / 10]);
            }
            // The last bytes of a PNG are a checksum of nothing; those of a JPEG say that it is whole.
            if is_jpeg(name) {
                assert!(message(name, &bytes[..bytes.len() - 1]).contains("cut off"));
            }
        }
    }

    #[test]
    fn every_broken_fixture_is_refused() {
        let names = cases("broken", "");
        assert!(names.len() >= 6, "{names:?}");
        for name in names {
            message(&name, &fs_err::read(fixture("broken").join(&name)).unwrap());
        }
    }

    #[test]
    fn a_thumbnails_end_marker_does_not_pass_for_the_pictures() {
        let mut bytes = fs_err::read(fixture("orientation/6.jpg")).unwrap();
        let inner = bytes.clone();
        // An application segment that holds a whole JPEG, put behind the start marker.
        let mut segment = vec![0xFF, 0xE5];
        segment.extend(((inner.len() + 2) as u16).to_be_bytes());
        segment.extend(&inner);
        bytes.splice(2..2, segment);
        let folder = tempfile::tempdir().unwrap();
        fs_err::write(folder.path().join("whole.jpg"), &bytes).unwrap();
        load_image(&folder.path().join("whole.jpg")).unwrap();
        message("cut.jpg", &bytes[..bytes.len() - 2]);
    }

    #[test]
    fn data_behind_the_end_marker_is_no_harm() {
        let mut bytes = fs_err::read(fixture("orientation/6.jpg")).unwrap();
        bytes.extend(b"the phone's second picture");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("phone.jpg");
        fs_err::write(&path, bytes).unwrap();
        assert_eq!(load_image(&path).unwrap(), load_image(&fixture("orientation/6.jpg")).unwrap());
    }

    #[test]
    fn text_and_other_formats_are_named_for_what_they_are() {
        assert!(message("note.jpg", b"a photograph of a dog").contains("not an image"));
        assert!(message("nothing.png", b"").contains("is empty"));
        assert!(message("moving.jpg", b"GIF89a\x01\x00\x01\x00").contains("Gif"));
        assert!(message("phone.jpg", b"\0\0\0\x18ftypheic\0\0\0\0").contains("HEIC"));
    }

    #[test]
    fn the_extension_does_not_matter() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("really_a_png.jpg");
        fs_err::copy(fixture("formats/rgb.png"), &path).unwrap();
        assert_eq!(load_image(&path).unwrap().width, 37);
    }

    #[test]
    fn a_huge_header_is_refused_before_anything_is_allocated() {
        let png = with_header(&fs_err::read(fixture("formats/rgb.png")).unwrap(), 60_000, 60_000);
        assert!(message("huge.png", &png).contains("60000 x 60000"));
        let png = with_header(&fs_err::read(fixture("formats/rgb.png")).unwrap(), 60_000, 1);
        assert!(message("long.png", &png).contains("60000 x 1"));
        let mut jpeg = fs_err::read(fixture("formats/progressive.jpg")).unwrap();
        let frame = jpeg.windows(2).position(|marker| marker == [0xFF, 0xC2]).unwrap();
        jpeg[frame + 5..frame + 9].copy_from_slice(&[0xEA, 0x60, 0xEA, 0x60]);
        assert!(message("huge.jpg", &jpeg).contains("60000 x 60000"));
    }

    /// A PNG whose header claims other dimensions, with a right checksum.
    fn with_header(png: &[u8], width: u32, height: u32) -> Vec<u8> {
        let mut bytes = png.to_vec();
        bytes[16..20].copy_from_slice(&width.to_be_bytes());
        bytes[20..24].copy_from_slice(&height.to_be_bytes());
        let crc = bytes[12..29].iter().fold(!0_u32, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |c, _| if c & 1 == 1 { c >> 1 ^ 0xEDB8_8320 } else { c >> 1 })
        });
        bytes[29..33].copy_from_slice(&(!crc).to_be_bytes());
        bytes
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = load_image(Path::new("/nowhere/dog.jpg")).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("/nowhere/dog.jpg"));
    }
}

#[test]
fn every_kind_of_jpeg_decodes_as_in_pillow() {
    let folder = fixture("../jpeg");
    let names = fs_err::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: Vec<_> = names.filter(|name| is_jpeg(name)).collect();
    // 6 subsamplings x (baseline, progressive) x how the components are spread over scans; grey, RGB and CMYK.
    assert_eq!(names.len(), 43, "{names:?}");
    for name in names {
        let samples = name.split('.').next().unwrap();
        let wanted = expected(&format!("../jpeg/{samples}.expected.png"));
        let difference = largest_difference(&load_image(&folder.join(&name)).unwrap(), &wanted);
        assert!(difference <= 3, "{name} differs by {difference}");
    }
}

/// A case of `orientation_cases.json`.
#[derive(serde::Deserialize)]
struct Case {
    file: String,
    bytes: String,
    width: usize,
    pixels: String,
}

fn from_hexadecimal(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn orientation_is_found_where_pillow_finds_it() {
    let text = fs_err::read_to_string(fixture("../orientation_cases.json")).unwrap();
    let cases: Vec<Case> = serde_json::from_str(&text).unwrap();
    assert_eq!(cases.len(), 69);
    let folder = tempfile::tempdir().unwrap();
    for Case { file, bytes, width, pixels } in cases {
        let path = folder.path().join(&file);
        fs_err::write(&path, from_hexadecimal(&bytes)).unwrap();
        let pixels = from_hexadecimal(&pixels);
        let wanted = Rgb { width, height: pixels.len() / 3 / width, pixels };
        let turned = load_image(&path).unwrap();
        assert_eq!((turned.width, turned.height), (wanted.width, wanted.height), "{file}");
        let allowed = if is_jpeg(&file) { 3 } else { 0 };
        assert!(largest_difference(&turned, &wanted) <= allowed, "{file}");
    }
}
