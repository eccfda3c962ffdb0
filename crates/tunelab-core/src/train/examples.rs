//! What training learns from: for each picture the distribution of its latents, and its caption.
//!
//! In: pictures and the VAE. Out: [`Examples`], from which every step draws anew: crop, flip and
//! latents are random, so the VAE's distribution (mean and deviation) is kept and not one sample of
//! it. With a centre crop it is computed once for each picture and its mirror image (`latents`); with
//! a random crop the VAE runs in every step. Each picture has the size of its bucket; those of a batch
//! have one.

use super::latents::{self, Latents, encode};
use super::planned::Planned;
use crate::config::Dataset;
use crate::data::{self, Cut, Mask, Picture, Shapes, Wordings};
use crate::error::{Error, Result};
use crate::model::unet::TimeIds;
use crate::model::vae::{LatentDistribution, Vae};
use crate::random::Generator;
use candle_core::{Device, Tensor};
use rayon::prelude::*;
use std::collections::BTreeSet;

pub use super::latents::{CLASS_LATENTS, LATENTS};
pub use super::planned::{Role, Sources, Treatment};

/// All pictures with their captions, ready for training.
pub struct Examples {
    pictures: Vec<Example>,
    role: Role,
    /// The least weight of a mask, where the loss is masked.
    unmasked_weight: Option<f64>,
    /// Pixels of a side for one of the latents'.
    downscale: usize,
    caption_dropout: f64,
    /// How many sources they come from.
    sources: usize,
    scaling_factor: f64,
    device: Device,
}

struct Example {
    latents: Latents,
    wordings: Wordings,
    how: Treatment,
    source: usize,
    /// Height and width of the file.
    original: [usize; 2],
    /// How it is cut.
    cut: Cut,
    /// Where its loss counts, if it has a mask and the loss is masked.
    mask: Option<Mask>,
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
    /// What each sample's loss is multiplied by.
    pub weights: Vec<f64>,
    /// The source of each, by number.
    pub sources: Vec<usize>,
    /// What each value of the latents counts in the loss, [B, 1, H/8, W/8], where the loss is masked.
    pub loss_mask: Option<Tensor>,
}

impl Batch {
    /// Samples of one source, each counting the same.
    pub fn new(latents: Tensor, captions: Vec<String>, time_ids: Vec<TimeIds>) -> Self {
        let samples = captions.len();
        let (weights, sources) = (vec![1.0; samples], vec![0; samples]);
        Self { latents, captions, time_ids, weights, sources, loss_mask: None }
    }

    /// Every loss counting the same.
    #[must_use]
    pub fn unweighted(self) -> Self {
        Self { weights: vec![1.0; self.weights.len()], ..self }
    }

