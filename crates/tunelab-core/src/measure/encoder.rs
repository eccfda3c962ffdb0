//! The encoders that images are compared by, and the one way to ask them.
//!
//! In: a name and a folder: of a published encoder in the layout of its repository, of the judge as it is unpacked. Out: of
//! pictures what it sees ([`Seen`]), of a prompt what it reads ([`Prompt`]), and how well the two fit.

use std::path::Path;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::caption::Caption;
use super::clip::Clip;
use super::dino::Dino;
use super::files::WEIGHTS;
use super::judge::{Answers, Judge, SIDE};
use super::preprocess::{CLIP, DINO, JUDGE};
use crate::data::Rgb;
use crate::error::{Error, Result};
use crate::metrics::{EncoderName, cosine_to_each, unit};

/// An encoder with its weights.
pub enum Encoder {
    /// A classifier of the miniature's drawn world.
    Judge(Judge),
    /// A vision transformer trained on pictures alone.
    Dino(Dino),
    /// Two towers, for pictures and texts.
    Clip(Box<Clip>),
}

/// What an encoder sees in some pictures, in their order.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// The features of each, of length 1.
    pub features: Vec<Vec<f64>>,
    /// The judge's answers about each; of the other encoders none.
    pub answers: Vec<Answers>,
}

/// What an encoder reads in a prompt.
#[derive(Debug, Clone, PartialEq)]
pub enum Prompt {
    /// CLIP: features, of length 1.
    Features(Vec<f64>),
    /// The judge: what the picture is to show.
    Caption(Caption),
}

impl Encoder {
    /// Reads the encoder `name` from a folder; its tokenizer only where `prompts` will be asked for.
    pub fn open(name: EncoderName, dir: &Path, prompts: bool, device: &Device) -> Result<Self> {
        Ok(match name {
            EncoderName::Builtin => Self::Judge(Judge::open(&dir.join(WEIGHTS), device)?),
            EncoderName::DinoVits16 => Self::Dino(Dino::open(dir, device)?),
            EncoderName::ClipVitB32 | EncoderName::ClipVitL14 => {
                Self::Clip(Box::new(Clip::open(dir, name, prompts, device)?))
            }
        })
    }

    /// What is seen in some pictures, together in one batch.
    pub fn see(&self, images: &[Rgb], device: &Device) -> Result<Seen> {
        let (preprocessing, size) = match self {
            Self::Judge(_) => (JUDGE, SIDE),
            Self::Dino(dino) => (DINO, dino.size),
            Self::Clip(clip) => (CLIP, clip.size),
        };
        let pixel_values = images.par_iter().map(|image| preprocessing.pixel_values(image, size));
        let pixel_values = Tensor::stack(&pixel_values.collect::<Result<Vec<_>>>()?, 0)?.to_device(device)?;
        let (features, answers) = match self {
            Self::Judge(judge) => {
                let features = judge.features(&pixel_values)?;
                let answers = judge.answers(&features)?;
                (features, answers)
            }
            Self::Dino(dino) => (dino.image_features(&pixel_values)?, Vec::new()),
            Self::Clip(clip) => (clip.image_features(&pixel_values)?, Vec::new()),
        };
        let features: Vec<Vec<f32>> = features.to_vec2()?;
        if features.iter().flatten().all(|value| value.is_finite()) {
            return Ok(Seen { features: features.iter().map(|vector| unit(vector)).collect(), answers });
        }
        Err(Error::run("an encoder gave NaN or infinity").hint("its weights are damaged: fetch them again"))
    }

    /// What is read in a prompt, and what of it is to be told: that its end was not read, or that nothing was. `None` where
    /// nothing was, as by an encoder that reads none.
    pub fn read(&self, prompt: &str) -> Result<(Option<Prompt>, Option<String>)> {
        match self {
            Self::Judge(_) => {
                let caption = Caption::read(prompt).map(Prompt::Caption);
                let nothing = || format!("the prompt “{prompt}” says nothing that {} knows", EncoderName::Builtin);
                let told = caption.is_none().then(nothing);
                Ok((caption, told))
            }
            Self::Dino(_) => Ok((None, None)),
            Self::Clip(clip) => {
                let (features, cut) = clip.prompt_features(prompt)?;
                let told = |cut| format!("the prompt “{prompt}” is too long for the text encoder; not read: “{cut}”");
                Ok((Some(Prompt::Features(unit(&features))), cut.map(told)))
            }
        }
    }
}

impl Seen {
    /// What was seen in those at `places`.
    #[must_use]
    pub fn only(&self, places: &[usize]) -> Self {
        Self {
            features: places.iter().map(|place| self.features[*place].clone()).collect(),
            answers: places.iter().filter_map(|place| self.answers.get(*place).copied()).collect(),
        }
    }
}

impl Prompt {
    /// How well the picture at `index` fits: a cosine, or a share. `None` where another encoder saw it.
    pub fn fidelity(&self, seen: &Seen, index: usize) -> Option<f64> {
        match self {
            Self::Features(features) => cosine_to_each(seen.features.get(index)?, std::slice::from_ref(features)),
            Self::Caption(caption) => Some(caption.share_shown(seen.answers.get(index)?)),
        }
    }
}
