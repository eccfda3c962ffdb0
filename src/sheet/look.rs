//! One image as the network will see it, and what is measured of it.
//!
//! In: pictures and how they are cut. Out: a [`Look`] each; images are decoded in parallel, one after the other on each thread, and of
//! each only a thumbnail is kept.

use crate::data::{Cut, Mask, Picture, Rgb, Shapes, resize_to};
use crate::error::{Error, Kind, Result};
use crate::interrupt;
use crate::pipeline::Tokenizers;
use crate::progress::Bar;
use rayon::prelude::*;

/// The longest side of a thumbnail.
const THUMBNAIL: usize = 224;

/// An image of a data set.
pub(super) struct Look {
    /// Its name in the folder.
    pub name: String,
    /// Height and width of the upright file.
    pub original: [usize; 2],
    /// How it is cut; `None`: it is shown whole.
    pub cut: Option<Cut>,
    /// The centre crop, made small, or larger by a whole number; where the loss is masked, what is left out is darkened.
    pub thumbnail: Rgb,
    /// Whether it has a mask that is used.
    pub is_masked: bool,
    /// Of the file's bytes.
    pub sha256: String,
    /// A difference hash of 64 bits of the whole image (Krawetz 2013).
    pub hash: u64,
    /// The variance of the Laplacian of the crop's grey values: low where nothing is sharp (Pech-Pacheco et al. 2000).
    pub sharpness: f64,
    /// All that it is told to the model, one of which is drawn each time; at least one.
    pub captions: Vec<Caption>,
}

/// What the text encoder will see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caption {
    /// All of it.
    pub text: String,
    /// How many tokens it has, begin and end not counted, if a tokenizer is here; of several the most.
    tokens: Option<usize>,
    /// Its end, if that does not fit.
    pub cut: Option<String>,
}

impl Caption {
    /// Reads it with a model's tokenizers.
    pub fn of(text: &str, tokenizers: Option<&Tokenizers>) -> Result<Self> {
        let mut caption = Self { text: text.to_owned(), tokens: None, cut: None };
        for tokenizer in tokenizers.iter().flat_map(|all| all.0.values()) {
            caption.tokens = caption.tokens.max(Some(tokenizer.count(text)?));
            caption.cut = caption.cut.or(tokenizer.encode(text)?.cut);
        }
        Ok(caption)
    }

    /// The number, or `?`.
    pub fn tokens(&self) -> String {
        self.tokens.map_or_else(|| "?".to_owned(), |tokens| tokens.to_string())
    }

    /// What is kept, and what is cut off.
    pub fn parts(&self) -> (&str, &str) {
        let cut = self.cut.as_deref().unwrap_or_default();
        self.text
            .trim_end()
            .rfind(cut)
            .filter(|_| !cut.is_empty())
            .map_or((&self.text, ""), |at| self.text.split_at(at))
    }
}

impl Look {
    /// How many tokens its captions have: `7`, or `7 / 12` of two.
    pub fn tokens(&self) -> String {
        self.captions.iter().map(Caption::tokens).collect::<Vec<_>>().join(" / ")
    }

    /// Whether pixels are made up.
    pub fn is_enlarged(&self) -> bool {
        self.cut.is_some_and(|cut| cut.resized[0] > self.original[0] || cut.resized[1] > self.original[1])
    }
}

/// Looks at every picture.
pub(super) fn look(
    pictures: &[Picture],
    shapes: &Shapes,
    masked: bool,
    caption: &(impl Fn(&str) -> Result<Caption> + Sync),
    bar: &Bar,
) -> Result<Vec<Look>> {
    let (mut all, mut broken) = (Vec::with_capacity(pictures.len()), Vec::new());
    for some in pictures.chunks(32) {
        interrupt::check_process()?;
        let looks: Vec<Result<Look>> = some.par_iter().map(|picture| one(picture, shapes, masked, caption)).collect();
        for look in looks {
            match look {
                Ok(look) => all.push(look),
                Err(error) if error.kind() == Kind::Input => broken.push(error),
                Err(error) => return Err(error),
            }
            bar.inc(1);
        }
    }
    Error::several(broken, |count| format!("{count} images cannot be used")).map_or(Ok(all), Err)
}

fn one(
    picture: &Picture,
    shapes: &Shapes,
    masked: bool,
    caption: &(impl Fn(&str) -> Result<Caption> + Sync),
) -> Result<Look> {
    let image = picture.image()?;
    let original = [image.height, image.width];
    let cut = shapes.cut(original);
    let mut crop = cut.map_or_else(|| image.clone(), |cut| cut.centered(&image));
    let sharpness = sharpness(&crop);
    let mask = cut.filter(|_| masked).map(|cut| Mask::of(picture, cut, false)).transpose()?.flatten();
    if let Some(mask) = &mask {
        for (pixel, weight) in crop.pixels.chunks_exact_mut(3).zip(mask.centered(false, 1)) {
            for value in pixel {
                *value = (f32::from(*value) * (0.25 + 0.75 * weight)) as u8;
            }
        }
    }
    let longest = crop.width.max(crop.height).max(1);
    let times = THUMBNAIL / longest;
    let side = |side: usize| if times > 0 { side * times } else { (side * THUMBNAIL / longest).max(1) };
    let thumbnail = if times == 1 { crop } else { resize_to(&crop, side(crop.width), side(crop.height)) };
    Ok(Look {
        name: picture.name(),
        original,
        cut,
        thumbnail,
        is_masked: mask.is_some(),
        sha256: picture.sha256.clone(),
        hash: difference_hash(&image),
        sharpness,
        captions: picture.wordings.all().iter().map(|text| caption(text)).collect::<Result<_>>()?,
    })
}

fn grey(image: &Rgb) -> Vec<f64> {
    let value = |p: &[u8]| 0.299 * f64::from(p[0]) + 0.587 * f64::from(p[1]) + 0.114 * f64::from(p[2]);
    image.pixels.chunks_exact(3).map(value).collect()
}

/// Whether each of 8 x 8 fields of the image is brighter than its right neighbour.
pub(super) fn difference_hash(image: &Rgb) -> u64 {
    let fields = grey(&resize_to(image, 9, 8));
    let brighter = fields.chunks_exact(9).flat_map(|row| row.windows(2).map(|pair| pair[0] > pair[1]));
    brighter.fold(0, |hash, bit| hash << 1 | u64::from(bit))
}

/// The variance of the four-neighbour Laplacian over all inner pixels.
pub(super) fn sharpness(image: &Rgb) -> f64 {
    let (grey, width) = (grey(image), image.width);
    let inner =
        (1..image.height.saturating_sub(1)).flat_map(|y| (1..width.saturating_sub(1)).map(move |x| y * width + x));
    let laplacian: Vec<f64> =
        inner.map(|at| grey[at - 1] + grey[at + 1] + grey[at - width] + grey[at + width] - 4.0 * grey[at]).collect();
    let n = laplacian.len().max(1) as f64;
    let mean = laplacian.iter().sum::<f64>() / n;
    laplacian.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n
}
