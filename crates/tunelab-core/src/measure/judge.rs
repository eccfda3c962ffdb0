//! The judge: a small classifier that says what a picture of the miniature's drawn world shows.
//!
//! In: pictures [B, 3, 64, 64] in [-1, 1]. Out: animal, coat, action, place and whether the tongue is out, and 96 features.
//! Its weights are compiled in ([`crate::builtin::Builtin::Judge`]); `examples/world` draws the world and trains it. It knows
//! these words and nothing else: of a photograph its answers mean nothing.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use tunelab_ops::{self as ops, Padding};

use crate::error::Result;
use crate::model::build::{Build, Parameters, Trainable};
use crate::model::layers::{Conv2d, GroupNorm, Linear};
use crate::weights::{Loader, Weights};

/// Side of the pictures.
pub const SIDE: usize = 64;
/// What is asked.
pub const QUESTIONS: [&str; 5] = ["animal", "coat", "action", "place", "tongue"];
/// The animals.
pub const ANIMALS: [&str; 8] = ["dog", "cat", "rabbit", "fox", "bear", "pig", "duck", "elephant"];
/// The coats. Only the subject of the experiments, the corgi, has the last one: no animal of the world does.
pub const COATS: [&str; 11] = [
    "brown",
    "black",
    "white",
    "grey",
    "orange",
    "cream",
    "pink",
    "blue",
    "black and white",
    "brown and white",
    "orange and white",
];
/// What the animal does.
pub const ACTIONS: [&str; 6] = ["sitting", "standing", "running", "eating", "swimming", "sleeping"];
/// Where it is.
pub const PLACES: [&str; 7] = ["grass", "beach", "snow", "water", "room", "night", "forest"];
/// Where its tongue is.
pub const TONGUES: [&str; 2] = ["in", "out"];
/// The answers to each question, in the order of their numbers.
pub const ANSWERS: [&[&str]; 5] = [&ANIMALS, &COATS, &ACTIONS, &PLACES, &TONGUES];
/// The subject's coat, as an answer.
pub const SUBJECTS_COAT: usize = COATS.len() - 1;

/// Input and output channels of the convolutions, and their strides.
const LAYERS: [(usize, usize, usize); 6] =
    [(3, 24, 2), (24, 48, 2), (48, 48, 1), (48, 96, 2), (96, 96, 1), (96, 96, 2)];
const GROUPS: usize = 8;
const FEATURES: usize = 96;
/// Side of the last convolution's output.
const LAST: usize = 4;

/// An answer to each of [`QUESTIONS`], as its number in [`ANSWERS`].
pub type Answers = [usize; 5];

/// The network.
pub struct Judge {
    convs: Vec<(Conv2d, GroupNorm)>,
    features: Linear,
    answers: Linear,
}

impl Judge {
    /// Builds the network.
    pub fn new(build: Build) -> Result<(Self, Parameters)> {
        let conv = |(i, (inputs, outputs, stride)): (usize, (usize, usize, usize))| {
            let conv = Conv2d::new(&build.pp("convs").pp(i), inputs, outputs, 3, stride, Padding::same(1))?;
            Ok((conv, GroupNorm::new(&build.pp("norms").pp(i), GROUPS, outputs, 1e-5)?))
        };
        let convs = LAYERS.into_iter().enumerate().map(conv).collect::<Result<Vec<_>>>()?;
        let features = Linear::new(&build.pp("features"), LAYERS[5].1 * LAST * LAST, FEATURES)?;
        let answers = Linear::new(&build.pp("answers"), FEATURES, ANSWERS.iter().map(|answers| answers.len()).sum())?;
        let parameters = build.finish()?;
        Ok((Self { convs, features, answers }, parameters))
    }

    /// Reads trained weights, to judge.
    pub fn open(file: &Path, device: &Device) -> Result<Self> {
        Ok(Self::load(file, Trainable::None, device)?.0)
    }

    /// Reads weights.
    pub fn load(file: &Path, trained: Trainable, device: &Device) -> Result<(Self, Parameters)> {
        let loader = Loader::new(Weights::open(&[file.to_owned()])?, device, DType::F32);
        Self::new(Build::from_files(loader, trained, 0))
    }

    /// Pictures [B, 3, 64, 64] → [B, 96].
    pub fn features(&self, pictures: &Tensor) -> Result<Tensor> {
        let mut x = pictures.clone();
        for (conv, norm) in &self.convs {
            x = norm.forward_silu(&conv.forward(&x)?)?;
        }
        let x = ops::composed(&[&x], |t| t[0].flatten_from(1))?;
        Ok(ops::silu(&self.features.forward(&x)?)?)
    }

    /// Features [B, 96] → scores, one tensor [B, answers] a question.
    pub fn scores(&self, features: &Tensor) -> Result<Vec<Tensor>> {
        let all = self.answers.forward(features)?;
        let mut first = 0;
        let part = |answers: &&[&str]| {
            first += answers.len();
            Ok(ops::composed(&[&all], |t| t[0].narrow(1, first - answers.len(), answers.len())?.contiguous())?)
        };
        ANSWERS.iter().map(part).collect()
    }

    /// The answer to each question about each picture, from its features.
    pub fn answers(&self, features: &Tensor) -> Result<Vec<Answers>> {
        let best = |scores: &Tensor| Ok(scores.argmax(1)?.to_vec1::<u32>()?);
        let best = self.scores(features)?.iter().map(best).collect::<Result<Vec<_>>>()?;
        Ok((0..features.dim(0)?).map(|i| std::array::from_fn(|question| best[question][i] as usize)).collect())
    }
}
