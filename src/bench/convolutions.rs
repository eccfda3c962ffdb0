//! What cuDNN computes the convolutions of a benchmark with: a step that is slow may have one that fell back.
//!
//! In: a row for each shape and direction. Out: the lines that a person reads.

use tunelab_ops::chosen::Chosen;

/// How many there are, and each that is not the fastest of cuDNN's list.
pub fn plain(all: &[Chosen]) -> Vec<String> {
    let over: Vec<&Chosen> = all.iter().filter(|of| !of.passed_over.is_empty()).collect();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_the_fastest_is_told_with_its_reason() {
        let of = |passed_over: &[&str]| Chosen {
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
