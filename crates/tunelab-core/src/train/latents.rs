//! Pictures → the distributions of their latents, kept on disk by content; or resized and ready to be cropped.
//!
//! In: pictures and how each is cut. Out: for each the distribution of its centre crop and of that one's mirror image; a picture
//! is read only if the cache lacks something of it.

use super::planned::{Planned, Role, Sources};
use crate::data::{self, Cache, Rgb};
use crate::device;
use crate::error::{Error, Kind, Result};
use crate::hash;
use crate::model::vae::{LatentDistribution, Vae};
use candle_core::Device;
use rayon::in_place_scope;
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Changes with the meaning of what is cached, so that older entries are not used.
const CACHE_VERSION: &str = "4";

/// Pictures that are read at once, before the VAE sees the first of them.
const AHEAD: usize = 8;

/// The bars' titles while pictures become latents.
pub const LATENTS: &str = "latents";
/// As [`LATENTS`], of class images.
pub const CLASS_LATENTS: &str = "class latents";

/// Where the latents of one picture come from.
pub(super) enum Latents {
    /// The centre crop's, and its mirror image's if flips are wanted.
    Cached(Vec<LatentDistribution>),
    /// Resized; every step crops and encodes it.
    Live(Rgb),
}

/// The VAE's view of an RGB image.
pub(super) fn encode(image: &Rgb, vae: &Vae, device: &Device) -> Result<LatentDistribution> {
    vae.encode(&data::to_tensor(image)?.unsqueeze(0)?.to_device(device)?)
}

/// For each picture the distributions of its centre crop and, if flips are wanted, of that one's mirror image; or the picture resized,
/// to be cropped in every step.
pub(super) fn of(all: &[Planned], role: Role, from: &Sources) -> Result<Vec<Latents>> {
    let entries: Vec<Entry> = all.iter().map(|planned| Entry::new(planned, from)).collect();
    let bar = from.progress.bar(if role == Role::Instance { LATENTS } else { CLASS_LATENTS }, all.len() as u64);
    let mut latents = Vec::with_capacity(all.len());
    // Only what can cross threads goes there: a device may not. They are those of this thread's pool, which may be this one alone.
    let cache = from.cache;
    let read = |some: &[Entry]| -> Vec<Result<Option<Rgb>>> {
        some.par_iter().map(|entry| entry.read_if_needed(cache)).collect()
    };
    let mut chunks = entries.chunks(AHEAD);
    let mut some = chunks.next().unwrap_or_default();
    let mut images = read(some);
    while !some.is_empty() {
        let next = chunks.next().unwrap_or_default();
        let mut next_images = Vec::new();
        // While the VAE sees these, the next are decoded.
        in_place_scope(|scope| -> Result<()> {
            scope.spawn(|_| next_images = read(next));
            for (entry, image) in some.iter().zip(images.drain(..)) {
                from.interrupt.check()?;
                latents.push(match image? {
                    Some(resized) if !entry.planned.how.center_crop => Latents::Live(resized),
                    crop => Latents::Cached(entry.distributions(crop, from)?),
                });
                bar.inc(1);
            }
            Ok(())
        })
        .or_else(|error| Err(with_all_broken(error, &entries[latents.len()..], from)?))?;
        (some, images) = (next, next_images);
    }
    bar.finish();
    Ok(latents)
}

/// Where an image is broken, one error for it and for all behind it that are too; any other error as it is.
fn with_all_broken(error: Error, rest: &[Entry], from: &Sources) -> Result<Error> {
    if error.kind() != Kind::Input {
        return Ok(error);
    }
    let mut broken = Vec::new();
    for some in rest.chunks(AHEAD) {
        from.interrupt.check()?;
        let errors: Vec<Error> = some.par_iter().filter_map(|entry| entry.read_if_needed(from.cache).err()).collect();
        broken.extend(errors);
    }
    Ok(Error::several(broken, |count| format!("{count} images cannot be used")).unwrap_or(error))
}

/// One picture and the keys of its two sides in the cache.
struct Entry<'a> {
    planned: &'a Planned<'a>,
    keys: Vec<String>,
}

impl<'a> Entry<'a> {
    fn new(planned: &'a Planned, from: &Sources) -> Self {
        let Planned { picture, cut, how, .. } = planned;
        let size = cut.key([picture.height, picture.width]);
        let arithmetic = device::arithmetic(from.device);
        let key = |side: &&str| {
            hash::key(&[CACHE_VERSION, arithmetic, from.vae_hash, &picture.sha256, "centre crop", &size, side])
        };
        let sides: &[&str] = if how.random_flip { &["plain", "flipped"] } else { &["plain"] };
        Self { planned, keys: sides.iter().map(key).collect() }
    }

    /// Nothing, where the cache has all of it.
    fn read_if_needed(&self, cache: &Cache) -> Result<Option<Rgb>> {
        let is_there = self.planned.how.center_crop && self.keys.iter().all(|key| cache.has("latents", key));
        if is_there { Ok(None) } else { self.read().map(Some) }
    }

    /// The centre crop or, where every step crops anew, all of the picture, resized.
    fn read(&self) -> Result<Rgb> {
        let Planned { picture, cut, how, .. } = self.planned;
        let image = picture.image()?;
        Ok(if how.center_crop { cut.centered(&image) } else { cut.resize(&image) })
    }

    /// The distribution of the centre crop's latents, and of its mirror image's if flips are wanted. `ahead`: the crop, if it was
    /// read already.
    fn distributions(&self, ahead: Option<Rgb>, from: &Sources) -> Result<Vec<LatentDistribution>> {
        let mut crop = ahead;
        let mut distributions = Vec::with_capacity(2);
        for (side, key) in self.keys.iter().enumerate() {
            if let Some(found) = kept(from, key)? {
                distributions.push(found);
                continue;
            }
            let _turn = from.cache.turn("latents", from.vae_hash)?;
            if let Some(found) = kept(from, key)? {
                distributions.push(found);
                continue;
            }
            let plain: &Rgb = match &crop {
                Some(crop) => crop,
                None => crop.insert(self.read()?),
            };
            let d = encode(&if side == 1 { data::flip(plain) } else { plain.clone() }, from.vae, from.device)?;
            let entry = BTreeMap::from([("mean".to_owned(), d.mean.clone()), ("std".to_owned(), d.std.clone())]);
            from.cache.put("latents", key, &entry)?;
            distributions.push(d);
        }
        Ok(distributions)
    }
}

/// What an earlier run, or another one now, has computed.
fn kept(from: &Sources, key: &str) -> Result<Option<LatentDistribution>> {
    let Some(found) = from.cache.get("latents", key)? else { return Ok(None) };
    let (Some(mean), Some(std)) = (found.get("mean"), found.get("std")) else { return Ok(None) };
    Ok(Some(LatentDistribution { mean: mean.to_device(from.device)?, std: std.to_device(from.device)? }))
}
