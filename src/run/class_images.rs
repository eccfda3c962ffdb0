//! The class images of prior preservation (Ruiz et al. 2023) that the base model makes.
//!
//! In: a class prompt of the plan, number and sampling settings. Out: the pictures, captioned with the
//! class prompt. Images that are made lie in a folder named by the hash of everything that makes
//! them: model, prompt, sampler, steps, guidance, size, seed and batch size. So they are made once,
//! shared by all experiments that ask for the same, topped up where more are asked for, and never
//! taken for another prompt or model. Each carries a hash of its pixels: one that is no longer what
//! was drawn is drawn again, and other files in the folder are not looked at.
//!
//! Picture i begins from the noise of seed + i and belongs to batch i / `class_batch_size`. How a
//! sum is rounded may depend on how many pictures a product works on, so a batch is always drawn
//! whole, whichever of its pictures are missing: a picture's bytes depend on its number and the
//! folder's name alone.
//!
//! With buckets they are drawn in the sizes that the instance images have, in proportion, each size in a
//! folder of its own.

use super::experiment::Experiment;
use super::phases::CLASS_PICTURES;
use crate::config::{DreamBooth, Dtype, Plan, Resolution, SampleParams};
use crate::data::{self, Cache, Picture, Shapes};
use crate::device;
use crate::error::{Error, Result};
use crate::hash;
use crate::numbers::counted;
use crate::pipeline::PromptEmbeds;
use crate::results::{ImageMetadata, read_text, write_png};
use crate::sample::ImageGenerator;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use tunelab_ops::weight::products_in_bf16;

/// Changes when the same settings would give other pictures.
const VERSION: &str = "7";

/// The text chunk with the hash of the picture's pixels.
const PIXELS: &str = "pixels";

/// The class images of this class prompt, found or made. `embeds` holds its conditioning and that of
/// the empty prompt.
pub fn find(
    of: &Experiment,
    (prior, prompt, sizes): (&DreamBooth, &str, &[ClassSize]),
    generator: &ImageGenerator,
    embeds: &PromptEmbeds,
    model: &BTreeMap<String, String>,
    cache: &Cache,
) -> Result<Vec<Picture>> {
    let root = cache.root().join("class_images");
    let keys: Vec<String> = sizes.iter().map(|(size, _)| key(of, prior, prompt, model, *size)).collect();
    let sets: Vec<Set> =
        sizes.iter().zip(&keys).map(|(&(size, count), key)| Set { folder: root.join(key), size, count }).collect();
    if sets.iter().all(|set| set.missing().is_empty()) {
        of.progress.leave_out(CLASS_PICTURES);
    } else {
        let _turns = keys.iter().map(|key| cache.turn("class_images", key)).collect::<Result<Vec<_>>>()?;
        // Another process may have made them meanwhile.
        make(of, (prior, prompt), generator, embeds, &sets)?;
    }
    if let [set] = &sets[..] {
        return data::load_pictures(&set.folder, (0..set.count).map(name), prompt);
    }
    // Their names tell them apart.
    let named = keys.iter().zip(&sets).flat_map(|(key, set)| (0..set.count).map(|i| Path::new(key).join(name(i))));
    data::load_pictures(&root, named, prompt)
}

/// Height and width, and how many there are of that.
pub type ClassSize = ([usize; 2], usize);

/// The sizes of `count` class images: all of the resolution, or with buckets those of the pictures, in proportion.
pub fn sizes(plan: &Plan, count: usize, pictures: &[Picture]) -> Vec<ClassSize> {
    let shapes = Shapes::of(&plan.dataset);
    if !shapes.has_buckets() {
        return vec![(plan.dataset.resolution.sides(), count)];
    }
    let cuts = pictures.iter().filter_map(|picture| shapes.cut([picture.height, picture.width]));
    let shares = data::shared_out(count, cuts.map(|cut| cut.size));
    shares.into_iter().filter(|(_, count)| *count > 0).collect()
}

/// Class images of one size.
struct Set {
    folder: PathBuf,
    size: [usize; 2],
    count: usize,
}

impl Set {
    fn missing(&self) -> Vec<usize> {
        (0..self.count).filter(|&i| !is_whole(&self.folder.join(name(i)))).collect()
    }
}

