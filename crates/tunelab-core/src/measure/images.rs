//! Images and photographs in, all numbers out.
//!
//! In: image files with their prompts, photographs of the subject, opened encoders. Out: a [`Measured`], for every metric the
//! mean over all images with the interval over prompts, and for each image its own values. Pictures are decoded once for all
//! encoders and never held together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::Device;
use rayon::prelude::*;
use serde::Serialize;

use super::encoder::{Encoder, Prompt, Seen};
use crate::data::{Rgb, load_image};
use crate::error::Result;
use crate::interrupt::Interrupt;
use crate::metrics::{
    DIVERSITY, EncoderName, Interval, NEAREST, bounds, cosine_to_each, diversity, interval, nearest, resampled,
    resampled_diversity,
};
use crate::progress::{Bar, Progress};

/// Pictures that are encoded together on a CPU. As many such batches are computed at once as there are threads: candle
/// computes what is not a product on one. Its size is fixed, so that no number depends on the threads.
const CPU_BATCH: usize = 4;
/// On a GPU, one batch after the other.
const GPU_BATCH: usize = 16;

/// A generated image.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its file.
    pub path: PathBuf,
    /// As it is named in what is reported.
    pub name: String,
    /// The prompt that it was drawn with: images of one prompt are compared with each other.
    pub group: Option<String>,
    /// What it is compared with: its prompt, without an identifier.
    pub prompt: Option<String>,
}

/// One number.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measurement {
    /// The mean over all images; of `nearest` the largest.
    pub value: f64,
    /// Where it lies in 95 % of resamplings; none of fewer than two groups, and none of `nearest`.
    pub interval: Option<Interval>,
}

/// What is measured of one image.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ImageMetrics {
    /// Its mean cosine to the photographs.
    pub subject: Option<f64>,
    /// How well it fits its prompt: by CLIP a cosine, by the judge a share.
    pub prompt: Option<f64>,
    /// Its cosine to the photograph that it is nearest to.
    pub nearest: Option<f64>,
    /// That photograph's place among them.
    pub nearest_to: Option<usize>,
}

/// All that one encoder says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measured {
    /// By the metric's name: [`EncoderName::metric`], [`EncoderName::prompt_metric`], `diversity`, `nearest`.
    pub metrics: BTreeMap<&'static str, Measurement>,
    /// In the order of the images.
    pub images: Vec<ImageMetrics>,
}

/// Features of the photographs that images are compared with.
#[derive(Debug, Clone, Copy)]
pub struct Photographs<'a> {
    /// Of the subject: what subject fidelity is the mean cosine to.
    pub subject: &'a [Vec<f64>],
    /// That were trained on: which of them is nearest?
    pub training: &'a [Vec<f64>],
}

/// What each encoder sees in some files, in their order; `bar` counts the files.
pub fn see(
    files: &[&Path],
    encoders: &[(EncoderName, Encoder)],
    device: &Device,
    interrupt: &Interrupt,
    bar: &Bar,
) -> Result<Vec<Seen>> {
    let batch = |files: &[&Path]| -> Result<Vec<Seen>> {
        interrupt.check()?;
        let pictures = files.par_iter().map(|path| picture(path)).collect::<Result<Vec<_>>>()?;
        let seen = encoders.iter().map(|(_, encoder)| encoder.see(&pictures, device)).collect::<Result<_>>()?;
        bar.inc(files.len() as u64);
        Ok(seen)
    };
    let batches: Vec<Vec<Seen>> = if device.is_cpu() {
        files.par_chunks(CPU_BATCH).map(batch).collect::<Result<_>>()?
    } else {
        files.chunks(GPU_BATCH).map(batch).collect::<Result<_>>()?
    };
    let mut all = vec![Seen::default(); encoders.len()];
    for (encoder, more) in batches.into_iter().flat_map(|batch| batch.into_iter().enumerate()) {
        all[encoder].features.extend(more.features);
        all[encoder].answers.extend(more.answers);
    }
    Ok(all)
}

fn picture(path: &Path) -> Result<Rgb> {
    load_image(path).map_err(|e| e.hint("replace the file, or move it out of the folder"))
}

