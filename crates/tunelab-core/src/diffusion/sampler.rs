//! One denoising loop: which sampler, its timesteps, and one step at a time.
//!
//! In: a schedule, a number of steps, and at each call the UNet's answer. Out: the timestep and the scaled input of each
//! call, and the next latents. A new [`SamplerRun`] is made for each batch of pictures, as the multistep samplers remember
//! earlier answers.

use super::ddim::Ddim;
use super::dpmpp_2m::Dpmpp2m;
use super::euler::Euler;
use super::euler_a::EulerA;
use super::heun::Heun;
use super::pndm::Pndm;
use super::schedule::NoiseSchedule;
use super::unipc::UniPc;
use crate::error::{Error, Result};
use crate::random::Generator;
use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The samplers by the names that experiments use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Sampler {
    /// Pseudo numerical methods (Liu et al., 2022): Stable Diffusion 1.5's own, there without the Runge-Kutta start.
    #[serde(rename = "pndm")]
    Pndm,
    /// Denoising diffusion implicit models (Song et al., 2021) without added noise.
    #[serde(rename = "ddim")]
    Ddim,
    /// Euler's method with ancestral noise (Karras et al., 2022; k-diffusion).
    #[serde(rename = "euler_a")]
    EulerA,
    /// DPM-Solver++ of second order, multistep (Lu et al., 2022).
    #[serde(rename = "dpmpp_2m")]
    Dpmpp2m,
    /// Heun's method, two calls a step (Karras et al., 2022).
    #[serde(rename = "heun")]
    Heun,
    /// Euler's method (Karras et al., 2022).
    #[serde(rename = "euler")]
    Euler,
    /// `UniPC` of second order (Zhao et al., 2023).
    #[serde(rename = "unipc")]
    UniPc,
}

impl Sampler {
    /// Every sampler, in the order in which they are offered.
    pub const ALL: [Self; 7] =
        [Self::Pndm, Self::Ddim, Self::EulerA, Self::Dpmpp2m, Self::Heun, Self::Euler, Self::UniPc];

    /// The name used in experiments and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pndm => "pndm",
            Self::Ddim => "ddim",
            Self::EulerA => "euler_a",
            Self::Dpmpp2m => "dpmpp_2m",
            Self::Heun => "heun",
            Self::Euler => "euler",
            Self::UniPc => "unipc",
        }
    }

    /// The one that a model's own pipeline draws with, by its configuration's class; none of a class that is not built. Whether it is
    /// built with the options there, [`SamplerRun::new`] says.
    pub fn of_model(schedule: &NoiseSchedule) -> Option<Self> {
        Some(match schedule.class_name()? {
            "PNDMScheduler" => Self::Pndm,
            "DDIMScheduler" => Self::Ddim,
            "EulerAncestralDiscreteScheduler" => Self::EulerA,
            "DPMSolverMultistepScheduler" => Self::Dpmpp2m,
            "HeunDiscreteScheduler" => Self::Heun,
            "EulerDiscreteScheduler" => Self::Euler,
            "UniPCMultistepScheduler" => Self::UniPc,
            _ => return None,
        })
    }

    /// Whether diffusers spreads its noise levels as Karras et al. do, if that is asked for.
    pub fn has_karras(self) -> bool {
        match self {
            Self::Dpmpp2m | Self::Heun | Self::Euler | Self::UniPc => true,
            Self::Pndm | Self::Ddim | Self::EulerA => false,
        }
    }
}

impl fmt::Display for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Sampler {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|sampler| sampler.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            let error = Error::input(format!("unknown sampler \"{text}\"")).hint(format!("the samplers are {names}"));
            let karras = "Karras sigmas are eval.karras = true, and --karras of `tunelab sample`, with dpmpp_2m, heun, euler or unipc";
            if text.to_lowercase().contains("karras") { error.also(karras) } else { error }
        })
    }
}

/// The state of one denoising loop over one batch of pictures.
#[derive(Debug)]
pub struct SamplerRun {
    state: State,
}

#[derive(Debug)]
enum State {
    Pndm(Pndm),
    Ddim(Ddim),
    EulerA(EulerA),
    Dpmpp2m(Dpmpp2m),
    Heun(Heun),
    Euler(Euler),
    UniPc(UniPc),
}

