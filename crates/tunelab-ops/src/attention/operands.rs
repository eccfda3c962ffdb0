//! What the bodies of attention are given for backward.
//!
//! In and out: slices.

/// What backward reads, all samples and heads.
#[derive(Clone, Copy)]
pub(super) struct Operands<'a> {
    pub(super) q: &'a [f32],
    pub(super) k: &'a [f32],
    pub(super) v: &'a [f32],
    pub(super) dy: &'a [f32],
    /// What forward made.
    pub(super) y: &'a [f32],
    /// Of each query the logarithm of its sum, if the body returned it.
    pub(super) lse: &'a [f32],
    /// Whether a gradient is wanted for q, and for k and v.
    pub(super) wanted: [bool; 2],
}
