//! What training learns from: for each picture the distribution of its latents, and its caption.
//!
//! In: pictures and the VAE. Out: [`Examples`], from which every step draws anew: crop, flip and
//! latents are random, so the VAE's distribution (mean and deviation) is kept and not one sample of
//! it. With a centre crop it is computed once for each picture and its mirror image (`latents`); with
//! a random crop the VAE runs in every step. Each picture has the size of its bucket; those of a batch
//! have one.

use super::latents::{self, encode};
use crate::config::Dataset;
use crate::data::{self, Cache, Cut, Mask, Picture, Rgb, Shapes};
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::model::unet::TimeIds;
use crate::model::vae::{LatentDistribution, Vae};
use crate::progress::Progress;
use crate::random::Generator;
use candle_core::{Device, Tensor};
use rayon::prelude::*;
use std::collections::BTreeSet;

/// Problems listed in one error.
const MAX_LISTED: usize = 20;

/// All pictures with their captions, ready for training.
pub struct Examples {
    pictures: Vec<Example>,
    role: Role,
    flip: bool,
    /// The least weight of a mask, where the loss is masked.
    unmasked_weight: Option<f64>,
    /// Pixels of a side for one of the latents'.
    downscale: usize,
    caption_dropout: f64,
    scaling_factor: f64,
    device: Device,
}

/// Which half of a DreamBooth batch the pictures make; also names their streams of randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The subject.
    Instance,
    /// Any member of the class.
    Class,
}

struct Example {
    latents: Latents,
    caption: String,
    /// Height and width of the file.
    original: [usize; 2],
    /// How it is cut.
    cut: Cut,
    /// Where its loss counts, if it has a mask and the loss is masked.
    mask: Option<Mask>,
}

/// Where the latents of one picture come from.
enum Latents {
    /// The centre crop's, and its mirror image's if flips are wanted.
    Cached(Vec<LatentDistribution>),
    /// Resized; every step crops and encodes it.
    Live(Rgb),
}

/// What a step learns from.
pub struct Batch {
    /// Scaled latents [B, C, H/8, W/8].
    pub latents: Tensor,
    /// Their captions.
    pub captions: Vec<String>,
    /// Their sizes and crops, as diffusers' scripts for Stable Diffusion XL have them: the file's size, the crop's place in the
    /// resized picture (a mirrored picture's too), and the size that is trained on.
    pub time_ids: Vec<TimeIds>,
    /// What each value of the latents counts in the loss, [B, 1, H/8, W/8], where the loss is masked.
    pub loss_mask: Option<Tensor>,
}

/// The bars' titles while pictures become latents.
pub const LATENTS: &str = "latents";
/// As [`LATENTS`], of class images.
pub const CLASS_LATENTS: &str = "class latents";

/// What examples are made from.
pub struct Sources<'a> {
    /// Pictures to latents.
    pub vae: &'a Vae,
    /// SHA-256 of the VAE's weights and configuration.
    pub vae_hash: &'a str,
    /// Where latents are kept between runs.
    pub cache: &'a Cache,
    /// Where to compute.
    pub device: &'a Device,
    /// For the bar.
    pub progress: &'a Progress,
    /// Looked at before every picture.
    pub interrupt: &'a Interrupt,
}

impl Batch {
    /// The samples of both, one behind the other: the halves [instance; class] of prior
    /// preservation.
    pub fn cat(instance: &Self, class: &Self) -> Result<Self> {
        Ok(Self {
            latents: Tensor::cat(&[&instance.latents, &class.latents], 0)?,
            captions: [instance.captions.clone(), class.captions.clone()].concat(),
            time_ids: [instance.time_ids.clone(), class.time_ids.clone()].concat(),
            loss_mask: match (&instance.loss_mask, &class.loss_mask) {
                (Some(instance), Some(class)) => Some(Tensor::cat(&[instance, class], 0)?),
                _ => None,
            },
        })
    }
}

impl Examples {
    /// Encodes every picture, or finds it in the cache.
    ///
    /// # Errors
    /// A picture cannot be read any more, is too small for every bucket, or has a mask that is black all over.
    pub fn new(pictures: &[Picture], role: Role, dataset: &Dataset, from: &Sources) -> Result<Self> {
        let shapes = Shapes::of(dataset);
        let cut = |picture: &Picture| {
            let size = [picture.height, picture.width];
            shapes.cut(size).ok_or_else(|| Error::run(format!("`{}` is too small", picture.name())))
        };
        let cuts = pictures.iter().map(|picture| Ok((picture, cut(picture)?))).collect::<Result<Vec<_>>>()?;
        Self::of_cuts(&cuts, role, dataset, from)
    }

