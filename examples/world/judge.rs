//! The judge: a small classifier that says what a picture of the world shows.
//!
//! In: pictures [B, 3, 64, 64] in [-1, 1]. Out: animal, coat, action, place and whether the tongue is out; and 96 features,
//! whose distances say how far two sets of pictures are apart. `lesson` trains it, on drawn pictures only. It knows the
//! subject's coat as an eleventh.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use tunelab::data::{Rgb, to_tensor};
use tunelab::error::Result;
use tunelab::model::build::{Build, Parameters, Trainable};
use tunelab::model::layers::{Conv2d, GroupNorm, Linear};
use tunelab::weights::{Loader, Weights};
use tunelab_ops::{self as ops, Padding};

use crate::caption::HeldOut;
use crate::scene::{Action, Animal, Coat, Detail, Place, Scene};

/// Side of the pictures.
pub const SIDE: usize = 64;
/// What is asked.
pub const QUESTIONS: [&str; 5] = ["animal", "coat", "action", "place", "tongue"];
/// The subject's coat, as an answer.
pub const SUBJECTS_COAT: usize = Coat::ALL.len();
/// How many of the questions a held-out caption answers: all but the last.
pub const CAPTIONED: usize = 4;

/// Input and output channels of the convolutions, and their strides.
const LAYERS: [(usize, usize, usize); 6] =
    [(3, 24, 2), (24, 48, 2), (48, 48, 1), (48, 96, 2), (96, 96, 1), (96, 96, 2)];
const GROUPS: usize = 8;
const FEATURES: usize = 96;
/// Side of the last convolution's output.
const LAST: usize = 4;
/// Pictures judged at once.
const BATCH: usize = 32;

/// Answers to the five questions, as numbers of `names`.
pub type Answers = [usize; 5];

/// The answers to each question in words, in the order of their numbers.
pub fn names() -> [Vec<&'static str>; 5] {
    let coats = [Coat::WORDS, &["the subject's"]].concat();
    [Animal::WORDS.into(), coats, Action::WORDS.into(), Place::WORDS.into(), vec!["in", "out"]]
}

/// What is right about a scene whose animal has coat number `coat`.
pub fn answers(scene: &Scene, coat: usize) -> Answers {
    let Scene { animal, action, place, .. } = scene;
    let tongue = usize::from(scene.has(Detail::Tongue));
    [position(Animal::ALL, animal), coat, position(Action::ALL, action), position(Place::ALL, place), tongue]
}

/// What is right about a picture of this caption.
pub fn asked(caption: &HeldOut) -> [usize; CAPTIONED] {
    let HeldOut { animal, coat, action, place, .. } = caption;
    [
        position(Animal::ALL, animal),
        position(Coat::ALL, coat),
        position(Action::ALL, action),
        position(Place::ALL, place),
    ]
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
    pub fn new(build: Build) -> Result<(Self, Parameters)> {
        let conv = |(i, (inputs, outputs, stride)): (usize, (usize, usize, usize))| {
            let conv = Conv2d::new(&build.pp("convs").pp(i), inputs, outputs, 3, stride, Padding::same(1))?;
            Ok((conv, GroupNorm::new(&build.pp("norms").pp(i), GROUPS, outputs, 1e-5)?))
        };
        let convs = LAYERS.into_iter().enumerate().map(conv).collect::<Result<Vec<_>>>()?;
        let features = Linear::new(&build.pp("features"), LAYERS[5].1 * LAST * LAST, FEATURES)?;
        let answers = Linear::new(&build.pp("answers"), FEATURES, names().iter().map(Vec::len).sum())?;
        let parameters = build.finish()?;
        Ok((Self { convs, features, answers }, parameters))
    }

    /// Reads trained weights, to judge.
    pub fn open(file: &Path) -> Result<Self> {
        Ok(Self::load(file, Trainable::None)?.0)
    }

    /// Reads weights.
    pub fn load(file: &Path, trained: Trainable) -> Result<(Self, Parameters)> {
        let loader = Loader::new(Weights::open(&[file.to_owned()])?, &Device::Cpu, DType::F32);
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

    /// Features [B, 96] → scores, one tensor [B, classes] a question.
    pub fn scores(&self, features: &Tensor) -> Result<Vec<Tensor>> {
        let all = self.answers.forward(features)?;
        let mut first = 0;
        let part = |names: &Vec<&str>| {
            first += names.len();
            Ok(ops::composed(&[&all], |t| t[0].narrow(1, first - names.len(), names.len())?.contiguous())?)
        };
        names().iter().map(part).collect()
    }

    /// The answers to all questions about each picture, and its features.
    pub fn judge(&self, pictures: &[Rgb]) -> Result<(Vec<Answers>, Vec<Vec<f32>>)> {
        let (mut answers, mut all) = (Vec::with_capacity(pictures.len()), Vec::with_capacity(pictures.len()));
        for pictures in pictures.chunks(BATCH) {
            let features = self.features(&batch(pictures)?)?;
            let scores = self.scores(&features)?;
            let best = scores.iter().map(|s| Ok(s.argmax(1)?.to_vec1::<u32>()?)).collect::<Result<Vec<_>>>()?;
            answers.extend((0..pictures.len()).map(|i| std::array::from_fn(|q| best[q][i] as usize)));
            all.extend(features.to_vec2()?);
        }
        Ok((answers, all))
    }
}

/// Pictures as one tensor.
pub fn batch(pictures: &[Rgb]) -> Result<Tensor> {
    Ok(Tensor::stack(&pictures.iter().map(to_tensor).collect::<Result<Vec<_>>>()?, 0)?)
}