impl SamplerRun {
    /// Prepares `steps` denoising steps.
    ///
    /// Errors: no steps, more than the schedule has timesteps or its spacing can hold, or an option of
    /// `scheduler_config.json` that this sampler has not.
    pub fn new(sampler: Sampler, schedule: &NoiseSchedule, steps: usize) -> Result<Self> {
        let state = match sampler {
            Sampler::Pndm => State::Pndm(Pndm::new(schedule, steps)?),
            Sampler::Ddim => State::Ddim(Ddim::new(schedule, steps)?),
            Sampler::EulerA => State::EulerA(EulerA::new(schedule, steps)?),
            Sampler::Dpmpp2m => State::Dpmpp2m(Dpmpp2m::new(schedule, steps)?),
            Sampler::Heun => State::Heun(Heun::new(schedule, steps)?),
            Sampler::Euler => State::Euler(Euler::new(schedule, steps)?),
            Sampler::UniPc => State::UniPc(UniPc::new(schedule, steps)?),
        };
        Ok(Self { state })
    }

    /// The same with the noise levels spread as Karras et al. do, where `karras` asks for it; that is diffusers'
    /// `from_config` with `use_karras_sigmas`.
    ///
    /// Errors: also a sampler that diffusers does not spread so.
    pub fn spread(sampler: Sampler, schedule: &NoiseSchedule, steps: usize, karras: bool) -> Result<Self> {
        if !karras {
            return Self::new(sampler, schedule, steps);
        }
        if !sampler.has_karras() {
            let those: Vec<&str> = Sampler::ALL.into_iter().filter(|s| s.has_karras()).map(Sampler::name).collect();
            let error = Error::input(format!("{sampler} has no Karras sigmas"));
            return Err(error.hint(format!("{} have them; or leave `karras` out", those.join(", "))));
        }
        Self::new(sampler, &schedule.with_karras_sigmas(), steps)
    }

    /// The UNet's timestep for each call. PNDM calls once more than it has steps, or nine times more with its Runge-Kutta start,
    /// Heun twice a step but for the last. The timesteps of Euler a, Heun and Euler may lie between two training timesteps.
    pub fn timesteps(&self) -> &[f64] {
        match &self.state {
            State::Pndm(run) => &run.timesteps,
            State::Ddim(run) => &run.timesteps,
            State::EulerA(run) => &run.timesteps,
            State::Dpmpp2m(run) => &run.timesteps,
            State::Heun(run) => &run.timesteps,
            State::Euler(run) => &run.timesteps,
            State::UniPc(run) => &run.timesteps,
        }
    }

    /// The factor for the initial noise.
    pub fn init_noise_sigma(&self) -> f64 {
        match &self.state {
            State::EulerA(run) => run.init_noise_sigma,
            State::Heun(run) => run.init_noise_sigma,
            State::Euler(run) => run.init_noise_sigma,
            State::Pndm(_) | State::Ddim(_) | State::Dpmpp2m(_) | State::UniPc(_) => 1.0,
        }
    }

    /// The latents as the UNet wants to see them at this call.
    pub fn scale_model_input(&self, x: &Tensor, call: usize) -> Result<Tensor> {
        match &self.state {
            State::EulerA(run) => run.scale_model_input(x, call),
            State::Heun(run) => run.scale_model_input(x, call),
            State::Euler(run) => run.scale_model_input(x, call),
            State::Pndm(_) | State::Ddim(_) | State::Dpmpp2m(_) | State::UniPc(_) => Ok(x.clone()),
        }
    }

    /// The next latents from the UNet's (guided) answer at this call and the latents [B, C, H, W] it started from.
    ///
    /// Calls come in order, from 0. `generators` holds one generator per picture; only Euler a draws from them.
    pub fn step(
        &mut self,
        model_output: &Tensor,
        call: usize,
        x: &Tensor,
        generators: &mut [Generator],
    ) -> Result<Tensor> {
        match &mut self.state {
            State::Pndm(run) => run.step(model_output, call, x),
            State::Ddim(run) => run.step(model_output, call, x),
            State::EulerA(run) => run.step(model_output, call, x, generators),
            State::Dpmpp2m(run) => run.step(model_output, call, x),
            State::Heun(run) => run.step(model_output, call, x),
            State::Euler(run) => run.step(model_output, call, x),
            State::UniPc(run) => run.step(model_output, call, x),
        }
    }
}
