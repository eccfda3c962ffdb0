//! Colour profiles: what a file's numbers mean, turned into sRGB, which the models were trained on.
//!
//! In: decoded pixels and the file's ICC profile. Out: pixels in sRGB, as Pillow's `ImageCms` makes them to within rounding. A
//! profile that cannot be read, or of other colours than the pixels', counts as not there; one that is sRGB changes no byte. (`moxcms`,
//! which `image` brings: pure Rust.)

use image::{DynamicImage, RgbImage, RgbaImage};
use moxcms::{ColorProfile, DataColorSpace, Layout, TransformOptions};

/// The largest side of a grid of colours that a profile is tried on.
const STEPS: u16 = 9;

/// The picture in sRGB.
pub(super) fn to_srgb(image: DynamicImage, profile: Option<Vec<u8>>) -> DynamicImage {
    let Some(profile) = profile.and_then(|bytes| ColorProfile::new_from_slice(&bytes).ok()) else { return image };
    match (profile.color_space, image.color().has_color(), image.color().has_alpha()) {
        (DataColorSpace::Rgb, true, _) if is_srgb(&profile) => image,
        (DataColorSpace::Rgb, true, false) => {
            let pixels = image.to_rgb8();
            let of = |samples| RgbImage::from_raw(image.width(), image.height(), samples);
            converted(&profile, Layout::Rgb, &pixels).and_then(of).map_or(image, DynamicImage::from)
        }
        (DataColorSpace::Rgb, true, true) => {
            let pixels = image.to_rgba8();
            let colors: Vec<u8> = pixels.pixels().flat_map(|pixel| [pixel.0[0], pixel.0[1], pixel.0[2]]).collect();
            let Some(colors) = converted(&profile, Layout::Rgb, &colors) else { return image };
            let (colors, opacities) = (colors.as_chunks::<3>().0.iter(), pixels.pixels());
            let samples = colors.zip(opacities).flat_map(|([r, g, b], pixel)| [*r, *g, *b, pixel.0[3]]).collect();
            RgbaImage::from_raw(pixels.width(), pixels.height(), samples).map_or(image, DynamicImage::from)
        }
        (DataColorSpace::Gray, false, false) => {
            let pixels = image.to_luma8();
            let of = |samples| RgbImage::from_raw(image.width(), image.height(), samples);
            converted(&profile, Layout::Gray, &pixels).and_then(of).map_or(image, DynamicImage::from)
        }
        _ => image,
    }
}

/// Samples of four inks, 0 for none, in sRGB; `None`: the profile is not of four inks.
pub(super) fn inks_to_srgb(samples: &[u8], profile: &[u8]) -> Option<Vec<u8>> {
    let profile = ColorProfile::new_from_slice(profile).ok()?;
    (profile.color_space == DataColorSpace::Cmyk).then(|| converted(&profile, Layout::Rgba, samples))?
}

/// Samples of this layout as RGB in sRGB.
fn converted(profile: &ColorProfile, layout: Layout, samples: &[u8]) -> Option<Vec<u8>> {
    let options = TransformOptions::default();
    let transform = profile.create_transform_8bit(layout, &ColorProfile::new_srgb(), Layout::Rgb, options).ok()?;
    let mut out = vec![0; samples.len() / layout.channels() * 3];
    transform.transform(samples, &mut out).ok()?;
    Some(out)
}

/// Whether a profile changes no colour by more than a rounding.
fn is_srgb(profile: &ColorProfile) -> bool {
    let levels = || (0..STEPS).map(|step| (step * 255 / (STEPS - 1)) as u8);
    let colors: Vec<u8> =
        levels().flat_map(|r| levels().flat_map(move |g| levels().flat_map(move |b| [r, g, b]))).collect();
    let Some(out) = converted(profile, Layout::Rgb, &colors) else { return true };
    colors.iter().zip(&out).all(|(a, b)| a.abs_diff(*b) <= 1)
}
