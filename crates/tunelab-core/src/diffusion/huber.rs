//! The scheduled pseudo-Huber losses: Khrapov et al., 2024 ("Improving diffusion models' data-corruption resistance using
//! scheduled pseudo-Huber loss").
//!
//! In: a timestep. Out: the threshold c above which differences count linearly, and the loss's factor. Formulas and their
//! names are those of diffusers' scripts for it and of sd-scripts.

use super::schedule::NoiseSchedule;

/// What a difference d of prediction and target counts, for a sample at a timestep.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LossFunction {
    /// d².
    L2,
    /// 2c (√(d² + c²) − c): near d² where d is small.
    Huber(HuberSchedule, f64),
    /// 2 (√(d² + c²) − c): near 2|d| where d is large.
    SmoothL1(HuberSchedule, f64),
}

/// How c follows the timestep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HuberSchedule {
    /// (1 − c) / (1 + σ)² + c: from nearly 1 without noise to c in pure noise.
    Snr,
    /// `c^(t / T)`: from 1 to nearly c.
    Exponential,
    /// c.
    Constant,
}

impl LossFunction {
    /// The factor of √(d² + c²) − c at a timestep, and c; nothing for d².
    pub fn pseudo_huber(self, schedule: &NoiseSchedule, timestep: usize) -> Option<(f64, f64)> {
        match self {
            Self::L2 => None,
            Self::Huber(kind, c) => {
                let c = kind.threshold(c, schedule, timestep);
                Some((2.0 * c, c))
            }
            Self::SmoothL1(kind, c) => Some((2.0, kind.threshold(c, schedule, timestep))),
        }
    }
}

impl HuberSchedule {
    /// c at a timestep below the schedule's `len()`.
    pub fn threshold(self, c: f64, schedule: &NoiseSchedule, timestep: usize) -> f64 {
        match self {
            Self::Snr => {
                let alpha = schedule.alpha(timestep);
                let sigma = ((1.0 - alpha) / alpha).sqrt();
                (1.0 - c) / (1.0 + sigma).powi(2) + c
            }
            Self::Exponential => c.powf(timestep as f64 / schedule.len() as f64),
            Self::Constant => c,
        }
    }
}
