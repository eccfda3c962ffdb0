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

use super::encoder::Encoder;
use crate::data::{Rgb, load_image};
use crate::error::Result;
use crate::interrupt::Interrupt;
use crate::metrics::{EncoderName, Interval, cosine_to_each, diversity, interval, nearest, resampled, unit};
use crate::progress::Progress;

/// Pictures that are encoded together on a CPU. As many such batches are computed at once as there are threads: candle
/// computes what is not a product on one. Its size is fixed, so that no number depends on the threads.
const CPU_BATCH: usize = 4;
/// On a GPU, one batch after the other.
const GPU_BATCH: usize = 16;

/// By encoder the unit features of each picture.
type Features = Vec<Vec<Vec<f64>>>;

/// A generated image.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its file.
    pub path: PathBuf,
    /// As it is named in what is reported.
    pub name: String,
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
    /// Its cosine to its prompt.
    pub clip_t: Option<f64>,
    /// Its cosine to the photograph that it is nearest to.
    pub nearest: Option<f64>,
    /// That photograph's place among them.
    pub nearest_to: Option<usize>,
}

/// All that one encoder says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measured {
    /// By the metric's name: `dino` or `clip_i`, `clip_t`, `diversity`, `nearest`.
    pub metrics: BTreeMap<&'static str, Measurement>,
    /// In the order of the images.
    pub images: Vec<ImageMetrics>,
}

/// Measures `images` against `references` with each encoder; `times` resamplings give the intervals. Where no image has a
/// prompt, each is a group of its own.
pub fn measure(
    images: &[Image],
    references: &[PathBuf],
    encoders: &[(EncoderName, Encoder)],
    times: usize,
    device: &Device,
    interrupt: &Interrupt,
    progress: &Progress,
) -> Result<Vec<Measured>> {
    let bar = progress.bar("Measuring", (images.len() + references.len()) as u64);
    let batch = |paths: &[&Path]| -> Result<Features> {
        interrupt.check()?;
        let pictures = paths.par_iter().map(|path| picture(path)).collect::<Result<Vec<_>>>()?;
        let of = |(_, encoder): &(EncoderName, Encoder)| {
            let features = encoder.image_features(&pictures, device)?;
            Ok(features.iter().map(|vector| unit(vector)).collect())
        };
        let features = encoders.iter().map(of).collect::<Result<Features>>()?;
        bar.inc(paths.len() as u64);
        Ok(features)
    };
    let all = |paths: &[&Path]| -> Result<Features> {
        let batches: Vec<Features> = if device.is_cpu() {
            paths.par_chunks(CPU_BATCH).map(batch).collect::<Result<_>>()?
        } else {
            paths.chunks(GPU_BATCH).map(batch).collect::<Result<_>>()?
        };
        let mut features = vec![Vec::with_capacity(paths.len()); encoders.len()];
        for (all, more) in batches.into_iter().flat_map(|batch| batch.into_iter().enumerate()) {
            features[all].extend(more);
        }
        Ok(features)
    };
    let photographs = all(&references.iter().map(PathBuf::as_path).collect::<Vec<_>>())?;
    let generated = all(&images.iter().map(|image| image.path.as_path()).collect::<Vec<_>>())?;
    bar.finish();
    let of = |((name, encoder), (generated, photographs)): (&(EncoderName, Encoder), (&Vec<_>, &Vec<_>))| {
        let prompts = prompt_features(encoder, images, progress)?;
        Ok(summarize(*name, images, generated, photographs, &prompts, times))
    };
    encoders.iter().zip(generated.iter().zip(&photographs)).map(of).collect()
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
        let place = *places.entry(image.prompt.as_deref()).or_insert(next);
        if place == next {
            groups.push(Vec::new());
        }
        groups[place].push(index);
    }
    groups
}

/// One encoder's numbers from its features.
fn summarize(
    name: EncoderName,
    images: &[Image],
    generated: &[Vec<f64>],
    photographs: &[Vec<f64>],
    prompts: &BTreeMap<&str, Vec<f64>>,
    times: usize,
) -> Measured {
    let of = |(image, features): (&Image, &Vec<f64>)| {
        let nearest = nearest(features, photographs);
        let prompt = image.prompt.as_deref().and_then(|prompt| prompts.get(prompt));
        ImageMetrics {
            subject: cosine_to_each(features, photographs),
            clip_t: prompt.and_then(|prompt| cosine_to_each(features, std::slice::from_ref(prompt))),
            nearest: nearest.map(|(cosine, _)| cosine),
            nearest_to: nearest.map(|(_, index)| index),
        }
    };
    let per_image: Vec<ImageMetrics> = images.iter().zip(generated).map(of).collect();
    let by_prompt = by_prompt(images);
    // Of images without prompts nothing else could be drawn.
    let drawn = if by_prompt.len() > 1 { by_prompt.clone() } else { (0..images.len()).map(|i| vec![i]).collect() };
    let mean = |value: fn(&ImageMetrics) -> Option<f64>| {
        let values = |group: &Vec<usize>| group.iter().filter_map(|i| value(&per_image[*i])).collect::<Vec<f64>>();
        measurement(&drawn.iter().map(values).collect::<Vec<_>>(), times)
    };
    let diverse = |group: &Vec<usize>| {
        let features: Vec<Vec<f64>> = group.iter().map(|i| generated[*i].clone()).collect();
        diversity(&features).into_iter().collect()
    };
    let all = [
        (name.metric(), mean(|image| image.subject)),
        ("clip_t", mean(|image| image.clip_t)),
        ("diversity", measurement(&by_prompt.iter().map(diverse).collect::<Vec<_>>(), times)),
        ("nearest", nearest_image(&per_image).map(|(value, _)| Measurement { value, interval: None })),
    ];
    let metrics = all.into_iter().filter_map(|(metric, measured)| Some((metric, measured?))).collect();
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
pub(super) fn nearest_image(images: &[ImageMetrics]) -> Option<(f64, usize)> {
    let cosines = images.iter().enumerate().filter_map(|(index, image)| Some((image.nearest?, index)));
    cosines.reduce(|best, next| if next.0 > best.0 { next } else { best })
}

/// The unit features of each prompt once; empty of an encoder that reads none.
fn prompt_features<'i>(
    encoder: &Encoder,
    images: &'i [Image],
    progress: &Progress,
) -> Result<BTreeMap<&'i str, Vec<f64>>> {
    let mut features = BTreeMap::new();
    for prompt in images.iter().filter_map(|image| image.prompt.as_deref()) {
        if features.contains_key(prompt) {
            continue;
        }
        let Some((vector, cut)) = encoder.prompt_features(prompt)? else { break };
        if let Some(cut) = cut {
            progress.warn(format!("the prompt “{prompt}” is too long for the text encoder; not read: “{cut}”"));
        }
        features.insert(prompt, unit(&vector));
    }
    Ok(features)
}
