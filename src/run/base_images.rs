//! The base model's images of the evaluation prompts: drawn by the first run that needs them, and copied by all others.
//!
//! In: the run, its model's hashes. Out: an image's file in the run's folder, as the run alone would have drawn it. What decides its
//! bytes is in the name of the file that is kept, in the cache: model, types, schedule, every setting of sampling, and the text that the
//! image carries. One that is damaged is drawn again.

use super::experiment::Experiment;
use super::prepare::CACHE_FOLDER;
use crate::adapter;
use crate::data::{self, Cache};
use crate::device;
use crate::error::Result;
use crate::hash;
use crate::results::{ImageMetadata, write_atomic};
use std::collections::BTreeMap;
use std::path::Path;
use tunelab_ops::simd;
use tunelab_ops::weight::products_in_bf16;

/// Changes when the same settings would give other images.
const VERSION: &str = "1";

/// The kind in the cache.
const KIND: &str = "base_images";

/// Images of one model, drawn in one way.
pub(super) struct BaseImages {
    cache: Cache,
    /// Of all that they have in common.
    model: String,
}

impl BaseImages {
    /// Of the run's base model.
    pub(super) fn new(of: &Experiment, model: &BTreeMap<String, String>) -> Self {
        let model: Vec<&str> = model.iter().flat_map(|(name, hash)| [name.as_str(), hash]).collect();
        let train = &of.plan.train;
        // Weights that will be trained are not rounded, and each way of computing gives other last digits.
        let method = adapter::method(&of.plan.adapter);
        let how = format!(
            "{} {} {:?} {:?} {} {} {}",
            train.dtype,
            products_in_bf16(),
            method.trains_weights(),
            method.text_encoder,
            train.zero_terminal_snr,
            train.tf32,
            simd::current()
        );
        // One chunk is as it was when there was no other.
        let chunks = Some(of.plan.text.chunks).filter(|chunks| *chunks > 1);
        let how = chunks.map_or(how.clone(), |chunks| format!("{how} {chunks} chunks"));
        let model = hash::key(&[VERSION, &hash::key(&model), device::arithmetic(of.device), &how]);
        Self { cache: Cache::new(of.run.path().with_file_name(CACHE_FOLDER)), model }
    }

    /// Puts the image of `shot` into `file`: the one that is kept, or what `draw` puts there; whether it was kept.
    pub(super) fn get(&self, shot: &ImageMetadata, file: &Path, draw: impl FnOnce() -> Result<()>) -> Result<bool> {
        // Not all settings are in the text; whoever adds one need not think of this.
        let key = hash::key(&[&self.model, &shot.parameters(), &format!("{:?}", shot.params)]);
        let kept = self.cache.root().join(KIND).join(format!("{key}.png"));
        if copy(&kept, file)? {
            return Ok(true);
        }
        let _turn = self.cache.turn(KIND, &self.model)?;
        if copy(&kept, file)? {
            return Ok(true);
        }
        draw()?;
        write_atomic(&kept, &fs_err::read(file)?)?;
        Ok(false)
    }
}

/// Whether there was a whole image to copy.
fn copy(kept: &Path, file: &Path) -> Result<bool> {
    if data::load_image(kept).is_err() {
        return Ok(false);
    }
    write_atomic(file, &fs_err::read(kept)?)?;
    Ok(true)
}
