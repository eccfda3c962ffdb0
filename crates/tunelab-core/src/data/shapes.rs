//! How an image is cut: the size that it is trained at, and what comes before.
//!
//! In: what `[dataset]` says of sizes, and an image's height and width. Out: its [`Cut`]: resized so that it covers its size, and
//! cropped by the rest. A square is resized and cropped as torchvision does it (the longer side rounded down); any other size as
//! kohya's sd-scripts do (rounded to nearest), the centre as everywhere (half of an odd rest to the even number).

use super::buckets::{BucketSet, nearest_shape};
use super::image::Rgb;
use super::picture::Picture;
use super::resize::{resize_to, short_side_sides};
use super::transform::{center_corner, crop};
use crate::config::Dataset;
use crate::error::{Error, Result};
use crate::numbers::listed;

/// How one image is cut; all sizes are height and width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// What is trained on.
    pub size: [usize; 2],
    /// The whole image, before it is cropped.
    pub resized: [usize; 2],
}

impl Cut {
    /// To a square of this side.
    pub fn square(original: [usize; 2], side: usize) -> Self {
        Self { size: [side; 2], resized: short_side_sides(original, side) }
    }

    /// To this size.
    pub fn cover(original: [usize; 2], size: [usize; 2]) -> Self {
        let [height, width] = original.map(|side| side as f64);
        let by_height = width / height > size[1] as f64 / size[0] as f64;
        let scale = if by_height { size[0] as f64 / height } else { size[1] as f64 / width };
        let resized = [height, width].map(|side| (side * scale + 0.5) as usize);
        // A rounding must not leave a side short.
        Self { size, resized: [resized[0].max(size[0]), resized[1].max(size[1])] }
    }

    /// Top and left of the centre crop, in the resized image.
    pub fn center(self) -> [usize; 2] {
        [0, 1].map(|side| center_corner([self.resized[side]; 2], self.size[side])[0])
    }

    /// The share of the resized image that is cropped away.
    pub fn lost(self) -> f64 {
        let area = |[height, width]: [usize; 2]| (height * width) as f64;
        1.0 - area(self.size) / area(self.resized)
    }

    /// The whole image, resized.
    pub fn resize(self, image: &Rgb) -> Rgb {
        resize_to(image, self.resized[1], self.resized[0])
    }

    /// The part of the resized image at `corner`, its top and left.
    pub fn crop(self, resized: &Rgb, [top, left]: [usize; 2]) -> Rgb {
        crop(resized, left, top, self.size[1], self.size[0])
    }

    /// The centre of the image, as it is trained on.
    pub fn centered(self, image: &Rgb) -> Rgb {
        self.crop(&self.resize(image), self.center())
    }

    /// Its name among the keys of a cache, for an image of this height and width: of squares the side alone.
    pub fn key(self, original: [usize; 2]) -> String {
        let ([height, width], [rows, columns]) = (self.size, self.resized);
        let is_square = self == Self::square(original, height);
        if is_square { height.to_string() } else { format!("{width}x{height} of {columns}x{rows}") }
    }
}

/// The sizes of all images of a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shapes {
    /// Squares of this side.
    Square(usize),
    /// All of this height and width.
    Fixed([usize; 2]),
    /// Each in the bucket of its shape.
    Buckets(BucketSet),
    /// Each in the one of these that is nearest to its shape; a bucket's class images are drawn in its size.
    Among(Vec<[usize; 2]>),
}

impl Shapes {
    /// What the dataset says.
    pub fn of(dataset: &Dataset) -> Self {
        match (dataset.buckets.on, dataset.resolution.side()) {
            (true, _) => Self::Buckets(BucketSet::new(dataset.resolution, &dataset.buckets)),
            (false, Some(side)) => Self::Square(side),
            (false, None) => Self::Fixed(dataset.resolution.sides()),
        }
    }

    /// How an image of this height and width is cut; `None`: it is too small for any bucket.
    pub fn cut(&self, original: [usize; 2]) -> Option<Cut> {
        match self {
            Self::Square(side) => Some(Cut::square(original, *side)),
            Self::Fixed(size) => Some(Cut::cover(original, *size)),
            Self::Buckets(set) => set.of(original).map(|size| Cut::cover(original, size)),
            Self::Among(sizes) => nearest_shape(original, sizes).map(|size| Cut::cover(original, size)),
        }
    }

    /// Whether images of several sizes may come of it.
    pub fn has_buckets(&self) -> bool {
        matches!(self, Self::Buckets(_))
    }
}

/// Images listed one by one.
const MAX_LISTED: usize = 20;

/// Pictures without those that are too small for every bucket; images that are trained in a smaller bucket than their shape's are
/// told.
///
/// # Errors
/// Images that are too small, unless broken ones are left out.
pub fn fit(pictures: Vec<Picture>, dataset: &Dataset, warn: &mut dyn FnMut(String)) -> Result<Vec<Picture>> {
    let Shapes::Buckets(set) = Shapes::of(dataset) else { return Ok(pictures) };
    let sides = |picture: &Picture| [picture.height, picture.width];
    let named = |picture: &Picture| format!("`{}` ({} x {})", picture.name(), picture.width, picture.height);
    let smaller = pictures.iter().filter_map(|picture| {
        let [own, nearest] = [set.of(sides(picture))?, set.nearest(sides(picture))];
        let ([h, w], [height, width]) = (own, nearest);
        let told = || format!("{} in {w} x {h} and not {width} x {height}", named(picture));
        (own != nearest).then(told)
    });
    let smaller: Vec<String> = smaller.collect();
    if !smaller.is_empty() {
        let told = listed(&smaller, MAX_LISTED);
        warn(format!(
            "too small for the bucket of their shape, so trained in a smaller one (`upscale` is false): {told}"
        ));
    }
    let (fitting, small): (Vec<_>, Vec<_>) = pictures.into_iter().partition(|picture| set.of(sides(picture)).is_some());
    let small: Vec<String> = small.iter().map(named).collect();
    if small.is_empty() {
        return Ok(fitting);
    }
    if dataset.skip_broken && !fitting.is_empty() {
        warn(format!("left out, smaller than every bucket: {}", listed(&small, MAX_LISTED)));
        return Ok(fitting);
    }
    let least = dataset.buckets.min_side;
    Err(Error::input(format!(
        "a side would be below `min_side` ({least}), because `upscale` is false: {}",
        listed(&small, MAX_LISTED)
    ))
    .hint("set `upscale = true` in [dataset] or a smaller `min_side`, or remove these images (`skip_broken = true` leaves them out)"))
}