/// The places of the images of each prompt, in the order in which the prompts first come; those without one are one group.
fn by_prompt(images: &[Image]) -> Vec<Vec<usize>> {
    let mut places: BTreeMap<Option<&str>, usize> = BTreeMap::new();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (index, image) in images.iter().enumerate() {
        let next = groups.len();
        let place = *places.entry(image.group.as_deref()).or_insert(next);
        if place == next {
            groups.push(Vec::new());
        }
        groups[place].push(index);
    }
    groups
}

/// One encoder's numbers of `images`, of which it saw `generated`; `times` resamplings give the intervals. Where no image has a
/// prompt, each is a group of its own.
pub fn summarize(
    name: EncoderName,
    images: &[Image],
    generated: &Seen,
    photographs: &Photographs,
    prompts: &BTreeMap<String, Option<Prompt>>,
    times: usize,
) -> Measured {
    let of = |(index, image): (usize, &Image)| {
        let features = &generated.features[index];
        let nearest = nearest(features, photographs.training);
        let prompt = image.prompt.as_deref().and_then(|prompt| prompts.get(prompt)?.as_ref());
        ImageMetrics {
            subject: cosine_to_each(features, photographs.subject),
            prompt: prompt.and_then(|prompt| prompt.fidelity(generated, index)),
            nearest: nearest.map(|(cosine, _)| cosine),
            nearest_to: nearest.map(|(_, index)| index),
        }
    };
    let per_image: Vec<ImageMetrics> = images.iter().enumerate().map(of).collect();
    let by_prompt = by_prompt(images);
    // Of images without prompts nothing else could be drawn.
    let drawn = if by_prompt.len() > 1 { by_prompt.clone() } else { (0..images.len()).map(|i| vec![i]).collect() };
    let mean = |value: fn(&ImageMetrics) -> Option<f64>| {
        let values = |group: &Vec<usize>| group.iter().filter_map(|i| value(&per_image[*i])).collect::<Vec<f64>>();
        measurement(&drawn.iter().map(values).collect::<Vec<_>>(), times)
    };
    let diverse = |group: &Vec<usize>| diversity(&generated.only(group).features).into_iter().collect();
    let mut diversity_measured = measurement(&by_prompt.iter().map(diverse).collect::<Vec<_>>(), times);
    if let ([only], Some(measured)) = (&by_prompt[..], &mut diversity_measured) {
        let draws = resampled(only.len(), times);
        measured.interval = bounds(resampled_diversity(&generated.only(only).features, &draws));
    }
    let all = [
        (Some(name.metric()), mean(|image| image.subject)),
        (name.prompt_metric(), mean(|image| image.prompt)),
        (Some(DIVERSITY), diversity_measured),
        (Some(NEAREST), nearest_image(&per_image).map(|(value, _)| Measurement { value, interval: None })),
    ];
    let metrics = all.into_iter().filter_map(|(metric, measured)| Some((metric?, measured?))).collect();
    Measured { metrics, images: per_image }
}

/// The mean of all values with its interval over the groups that have any.
fn measurement(groups: &[Vec<f64>], times: usize) -> Option<Measurement> {
    let groups: Vec<Vec<f64>> = groups.iter().filter(|group| !group.is_empty()).cloned().collect();
    let count: usize = groups.iter().map(Vec::len).sum();
    let sum: f64 = groups.iter().flatten().sum();
    (count > 0).then(|| Measurement {
        value: sum / count as f64,
        interval: interval(&groups, &resampled(groups.len(), times)),
    })
}

/// The largest cosine to a photograph, and which image has it; of several the first.
pub fn nearest_image(images: &[ImageMetrics]) -> Option<(f64, usize)> {
    let cosines = images.iter().enumerate().filter_map(|(index, image)| Some((image.nearest?, index)));
    cosines.reduce(|best, next| if next.0 > best.0 { next } else { best })
}

/// What an encoder reads in each prompt, each read once.
pub fn read_prompts<'i>(
    encoder: &Encoder,
    images: impl Iterator<Item = &'i Image>,
    progress: &Progress,
) -> Result<BTreeMap<String, Option<Prompt>>> {
    let mut prompts = BTreeMap::new();
    for text in images.filter_map(|image| image.prompt.as_ref()) {
        if prompts.contains_key(text) {
            continue;
        }
        let (prompt, told) = encoder.read(text)?;
        if let Some(told) = told {
            progress.warn(told);
        }
        prompts.insert(text.clone(), prompt);
    }
    Ok(prompts)
}
