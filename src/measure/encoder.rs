//! The encoders that images are compared by, and the one way to ask them.
//!
//! In: a name and a folder in the layout of its repository. Out: one vector a picture, and from CLIP one a prompt.

use std::path::Path;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::clip::Clip;
use super::dino::Dino;
use super::preprocess::{CLIP, DINO};
use crate::data::Rgb;
use crate::error::{Error, Result};
use crate::metrics::EncoderName;

/// An encoder with its weights.
pub enum Encoder {
    /// A vision transformer trained on pictures alone.
    Dino(Dino),
    /// Two towers, for pictures and texts.
    Clip(Box<Clip>),
}

impl Encoder {
    /// Reads the encoder `name` from a folder; its tokenizer only where `prompts` will be asked for.
    pub fn open(name: EncoderName, dir: &Path, prompts: bool, device: &Device) -> Result<Self> {
        Ok(match name {
            EncoderName::DinoVits16 => Self::Dino(Dino::open(dir, device)?),
            _ => Self::Clip(Box::new(Clip::open(dir, name, prompts, device)?)),
        })
    }

    /// The features of some pictures, together in one batch.
    pub fn image_features(&self, images: &[Rgb], device: &Device) -> Result<Vec<Vec<f32>>> {
        let (preprocessing, size) = match self {
            Self::Dino(dino) => (DINO, dino.size),
            Self::Clip(clip) => (CLIP, clip.size),
        };
        let pixel_values = images.par_iter().map(|image| preprocessing.pixel_values(image, size));
        let pixel_values = Tensor::stack(&pixel_values.collect::<Result<Vec<_>>>()?, 0)?.to_device(device)?;
        let features = match self {
            Self::Dino(dino) => dino.image_features(&pixel_values)?,
            Self::Clip(clip) => clip.image_features(&pixel_values)?,
        };
        let features: Vec<Vec<f32>> = features.to_vec2()?;
        if features.iter().flatten().all(|value| value.is_finite()) {
            return Ok(features);
        }
        Err(Error::run("an encoder gave NaN or infinity").hint("its weights are damaged: fetch them again"))
    }

    /// The features of a prompt, and what of it was too long to be read; `None` of an encoder that reads none.
    pub fn prompt_features(&self, prompt: &str) -> Result<Option<(Vec<f32>, Option<String>)>> {
        match self {
            Self::Dino(_) => Ok(None),
            Self::Clip(clip) => clip.prompt_features(prompt).map(Some),
        }
    }
}
