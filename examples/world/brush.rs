//! A trained model as a whole, to draw many small pictures at once.
//!
//! In: a model folder, prompts. Out: a picture of each prompt. The pictures are drawn beside each other, each on its own
//! thread, because one of them is too small for several; what they look like does not depend on it.

use std::path::Path;

use candle_core::Device;
use rayon::prelude::*;
use tunelab::assets;
use tunelab::config::{SampleParams, Source};
use tunelab::data::Rgb;
use tunelab::diffusion::Sampler;
use tunelab::error::Result;
use tunelab::interrupt::Interrupt;
use tunelab::measure::judge::SIDE;
use tunelab::model::vae::Vae;
use tunelab::pipeline::{ModelFiles, Pipeline, PipelineLoader, tokenize};
use tunelab::progress::Progress;
use tunelab::results::ImageMetadata;
use tunelab::sample::ImageGenerator;

/// One model.
pub struct Brush(Pipeline);

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
    PipelineLoader::of_files(&files(model)?, &Device::Cpu).vae()
}

fn files(model: &Path) -> Result<ModelFiles> {
    assets::find_model(&Source::Path(model.to_owned()), &Progress::hidden())
}

impl Brush {
    /// Loads a model folder.
    pub fn open(model: &Path) -> Result<Self> {
        Ok(Self(PipelineLoader::of_files(&files(model)?, &Device::Cpu).pipeline()?))
    }

    /// A picture of each prompt, 64 x 64.
    pub fn draw(&self, prompts: &[&str], how: Strokes, progress: &Progress, interrupt: &Interrupt) -> Result<Vec<Rgb>> {
        let Pipeline { unet, vae, schedule, tokenizers, text_encoders, .. } = &self.0;
        let generator = || ImageGenerator::new(unet, vae, schedule, &Device::Cpu, interrupt);
        let ids = tokenize(tokenizers, prompts.iter().copied().chain([""]), &mut |text| progress.warn(text))?;
        let negative = text_encoders.encode(&[&ids[""]])?;
        let unet_calls = generator().unet_calls(how.sampler, how.steps)? * prompts.len();
        let bar = progress.bar("drawing", unet_calls as u64);
        let one = |(index, prompt): (usize, &&str)| {
            let shot = ImageMetadata {
                prompt: (*prompt).to_owned(),
                params: SampleParams {
                    force_zeros_for_empty_prompt: true,
                    negative_prompt: String::new(),
                    steps: how.steps,
                    sampler: how.sampler,
                    karras: false,
                    guidance_scale: how.guidance,
                    seed: how.seed.wrapping_add(index as u64),
                    width: SIDE,
                    height: SIDE,
                },
                stand_in: None,
            };
            generator().generate(&shot, how.sampler, &text_encoders.encode(&[&ids[*prompt]])?, &negative, &bar)
        };
        let pictures = prompts.par_iter().enumerate().map(one).collect();
        bar.finish();
        pictures
    }
}
