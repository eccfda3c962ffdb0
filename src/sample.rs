//! From prompt and seed to picture, and the `tunelab sample` command.
//!
//! The same steps as diffusers' `StableDiffusionPipeline` (Rombach et al. 2022, classifier-free guidance by Ho & Salimans
//! 2022): the initial noise of seed s is `torch.randn` of a CPU generator seeded with s, the batch is [negative; prompt].

mod command;
mod trained;

pub(crate) use command::Networks;
pub use command::command;
pub use trained::{check_base, trained_model};

use crate::data::{self, Rgb};
use crate::diffusion::{NoiseSchedule, Sampler, SamplerRun};
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::model::unet::Unet;
use crate::model::vae::Vae;
use crate::progress::Bar;
use crate::random::Generator;
use crate::results::Shot;
use candle_core::{Device, Tensor};

/// The networks that draw, without gradients.
pub struct Painter<'a> {
    /// The noise predictor.
    pub unet: &'a Unet,
    /// Latents to pictures.
    pub vae: &'a Vae,
    /// The model's noise schedule.
    pub schedule: &'a NoiseSchedule,
    /// Where to compute.
    pub device: &'a Device,
    /// Looked at before every denoising step.
    pub interrupt: &'a Interrupt,
}

impl Painter<'_> {
    /// Calls of the UNet for one picture: what a bar counts.
    pub fn calls(&self, sampler: Sampler, steps: usize) -> Result<usize> {
        Ok(SamplerRun::new(sampler, self.schedule, steps)?.timesteps().len())
    }

    /// Draws one picture. `prompt` and `negative` are hidden states [1, tokens, width]; `bar` advances by 1 a call.
    pub fn paint(&self, shot: &Shot, sampler: Sampler, prompt: &Tensor, negative: &Tensor, bar: &Bar) -> Result<Rgb> {
        let picture = self.paint_batch(shot, 1, sampler, prompt, negative, bar)?.pop();
        picture.ok_or_else(|| Error::run("the VAE gave no picture"))
    }

    /// As [`Self::paint`], `images` pictures at once: `shot` is the first one's, the seeds count up from it.
    pub fn paint_batch(
        &self,
        shot: &Shot,
        images: usize,
        sampler: Sampler,
        prompt: &Tensor,
        negative: &Tensor,
        bar: &Bar,
    ) -> Result<Vec<Rgb>> {
        let latents = (self.latents(shot, images, sampler, prompt, negative, bar)? / self.vae.config().scaling_factor)?;
        let mut pictures = Vec::with_capacity(images);
        for image in 0..images {
            // One at a time: the decoder needs far more memory a picture than the UNet does.
            pictures.extend(data::from_tensor(&self.vae.decode(&latents.narrow(0, image, 1)?)?)?);
        }
        Ok(pictures)
    }

    /// The denoised latents [images, C, H/8, W/8], still times `scaling_factor`. Each picture's noise is that of its seed alone.
    pub fn latents(
        &self,
        shot: &Shot,
        images: usize,
        sampler: Sampler,
        prompt: &Tensor,
        negative: &Tensor,
        bar: &Bar,
    ) -> Result<Tensor> {
        let mut run = SamplerRun::new(sampler, self.schedule, shot.steps)?;
        let downscale = self.vae.config().downscale();
        let shape = [images, self.unet.config().in_channels, shot.height / downscale, shot.width / downscale];
        let seeds = (0..images).map(|image| shot.seed.wrapping_add(image as u64));
        let mut generators: Vec<Generator> = seeds.map(Generator::manual_seed).collect();
        let values: Vec<f32> = generators.iter_mut().flat_map(|g| g.randn(shape[1..].iter().product())).collect();
        let noise = Tensor::from_vec(values, &shape, self.device)?;
        let mut x = (noise * run.init_noise_sigma())?;
        // As in diffusers, guidance of 1 or less runs the prompt alone.
        let guided = shot.guidance_scale > 1.0;
        let each = |states: &Tensor| states.repeat((images, 1, 1));
        let text = if guided { Tensor::cat(&[each(negative)?, each(prompt)?], 0)? } else { each(prompt)? };
        let timesteps = run.timesteps().to_vec();
        for (call, &t) in timesteps.iter().enumerate() {
            self.interrupt.check()?;
            let input = run.scale_model_input(&x, call)?;
            let output = if guided {
                let both =
                    self.unet.forward(&Tensor::cat(&[&input, &input], 0)?, &vec![t; 2 * images], &text)?.chunk(2, 0)?;
                (&both[0] + ((&both[1] - &both[0])? * shot.guidance_scale)?)?
            } else {
                self.unet.forward(&input, &vec![t; images], &text)?
            };
            x = run.step(&output, call, &x, &mut generators)?;
            bar.inc(1);
        }
        Ok(x)
    }
}
