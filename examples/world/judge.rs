//! The judge: a small classifier that says what a picture of the world shows.
//!
//! In: pictures [B, 3, 64, 64] in [-1, 1]. Out: animal, coat, action, place and whether the tongue is out; and 96 features,
//! whose distance says how far two sets of pictures are apart. It is trained on drawn pictures only, each of them seen once, and
//! knows the subject's coat as an eleventh.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use tunelab::assets::{Loader, Weights, write_safetensors};
use tunelab::data::{Rgb, to_tensor};
use tunelab::error::Result;
use tunelab::model::build::{Build, Parameters, Trained};
use tunelab::model::layers::{Conv2d, GroupNorm, Linear};
use tunelab::ops::{self, Padding};
use tunelab::plan::LrScheduler;
use tunelab::train::lr::learning_rate;
use tunelab::train::optimizer::{Optimizer, Settings};

use crate::files::draw_one;
use crate::picture;
use crate::rng::Rng;
use crate::scene::{Action, Animal, Coat, Detail, Place, Scene};
use crate::subject;

/// Side of the pictures.
pub const SIDE: usize = 64;
/// Classes of each question: animal, coat (the last one is the subject's), action, place, tongue.
pub const CLASSES: [usize; 5] = [Animal::ALL.len(), Coat::ALL.len() + 1, Action::ALL.len(), Place::ALL.len(), 2];
/// What is asked.
pub const QUESTIONS: [&str; 5] = ["animal", "coat", "action", "place", "tongue"];
/// The subject's coat, as an answer.
pub const SUBJECTS_COAT: usize = Coat::ALL.len();

/// Input and output channels of the convolutions, and their strides.
const LAYERS: [(usize, usize, usize); 6] =
    [(3, 24, 2), (24, 48, 2), (48, 48, 1), (48, 96, 2), (96, 96, 1), (96, 96, 2)];
const GROUPS: usize = 8;
const FEATURES: usize = 96;
const BATCH: usize = 32;
/// One picture in so many shows the subject.
const SUBJECT_EVERY: usize = 16;
const RATE: f64 = 2e-3;
const WARMUP: usize = 50;
const SETTINGS: Settings = Settings { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weight_decay: 1e-2, max_grad_norm: 1.0 };

/// Answers to the five questions.
pub type Answers = [usize; 5];

/// A drawn picture with what it shows.
pub struct Example {
    /// The picture.
    pub picture: Rgb,
    /// What is right.
    pub answers: Answers,
}

impl Example {
    /// Picture `index` of the world of `seed`; now and then one of the subject.
    pub fn draw(seed: u64, index: u64) -> Self {
        if (index as usize).is_multiple_of(SUBJECT_EVERY) {
            let scene = subject::any(&mut Rng::new(!seed, index));
            let answers = answers(&scene, SUBJECTS_COAT);
            return Self { picture: rgb(subject::picture(&scene, SIDE)), answers };
        }
        let (scene, _) = draw_one(seed, index);
        let coat = position(Coat::ALL, &scene.coat);
        Self { picture: rgb(picture::picture(&scene, SIDE)), answers: answers(&scene, coat) }
    }
}

/// The pixels of a drawing.
pub fn rgb(pixels: Vec<u8>) -> Rgb {
    Rgb { width: SIDE, height: SIDE, pixels }
}

fn answers(scene: &Scene, coat: usize) -> Answers {
    let Scene { animal, action, place, .. } = scene;
    let tongue = usize::from(scene.has(Detail::Tongue));
    [position(Animal::ALL, animal), coat, position(Action::ALL, action), position(Place::ALL, place), tongue]
}

/// The number of a word among all of its kind.
pub fn position<T: PartialEq>(all: &[T], one: &T) -> usize {
    all.iter().position(|other| other == one).unwrap_or_default()
}

/// The network.
pub struct Judge {
    convs: Vec<(Conv2d, GroupNorm)>,
    features: Linear,
    answers: Linear,
}

impl Judge {
    /// Builds the network.
    fn new(build: Build) -> Result<(Self, Parameters)> {
        let conv = |(i, (inputs, outputs, stride)): (usize, (usize, usize, usize))| {
            let conv = Conv2d::new(&build.pp("convs").pp(i), inputs, outputs, 3, stride, Padding::same(1))?;
            Ok((conv, GroupNorm::new(&build.pp("norms").pp(i), GROUPS, outputs, 1e-5)?))
        };
        let convs = LAYERS.into_iter().enumerate().map(conv).collect::<Result<Vec<_>>>()?;
        let features = Linear::new(&build.pp("features"), 96 * 4 * 4, FEATURES)?;
        let answers = Linear::new(&build.pp("answers"), FEATURES, CLASSES.iter().sum())?;
        let parameters = build.finish()?;
        Ok((Self { convs, features, answers }, parameters))
    }

