//! Pillow's `Image.resize` (`BILINEAR` and `BICUBIC`) for 8-bit pictures, bit for bit, and torchvision's `Resize(size)` on top of it.
//!
//! Two passes, columns then rows. Each output pixel is a weighted mean under a filter whose support grows with the
//! reduction (that is the antialiasing); weights are normalised, put into fixed point with 22 bits, and each pass rounds to 8
//! bits again. A float version of the same filter differs by one of 255 here and there, and so would every latent.

use rayon::prelude::*;

use super::image::Rgb;

/// Bits after the point of a weight: 32 less 8 for the sample and 2 for the sign and overshoot.
const PRECISION_BITS: u32 = 32 - 8 - 2;

/// The filter's shape.
#[derive(Clone, Copy)]
enum Filter {
    /// A triangle.
    Bilinear,
    /// The cubic convolution of Keys 1981 with a = -0.5, negative in places.
    Bicubic,
}

impl Filter {
    /// How far it reaches at full size, in samples.
    fn support(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    fn at(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let x = x.abs();
        match self {
            Self::Bilinear => (1.0 - x).max(0.0),
            Self::Bicubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            Self::Bicubic => 0.0,
        }
    }
}

/// Which input samples make one output sample: the first one, and the weight of it and its followers.
struct Tap {
    start: usize,
    weights: Vec<i32>,
}

/// Resizes so that the shorter side is `size` (at least 1) and the longer one keeps the proportion, cut to whole pixels.
pub fn resize_short_side(image: &Rgb, size: usize) -> Rgb {
    short_side(image, size, Filter::Bilinear)
}

/// As [`resize_short_side`], with the bicubic filter, which encoders are used to.
pub fn resize_short_side_bicubic(image: &Rgb, size: usize) -> Rgb {
    short_side(image, size, Filter::Bicubic)
}

/// The mean of `times` x `times` pixels each, for what was drawn that much larger.
///
/// # Panics
/// The image's pixels are not three to a place.
pub fn reduce(image: Rgb, times: usize) -> Rgb {
    let [wide, high, width, height] = [image.width, image.height, image.width / times, image.height / times];
    let large = image::RgbImage::from_raw(wide as u32, high as u32, image.pixels).expect("three bytes to a pixel");
    let pixels = image::imageops::thumbnail(&large, width as u32, height as u32).into_raw();
    Rgb { width, height, pixels }
}

fn short_side(image: &Rgb, size: usize, filter: Filter) -> Rgb {
    let [height, width] = short_side_sides([image.height, image.width], size);
    resize(image, width, height, filter)
}

/// Height and width that [`resize_short_side`] gives a picture of this height and width.
pub fn short_side_sides([height, width]: [usize; 2], size: usize) -> [usize; 2] {
    if width <= height { [(size * height / width).max(1), size] } else { [size, (size * width / height).max(1)] }
}

/// Resizes to exactly `width` x `height`, both at least 1.
pub fn resize_to(image: &Rgb, width: usize, height: usize) -> Rgb {
    resize(image, width, height, Filter::Bilinear)
}

/// Resizes to exactly `width` x `height`, both at least 1. A side that stays is not filtered.
fn resize(image: &Rgb, width: usize, height: usize, filter: Filter) -> Rgb {
    let wide = if width == image.width { image.clone() } else { horizontal(image, width, filter) };
    if height == wide.height { wide } else { vertical(&wide, height, filter) }
}

fn horizontal(image: &Rgb, width: usize, filter: Filter) -> Rgb {
    let taps = taps(image.width, width, filter);
    let mut pixels = vec![0; width * image.height * 3];
    pixels.par_chunks_mut(width * 3).zip(image.pixels.par_chunks(image.width * 3)).for_each(|(out, row)| {
        for (pixel, tap) in out.chunks_exact_mut(3).zip(&taps) {
            let mut sums = [1 << (PRECISION_BITS - 1); 3];
            for (sample, weight) in row[tap.start * 3..].chunks_exact(3).zip(&tap.weights) {
                for (sum, &value) in sums.iter_mut().zip(sample) {
                    *sum += i32::from(value) * weight;
                }
            }
            pixel.copy_from_slice(&sums.map(to_byte));
        }
    });
    Rgb { width, height: image.height, pixels }
}

fn vertical(image: &Rgb, height: usize, filter: Filter) -> Rgb {
    let stride = image.width * 3;
    let taps = taps(image.height, height, filter);
    let mut pixels = vec![0; stride * height];
    pixels.par_chunks_mut(stride).zip(&taps).for_each(|(out, tap)| {
        let mut sums = vec![1 << (PRECISION_BITS - 1); stride];
        for (row, weight) in image.pixels[tap.start * stride..].chunks_exact(stride).zip(&tap.weights) {
            for (sum, &value) in sums.iter_mut().zip(row) {
                *sum += i32::from(value) * weight;
            }
        }
        for (byte, sum) in out.iter_mut().zip(sums) {
            *byte = to_byte(sum);
        }
    });
    Rgb { width: image.width, height, pixels }
}

/// The weights of every output sample when `from` samples become `to`.
fn taps(from: usize, to: usize, filter: Filter) -> Vec<Tap> {
    let scale = from as f64 / to as f64;
    let reduction = scale.max(1.0);
    let support = filter.support() * reduction;
    (0..to)
        .map(|i| {
            let center = (i as f64 + 0.5) * scale;
            // A cast of a negative float gives 0, which is the edge.
            let start = (center - support + 0.5) as usize;
            let end = ((center + support + 0.5) as usize).min(from);
            let raw: Vec<f64> =
                (start..end).map(|x| filter.at((x as f64 - center + 0.5) * (1.0 / reduction))).collect();
            let total: f64 = raw.iter().sum();
            Tap { start, weights: raw.iter().map(|w| fixed(w / total)).collect() }
        })
        .collect()
}

/// A weight in fixed point, rounded to nearest, ties away from zero.
fn fixed(weight: f64) -> i32 {
    (0.5_f64.copysign(weight) + weight * f64::from(1 << PRECISION_BITS)) as i32
}

fn to_byte(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}
