//! The scale of the loss in f16, whose smallest gradients would be 0 without it; the rules are
//! those of torch's `GradScaler`.
//!
//! In: whether a step's gradients were finite. Out: the factor of the loss, by which the gradients
//! are divided again. A step whose gradients are not finite is skipped, and the scale halved; after
//! many good ones in a row it is doubled.

use crate::error::{Error, Result};
use candle_core::{Device, Tensor};

/// Where the scale begins.
const FIRST: f64 = 65_536.0;
/// Good steps in a row after which it is doubled.
const GROWTH_INTERVAL: usize = 2000;
/// With a scale below this, it is not the scale that is wrong.
const LEAST: f64 = 1.0 / 65_536.0;

/// The scale, and how many good steps have passed since it was last changed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scaler {
    scale: f64,
    good: usize,
}

impl Default for Scaler {
    fn default() -> Self {
        Self { scale: FIRST, good: 0 }
    }
}

impl Scaler {
    /// The factor of the loss.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// After a step with finite gradients.
    pub fn good(&mut self) {
        self.good += 1;
        if self.good == GROWTH_INTERVAL {
            *self = Self { scale: 2.0 * self.scale, good: 0 };
        }
    }

    /// After a step whose gradients were not finite. Errors when the scale is so small that it
    /// cannot be the reason.
    pub fn bad(&mut self) -> Result<()> {
        *self = Self { scale: self.scale / 2.0, good: 0 };
        if self.scale >= LEAST {
            return Ok(());
        }
        Err(Error::run("the gradients are not finite, however small the loss scale: the training has diverged")
            .hint("lower train.learning_rate, or train in bf16 or f32, and start over with --force"))
    }

    /// For a checkpoint.
    pub fn tensor(&self) -> Result<Tensor> {
        Ok(Tensor::new(&[self.scale as f32, self.good as f32], &Device::Cpu)?)
    }

    /// From a checkpoint.
    pub fn from_tensor(t: &Tensor) -> Result<Self> {
        match t.to_vec1::<f32>()?[..] {
            [scale, good] => Ok(Self { scale: f64::from(scale), good: good as usize }),
            _ => Err(Error::input("the checkpoint's loss scale is not one")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_follows_torchs_rules() {
        let mut scaler = Scaler::default();
        assert_eq!(scaler.scale().to_bits(), 65_536f64.to_bits());
        (0..1999).for_each(|_| scaler.good());
        assert_eq!(scaler.scale().to_bits(), 65_536f64.to_bits());
        scaler.good();
        assert_eq!(scaler.scale().to_bits(), 131_072f64.to_bits());
        (0..1999).for_each(|_| scaler.good());
        scaler.bad().unwrap();
        assert_eq!(scaler, Scaler { scale: 65_536.0, good: 0 }, "a bad step begins the count anew");
        scaler.good();
        assert_eq!(Scaler::from_tensor(&scaler.tensor().unwrap()).unwrap(), scaler);
        assert!((0..40).any(|_| scaler.bad().is_err()), "it does not shrink for ever");
    }
}
