//! What cuDNN computes the convolutions of a benchmark with: a step that is slow may have one that fell back.
//!
//! In: a device. Out: a row for each shape and direction, in JSON; and the lines that a person reads.

use candle_core::Device;
use serde::Serialize;
use std::fmt;

/// The algorithm of one convolution in one direction.
#[derive(Debug, Serialize)]
pub struct Convolution {
    /// `forward`, `gradient of the image` or `gradient of the weight`.
    pub what: &'static str,
    /// Dimensions of the image: samples, channels, height, width.
    pub x: [usize; 4],
    /// Dimensions of the weight: channels of the result and of the image, height, width.
    pub weight: [usize; 4],
    /// Pixels from one window to the next.
    pub stride: usize,
    /// The type of the operands.
    pub dtype: &'static str,
    /// cuDNN's name of the algorithm.
    pub algorithm: String,
    /// cuDNN's name of the math type.
    pub math: String,
    /// The memory that it has beside its operands, MiB.
    pub workspace_mib: f64,
    /// What spoke against those that cuDNN thinks are faster.
    pub passed_over: Vec<String>,
}

/// Those of all convolutions that were computed on a CUDA device; nothing on another one.
pub fn chosen(device: &Device) -> Vec<Convolution> {
    #[cfg(feature = "cuda")]
    return tunelab_ops::cuda::conv2d::chosen(device)
        .into_iter()
        .map(|of| Convolution {
            what: of.what,
            x: of.x,
            weight: of.weight,
            stride: of.stride,
            dtype: of.dtype,
            algorithm: of.algorithm,
            math: of.math,
            workspace_mib: of.workspace as f64 / f64::from(1 << 20),
            passed_over: of.passed_over,
        })
        .collect();
    #[cfg(not(feature = "cuda"))]
    {
        let _ = device;
        Vec::new()
    }
}

/// How many there are, and each that is not the fastest of cuDNN's list.
pub fn plain(all: &[Convolution]) -> Vec<String> {
    let over: Vec<&Convolution> = all.iter().filter(|of| !of.passed_over.is_empty()).collect();
    let mut lines = Vec::new();
    if !all.is_empty() {
        lines.push(format!(
            "  {} of {} convolutions with an algorithm that cuDNN thinks is not the fastest",
            over.len(),
            all.len()
        ));
    }
    lines.extend(over.iter().map(|of| format!("    {of}")));
    lines
}

impl fmt::Display for Convolution {
    /// On one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, x, weight, stride, dtype, algorithm, math, workspace_mib, passed_over } = self;
        let [x, weight] = [x, weight].map(|dims| dims.map(|n| n.to_string()).join("x"));
        write!(f, "{what}, {x} by {weight}, stride {stride}, {dtype}: {algorithm} in {math}, {workspace_mib:.0} MiB")?;
        if passed_over.is_empty() { Ok(()) } else { write!(f, "; passed over: {}", passed_over.join("; ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_the_fastest_is_told_with_its_reason() {
        let of = |passed_over: &[&str]| Convolution {
            what: "forward",
            x: [1, 320, 64, 64],
            weight: [640, 320, 3, 3],
            stride: 2,
            dtype: "bf16",
            algorithm: "FWD_ALGO_IMPLICIT_PRECOMP_GEMM".to_owned(),
            math: "TENSOR_OP_MATH".to_owned(),
            workspace_mib: 12.25,
            passed_over: passed_over.iter().map(|&why| why.to_owned()).collect(),
        };
        let lines = plain(&[
            of(&[]),
            of(&["FWD_ALGO_WINOGRAD in TENSOR_OP_MATH: wants 600 MiB", "FWD_ALGO_GEMM in FMA_MATH: NOT_SUPPORTED"]),
        ]);
        assert_eq!(
            lines,
            [
                "  1 of 2 convolutions with an algorithm that cuDNN thinks is not the fastest",
                "    forward, 1x320x64x64 by 640x320x3x3, stride 2, bf16: FWD_ALGO_IMPLICIT_PRECOMP_GEMM in TENSOR_OP_MATH, 12 MiB; \
                 passed over: FWD_ALGO_WINOGRAD in TENSOR_OP_MATH: wants 600 MiB; FWD_ALGO_GEMM in FMA_MATH: NOT_SUPPORTED"
            ]
        );
        assert!(plain(&[]).is_empty());
    }
}
