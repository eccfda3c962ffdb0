//! What attention multiplies in: f32, or pairs of bf16 with sums in f32.
//!
//! In: a block's operands in cache lines, on the left rows of words, on the right for each word's place
//! a line of 16 columns' words. A word is a value of f32 or a pair of bf16. Out: the block's sums. And what
//! backward is given.

use crate::cpu::accumulators::Accumulators;
use crate::cpu::line_buffer::CacheLine;
use crate::simd::isa::Isa;

/// Sixteen values.
pub(super) type Vector<P> = <<P as Products>::Isa as Isa>::F32;

/// The left operand: 32 rows.
#[derive(Clone, Copy)]
pub(super) struct Left<'a> {
    pub lines: &'a [CacheLine],
    /// From a row to the next one, in lines.
    pub row: usize,
}

/// The right operand: one or two tiles of 16 columns.
#[derive(Clone, Copy)]
pub(super) struct Right<'a> {
    pub lines: &'a [CacheLine],
    /// From the first tile to the second, in lines.
    pub second: usize,
}

/// The products of attention, in one precision. A kernel's functions are marked `#[inline(always)]`, and
/// so is the closure that calls them by [`Products::run`].
pub(super) trait Products: Copy + Send + Sync {
    /// The instructions for what is in f32.
    type Isa: Isa;
    /// What a thread has made ready to multiply with.
    type Unit;
    /// How far a block sums.
    type Steps;

    /// Values in a word.
    const WORD: usize;

    fn isa(self) -> Self::Isa;
    fn unit(self) -> Self::Unit;
    /// Over so many values.
    fn steps(values: usize) -> Self::Steps;

    /// Runs what is compiled for the instructions.
    fn run<R>(self, kernel: impl FnOnce() -> R) -> R;
    /// 2ˣ for x of 0 or just above and below, as exact as the products ask for.
    fn exp2(self, x: Vector<Self>) -> Vector<Self>;
    /// A line of the words of a row: 16 values, or twice 16 that are rounded.
    fn row(self, values: [Vector<Self>; 2]) -> Vector<Self>;
    /// A line of the words of 16 columns: of one row, or of two that are rounded.
    fn columns(self, rows: [Vector<Self>; 2]) -> Vector<Self>;

    /// The sum over all steps of left times right, of the first `rows` and of one or two `tiles`; with
    /// `onto` it is added to what is there. Other rows of the sums may change.
    fn block(
        unit: &Self::Unit,
        operands: (Left, Right),
        size: (usize, usize),
        steps: &Self::Steps,
        onto: bool,
        sums: &mut Accumulators,
    );
}

/// What backward reads, all samples and heads.
#[derive(Clone, Copy)]
pub(super) struct Operands<'a> {
    pub(super) q: &'a [f32],
    pub(super) k: &'a [f32],
    pub(super) v: &'a [f32],
    pub(super) dy: &'a [f32],
    /// What forward made.
    pub(super) y: &'a [f32],
    /// Of each query the logarithm of its sum.
    pub(super) lse: &'a [f32],
    /// Whether a gradient is wanted for q, and for k and v.
    pub(super) wanted: [bool; 2],
}