    /// The samples of both, one behind the other: the halves [instance; class] of prior
    /// preservation.
    pub fn cat(instance: &Self, class: &Self) -> Result<Self> {
        Ok(Self {
            latents: Tensor::cat(&[&instance.latents, &class.latents], 0)?,
            captions: [instance.captions.clone(), class.captions.clone()].concat(),
            time_ids: [instance.time_ids.clone(), class.time_ids.clone()].concat(),
            weights: [instance.weights.clone(), class.weights.clone()].concat(),
            sources: [instance.sources.clone(), class.sources.clone()].concat(),
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
        Self::of_sources(&[(pictures, Treatment::of(dataset))], role, dataset, from)
    }

    /// As [`Examples::new`], of several sources, one behind the other.
    pub fn of_sources(
        sources: &[(&[Picture], Treatment)],
        role: Role,
        dataset: &Dataset,
        from: &Sources,
    ) -> Result<Self> {
        let shapes = Shapes::of(dataset);
        let cut = |picture: &Picture| {
            let size = [picture.height, picture.width];
            shapes.cut(size).ok_or_else(|| Error::run(format!("`{}` is too small", picture.name())))
        };
        let mut planned = Vec::new();
        for (source, (pictures, how)) in sources.iter().enumerate() {
            for picture in *pictures {
                planned.push(Planned { picture, cut: cut(picture)?, how: *how, source });
            }
        }
        Self::of_planned(&planned, sources.len(), role, dataset, from)
    }

    /// Class images beside instances: each has the instances' size that is nearest to its shape. A size that none of a source would
    /// have takes all of them.
    pub fn class(
        sources: &[(&[Picture], Treatment)],
        instances: &Self,
        dataset: &Dataset,
        from: &Sources,
    ) -> Result<Self> {
        if !dataset.buckets.on {
            return Self::of_sources(sources, Role::Class, dataset, from);
        }
        let sizes = instances.sizes();
        let among = Shapes::Among(sizes.clone());
        let mut planned = Vec::new();
        for (source, (pictures, how)) in sources.iter().enumerate() {
            let first = planned.len();
            let plan = |picture, cut| Planned { picture, cut, how: *how, source };
            for picture in *pictures {
                planned.extend(among.cut([picture.height, picture.width]).map(|cut| plan(picture, cut)));
            }
            for &size in &sizes {
                if !planned[first..].iter().any(|planned| planned.cut.size == size) {
                    let cover = |picture: &Picture| Cut::cover([picture.height, picture.width], size);
                    planned.extend(pictures.iter().map(|picture| plan(picture, cover(picture))));
                }
            }
        }
        Self::of_planned(&planned, sources.len(), Role::Class, dataset, from)
    }

    fn of_planned(planned: &[Planned], sources: usize, role: Role, dataset: &Dataset, from: &Sources) -> Result<Self> {
        let masks =
            if role == Role::Instance && dataset.masks.on { masks(planned)? } else { vec![None; planned.len()] };
        let latents = latents::of(planned, role, from)?;
        let example = |((planned, latents), mask): ((&Planned, Latents), Option<Mask>)| Example {
            latents,
            wordings: planned.picture.wordings.clone(),
            how: planned.how,
            source: planned.source,
            original: [planned.picture.height, planned.picture.width],
            cut: planned.cut,
            mask,
        };
        Ok(Self {
            pictures: planned.iter().zip(latents).zip(masks).map(example).collect(),
            role,
            unmasked_weight: dataset.masks.on.then_some(dataset.masks.unmasked_weight),
            downscale: from.vae.config().downscale(),
            caption_dropout: if role == Role::Instance { dataset.caption_dropout } else { 0.0 },
            sources,
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

    /// Whether a batch may have other captions than another: pictures have several, captions are dropped, or tags are drawn.
    pub fn has_many_captions(&self) -> bool {
        let all: BTreeSet<String> = self.pictures.iter().flat_map(|picture| picture.wordings.all()).collect();
        all.len() > 1 || self.caption_dropout > 0.0 || self.pictures.iter().any(|picture| picture.wordings.draws_tags())
    }

    /// How many sources they come from.
    pub fn source_count(&self) -> usize {
        self.sources
    }

    /// The pictures of one source, by number.
    pub fn of_source(&self, source: usize) -> Vec<usize> {
        (0..self.len()).filter(|&i| self.pictures[i].source == source).collect()
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
            let flipped = self.pictures[i].how.random_flip && flips.rand(1)[0] < 0.5;
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
        let wording = |&i: &usize| self.pictures[i].wordings.draw(|| stream(&format!("caption of {i}")));
        let captions = indices.iter().map(wording).collect();
        let mut batch = self.batch_of(indices, captions, &latents, &places)?;
        let dropped = stream("caption dropout").rand(indices.len());
        for (caption, _) in batch.captions.iter_mut().zip(dropped).filter(|(_, x)| f64::from(*x) < self.caption_dropout)
        {
            caption.clear();
        }
        Ok(batch)
    }

    /// The pictures `indices` as they are: centre crop, no flip, the mean of the latents, the first caption with all its tags.
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
        let captions = indices.iter().map(|&i| self.pictures[i].wordings.first()).collect();
        self.batch_of(indices, captions, &latents, &places)
    }

    /// mean + deviation · n, n standard normal.
    fn sample(&self, d: &LatentDistribution, normal: &mut Generator) -> Result<Tensor> {
        let n = Tensor::from_vec(normal.randn(d.mean.elem_count()), d.mean.shape(), &self.device)?;
        Ok((&d.mean + (&d.std * n)?)?)
    }

    /// `places`: where each picture was cropped, and whether it was mirrored.
    fn batch_of(
        &self,
        indices: &[usize],
        captions: Vec<String>,
        latents: &[Tensor],
        places: &[([usize; 2], bool)],
    ) -> Result<Batch> {
        let time_ids = |(&i, ([top, left], _)): (&usize, &([usize; 2], bool))| {
            let Example { original: [height, width], cut, .. } = &self.pictures[i];
            [*height, *width, *top, *left, cut.size[0], cut.size[1]]
        };
        let time_ids = indices.iter().zip(places).map(time_ids).collect();
        let loss_mask = self.unmasked_weight.map(|least| self.loss_mask(indices, places, least as f32)).transpose()?;
        let latents = (Tensor::cat(latents, 0)? * self.scaling_factor)?;
        let weights = indices.iter().map(|&i| self.pictures[i].how.weight).collect();
        let sources = indices.iter().map(|&i| self.pictures[i].source).collect();
        Ok(Batch { latents, captions, time_ids, weights, sources, loss_mask })
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
fn masks(all: &[Planned]) -> Result<Vec<Option<Mask>>> {
    let found: Vec<Result<Option<Mask>>> =
        all.par_iter().map(|one| Mask::of(one.picture, one.cut, one.how.center_crop)).collect();
    let (mut masks, mut errors) = (Vec::with_capacity(all.len()), Vec::new());
    for one in found {
        match one {
            Ok(mask) => masks.push(mask),
            Err(error) => errors.push(error),
        }
    }
    if let Some(error) = Error::several(errors, |count| format!("{count} masks cannot be used")) {
        return Err(error);
    }
    if masks.iter().all(Option::is_none) {
        return Err(without_masks());
    }
    Ok(masks)
}

/// Where the loss is to be masked and nothing masks it.
pub fn without_masks() -> Error {
    Error::input("`masked_loss` in [dataset] says that the loss is masked, and no image has a mask")
        .hint("put `x.mask.png` beside `x.jpg`, or give images an alpha channel, or leave `masked_loss` out")
}
