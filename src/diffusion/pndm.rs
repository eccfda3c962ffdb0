//! PNDM in its linear multistep form (PLMS): Liu et al., 2022, formulas 9 and 12, as Stable Diffusion 1.5 is configured.
//!
//! In: the UNet's answers. Out: the latents one step earlier. Reference: diffusers' `PNDMScheduler` with `skip_prk_steps`:
//! the Runge-Kutta start is replaced by one repeated step, so there is one call more than there are steps.

use super::config::PredictionType;
use super::sampler::weighted_sum;
use super::schedule::NoiseSchedule;
use super::timesteps;
use crate::error::Result;
use candle_core::Tensor;
use std::collections::VecDeque;

/// One PNDM loop.
#[derive(Debug)]
pub(super) struct Pndm {
    pub timesteps: Vec<f64>,
    prediction_type: PredictionType,
    /// ᾱ at the start and the end of each call's step.
    alphas: Vec<(f64, f64)>,
    /// The last answers, newest first; the repeated step's is not kept.
    answers: VecDeque<Tensor>,
    /// The latents of call 0, from which call 1 steps again.
    first_latents: Option<Tensor>,
}

impl Pndm {
    pub fn new(schedule: &NoiseSchedule, steps: usize) -> Result<Self> {
        let config = &schedule.config;
        if config.skip_prk_steps == Some(false) {
            return Err(config.unsupported("skip_prk_steps", "false").hint("set it to true, or use another sampler"));
        }
        if config.rescale_betas_zero_snr {
            return Err(config.unsupported("rescale_betas_zero_snr", "true, with pndm").hint("use another sampler"));
        }
        let mut timesteps = timesteps::whole(schedule, steps)?;
        if steps > 1 {
            // The second timestep is visited twice: once to look ahead, once more to go on from.
            timesteps.insert(1, timesteps[1]);
        }
        let alphas = (0..timesteps.len()).map(|call| step_alphas(schedule, steps, call, timesteps[call] as usize));
        Ok(Self {
            alphas: alphas.collect(),
            prediction_type: schedule.prediction_type(),
            timesteps,
            answers: VecDeque::new(),
            first_latents: None,
        })
    }

    pub fn step(&mut self, model_output: &Tensor, call: usize, x: &Tensor) -> Result<Tensor> {
        if call == 1 {
            // Call 0 was a look ahead: step from its latents again, with the mean of both answers (Heun's method).
            let mean = match self.answers.front() {
                Some(first) => weighted_sum([(0.5, model_output), (0.5, first)])?,
                None => model_output.clone(),
            };
            let start = self.first_latents.take();
            return self.transfer(&mean, call, start.as_ref().unwrap_or(x));
        }
        self.answers.truncate(3);
        self.answers.push_front(model_output.clone());
        if call == 0 {
            self.first_latents = Some(x.clone());
        }
        let slope = self.multistep()?;
        self.transfer(&slope, call, x)
    }

    /// Adams-Bashforth over the answers so far: formula 12, and its shorter forms while there are fewer than four.
    fn multistep(&self) -> Result<Tensor> {
        let e = &self.answers;
        match e.len() {
            0 | 1 => weighted_sum([(1.0, &e[0])]),
            2 => weighted_sum([(3.0 / 2.0, &e[0]), (-1.0 / 2.0, &e[1])]),
            3 => weighted_sum([(23.0 / 12.0, &e[0]), (-16.0 / 12.0, &e[1]), (5.0 / 12.0, &e[2])]),
            _ => {
                weighted_sum([(55.0 / 24.0, &e[0]), (-59.0 / 24.0, &e[1]), (37.0 / 24.0, &e[2]), (-9.0 / 24.0, &e[3])])
            }
        }
    }

    /// Formula 9: moves the latents along the slope.
    fn transfer(&self, slope: &Tensor, call: usize, x: &Tensor) -> Result<Tensor> {
        let (alpha, alpha_next) = self.alphas[call];
        let (beta, beta_next) = (1.0 - alpha, 1.0 - alpha_next);
        let noise = match self.prediction_type {
            PredictionType::Epsilon => slope.clone(),
            PredictionType::VPrediction => weighted_sum([(alpha.sqrt(), slope), (beta.sqrt(), x)])?,
        };
        let denominator = alpha * beta_next.sqrt() + (alpha * beta * alpha_next).sqrt();
        weighted_sum([((alpha_next / alpha).sqrt(), x), (-(alpha_next - alpha) / denominator, &noise)])
    }
}

/// ᾱ at the start and the end of a call's step. The end lies one stride below the call's timestep; the repeated call ends
/// at its timestep and starts one stride above it.
fn step_alphas(schedule: &NoiseSchedule, steps: usize, call: usize, timestep: usize) -> (f64, f64) {
    let stride = schedule.len() / steps;
    if call == 1 {
        return (schedule.alpha((timestep + stride).min(schedule.len() - 1)), schedule.alpha(timestep));
    }
    let final_alpha = if schedule.config.set_alpha_to_one.unwrap_or(false) { 1.0 } else { schedule.alpha(0) };
    let end = timestep.checked_sub(stride).map_or(final_alpha, |earlier| schedule.alpha(earlier));
    (schedule.alpha(timestep), end)
}
