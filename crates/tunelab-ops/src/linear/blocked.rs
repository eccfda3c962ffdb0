//! The products of linear maps in our own kernels, where the weight is read as it lies if it is the
//! larger operand.
//!
//! In: x [m, k], W [n, k], dy [m, n] as slices. Out: y, dx or dW, written or added to.

use crate::cpu::disjoint_output::DisjointOutput;
use crate::gemm::blocked::{Bias, Lhs, Output, is_skinny, matmul};
use crate::gemm::columns::Columns;
use crate::gemm::operand::Values;
use crate::gemm::pack::{Rhs, Rows, Transposed};
use crate::simd::isa::Isa;

/// Rows of a weight of which a panel is made, where its gradient has no more.
const NARROW: usize = 32;

/// A row-major matrix with rows of `width` values.
fn rows<'a>(values: impl Into<Values<'a>>, width: usize) -> Rhs<'a> {
    Rhs::Rows(Rows { values: values.into(), columns: Columns::one(width), segment: 0 })
}

/// The transpose of a row-major matrix of so many rows of `row` values.
fn transposed<'a>(values: impl Into<Values<'a>>, row: usize, columns: usize) -> Rhs<'a> {
    Rhs::Transposed(Transposed { values: values.into(), row, columns })
}

pub(super) fn multiply<'y, S: Isa>(
    isa: S,
    y: impl Into<DisjointOutput<'y>>,
    (m, n, k): (usize, usize, usize),
    x: &[f32],
    w: Values,
    b: Option<&[f32]>,
) {
    if is_skinny(m, n, k) {
        // yᵀ = W xᵀ, so that the weight is read where it lies: to pack its transpose pays for many
        // rows of x.
        let bias = b.map_or(Bias::None, Bias::PerRow);
        let y = Output::Transposed(y.into());
        matmul(isa, y, (n, k), Columns::one(m), Lhs::rows(w, k), &transposed(x, k, m), bias);
    } else {
        let bias = b.map_or(Bias::None, Bias::PerColumn);
        let y = Output::Rows(y.into());
        matmul(isa, y, (m, k), Columns::one(n), Lhs::rows(x.into(), k), &transposed(w, k, n), bias);
    }
}

pub(super) fn multiply_onto<S: Isa>(isa: S, y: &mut [f32], (m, n, k): (usize, usize, usize), x: &[f32], w: Values) {
    let w = transposed(w, k, n);
    matmul(isa, Output::Accumulate(y), (m, k), Columns::one(n), Lhs::rows(x.into(), k), &w, Bias::None);
}

pub(super) fn multiply_back<'y, S: Isa>(
    isa: S,
    dx: impl Into<DisjointOutput<'y>>,
    sizes: (usize, usize, usize),
    dy: &[f32],
    w: Values,
) {
    back(isa, Output::Rows(dx.into()), sizes, dy, w);
}

pub(super) fn multiply_back_onto<S: Isa>(isa: S, dx: &mut [f32], sizes: (usize, usize, usize), dy: &[f32], w: Values) {
    back(isa, Output::Accumulate(dx), sizes, dy, w);
}

fn back<S: Isa>(isa: S, dx: Output, (m, n, k): (usize, usize, usize), dy: &[f32], w: Values) {
    matmul(isa, dx, (m, n), Columns::one(k), Lhs::rows(dy.into(), n), &rows(w, k), Bias::None);
}

/// With few rows, such as a LoRA's, dWᵀ: they become the columns of a panel.
pub(super) fn multiply_weight<'y, S: Isa>(
    isa: S,
    dw: impl Into<DisjointOutput<'y>>,
    (m, n, k): (usize, usize, usize),
    x: &[f32],
    dy: &[f32],
) {
    if n < NARROW.min(k) {
        let dw = Output::Transposed(dw.into());
        matmul(isa, dw, (k, m), Columns::one(n), Lhs::transposed(x.into(), k), &rows(dy, n), Bias::None);
    } else {
        let dw = Output::Gradient(dw.into());
        matmul(isa, dw, (n, m), Columns::one(k), Lhs::transposed(dy.into(), n), &rows(x, k), Bias::None);
    }
}
