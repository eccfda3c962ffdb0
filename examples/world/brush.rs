//! A trained model as a whole, to draw many small pictures at once.
//!
//! In: a model folder, prompts. Out: a picture of each prompt. The pictures are drawn beside each other, each on its own
//! thread, because one of them is too small for several; what they look like does not depend on it.

use std::path::Path;

use candle_core::Device;
use rayon::prelude::*;
use tunelab::assets;
use tunelab::config::{Dtype, SampleParams, Source};
use tunelab::data::Rgb;
use tunelab::diffusion::{NoiseSchedule, Sampler};
use tunelab::error::Result;
use tunelab::interrupt::Interrupt;
use tunelab::model::build::Trainable;
use tunelab::model::clip::ClipText;
use tunelab::model::tokenizer::Tokenizer;
use tunelab::model::unet::Unet;
use tunelab::model::vae::Vae;
use tunelab::pipeline::load;
use tunelab::progress::Progress;
use tunelab::results::ImageMetadata;
use tunelab::sample::Painter;

use crate::judge::SIDE;

/// The networks of one model.
pub struct Brush {
    tokenizer: Tokenizer,
    clip: ClipText,
    unet: Unet,
    vae: Vae,
    schedule: NoiseSchedule,
}

/// How to draw.
#[derive(Debug, Clone, Copy)]
pub struct Strokes {
    /// Denoising steps.
    pub steps: usize,
    /// Classifier-free guidance.
    pub guidance: f64,
    /// The sampler.
    pub sampler: Sampler,
    /// The first picture's seed; each of the others has the next one.
    pub seed: u64,
}

/// The autoencoder of a model folder.
pub fn autoencoder(model: &Path) -> Result<Vae> {
    load::vae(&assets::find_model(&Source::Path(model.to_owned()), &Progress::hidden())?, &Device::Cpu)
}

impl Brush {
    /// Loads a model folder.
    pub fn open(model: &Path) -> Result<Self> {
        let files = assets::find_model(&Source::Path(model.to_owned()), &Progress::hidden())?;
        let (clip, _) = load::text_encoder(&files, &Device::Cpu, Trainable::None, 0)?;
        let (unet, _) = load::unet(&files, &Device::Cpu, Trainable::None, 0, Dtype::F32)?;
        let vae = load::vae(&files, &Device::Cpu)?;
        load::check_sizes(unet.config(), vae.config(), clip.config())?;
        let tokenizer = Tokenizer::from_dir(&files.tokenizer)?;
        Ok(Self { tokenizer, clip, unet, vae, schedule: load::schedule(&files)? })
    }

    /// A picture of each prompt, 64 x 64.
    pub fn draw(&self, prompts: &[&str], how: Strokes, progress: &Progress, interrupt: &Interrupt) -> Result<Vec<Rgb>> {
        let Self { unet, vae, schedule, .. } = self;
        let painter = || Painter::new(unet, vae, schedule, &Device::Cpu, interrupt);
        let states = |text: &str| self.clip.forward(&[self.tokenizer.encode(text)?.ids]);
        let negative = states("")?;
        let calls = painter().calls(how.sampler, how.steps)? * prompts.len();
        let bar = progress.bar("drawing", calls as u64);
        let one = |(index, prompt): (usize, &&str)| {
            let shot = ImageMetadata {
                prompt: (*prompt).to_owned(),
                params: SampleParams {
                    negative_prompt: String::new(),
                    steps: how.steps,
                    sampler: how.sampler,
                    guidance_scale: how.guidance,
                    seed: how.seed.wrapping_add(index as u64),
                    width: SIDE,
                    height: SIDE,
                },
                stand_in: None,
            };
            painter().paint(&shot, how.sampler, &states(prompt)?, &negative, &bar)
        };
        let pictures = prompts.par_iter().enumerate().map(one).collect();
        bar.finish();
        pictures
    }
}
