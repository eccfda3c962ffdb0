//! From prompt and seed to image, and the `tunelab sample` command.
//!
//! The same steps as diffusers' `StableDiffusionPipeline` (Rombach et al. 2022, classifier-free
//! guidance by Ho & Salimans 2022): the initial noise of seed s is `torch.randn` of a CPU generator
//! seeded with s, the batch is [negative; prompt].

mod command;
mod trained;

pub use command::command;
pub use trained::{check_base, load, trained_model};

use crate::data::{self, Rgb, shortened};
use crate::device::with_tf32;
use crate::diffusion::{NoiseSchedule, Sampler, SamplerRun};
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::model::conditioning::{tensors_of, with_tensors};
use crate::model::unet::Unet;
use crate::model::vae::Vae;
use crate::pipeline::Conditioning;
use crate::progress::Bar;
use crate::random::Generator;
use crate::results::ImageMetadata;
use candle_core::{DType, Device, Tensor};
use std::cell::RefCell;
use std::time::Instant;
use tunelab_ops::replay::Replay;

/// The networks that draw, without gradients.
pub struct ImageGenerator<'a> {
    unet: &'a Unet,
    vae: &'a Vae,
    schedule: &'a NoiseSchedule,
    device: &'a Device,
    interrupt: &'a Interrupt,
    /// What is kept of the UNet's calls on a GPU.
    replay: RefCell<Replay>,
    /// Seconds of each denoising step.
    seconds: RefCell<Vec<f64>>,
}

impl<'a> ImageGenerator<'a> {
    /// Of a noise predictor, a VAE and the model's noise schedule, computing on `device`;
    /// `interrupt` is looked at before every denoising step.
    pub fn new(
        unet: &'a Unet,
        vae: &'a Vae,
        schedule: &'a NoiseSchedule,
        device: &'a Device,
        interrupt: &'a Interrupt,
    ) -> Self {
        Self {
            unet,
            vae,
            schedule,
            device,
            interrupt,
            replay: RefCell::new(Replay::new(device)),
            seconds: RefCell::default(),
        }
    }

    /// How a GPU was given the UNet's calls, where there is a choice: as graphs, or why not.
    pub fn replayed(&self) -> Option<std::result::Result<(), String>> {
        self.replay.borrow().state().map(|state| state.map_err(str::to_owned))
    }

    /// The seconds that each denoising step took so far: one call of the UNet, without the VAE.
    pub fn seconds(&self) -> Vec<f64> {
        self.seconds.borrow().clone()
    }

    /// Calls of the UNet for one image: what a bar counts.
    pub fn unet_calls(&self, sampler: Sampler, steps: usize) -> Result<usize> {
        Ok(SamplerRun::new(sampler, self.schedule, steps)?.timesteps().len())
    }

    /// Draws one image. `prompt` and `negative` are of one sample; `bar` advances by 1 a call of
    /// the UNet.
    pub fn generate(
        &self,
        shot: &ImageMetadata,
        sampler: Sampler,
        prompt: &Conditioning,
        negative: &Conditioning,
        bar: &Bar,
    ) -> Result<Rgb> {
        let image = self.generate_batch(shot, 1, sampler, prompt, negative, bar)?.pop();
        image.ok_or_else(|| Error::run("the VAE gave no picture"))
    }

    /// As [`Self::generate`], `images` of them at once: `shot` is the first one's, the seeds count
    /// up from it.
    pub fn generate_batch(
        &self,
        shot: &ImageMetadata,
        images: usize,
        sampler: Sampler,
        prompt: &Conditioning,
        negative: &Conditioning,
        bar: &Bar,
    ) -> Result<Vec<Rgb>> {
        let latents = (self.latents(shot, images, sampler, prompt, negative, bar)? / self.vae.config().scaling_factor)?;
        self.replay.borrow_mut().rest();
        let mut decoded_images = Vec::with_capacity(images);
        for image in 0..images {
            // One at a time: the decoder needs far more memory an image than the UNet does.
            let latents = latents.narrow(0, image, 1)?;
            // A card that computes the UNet in a short type need not decode more exactly than that.
            let decoded = with_tf32(self.unet.activations().is_some(), || self.vae.decode(&latents))?;
            if !is_finite(&decoded)? {
                return Err(not_a_number(shot, "the VAE, after the last step, gave a picture"));
            }
            decoded_images.extend(data::from_tensor(&decoded)?);
        }
        Ok(decoded_images)
    }

