//! The points at which F(4x4, 3x3) takes polynomials for their product: 0, ±a, ±b and infinity.
//!
//! Toom and Cook's construction: pixels d, kernel g and results y of a row are polynomials'
//! coefficients; Bᵀ d holds d divided among the points (the numerators of Lagrange's polynomials
//! over their denominators), G g is g at the points, and Aᵀ has the points' powers. a and b are
//! dyadic, so that the powers are exact, and chosen for a small error: the usual points, 1 and 2,
//! double it. Reference: Barabasz, Anderson, Soodhalter and Gregg, "Error Analysis and Improving
//! the Accuracy of Winograd Convolution for Deep Neural Networks" (2020).

/// a
pub(super) const A: f32 = 5.0 / 8.0;
/// b
pub(super) const B: f32 = 3.0 / 2.0;
pub(super) const A2: f32 = A * A;
pub(super) const B2: f32 = B * B;
pub(super) const A3: f32 = A2 * A;
pub(super) const B3: f32 = B2 * B;

/// The denominator of the point 0: (0 - a)(0 + a)(0 - b)(0 + b).
pub(super) const AT_ZERO: f64 = A2 as f64 * B2 as f64;
/// Those of ±a: ±a · ±2a · (a² - b²).
pub(super) const AT_A: f64 = 2.0 * A2 as f64 * (A2 as f64 - B2 as f64);
/// Those of ±b.
pub(super) const AT_B: f64 = 2.0 * B2 as f64 * (B2 as f64 - A2 as f64);
