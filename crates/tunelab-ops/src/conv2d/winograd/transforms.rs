//! The linear maps of F(4x4, 3x3): of a column, and of both sides of a square.
//!
//! In and out: vectors, each lane of which belongs to a tile or a filter of its own.
//!
//! The maps take polynomials to and from points, at which they are multiplied: 0, ±a, ±b and
//! infinity. That is Toom and Cook's construction: pixels d, kernel g and results y of a row are
//! polynomials' coefficients; Bᵀ d holds d divided among the points (the numerators of Lagrange's
//! polynomials over their denominators), G g is g at the points, and Aᵀ has the points' powers. a
//! and b are dyadic, so that the powers are exact, and chosen for a small error: the usual points,
//! 1 and 2, double it. Reference: Barabasz, Anderson, Soodhalter and Gregg, "Error Analysis and
//! Improving the Accuracy of Winograd Convolution for Deep Neural Networks" (2020).

use crate::conv2d::winograd::tiling::INPUT_TILE;
use crate::simd::isa::Isa;

/// Columns of a filter.
pub(super) const COLUMNS: usize = 3;

/// a
const A: f32 = 5.0 / 8.0;
/// b
const B: f32 = 3.0 / 2.0;
const A2: f32 = A * A;
const B2: f32 = B * B;
const A3: f32 = A2 * A;
const B3: f32 = B2 * B;

/// The denominator of the point 0: (0 - a)(0 + a)(0 - b)(0 + b).
const AT_ZERO: f64 = A2 as f64 * B2 as f64;
/// Those of ±a: ±a · ±2a · (a² - b²).
const AT_A: f64 = 2.0 * A2 as f64 * (A2 as f64 - B2 as f64);
/// Those of ±b.
const AT_B: f64 = 2.0 * B2 as f64 * (B2 as f64 - A2 as f64);

/// M x Mᵀ of a square x, whose element (i, j) is `load(i, j)`: `apply` is M of a column, and
/// `store(i, j, value)` is called for all elements, row by row. The closures are themselves marked
/// `#[inline(always)]`, and passed by value: functions and references to closures are not inlined.
#[inline(always)]
pub(super) fn both_sides<S: Isa, const N: usize, const R: usize>(
    isa: S,
    apply: impl Fn(&[S::F32; N]) -> [S::F32; R],
    load: impl Fn(usize, usize) -> S::F32,
    mut store: impl FnMut(usize, usize, S::F32),
) {
    let mut rows = [[isa.zero(); N]; R];
    for j in 0..N {
        let mut column = [isa.zero(); N];
        for (i, value) in column.iter_mut().enumerate() {
            *value = load(i, j);
        }
        for (row, value) in rows.iter_mut().zip(apply(&column)) {
            row[j] = value;
        }
    }
    for (i, row) in rows.iter().enumerate() {
        for (j, value) in apply(row).into_iter().enumerate() {
            store(i, j, value);
        }
    }
}

/// Bᵀ d of one column of pixels: a row of Bᵀ has the coefficients of the polynomial that is 1 at one
/// of the points and 0 at the others; the last row's is 0 at all of them.
#[inline(always)]
pub(super) fn apply_bt<S: Isa>(isa: S, d: &[S::F32; INPUT_TILE]) -> [S::F32; INPUT_TILE] {
    let ([a, minus_a], [b, minus_b]) = (apply_pair(isa, d, [A, B2], AT_A), apply_pair(isa, d, [B, A2], AT_B));
    // (x² - a²) (x² - b²), over its value at 0, and x times that as it is.
    let sum = f64::from(A2 + B2);
    let even = isa.fnma(isa.splat((sum / AT_ZERO) as f32), d[2], d[0]);
    let zero = isa.fma(isa.splat((1.0 / AT_ZERO) as f32), d[4], even);
    let infinity = isa.fma(isa.splat(AT_ZERO as f32), d[1], isa.fnma(isa.splat(sum as f32), d[3], d[5]));
    [zero, a, minus_a, b, minus_b, infinity]
}

/// The rows of ±p: x (x ± p) (x² - q²) over the denominator; what is even in p, and what is odd.
#[inline(always)]
fn apply_pair<S: Isa>(isa: S, d: &[S::F32; INPUT_TILE], [p, q2]: [f32; 2], denominator: f64) -> [S::F32; 2] {
    let [one, p_factor, q2_factor, pq2_factor] = [1.0, p, q2, p * q2].map(|v: f32| (f64::from(v) / denominator) as f32);
    let even = isa.fnma(isa.splat(q2_factor), d[2], isa.mul(isa.splat(one), d[4]));
    let odd = isa.fnma(isa.splat(pq2_factor), d[1], isa.mul(isa.splat(p_factor), d[3]));
    [isa.add(even, odd), isa.sub(even, odd)]
}

/// G g of one column of a filter: a row of G is (1 p p²) for each of the points, and (0 0 1) for the
/// one at infinity.
#[inline(always)]
pub(super) fn apply_g<S: Isa>(isa: S, [a, b, c]: [S::F32; COLUMNS]) -> [S::F32; INPUT_TILE] {
    let (p, p2, q, q2) = (isa.splat(A), isa.splat(A2), isa.splat(B), isa.splat(B2));
    let (near, far) = (isa.fma(p2, c, a), isa.fma(q2, c, a));
    [a, isa.fma(p, b, near), isa.fnma(p, b, near), isa.fma(q, b, far), isa.fnma(q, b, far), c]
}

/// A y of the four results of one column, which stand between the pixels of their tile's border.
#[inline(always)]
pub(super) fn apply_a<S: Isa>(isa: S, &[_, a, b, c, d, _]: &[S::F32; INPUT_TILE]) -> [S::F32; INPUT_TILE] {
    let (a_even, b_even) = (isa.fma(isa.splat(A2), c, a), isa.fma(isa.splat(B2), c, a));
    let a_odd = isa.fma(isa.splat(A3), d, isa.mul(isa.splat(A), b));
    let b_odd = isa.fma(isa.splat(B3), d, isa.mul(isa.splat(B), b));
    [a, isa.add(a_even, a_odd), isa.sub(a_even, a_odd), isa.add(b_even, b_odd), isa.sub(b_even, b_odd), d]
}

/// Aᵀ s of one column, which has four powers of the points, or Gᵀ s, which has three: the last of
/// them counts infinity.
#[inline(always)]
pub(super) fn apply_powers<S: Isa, const POWERS: usize>(
    isa: S,
    &[zero, a, minus_a, b, minus_b, infinity]: &[S::F32; INPUT_TILE],
) -> [S::F32; POWERS] {
    let even = [isa.add(a, minus_a), isa.add(b, minus_b)];
    let odd = [isa.sub(a, minus_a), isa.sub(b, minus_b)];
    let mut sums = [isa.add(zero, isa.add(even[0], even[1])); POWERS];
    for (power, [a, b]) in [[A, B], [A2, B2], [A3, B3]].into_iter().enumerate().take(POWERS - 1) {
        let (power, a) = (power + 1, isa.splat(a));
        let [of_a, of_b] = if power % 2 == 0 { even } else { odd };
        let near = if power + 1 == POWERS { isa.fma(a, of_a, infinity) } else { isa.mul(a, of_a) };
        sums[power] = isa.fma(isa.splat(b), of_b, near);
    }
    sums
}