    /// The denoised latents [images, C, H/8, W/8], still times `scaling_factor`. Each image's noise
    /// is that of its seed alone.
    pub fn latents(
        &self,
        shot: &ImageMetadata,
        images: usize,
        sampler: Sampler,
        prompt: &Conditioning,
        negative: &Conditioning,
        bar: &Bar,
    ) -> Result<Tensor> {
        let mut run = SamplerRun::spread(sampler, self.schedule, shot.params.steps, shot.params.karras)?;
        let downscale = self.vae.config().downscale();
        let shape =
            [images, self.unet.config().in_channels, shot.params.height / downscale, shot.params.width / downscale];
        let seeds = (0..images).map(|image| shot.params.seed.wrapping_add(image as u64));
        let mut generators: Vec<Generator> = seeds.map(Generator::manual_seed).collect();
        let values: Vec<f32> = generators.iter_mut().flat_map(|g| g.randn(shape[1..].iter().product())).collect();
        let noise = Tensor::from_vec(values, &shape, self.device)?;
        let mut x = (noise * run.init_noise_sigma())?;
        let prompts = prompt.repeat(images)?;
        let conditioning = if is_guided(shot.params.guidance_scale) {
            let zeros = self.unet.config().text_time.is_some() && shot.params.zeros_for_no_negative_prompt();
            let negative = if zeros { negative.zeros_like()? } else { negative.clone() };
            Conditioning::cat(&[&negative.repeat(images)?, &prompts])?
        } else {
            prompts
        };
        let conditioning = self.with_time_ids(conditioning, shot)?;
        let timesteps = run.timesteps().to_vec();
        for (call, &t) in timesteps.iter().enumerate() {
            self.interrupt.check()?;
            let begun = Instant::now();
            let input = run.scale_model_input(&x, call)?;
            let mut replay = self.replay.borrow_mut();
            let output =
                guided(&mut replay, self.unet, &input, &vec![t; images], &conditioning, shot.params.guidance_scale)?;
            x = run.step(&output, call, &x, &mut generators)?;
            if !is_finite(&x)? {
                let of = timesteps.len();
                return Err(not_a_number(shot, &format!("step {} of {of} (timestep {t}) gave latents", call + 1)));
            }
            // The values were read: a GPU is done with them.
            self.seconds.borrow_mut().push(begun.elapsed().as_secs_f64());
            bar.inc(1);
        }
        Ok(x)
    }
}

impl ImageGenerator<'_> {
    /// Of a model that is conditioned on sizes: a picture that was never another size, and is not cropped.
    fn with_time_ids(&self, conditioning: Conditioning, shot: &ImageMetadata) -> Result<Conditioning> {
        let (height, width) = (shot.params.height, shot.params.width);
        let samples = conditioning.hidden_states.dim(0)?;
        let ids = vec![[height, width, 0, 0, height, width]; samples];
        Ok(Conditioning { time_ids: self.unet.time_ids_embedding(&ids, self.device)?, ..conditioning })
    }
}

/// Whether every value is a number.
fn is_finite(t: &Tensor) -> Result<bool> {
    Ok(t.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?.iter().all(|v| v.is_finite()))
}

/// The error where a picture would come out black, or grey, whatever was asked for.
fn not_a_number(shot: &ImageMetadata, what: &str) -> Error {
    let (prompt, seed) = (shortened(&shot.prompt), shot.params.seed);
    let picture = format!("the picture of “{prompt}” (seed {seed}) cannot be drawn");
    Error::run(format!("{picture}: {what} with NaN or infinity in it")).hint(
        "a LoRA that is far too strong does this (its alpha, or --lora-scale), weights that a training drove out of all bounds, a \
         guidance_scale far too high, and dtype = \"f16\" where f32 or bf16 has room",
    )
}

/// As in diffusers, guidance of 1 or less runs the prompt alone.
fn is_guided(guidance_scale: f64) -> bool {
    guidance_scale > 1.0
}

/// What one call of the UNet is computed from.
#[derive(Clone)]
struct UnetInput {
    latents: Tensor,
    timestep_embedding: Tensor,
    conditioning: Conditioning,
}

impl UnetInput {
    /// Every tensor, in the one order that there is.
    fn slots(&mut self) -> Vec<&mut Tensor> {
        let Self { latents, timestep_embedding, conditioning } = self;
        [latents, timestep_embedding].into_iter().chain(conditioning.slots()).collect()
    }
}

/// The UNet's prediction for `latents` [B, C, H, W], with classifier-free guidance if
/// `guidance_scale` is above 1: then `conditioning` is of 2 B samples, the negative prompts and the
/// prompts, otherwise of B.
pub(crate) fn guided(
    replay: &mut Replay,
    unet: &Unet,
    latents: &Tensor,
    timesteps: &[f64],
    conditioning: &Conditioning,
    guidance_scale: f64,
) -> Result<Tensor> {
    let guided = is_guided(guidance_scale);
    let timesteps = if guided { timesteps.repeat(2) } else { timesteps.to_vec() };
    let timestep_embedding = unet.timestep_embedding(&timesteps, latents.device())?;
    let input = UnetInput { latents: latents.clone(), timestep_embedding, conditioning: conditioning.clone() };
    let tensors = tensors_of(&input, UnetInput::slots);
    let made = replay.run(&format!("{guidance_scale:?}"), &tensors, |tensors| {
        let UnetInput { latents, timestep_embedding, conditioning } = with_tensors(&input, UnetInput::slots, tensors)?;
        let output = if guided {
            let twice = Tensor::cat(&[&latents, &latents], 0)?;
            let both = unet.predict(&twice, &timestep_embedding, &conditioning)?.chunk(2, 0)?;
            (&both[0] + ((&both[1] - &both[0])? * guidance_scale)?)?
        } else {
            unet.predict(&latents, &timestep_embedding, &conditioning)?
        };
        Ok::<_, Error>(vec![output])
    })?;
    let output = made.into_iter().next().ok_or_else(|| Error::run("the UNet gave no prediction"))?;
    // The samplers remember predictions, and the next one would overwrite this.
    Ok(if replay.reuses() { output.copy()? } else { output })
}
