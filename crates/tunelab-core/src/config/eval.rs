//! How images are drawn, and how a run's result is looked at: `[eval]`.
//!
//! In: what the table says. Out: settings, whose keys are stated here.

use super::keys::{
    Affects, Inner, Named, NoKey, any_text, at_least, choice, count, flag, multiple, natural, settings, texts, whole,
};
use crate::diffusion::{NoiseSchedule, Sampler, SamplerRun};
use crate::error::Result;

settings! {
    /// How an image is drawn, but for its prompt.
    pub struct SampleParams {
        /// Denoising steps.
        steps: usize = 50 => whole(1..=1000);
        /// Scale of classifier-free guidance; 1 or less is off.
        guidance_scale: f64 = 7.5 => at_least(0.0).usual("7.5, for SDXL 5.0");
        /// The denoising method.
        sampler: Sampler = Sampler::Pndm => choice::<Sampler>().usual("\"pndm\", for SD 2 \"ddim\", for SDXL \"euler\"");
        /// Noise levels spread as Karras et al. do, where diffusers has that.
        karras: bool = false => flag();
        /// What guidance leads away from; may be empty.
        negative_prompt: String = String::new() => any_text();
        /// SDXL: an empty negative prompt is zeros, as diffusers has it for none, and no encoded text.
        force_zeros_for_empty_prompt: bool = true => flag();
        /// Width in pixels.
        width: usize = 512 => NoKey;
        /// Height in pixels.
        height: usize = 512 => NoKey;
        /// Seed of the first image; the others count up from it.
        seed: u64 = 42 => natural();
    }
}

settings! {
    /// How the result is looked at.
    pub struct Eval {
        /// What is drawn after training; an empty list draws nothing.
        prompts: Vec<String> = Vec::new() => texts().usual("the dataset's prompt").sampling();
        /// How it is drawn; width and height are those below.
        sample: SampleParams = SampleParams::default()
            => Inner::Part(&[("negative_prompt", "negative_prompt")], Affects::Sampling);
        /// Draw with the untrained model too.
        compare_base: bool = true => flag().sampling();
        /// Images of each prompt.
        images: usize = 1 => count(1).sampling();
        sample => Inner::Part(
            &[
                ("force_zeros_for_empty_prompt", "force_zeros_for_empty_prompt"),
                ("steps", "steps"),
                ("guidance_scale", "guidance_scale"),
                ("sampler", "sampler"),
                ("karras", "karras"),
                ("seed", "seed"),
            ],
            Affects::Sampling,
        );
        /// Width of the images in pixels.
        width: Option<usize> = None => multiple(8, 64..=2048).usual("the dataset's resolution").sampling();
        /// Height of the images in pixels.
        height: Option<usize> = None => multiple(8, 64..=2048).usual("the dataset's resolution").sampling();
        /// Optimizer steps between two evaluation losses; 0 is never.
        every: usize = 50 => count(0);
        /// Optimizer steps between two sets of images while training; 0 is never.
        images_every: usize = 0 => count(0);
        /// Keep the weights of these steps too.
        keep_weights: bool = true => flag().usual("true for LoRA, false for full fine-tuning").metadata();
    }
}

impl SampleParams {
    /// The loop that draws so over a model's schedule.
    ///
    /// Errors: a sampler or a number of steps that the schedule has not, Karras sigmas that the sampler has not.
    pub fn sampler_run(&self, schedule: &NoiseSchedule) -> Result<SamplerRun> {
        SamplerRun::spread(self.sampler, schedule, self.steps, self.karras)
    }

    /// Whether guidance leads away from zeros, where the model is Stable Diffusion XL.
    pub fn zeros_for_no_negative_prompt(&self) -> bool {
        self.force_zeros_for_empty_prompt && self.negative_prompt.is_empty()
    }

    /// Those of the image `index`, whose seed is so much further.
    #[must_use]
    pub fn nth(&self, index: usize) -> Self {
        Self { seed: self.seed.wrapping_add(index as u64), ..self.clone() }
    }
}

impl Named for Sampler {
    fn names() -> Vec<(&'static str, Self)> {
        Self::ALL.into_iter().map(|sampler| (sampler.name(), sampler)).collect()
    }
}
