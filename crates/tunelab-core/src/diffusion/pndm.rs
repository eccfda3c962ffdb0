//! PNDM: Liu et al., 2022, formulas 9, 12 and 13, and algorithm 2.
//!
//! In: the UNet's answers. Out: the latents one step earlier. Reference: diffusers' `PNDMScheduler.from_config`. The linear
//! multistep form needs three earlier answers. The paper gets them from three Runge-Kutta steps of four calls each; with
//! `skip_prk_steps`, as Stable Diffusion 1.5 is configured, one repeated step stands in their place (PLMS).

use super::config::PredictionType;
use super::schedule::NoiseSchedule;
use super::timesteps;
use super::weighted_sum::weighted_sum;
use crate::error::{Error, Result};
use candle_core::Tensor;
use std::collections::VecDeque;

/// Steps of the Runge-Kutta start.
const FIRST_STEPS: usize = 3;
/// Calls of one of them.
const STAGES: usize = 4;

/// One PNDM loop.
#[derive(Debug)]
pub(super) struct Pndm {
    pub timesteps: Vec<f64>,
    prediction_type: PredictionType,
    /// How the first answers are had.
    start: Start,
    /// ᾱ at the start and the end of each call's step.
    alphas: Vec<(f64, f64)>,
    /// The last answers, newest first; those of a repeated step and of later Runge-Kutta stages are not kept.
    answers: VecDeque<Tensor>,
    /// The latents that the calls of a repeated or Runge-Kutta step all step from.
    latents: Option<Tensor>,
    /// The weighted answers of a Runge-Kutta step so far.
    sum: Option<Tensor>,
}

/// How the loop begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// The first step is done twice: once to look ahead, once more with the mean of both answers.
    Repeat,
    /// Three steps of fourth order.
    RungeKutta,
}

impl Pndm {
    pub fn new(schedule: &NoiseSchedule, steps: usize) -> Result<Self> {
        let config = &schedule.config;
        if config.rescale_betas_zero_snr {
            return Err(config.unsupported("rescale_betas_zero_snr", "true, with pndm").hint("use another sampler"));
        }
        let start = if config.skip_prk_steps.unwrap_or(false) { Start::Repeat } else { Start::RungeKutta };
        let steps_down = timesteps::whole(schedule, steps)?;
        let (timesteps, alphas) = match start {
            Start::Repeat => repeated(schedule, steps_down),
            Start::RungeKutta if steps <= FIRST_STEPS => return Err(too_few(schedule, steps)),
            Start::RungeKutta => runge_kutta(schedule, &steps_down),
        };
        let prediction_type = schedule.prediction_type();
        Ok(Self { timesteps, prediction_type, start, alphas, answers: VecDeque::new(), latents: None, sum: None })
    }

    pub fn step(&mut self, model_output: &Tensor, call: usize, x: &Tensor) -> Result<Tensor> {
        match self.start {
            Start::RungeKutta if call < FIRST_STEPS * STAGES => self.stage(model_output, call, x),
            Start::Repeat if call == 1 => {
                // Call 0 was a look ahead: step from its latents again, with the mean of both answers (Heun's method).
                let mean = match self.answers.front() {
                    Some(first) => weighted_sum([(0.5, model_output), (0.5, first)])?,
                    None => model_output.clone(),
                };
                let start = self.latents.take();
                self.transfer(&mean, call, start.as_ref().unwrap_or(x))
            }
            Start::Repeat | Start::RungeKutta => {
                self.answers.truncate(3);
                self.answers.push_front(model_output.clone());
                if call == 0 {
                    self.latents = Some(x.clone());
                }
                let slope = self.multistep()?;
                self.transfer(&slope, call, x)
            }
        }
    }

    /// Formula 13: two stages to the middle of the step, two to its end, all from the latents where it begins; the last one
    /// along the mean of the four answers, weighted 1, 2, 2, 1.
    fn stage(&mut self, model_output: &Tensor, call: usize, x: &Tensor) -> Result<Tensor> {
        let stage = call % STAGES;
        if stage == 0 {
            self.latents = Some(x.clone());
            self.answers.push_front(model_output.clone());
        }
        let weight = if stage == 0 || stage == STAGES - 1 { 1.0 / 6.0 } else { 1.0 / 3.0 };
        let sum = match self.sum.take() {
            Some(sum) => weighted_sum([(1.0, &sum), (weight, model_output)])?,
            None => weighted_sum([(weight, model_output)])?,
        };
        let start = self.latents.clone().unwrap_or_else(|| x.clone());
        if stage == STAGES - 1 {
            return self.transfer(&sum, call, &start);
        }
        self.sum = Some(sum);
        self.transfer(model_output, call, &start)
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

/// The calls' timesteps, and ᾱ at both ends of their steps.
type Calls = (Vec<f64>, Vec<(f64, f64)>);

/// The second timestep is visited twice: once to look ahead, once more to go on from. The repeated call ends at its timestep and
/// starts one stride above it.
fn repeated(schedule: &NoiseSchedule, mut timesteps: Vec<f64>) -> Calls {
    let stride = schedule.len() / timesteps.len();
    let mut alphas: Vec<(f64, f64)> = timesteps.iter().map(|t| one_stride(schedule, stride, *t)).collect();
    if timesteps.len() > 1 {
        let t = timesteps[1];
        timesteps.insert(1, t);
        let above = (t as usize + stride).min(schedule.len() - 1);
        alphas.insert(1, (schedule.alpha(above), schedule.alpha(t as usize)));
    }
    (timesteps, alphas)
}

/// Each of the first three steps is called at its beginning, twice in its middle and at its end. The middle lies half a stride
/// above the end, and the first stage goes down half a stride.
fn runge_kutta(schedule: &NoiseSchedule, timesteps: &[f64]) -> Calls {
    let stride = schedule.len() / timesteps.len();
    let half = stride / 2;
    let mut calls = (Vec::new(), Vec::new());
    for pair in timesteps[..=FIRST_STEPS].windows(2) {
        let (begin, end) = (pair[0] as usize, pair[1] as usize);
        let middle = end + half;
        for (at, to) in [(begin, begin.saturating_sub(half)), (middle, middle), (middle, end), (end, end)] {
            calls.0.push(at as f64);
            calls.1.push((schedule.alpha(begin), schedule.alpha(to)));
        }
    }
    for t in &timesteps[FIRST_STEPS..] {
        calls.0.push(*t);
        calls.1.push(one_stride(schedule, stride, *t));
    }
    calls
}

/// ᾱ at a timestep and one stride below it.
fn one_stride(schedule: &NoiseSchedule, stride: usize, timestep: f64) -> (f64, f64) {
    let timestep = timestep as usize;
    let final_alpha = if schedule.config.set_alpha_to_one.unwrap_or(false) { 1.0 } else { schedule.alpha(0) };
    let end = timestep.checked_sub(stride).map_or(final_alpha, |earlier| schedule.alpha(earlier));
    (schedule.alpha(timestep), end)
}

fn too_few(schedule: &NoiseSchedule, steps: usize) -> Error {
    let file = schedule.config.file.display();
    let least = FIRST_STEPS + 1;
    Error::input(format!("{steps} sampling steps: pndm with its Runge-Kutta start needs at least {least}")).hint(format!(
        "use more steps or another sampler; `\"skip_prk_steps\": true` in {file}, as Stable Diffusion 1.5 has it, leaves that \
         start out"
    ))
}
