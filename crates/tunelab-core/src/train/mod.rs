//! Training: examples (cached latents and text), the objective, the optimizer, the trainer, checkpoints, the
//! evaluation loss.
//!
//! In: a plan's `train` table, a UNet with trained tensors, pictures with captions. Out: one
//! [`LossRow`](crate::results::LossRow) after the other, until the plan's length is reached; the trained tensors change
//! in place.

pub mod checkpoint;
pub mod ema;
pub mod evaluation;
pub mod examples;
pub mod items;
mod latents;
pub mod lr;
mod masked;
pub mod objective;
pub mod optimizer;
pub mod pass;
mod planned;
pub mod scaler;
pub mod texts;
pub mod trainer;