/// Whether the picture is there as it was drawn.
fn is_whole(file: &Path) -> bool {
    let Ok(picture) = data::load_image(file) else { return false };
    let pixels = hash::sha256(&picture.pixels);
    read_text(file).is_ok_and(|text| text.iter().any(|(keyword, value)| keyword == PIXELS && *value == pixels))
}

/// The name of the folder: a hash of everything that decides how the pictures look.
fn key(
    of: &Experiment,
    prior: &DreamBooth,
    prompt: &str,
    model: &BTreeMap<String, String>,
    [height, width]: [usize; 2],
) -> String {
    let model: Vec<&str> = model.iter().flat_map(|(name, hash)| [name.as_str(), hash]).collect();
    // Rounded weights draw other pictures, and each way of using them others again.
    let rounding = match of.plan.train.dtype {
        Dtype::F32 => device::arithmetic(of.device).to_owned(),
        Dtype::Bf16 if of.device.is_cpu() => format!("bf16 {}", products_in_bf16()),
        short => format!("{short} {}", device::arithmetic(of.device)),
    };
    let settings = [
        VERSION.to_owned(),
        hash::key(&model),
        prompt.to_owned(),
        prior.class_sample.sampler.to_string(),
        prior.class_sample.steps.to_string(),
        prior.class_sample.guidance_scale.to_string(),
        prior.class_sample.seed.to_string(),
        prior.class_batch_size.to_string(),
        Resolution { width, height }.to_string(),
    ];
    // One chunk is as it was when there was no other.
    let chunks = Some(of.plan.text.chunks).filter(|chunks| *chunks > 1).map(|chunks| format!("{chunks} chunks"));
    hash::key(&settings.iter().chain([&rounding]).chain(&chunks).map(String::as_str).collect::<Vec<_>>())
}

/// Picture `index`; the names sort as the numbers do.
fn name(index: usize) -> PathBuf {
    format!("{index:06}.png").into()
}

/// Draws every batch that has one of the pictures `missing`, and writes these.
fn make(
    of: &Experiment,
    (prior, class_prompt): (&DreamBooth, &str),
    generator: &ImageGenerator,
    embeds: &PromptEmbeds,
    sets: &[Set],
) -> Result<()> {
    let missing: Vec<Vec<usize>> = sets.iter().map(Set::missing).collect();
    let all = missing.iter().map(Vec::len).sum();
    if all == 0 {
        of.progress.leave_out(CLASS_PICTURES);
        return Ok(());
    }
    let unknown = || Error::run("the class prompt was not prepared");
    let prompt = embeds.get(class_prompt).ok_or_else(unknown)?;
    let negative = embeds.get("").ok_or_else(unknown)?;
    let size = prior.class_batch_size;
    // By size, then by number.
    let batches: BTreeSet<(usize, usize)> = missing
        .iter()
        .enumerate()
        .flat_map(|(set, missing)| missing.iter().map(move |index| (set, index / size)))
        .collect();
    let unet_calls = generator.unet_calls(prior.class_sample.sampler, prior.class_sample.steps)?;
    let batch = if batches.len() == 1 { "batch" } else { "batches" };
    of.progress.line(format!("drawing {} in {} {batch}", counted(all, "class picture"), batches.len()));
    let bar = of.progress.bar(CLASS_PICTURES, (unet_calls * batches.len()) as u64);
    for (done, &(set, batch)) in batches.iter().enumerate() {
        let (Set { folder, size: [height, width], .. }, missing) = (&sets[set], &missing[set]);
        bar.set_message(format!("batch {} of {}", done + 1, batches.len()));
        let first = batch * size;
        let shot = |index: usize| ImageMetadata {
            prompt: class_prompt.to_owned(),
            params: SampleParams { width: *width, height: *height, ..prior.class_sample.nth(index) },
            // Its folder is shared by all experiments on this very model.
            stand_in: None,
        };
        let images =
            generator.generate_batch(&shot(first), size, prior.class_sample.sampler, prompt, negative, &bar)?;
        for (index, image) in (first..).zip(&images).filter(|(index, _)| missing.contains(index)) {
            let text = [("parameters", &*shot(index).parameters()), (PIXELS, &hash::sha256(&image.pixels))];
            write_png(&folder.join(name(index)), image, &text)?;
        }
    }
    bar.finish();
    Ok(())
}
