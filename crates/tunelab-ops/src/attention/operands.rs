//! What the bodies of attention are given for backward, and what they return.
//!
//! In: slices. Out: a head's gradients.

/// What backward reads, all samples and heads.
#[derive(Clone, Copy)]
pub(super) struct Operands<'a> {
    pub(super) q: &'a [f32],
    pub(super) k: &'a [f32],
    pub(super) v: &'a [f32],
    pub(super) dy: &'a [f32],
    /// What forward made.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "bf16's body alone reads it"))]
    pub(super) y: &'a [f32],
    /// Of each query the logarithm of its sum, if the body returned it.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "bf16's body alone reads it"))]
    pub(super) lse: &'a [f32],
    /// Whether a gradient is wanted for q, and for k and v.
    pub(super) wanted: [bool; 2],
}

/// Gradients of one sample and head: of q [N, row], of k and v [M, row], of which the first d
/// columns count; empty where they are not wanted.
pub(super) struct HeadGradients {
    pub(super) of: [Vec<f32>; 3],
    pub(super) row: usize,
}
