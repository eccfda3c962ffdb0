//! What cuDNN computes convolutions with: a step that is slow may have one that fell back.
//!
//! In: a shape and a direction. Out: a row of each. [`conv2d::chosen`](crate::conv2d::chosen) gives those of a device.

use serde::Serialize;
use std::fmt;

/// What cuDNN computes one convolution in one direction with.
#[derive(Debug, Clone, PartialEq, PartialOrd, Serialize)]
pub struct Chosen {
    /// `forward`, `gradient of the image` or `gradient of the weight`.
    pub what: &'static str,
    /// Dimensions of the image, padded where both sides are not alike: samples, channels, height,
    /// width.
    pub x: [usize; 4],
    /// Dimensions of the weight: channels of the result and of the image, height, width.
    pub weight: [usize; 4],
    /// Pixels from one window to the next.
    pub stride: usize,
    /// The type of the operands.
    pub dtype: &'static str,
    /// cuDNN's name of the algorithm.
    pub algorithm: String,
    /// cuDNN's name of the math type that it runs under.
    pub math: String,
    /// The memory that it has beside its operands, MiB.
    pub workspace_mib: f64,
    /// What spoke against those that cuDNN thinks are faster.
    pub passed_over: Vec<String>,
}

impl fmt::Display for Chosen {
    /// On one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, x, weight, stride, dtype, algorithm, math, workspace_mib, passed_over } = self;
        let [x, weight] = [x, weight].map(|dims| dims.map(|n| n.to_string()).join("x"));
        write!(f, "{what}, {x} by {weight}, stride {stride}, {dtype}: {algorithm} in {math}, {workspace_mib:.0} MiB")?;
        if passed_over.is_empty() { Ok(()) } else { write!(f, "; passed over: {}", passed_over.join("; ")) }
    }
}