    /// Class images beside instances: each has the instances' size that is nearest to its shape. A size that none would have
    /// takes all of them.
    pub fn class(pictures: &[Picture], instances: &Self, dataset: &Dataset, from: &Sources) -> Result<Self> {
        if !dataset.buckets.on {
            return Self::new(pictures, Role::Class, dataset, from);
        }
        let sizes = instances.sizes();
        let cut = |picture: &Picture, size| Cut::cover([picture.height, picture.width], size);
        let among = Shapes::Among(sizes.clone());
        let mut cuts: Vec<(&Picture, Cut)> = Vec::new();
        for picture in pictures {
            cuts.extend(among.cut([picture.height, picture.width]).map(|cut| (picture, cut)));
        }
        for size in sizes {
            if !cuts.iter().any(|(_, cut)| cut.size == size) {
                cuts.extend(pictures.iter().map(|picture| (picture, cut(picture, size))));
            }
        }
        Self::of_cuts(&cuts, Role::Class, dataset, from)
    }

    fn of_cuts(cuts: &[(&Picture, Cut)], role: Role, dataset: &Dataset, from: &Sources) -> Result<Self> {
        let masks = if role == Role::Instance && dataset.masks.on { masks(cuts)? } else { vec![None; cuts.len()] };
        let latents = if dataset.center_crop {
            latents::cached(cuts, role, dataset.random_flip, from)?.into_iter().map(Latents::Cached).collect()
        } else {
            latents::resized(cuts, role, from)?.into_iter().map(Latents::Live).collect::<Vec<_>>()
        };
        let example = |(((picture, cut), latents), mask): ((&(&Picture, Cut), Latents), Option<Mask>)| Example {
            latents,
            caption: picture.caption.clone(),
            original: [picture.height, picture.width],
            cut: *cut,
            mask,
        };
        Ok(Self {
            pictures: cuts.iter().zip(latents).zip(masks).map(example).collect(),
            role,
            flip: dataset.random_flip,
            unmasked_weight: dataset.masks.on.then_some(dataset.masks.unmasked_weight),
            downscale: from.vae.config().downscale(),
            caption_dropout: if role == Role::Instance { dataset.caption_dropout } else { 0.0 },
            scaling_factor: from.vae.config().scaling_factor,
            device: from.device.clone(),
        })
    }

