//! The products of linear maps in AVX-512, where the weight is read as it lies if it is the larger
//! operand.
//!
//! In: x [m, k], W [n, k], dy [m, n] as slices. Out: y, dx or dW, written or added to.

use crate::cpu::disjoint_output::DisjointOutput;
use crate::gemm::avx512::{Bias, Lhs, Output, is_skinny, matmul};
use crate::gemm::columns::Columns;
use crate::gemm::pack::{Rhs, Rows, Transposed};
use crate::simd::Avx512;

/// A row-major matrix with rows of `width` values.
fn rows(values: &[f32], width: usize) -> Rhs<'_> {
    Rhs::Rows(Rows { values, columns: Columns::one(width), segment: 0 })
}

/// The transpose of a row-major matrix of so many rows of `row` values.
fn transposed(values: &[f32], row: usize, columns: usize) -> Rhs<'_> {
    Rhs::Transposed(Transposed { values, row, columns })
}

pub(super) fn multiply<'y>(
    simd: Avx512,
    y: impl Into<DisjointOutput<'y>>,
    (m, n, k): (usize, usize, usize),
    x: &[f32],
    w: &[f32],
    b: Option<&[f32]>,
) {
    if is_skinny(m, n, k) {
        // yᵀ = W xᵀ, so that the weight is read where it lies: to pack its transpose pays for many
        // rows of x.
        let bias = b.map_or(Bias::None, Bias::PerRow);
        let y = Output::Transposed(y.into());
        matmul(simd, y, (n, k), Columns::one(m), Lhs::rows(w, k), &transposed(x, k, m), bias);
    } else {
        let bias = b.map_or(Bias::None, Bias::PerColumn);
        let y = Output::Rows(y.into());
        matmul(simd, y, (m, k), Columns::one(n), Lhs::rows(x, k), &transposed(w, k, n), bias);
    }
}

pub(super) fn multiply_onto(simd: Avx512, y: &mut [f32], (m, n, k): (usize, usize, usize), x: &[f32], w: &[f32]) {
    let w = transposed(w, k, n);
    matmul(simd, Output::Accumulate(y), (m, k), Columns::one(n), Lhs::rows(x, k), &w, Bias::None);
}

pub(super) fn multiply_back<'y>(
    simd: Avx512,
    dx: impl Into<DisjointOutput<'y>>,
    sizes: (usize, usize, usize),
    dy: &[f32],
    w: &[f32],
) {
    back(simd, Output::Rows(dx.into()), sizes, dy, w);
}

pub(super) fn multiply_back_onto(simd: Avx512, dx: &mut [f32], sizes: (usize, usize, usize), dy: &[f32], w: &[f32]) {
    back(simd, Output::Accumulate(dx), sizes, dy, w);
}

fn back(simd: Avx512, dx: Output, (m, n, k): (usize, usize, usize), dy: &[f32], w: &[f32]) {
    matmul(simd, dx, (m, n), Columns::one(k), Lhs::rows(dy, n), &rows(w, k), Bias::None);
}

/// The narrow side becomes the columns of a panel.
pub(super) fn multiply_weight<'y>(
    simd: Avx512,
    dw: impl Into<DisjointOutput<'y>>,
    (m, n, k): (usize, usize, usize),
    x: &[f32],
    dy: &[f32],
) {
    if n < k {
        let dw = Output::Transposed(dw.into());
        matmul(simd, dw, (k, m), Columns::one(n), Lhs::transposed(x, k), &rows(dy, n), Bias::None);
    } else {
        let dw = Output::Rows(dw.into());
        matmul(simd, dw, (n, m), Columns::one(k), Lhs::transposed(dy, n), &rows(x, k), Bias::None);
    }
}
