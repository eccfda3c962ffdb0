//! The diffusion process as pure numbers: betas, noising, training targets and the samplers.
//!
//! In: a repository's `scheduler_config.json` and tensors. Out: noisy latents, targets, loss weights, and the loop
//! coefficients of the samplers. No model and no files: the caller runs the UNet between two calls.
//! Formulas follow diffusers' schedulers, whose results are the reference; the papers are named where they are used.

mod config;
mod ddim;
mod dpmpp_2m;
mod euler;
mod euler_a;
mod heun;
mod huber;
mod pndm;
mod sampler;
mod schedule;
mod sigmas;
mod timesteps;
mod unipc;
mod variance_exploding;
mod variance_preserving;
mod weighted_sum;

pub use config::zero_terminal_snr_json;
pub use huber::{HuberSchedule, LossFunction};
pub use sampler::{Sampler, SamplerRun};
pub use schedule::{NoiseSchedule, PredictionType};
