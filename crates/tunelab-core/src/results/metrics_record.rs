//! What a run's images were measured to be, as `run.json` holds it.
//!
//! In: the means of each set of images by each encoder. Out: [`MetricsRecord`], from which table, curve and page are made.
//! The values of each image are in `metrics.csv`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::sample_set::SampleSet;
use crate::metrics::Interval;

/// All numbers of a run's images. Raw cosines, and `prompt` a share.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MetricsRecord {
    /// Where each encoder came from, by its name.
    pub encoders: BTreeMap<String, EncoderRecord>,
    /// What was left out of the prompts before images were compared with them.
    pub identifier: Option<String>,
    /// The prompt whose images `pres` compares with the subject.
    pub class_prompt: Option<String>,
    /// Photographs of the subject that images were compared with.
    pub references: usize,
    /// How often prompts were drawn anew for the intervals.
    pub bootstrap: usize,
    /// Each set of images, from the base model to the end.
    pub sets: Vec<SetMetrics>,
    /// The step that `metrics.best_by` asks for.
    pub best: Option<BestStep>,
}

/// An encoder's origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncoderRecord {
    /// A repository with its revision, a folder's name, or `builtin`.
    pub source: String,
    /// The SHA-256 of its weights.
    pub sha256: String,
}

/// One set of images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SetMetrics {
    /// The folder under `samples/`.
    pub set: String,
    /// Optimizer steps before these images; 0 is the base model.
    pub step: usize,
    /// Every metric by every encoder: over all prompts, then of each.
    pub metrics: Vec<MetricRecord>,
    /// By encoder, the image that is nearest to a training image.
    pub nearest: BTreeMap<String, NearestRecord>,
}

/// A mean.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricRecord {
    /// Who measured it.
    pub encoder: String,
    /// `dino`, `clip_i`, `clip_t`, `subject`, `prompt`, `pres`, `diversity` or `nearest`.
    pub metric: String,
    /// Over the images of this prompt only; nothing: over all that `[eval]` asks for.
    pub prompt: Option<String>,
    /// The mean over images; of `nearest` the largest.
    pub value: f64,
    /// Where it lies in 95 % of resampled prompts.
    pub interval: Option<Interval>,
}

/// An image beside the training image that it is nearest to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NearestRecord {
    /// The image, by its path in the run's folder.
    pub image: String,
    /// The training image, by its name in the data set.
    pub training_image: String,
    /// Their cosine.
    pub cosine: f64,
}

/// The best step by one metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BestStep {
    /// The metric.
    pub by: String,
    /// Who measured it.
    pub encoder: String,
    /// Optimizer steps; the run's last step is the run's own result.
    pub step: usize,
    /// The metric's value there.
    pub value: f64,
}

impl MetricsRecord {
    /// A metric of one set, over all prompts or of one.
    pub fn get(&self, set: SampleSet, encoder: &str, metric: &str, prompt: Option<&str>) -> Option<&MetricRecord> {
        self.sets.iter().find(|of| of.set == set.folder())?.get(encoder, metric, prompt)
    }
}

impl SetMetrics {
    /// A metric, over all prompts or of one.
    pub fn get(&self, encoder: &str, metric: &str, prompt: Option<&str>) -> Option<&MetricRecord> {
        let is_it = |m: &&MetricRecord| m.encoder == encoder && m.metric == metric && m.prompt.as_deref() == prompt;
        self.metrics.iter().find(is_it)
    }
}
