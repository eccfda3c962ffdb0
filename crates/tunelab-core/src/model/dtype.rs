//! The type of a network's frozen weights.
//!
//! In: its name in an experiment. Out: the case.

use std::fmt;

/// The type of the UNet's frozen weights. Where the processor has products in it, what goes into
/// those with them and into those of attention is rounded to it too, but for 3x3 convolutions where
/// there are no tile registers; on a CUDA card all activations are. Everything else is f32: what is
/// trained and its moments, norms' sums, the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// 32-bit floats.
    F32,
    /// bfloat16: half the memory, and faster where the processor has instructions for it.
    Bf16,
    /// Half-precision floats, with the loss scaled so that small gradients are not lost: on a CUDA
    /// card only.
    F16,
}

impl Dtype {
    /// Every case by its name.
    pub const NAMES: [(&'static str, Self); 3] = [("f32", Self::F32), ("bf16", Self::Bf16), ("f16", Self::F16)];

    /// The case of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, dtype)| *dtype)
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(_, dtype)| dtype == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}
