//! What training learns from: for each picture the distribution of its latents, and its caption.
//!
//! In: pictures and the VAE. Out: [`Examples`], from which every step draws anew: crop, flip and
//! latents are random, so the VAE's distribution (mean and deviation) is kept and not one sample of
//! it. With a centre crop it is computed once for each picture and its mirror image and cached on
//! disk by content; with a random crop the VAE runs in every step.

use crate::config::Dataset;
use crate::data::{self, Cache, Picture, Rgb};
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
    flip: bool,
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

/// What a step learns from.
pub struct Batch {
    /// Scaled latents [B, C, H/8, W/8].
    pub latents: Tensor,
    /// Their captions.
    pub captions: Vec<String>,
    /// Their sizes and crops, as diffusers' scripts for Stable Diffusion XL have them: the file's size, the crop's place in the
    /// resized picture (a mirrored picture's too), and the square that is trained on.
    pub time_ids: Vec<TimeIds>,
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
        })
    }
}

impl Examples {
    /// Encodes every picture, or finds it in the cache.
    pub fn new(pictures: &[Picture], role: Role, dataset: &Dataset, from: &Sources) -> Result<Self> {
        let title = if role == Role::Instance { LATENTS } else { CLASS_LATENTS };
        let bar = from.progress.bar(title, pictures.len() as u64);
        let mut examples = Vec::with_capacity(pictures.len());
        for picture in pictures {
            from.interrupt.check()?;
            let latents = if dataset.center_crop {
                Latents::Cached(encode_cached(picture, dataset, from)?)
            } else {
                Latents::Live(data::resize_short_side(&picture.image()?, dataset.resolution))
            };
            let original = [picture.height, picture.width];
            let center = data::center_corner(data::short_side_sides(original, dataset.resolution), dataset.resolution);
            examples.push(Example { latents, caption: picture.caption.clone(), original, center });
            bar.inc(1);
        }
        bar.finish();
        Ok(Self {
            pictures: examples,
            role,
            resolution: dataset.resolution,
            flip: dataset.random_flip,
            caption_dropout: if role == Role::Instance { dataset.caption_dropout } else { 0.0 },
            scaling_factor: from.vae.config().scaling_factor,
            device: from.device.clone(),
        })
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
        let (mut latents, mut corners) = (Vec::with_capacity(indices.len()), Vec::with_capacity(indices.len()));
        for &i in indices {
            let mut corner = self.pictures[i].center;
            let flipped = self.flip && flips.rand(1)[0] < 0.5;
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
        let mut batch = self.batch_of(indices, &latents, &corners)?;
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
                Latents::Live(resized) => encode(&data::center_crop(resized, self.resolution), vae, &self.device)?.mean,
            });
        }
        let corners: Vec<_> = indices.iter().map(|&i| self.pictures[i].center).collect();
        self.batch_of(indices, &latents, &corners)
    }

    /// mean + deviation · n, n standard normal.
    fn sample(&self, d: &LatentDistribution, normal: &mut Generator) -> Result<Tensor> {
        let n = Tensor::from_vec(normal.randn(d.mean.elem_count()), d.mean.shape(), &self.device)?;
        Ok((&d.mean + (&d.std * n)?)?)
    }

    fn batch_of(&self, indices: &[usize], latents: &[Tensor], corners: &[[usize; 2]]) -> Result<Batch> {
        let captions = indices.iter().map(|&i| self.pictures[i].caption.clone()).collect();
        let time_ids = |(&i, [top, left]): (&usize, &[usize; 2])| {
            let [height, width] = self.pictures[i].original;
            [height, width, *top, *left, self.resolution, self.resolution]
        };
        let time_ids = indices.iter().zip(corners).map(time_ids).collect();
        Ok(Batch { latents: (Tensor::cat(latents, 0)? * self.scaling_factor)?, captions, time_ids })
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
fn encode_cached(picture: &Picture, dataset: &Dataset, from: &Sources) -> Result<Vec<LatentDistribution>> {
    let sides: &[bool] = if dataset.random_flip { &[false, true] } else { &[false] };
    let mut square = None;
    let mut distributions = Vec::with_capacity(2);
    for &flipped in sides {
        let resolution = dataset.resolution.to_string();
        let side = if flipped { "flipped" } else { "plain" };
        let how = device::arithmetic(from.device);
        let key = hash::key(&[CACHE_VERSION, how, from.vae_hash, &picture.sha256, "centre crop", &resolution, side]);
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
            None => square.insert(data::center_crop(
                &data::resize_short_side(&picture.image()?, dataset.resolution),
                dataset.resolution,
            )),
        };
        let d = encode(&if flipped { data::flip(plain) } else { plain.clone() }, from.vae, from.device)?;
        let entry = BTreeMap::from([("mean".to_owned(), d.mean.clone()), ("std".to_owned(), d.std.clone())]);
        from.cache.put("latents", &key, &entry)?;
        distributions.push(d);
    }
    Ok(distributions)
}
