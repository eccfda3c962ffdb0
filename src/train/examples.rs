//! What training learns from: for each picture the distribution of its latents, and its caption.
//!
//! In: pictures and the VAE. Out: [`Examples`], from which every step draws anew: crop, flip and
//! latents are random, so the VAE's distribution (mean and deviation) is kept and not one sample of
//! it. With a centre crop it is computed once for each picture and its mirror image and cached on
//! disk by content; with a random crop the VAE runs in every step.

use crate::config::Dataset;
use crate::data::{self, Cache, Picture, Rgb, Wordings};
use crate::device;
use crate::error::Result;
use crate::hash;
use crate::interrupt::Interrupt;
use crate::model::unet::TimeIds;
use crate::model::vae::{LatentDistribution, Vae};
use crate::progress::Progress;
use crate::random::Generator;
use candle_core::{Device, Tensor};
use std::collections::{BTreeMap, BTreeSet};

/// Changes with the meaning of what is cached, so that older entries are not used.
const CACHE_VERSION: &str = "3";

/// All pictures with their captions, ready for training.
pub struct Examples {
    pictures: Vec<Example>,
    role: Role,
    resolution: usize,
    caption_dropout: f64,
    /// How many sources they come from.
    sources: usize,
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
    wordings: Wordings,
    how: Treatment,
    source: usize,
    /// Height and width of the file.
    original: [usize; 2],
    /// Top and left of the centre crop, in the resized picture.
    center: [usize; 2],
}

/// Where the latents of one picture come from.
enum Latents {
    /// The centre crop's, and its mirror image's if flips are wanted.
    Cached(Vec<LatentDistribution>),
    /// Resized; every step crops and encodes it.
    Live(Rgb),
}

/// How the pictures of one source are treated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Treatment {
    /// Crop the middle; false: a random crop in every step.
    pub center_crop: bool,
    /// Mirror every second picture, at random.
    pub random_flip: bool,
    /// What their loss is multiplied by.
    pub weight: f64,
}

impl Treatment {
    /// That of a data set's one folder.
    pub fn of(dataset: &Dataset) -> Self {
        Self { center_crop: dataset.center_crop, random_flip: dataset.random_flip, weight: 1.0 }
    }
}

/// What a step learns from.
pub struct Batch {
    /// Scaled latents [B, C, H/8, W/8].
    pub latents: Tensor,
    /// Their captions.
    pub captions: Vec<String>,
    /// Their sizes and crops, as diffusers' scripts for Stable Diffusion XL have them: the file's size, the crop's place in the
    /// resized picture (a mirrored picture's too), and the square that is trained on.
    pub time_ids: Vec<TimeIds>,
    /// What each sample's loss is multiplied by.
    pub weights: Vec<f64>,
    /// The source of each, by number.
    pub sources: Vec<usize>,
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
    /// Samples of one source, each counting the same.
    pub fn new(latents: Tensor, captions: Vec<String>, time_ids: Vec<TimeIds>) -> Self {
        let samples = captions.len();
        Self { latents, captions, time_ids, weights: vec![1.0; samples], sources: vec![0; samples] }
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
        })
    }
}

