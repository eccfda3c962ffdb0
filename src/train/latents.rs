//! Pictures → the distributions of their latents, kept on disk by content; or resized and ready to be cropped.
//!
//! In: pictures and how each is cut. Out: for each the distribution of its centre crop and of that one's mirror image; some
//! pictures are read at once, and only those of which the cache lacks something.

use super::examples::{CLASS_LATENTS, LATENTS, Role, Sources};
use crate::data::{self, Cut, Picture, Rgb};
use crate::device;
use crate::error::Result;
use crate::hash;
use crate::model::vae::{LatentDistribution, Vae};
use candle_core::Device;
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Changes with the meaning of what is cached, so that older entries are not used.
const CACHE_VERSION: &str = "4";

/// Pictures that are read at once, before the VAE works on them.
const AHEAD: usize = 8;

/// A part of a picture that was read ahead, where it was needed.
type Ahead = Result<Option<Rgb>>;

/// The VAE's view of an RGB image.
pub(super) fn encode(image: &Rgb, vae: &Vae, device: &Device) -> Result<LatentDistribution> {
    vae.encode(&data::to_tensor(image)?.unsqueeze(0)?.to_device(device)?)
}

/// The distributions of each picture, and of its mirror image if flips are wanted.
pub(super) fn cached(
    cuts: &[(&Picture, Cut)],
    role: Role,
    flip: bool,
    from: &Sources,
) -> Result<Vec<Vec<LatentDistribution>>> {
    let entries: Vec<Entry> = cuts.iter().map(|(picture, cut)| Entry::new(picture, *cut, flip, from)).collect();
    let bar = from.progress.bar(title(role), cuts.len() as u64);
    let mut all = Vec::with_capacity(cuts.len());
    let is_there = |entry: &Entry| entry.keys.iter().all(|key| from.cache.has("latents", key));
    for some in entries.chunks(AHEAD) {
        // On this thread's own pool: with one thread in it, another's wait for it would never end.
        let wanted: Vec<bool> = some.iter().map(|entry| !is_there(entry)).collect();
        let read: Vec<Ahead> =
            some.par_iter().zip(wanted).map(|(entry, wanted)| wanted.then(|| entry.read()).transpose()).collect();
        for (entry, ahead) in some.iter().zip(read) {
            from.interrupt.check()?;
            all.push(entry.distributions(ahead?, from)?);
            bar.inc(1);
        }
    }
    bar.finish();
    Ok(all)
}

/// Each picture resized, to be cropped in every step.
pub(super) fn resized(cuts: &[(&Picture, Cut)], role: Role, from: &Sources) -> Result<Vec<Rgb>> {
    let bar = from.progress.bar(title(role), cuts.len() as u64);
    let mut all = Vec::with_capacity(cuts.len());
    for some in cuts.chunks(AHEAD) {
        from.interrupt.check()?;
        let read: Vec<Result<Rgb>> = some.par_iter().map(|(picture, cut)| Ok(cut.resize(&picture.image()?))).collect();
        for image in read {
            all.push(image?);
            bar.inc(1);
        }
    }
    bar.finish();
    Ok(all)
}

fn title(role: Role) -> &'static str {
    if role == Role::Instance { LATENTS } else { CLASS_LATENTS }
}

/// One picture and the keys of its two sides in the cache.
struct Entry<'a> {
    picture: &'a Picture,
    cut: Cut,
    keys: Vec<String>,
}

impl<'a> Entry<'a> {
    fn new(picture: &'a Picture, cut: Cut, flip: bool, from: &Sources) -> Self {
        let size = cut.key([picture.height, picture.width]);
        let how = device::arithmetic(from.device);
        let key =
            |side: &&str| hash::key(&[CACHE_VERSION, how, from.vae_hash, &picture.sha256, "centre crop", &size, side]);
        let sides: &[&str] = if flip { &["plain", "flipped"] } else { &["plain"] };
        Self { picture, cut, keys: sides.iter().map(key).collect() }
    }

    /// The centre crop.
    fn read(&self) -> Result<Rgb> {
        Ok(self.cut.centered(&self.picture.image()?))
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
