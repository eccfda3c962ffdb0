//! Crops, the flip, and the way between 8-bit pictures and tensors.
//!
//! Rounding follows torchvision (`CenterCrop`, `RandomCrop`, `ToTensor` and `Normalize([0.5], [0.5])`) on the way in, and
//! diffusers' image post-processing on the way out.

use candle_core::{DType, Device, Tensor};

use super::image::Rgb;
use crate::error::{Error, Result};
use crate::random::Generator;

/// The rectangle whose top left corner is (`left`, `top`); the part of it that lies outside the picture is left off.
pub fn crop(image: &Rgb, left: usize, top: usize, width: usize, height: usize) -> Rgb {
    let (left, top) = (left.min(image.width), top.min(image.height));
    let (width, height) = (width.min(image.width - left), height.min(image.height - top));
    let pixels = (top..top + height)
        .flat_map(|y| {
            let start = (y * image.width + left) * 3;
            &image.pixels[start..start + width * 3]
        })
        .copied()
        .collect();
    Rgb { width, height, pixels }
}

/// The middle `size` x `size` square of a picture that is at least so large.
pub fn center_crop(image: &Rgb, size: usize) -> Rgb {
    middle(image, size, half_to_even)
}

/// As [`center_crop`], where an odd margin is halved down, as transformers' processors do it.
pub fn center_crop_floor(image: &Rgb, size: usize) -> Rgb {
    middle(image, size, |margin| margin / 2)
}

fn middle(image: &Rgb, size: usize, half: fn(usize) -> usize) -> Rgb {
    let [top, left] = corner([image.height, image.width], size, half);
    crop(image, left, top, size, size)
}

/// Top and left of [`center_crop`]'s square in a picture of this height and width.
pub fn center_corner(sides: [usize; 2], size: usize) -> [usize; 2] {
    corner(sides, size, half_to_even)
}

fn corner(sides: [usize; 2], size: usize, half: fn(usize) -> usize) -> [usize; 2] {
    sides.map(|side| half(side.saturating_sub(size)))
}

/// A `size` x `size` square at a uniformly drawn place.
pub fn random_crop(image: &Rgb, size: usize, generator: &mut Generator) -> Rgb {
    let [top, left] = random_corner([image.height, image.width], [size; 2], generator);
    crop(image, left, top, size, size)
}

/// Top and left of a part of this height and width at a uniformly drawn place in an image of these sides: first the row, then the
/// column, one draw each. Nothing is drawn where only one place is possible.
pub fn random_corner(sides: [usize; 2], size: [usize; 2], generator: &mut Generator) -> [usize; 2] {
    let [rows, columns] = [0, 1].map(|side| sides[side].saturating_sub(size[side]));
    if rows == 0 && columns == 0 {
        return [0, 0];
    }
    let mut draw = |margin: usize| generator.randint((margin + 1) as u64, 1)[0] as usize;
    let top = draw(rows);
    [top, draw(columns)]
}

/// The mirror image: left and right exchanged.
pub fn flip(image: &Rgb) -> Rgb {
    let pixels =
        image.pixels.chunks_exact(image.width * 3).flat_map(|row| row.rchunks_exact(3)).flatten().copied().collect();
    Rgb { pixels, ..*image }
}

/// `[3, H, W]`, f32, on the CPU: 0 becomes -1 and 255 becomes 1.
pub fn to_tensor(image: &Rgb) -> Result<Tensor> {
    let plane = |c: usize| image.pixels[c..].iter().step_by(3).map(|&v| (f32::from(v) / 255.0 - 0.5) / 0.5);
    let values: Vec<f32> = (0..3).flat_map(plane).collect();
    Ok(Tensor::from_vec(values, (3, image.height, image.width), &Device::Cpu)?)
}

/// `[B, 3, H, W]` in [-1, 1], any float type and device, to B pictures: (x / 2 + 0.5) clamped to [0, 1], times 255, rounded
/// to nearest with ties to even. Any other shape is an error.
pub fn from_tensor(tensor: &Tensor) -> Result<Vec<Rgb>> {
    let (batch, channels, height, width) = tensor.dims4()?;
    if channels != 3 || width == 0 || height == 0 {
        return Err(Error::run(format!("a picture needs the shape [B, 3, H, W], not {:?}", tensor.dims())));
    }
    // Channels last: the order of the bytes in a picture.
    let last = tensor.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.permute((0, 2, 3, 1))?;
    let bytes: Vec<u8> = last.flatten_all()?.to_vec1::<f32>()?.into_iter().map(to_byte).collect();
    debug_assert_eq!(bytes.len(), batch * width * height * 3);
    Ok(bytes.chunks_exact(width * height * 3).map(|p| Rgb { width, height, pixels: p.to_vec() }).collect())
}

fn to_byte(x: f32) -> u8 {
    ((x / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8
}

/// `round(n / 2)` as Python rounds: a tie goes to the even neighbour.
fn half_to_even(n: usize) -> usize {
    n / 2 + usize::from(n % 4 == 3)
}
