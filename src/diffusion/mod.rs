//! (stand-in until the room is there)
use serde::{Deserialize, Serialize};

/// The denoising method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampler {
    /// PNDM.
    Pndm,
    /// DDIM.
    Ddim,
    /// Euler ancestral.
    EulerA,
    /// DPM-Solver++ 2M.
    #[serde(rename = "dpmpp_2m")]
    Dpmpp2m,
}

impl std::fmt::Display for Sampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Pndm => "pndm",
            Self::Ddim => "ddim",
            Self::EulerA => "euler_a",
            Self::Dpmpp2m => "dpmpp_2m",
        })
    }
}

impl std::str::FromStr for Sampler {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        [Self::Pndm, Self::Ddim, Self::EulerA, Self::Dpmpp2m]
            .into_iter()
            .find(|sampler| sampler.to_string() == s)
            .ok_or_else(|| format!("no sampler `{s}`"))
    }
}