impl Examples {
    /// Encodes every picture, or finds it in the cache.
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
        let title = if role == Role::Instance { LATENTS } else { CLASS_LATENTS };
        let count = sources.iter().map(|(pictures, _)| pictures.len()).sum();
        let bar = from.progress.bar(title, count as u64);
        let mut examples = Vec::with_capacity(count);
        let all = sources.iter().enumerate();
        let all = all.flat_map(|(source, (pictures, how))| pictures.iter().map(move |picture| (source, picture, *how)));
        for (source, picture, how) in all {
            from.interrupt.check()?;
            let latents = if how.center_crop {
                Latents::Cached(encode_cached(picture, dataset.resolution, how.random_flip, from)?)
            } else {
                Latents::Live(data::resize_short_side(&picture.image()?, dataset.resolution))
            };
            let original = [picture.height, picture.width];
            let center = data::center_corner(data::short_side_sides(original, dataset.resolution), dataset.resolution);
            examples.push(Example { latents, wordings: picture.wordings.clone(), how, source, original, center });
            bar.inc(1);
        }
        bar.finish();
        Ok(Self {
            pictures: examples,
            role,
            resolution: dataset.resolution,
            caption_dropout: if role == Role::Instance { dataset.caption_dropout } else { 0.0 },
            sources: sources.len(),
            scaling_factor: from.vae.config().scaling_factor,
            device: from.device.clone(),
        })
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
        let (mut latents, mut corners) = (Vec::with_capacity(indices.len()), Vec::with_capacity(indices.len()));
        for &i in indices {
            let mut corner = self.pictures[i].center;
            let flipped = self.pictures[i].how.random_flip && flips.rand(1)[0] < 0.5;
            let sample = match &self.pictures[i].latents {
                Latents::Cached(sides) => self.sample(&sides[usize::from(flipped)], &mut normal)?,
                Latents::Live(resized) => {
                    corner = data::random_corner(resized, self.resolution, &mut crops);
                    let [top, left] = corner;
                    let square = data::crop(resized, left, top, self.resolution, self.resolution);
                    let square = if flipped { data::flip(&square) } else { square };
                    self.sample(&encode(&square, vae, &self.device)?, &mut normal)?
                }
            };
            latents.push(sample);
            corners.push(corner);
        }
        let wording = |&i: &usize| self.pictures[i].wordings.draw(|| stream(&format!("caption of {i}")));
        let captions = indices.iter().map(wording).collect();
        let mut batch = self.batch_of(indices, captions, &latents, &corners)?;
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
                Latents::Live(resized) => encode(&data::center_crop(resized, self.resolution), vae, &self.device)?.mean,
            });
        }
        let corners: Vec<_> = indices.iter().map(|&i| self.pictures[i].center).collect();
        let captions = indices.iter().map(|&i| self.pictures[i].wordings.first()).collect();
        self.batch_of(indices, captions, &latents, &corners)
    }

    /// mean + deviation · n, n standard normal.
    fn sample(&self, d: &LatentDistribution, normal: &mut Generator) -> Result<Tensor> {
        let n = Tensor::from_vec(normal.randn(d.mean.elem_count()), d.mean.shape(), &self.device)?;
        Ok((&d.mean + (&d.std * n)?)?)
    }

    fn batch_of(
        &self,
        indices: &[usize],
        captions: Vec<String>,
        latents: &[Tensor],
        corners: &[[usize; 2]],
    ) -> Result<Batch> {
        let time_ids = |(&i, [top, left]): (&usize, &[usize; 2])| {
            let [height, width] = self.pictures[i].original;
            [height, width, *top, *left, self.resolution, self.resolution]
        };
        let time_ids = indices.iter().zip(corners).map(time_ids).collect();
        let latents = (Tensor::cat(latents, 0)? * self.scaling_factor)?;
        let weights = indices.iter().map(|&i| self.pictures[i].how.weight).collect();
        let sources = indices.iter().map(|&i| self.pictures[i].source).collect();
        Ok(Batch { latents, captions, time_ids, weights, sources })
    }
}

fn encode(square: &Rgb, vae: &Vae, device: &Device) -> Result<LatentDistribution> {
    vae.encode(&data::to_tensor(square)?.unsqueeze(0)?.to_device(device)?)
}

/// What an earlier run, or another one now, has computed.
fn kept(from: &Sources, key: &str) -> Result<Option<LatentDistribution>> {
    let Some(found) = from.cache.get("latents", key)? else { return Ok(None) };
    let (Some(mean), Some(std)) = (found.get("mean"), found.get("std")) else { return Ok(None) };
    Ok(Some(LatentDistribution { mean: mean.to_device(from.device)?, std: std.to_device(from.device)? }))
}

/// The distribution of the centre crop's latents, and of its mirror image's if flips are wanted.
fn encode_cached(picture: &Picture, resolution: usize, flip: bool, from: &Sources) -> Result<Vec<LatentDistribution>> {
    let sides: &[bool] = if flip { &[false, true] } else { &[false] };
    let mut square = None;
    let mut distributions = Vec::with_capacity(2);
    for &flipped in sides {
        let side_length = resolution.to_string();
        let side = if flipped { "flipped" } else { "plain" };
        let how = device::arithmetic(from.device);
        let key = hash::key(&[CACHE_VERSION, how, from.vae_hash, &picture.sha256, "centre crop", &side_length, side]);
        if let Some(found) = kept(from, &key)? {
            distributions.push(found);
            continue;
        }
        let _turn = from.cache.turn("latents", from.vae_hash)?;
        if let Some(found) = kept(from, &key)? {
            distributions.push(found);
            continue;
        }
        let plain: &Rgb = match &square {
            Some(square) => square,
            None => {
                square.insert(data::center_crop(&data::resize_short_side(&picture.image()?, resolution), resolution))
            }
        };
        let d = encode(&if flipped { data::flip(plain) } else { plain.clone() }, from.vae, from.device)?;
        let entry = BTreeMap::from([("mean".to_owned(), d.mean.clone()), ("std".to_owned(), d.std.clone())]);
        from.cache.put("latents", &key, &entry)?;
        distributions.push(d);
    }
    Ok(distributions)
}