    /// Reads trained weights.
    pub fn open(file: &Path) -> Result<Self> {
        let loader = Loader::new(Weights::open(&[file.to_owned()])?, &Device::Cpu, DType::F32);
        Ok(Self::new(Build::from_files(loader, Trained::Nothing, 0))?.0)
    }

    /// Pictures [B, 3, 64, 64] → [B, 96].
    pub fn features(&self, pictures: &Tensor) -> Result<Tensor> {
        let mut x = pictures.clone();
        for (conv, norm) in &self.convs {
            x = norm.forward_silu(&conv.forward(&x)?)?;
        }
        Ok(ops::silu(&self.features.forward(&x.flatten_from(1)?.contiguous()?)?)?)
    }

    /// Features [B, 96] → scores, one tensor [B, classes] a question.
    fn scores(&self, features: &Tensor) -> Result<Vec<Tensor>> {
        let all = self.answers.forward(features)?;
        let mut first = 0;
        let part = |classes: &usize| {
            first += classes;
            Ok(all.narrow(1, first - classes, *classes)?)
        };
        CLASSES.iter().map(part).collect()
    }

    /// The answers to all questions about each picture.
    pub fn answers(&self, pictures: &[Rgb]) -> Result<Vec<Answers>> {
        let mut answers = Vec::with_capacity(pictures.len());
        for pictures in pictures.chunks(BATCH) {
            let scores = self.scores(&self.features(&batch(pictures)?)?)?;
            let best = scores.iter().map(|s| Ok(s.argmax(1)?.to_vec1::<u32>()?)).collect::<Result<Vec<_>>>()?;
            answers.extend((0..pictures.len()).map(|i| std::array::from_fn(|q| best[q][i] as usize)));
        }
        Ok(answers)
    }
}

/// Pictures as one tensor.
pub fn batch(pictures: &[Rgb]) -> Result<Tensor> {
    Ok(Tensor::stack(&pictures.iter().map(to_tensor).collect::<Result<Vec<_>>>()?, 0)?)
}

/// Trains on `steps` batches of 32 pictures, each picture once, and writes the weights as f16.
pub fn train(file: &Path, steps: usize, seed: u64) -> Result<()> {
    let (judge, parameters) = Judge::new(Build::untrained(Trained::All, seed, &Device::Cpu))?;
    let mut optimizer = Optimizer::new(parameters.trained(), SETTINGS)?;
    for step in 0..steps {
        let examples: Vec<Example> = (0..BATCH).map(|i| Example::draw(seed, (step * BATCH + i) as u64)).collect();
        let loss = loss(&judge, &examples)?;
        let rate = learning_rate(LrScheduler::Cosine, RATE, step, WARMUP, steps);
        optimizer.step(&optimizer.gradients(&loss, None)?, rate)?;
        if (step + 1) % 100 == 0 {
            eprintln!("step {} of {steps}: loss {:.4}", step + 1, loss.to_scalar::<f32>()?);
        }
    }
    let half = |(name, t): (&String, &Tensor)| Ok((name.clone(), t.detach().to_dtype(DType::F16)?));
    let weights = parameters.weights.iter().map(half).collect::<Result<BTreeMap<_, _>>>()?;
    write_safetensors(file, &weights, &BTreeMap::new())
}

/// The sum of the questions' cross-entropies.
fn loss(judge: &Judge, examples: &[Example]) -> Result<Tensor> {
    let pictures: Vec<Rgb> = examples.iter().map(|e| e.picture.clone()).collect();
    let scores = judge.scores(&judge.features(&batch(&pictures)?)?)?;
    let mut sum = Tensor::zeros((), DType::F32, &Device::Cpu)?;
    for (question, scores) in scores.iter().enumerate() {
        let right = examples.iter().flat_map(|e| {
            (0..CLASSES[question]).map(move |class| if class == e.answers[question] { 1f32 } else { 0.0 })
        });
        let right = Tensor::from_iter(right, &Device::Cpu)?.reshape(scores.shape())?;
        let log_sum = scores.exp()?.sum(1)?.log()?;
        sum = (sum + (log_sum - (scores * right)?.sum(1)?)?.mean_all()?)?;
    }
    Ok(sum)
}

/// The share of right answers to each question about `count` fresh drawn pictures.
pub fn test(file: &Path, count: usize, seed: u64) -> Result<[f64; 5]> {
    let judge = Judge::open(file)?;
    let mut right = [0usize; 5];
    for first in (0..count).step_by(BATCH) {
        let examples: Vec<Example> = (first..count.min(first + BATCH)).map(|i| Example::draw(seed, i as u64)).collect();
        let pictures: Vec<Rgb> = examples.iter().map(|e| e.picture.clone()).collect();
        for (given, example) in judge.answers(&pictures)?.iter().zip(&examples) {
            for question in 0..5 {
                right[question] += usize::from(given[question] == example.answers[question]);
            }
        }
    }
    Ok(right.map(|n| n as f64 / count as f64))
}