    /// Height and width of every bucket that has a picture, ascending.
    pub fn sizes(&self) -> Vec<[usize; 2]> {
        self.pictures.iter().map(|picture| picture.cut.size).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Height and width that each picture is trained at.
    pub fn size_of(&self, index: usize) -> Option<[usize; 2]> {
        self.pictures.get(index).map(|picture| picture.cut.size)
    }

    /// The number of pictures.
    pub fn len(&self) -> usize {
        self.pictures.len()
    }

    /// The captions that a batch may have, the empty one among them where captions are dropped.
    pub fn captions(&self) -> BTreeSet<&str> {
        let dropped = (self.caption_dropout > 0.0).then_some("");
        self.pictures.iter().map(|picture| picture.caption.as_str()).chain(dropped).collect()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pictures.is_empty()
    }

    /// The batch of the pictures `indices`: crops, flips, latents and dropped captions drawn from
    /// the streams of `seed` at `draw`.
    pub fn batch(&self, indices: &[usize], vae: &Vae, seed: u64, draw: u64) -> Result<Batch> {
        let stream = |name: &str| match self.role {
            Role::Instance => Generator::stream(seed, name, draw),
            Role::Class => Generator::stream(seed, &format!("class {name}"), draw),
        };
        let (mut flips, mut crops, mut normal) = (stream("flip"), stream("crop"), stream("latents"));
        let (mut latents, mut places) = (Vec::with_capacity(indices.len()), Vec::with_capacity(indices.len()));
        for &i in indices {
            let cut = self.pictures[i].cut;
            let mut corner = cut.center();
            let flipped = self.flip && flips.rand(1)[0] < 0.5;
            let sample = match &self.pictures[i].latents {
                Latents::Cached(sides) => self.sample(&sides[usize::from(flipped)], &mut normal)?,
                Latents::Live(resized) => {
                    corner = data::random_corner(cut.resized, cut.size, &mut crops);
                    let part = cut.crop(resized, corner);
                    let part = if flipped { data::flip(&part) } else { part };
                    self.sample(&encode(&part, vae, &self.device)?, &mut normal)?
                }
            };
            latents.push(sample);
            places.push((corner, flipped));
        }
        let mut batch = self.batch_of(indices, &latents, &places)?;
        let dropped = stream("caption dropout").rand(indices.len());
        for (caption, _) in batch.captions.iter_mut().zip(dropped).filter(|(_, x)| f64::from(*x) < self.caption_dropout)
        {
            caption.clear();
        }
        Ok(batch)
    }

    /// The pictures `indices` as they are: centre crop, no flip, the mean of the latents.
    pub fn deterministic_batch(&self, indices: &[usize], vae: &Vae) -> Result<Batch> {
        let mut latents = Vec::with_capacity(indices.len());
        for &i in indices {
            latents.push(match &self.pictures[i].latents {
                Latents::Cached(sides) => sides[0].mean.clone(),
                Latents::Live(resized) => {
                    let cut = self.pictures[i].cut;
                    encode(&cut.crop(resized, cut.center()), vae, &self.device)?.mean
                }
            });
        }
        let places: Vec<_> = indices.iter().map(|&i| (self.pictures[i].cut.center(), false)).collect();
        self.batch_of(indices, &latents, &places)
    }

    /// mean + deviation · n, n standard normal.
    fn sample(&self, d: &LatentDistribution, normal: &mut Generator) -> Result<Tensor> {
        let n = Tensor::from_vec(normal.randn(d.mean.elem_count()), d.mean.shape(), &self.device)?;
        Ok((&d.mean + (&d.std * n)?)?)
    }

    /// `places`: where each picture was cropped, and whether it was mirrored.
    fn batch_of(&self, indices: &[usize], latents: &[Tensor], places: &[([usize; 2], bool)]) -> Result<Batch> {
        let captions = indices.iter().map(|&i| self.pictures[i].caption.clone()).collect();
        let time_ids = |(&i, ([top, left], _)): (&usize, &([usize; 2], bool))| {
            let Example { original: [height, width], cut, .. } = &self.pictures[i];
            [*height, *width, *top, *left, cut.size[0], cut.size[1]]
        };
        let time_ids = indices.iter().zip(places).map(time_ids).collect();
        let loss_mask = self.unmasked_weight.map(|least| self.loss_mask(indices, places, least as f32)).transpose()?;
        Ok(Batch { latents: (Tensor::cat(latents, 0)? * self.scaling_factor)?, captions, time_ids, loss_mask })
    }

    /// The weights of a batch, [B, 1, H/8, W/8]: the masks, but no less than `least`; 1 where a picture has none.
    fn loss_mask(&self, indices: &[usize], places: &[([usize; 2], bool)], least: f32) -> Result<Tensor> {
        let mut weights = Vec::new();
        let mut shape = [0; 2];
        for (&i, &(corner, flipped)) in indices.iter().zip(places) {
            let Example { cut, mask, .. } = &self.pictures[i];
            shape = cut.size.map(|side| side / self.downscale);
            match mask {
                Some(mask) => {
                    weights.extend(mask.at(corner, flipped, self.downscale).into_iter().map(|v| v.max(least)));
                }
                None => weights.extend(std::iter::repeat_n(1.0, shape[0] * shape[1])),
            }
        }
        Ok(Tensor::from_vec(weights, (indices.len(), 1, shape[0], shape[1]), &self.device)?)
    }
}

/// The mask of each picture that has one.
///
/// # Errors
/// No picture has one, or one is wrong; all that are.
fn masks(cuts: &[(&Picture, Cut)]) -> Result<Vec<Option<Mask>>> {
    let found: Vec<Result<Option<Mask>>> = cuts.par_iter().map(|(picture, cut)| Mask::of(picture, *cut)).collect();
    let (mut masks, mut errors) = (Vec::with_capacity(cuts.len()), Vec::new());
    for one in found {
        match one {
            Ok(mask) => masks.push(mask),
            Err(error) => errors.push(error),
        }
    }
    if errors.len() > 1 {
        let hint = errors[0].remedy().unwrap_or_default().to_owned();
        let mut all = Error::input(format!("{} masks cannot be used", errors.len()));
        for error in errors.iter().take(MAX_LISTED) {
            all = all.cause(error.line());
        }
        if errors.len() > MAX_LISTED {
            all = all.cause(format!("and {} more", errors.len() - MAX_LISTED));
        }
        return Err(all.hint(hint));
    }
    if let Some(error) = errors.pop() {
        return Err(error);
    }
    if masks.iter().all(Option::is_none) {
        return Err(Error::input("`masked_loss` in [dataset] says that the loss is masked, and no image has a mask")
            .hint("put `x.mask.png` beside `x.jpg`, or give images an alpha channel, or leave `masked_loss` out"));
    }
    Ok(masks)
}
