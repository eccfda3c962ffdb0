//! Scalar functions and sums written so that the compiler can vectorize them inside
//! `simd::vectorize`.
//!
//! In: numbers, or slices of them. Out: numbers.
//!
//! Sums run in 16 fixed lanes, so their order, and with it their rounding, depends on the length
//! alone.

const LANES: usize = 16;

/// eˣ, relative error below 2e-7; arguments below -87.3 give 1.2e-38 instead of 0.
/// Cephes' polynomial after the reduction x = n ln 2 + r.
#[inline(always)]
#[expect(clippy::excessive_precision, reason = "the constants are the published ones")]
pub(crate) fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 · 2²³: adding it rounds to the nearest integer
    let x = x.clamp(-87.3, 88.3);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * 0.693_359_375 + n * 2.121_944_4e-4;
    let p = 1.987_569_15e-4;
    let p = p * r + 1.398_199_95e-3;
    let p = p * r + 8.333_451_9e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_55e-1;
    let p = p * r + 5.000_000_1e-1;
    let p = p * r * r + r + 1.0;
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    p * f32::from_bits(exponent)
}

/// The logistic function 1 / (1 + e⁻ˣ).
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The error function; absolute error below 2e-7. Abramowitz and Stegun 7.1.26.
#[inline(always)]
#[expect(clippy::excessive_precision, reason = "the constants are the published ones")]
pub(crate) fn erf(x: f32) -> f32 {
    let a = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * a);
    let p = ((((1.061_405_429 * t - 1.453_152_027) * t + 1.421_413_741) * t - 0.284_496_736) * t + 0.254_829_592) * t;
    let y = 1.0 - p * exp(-a * a);
    if x < 0.0 { -y } else { y }
}

/// Σ f(v), in lanes.
#[inline(always)]
pub(crate) fn sum_of(values: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let mut chunks = values.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            *lane += f(*v);
        }
    }
    for (lane, v) in lanes.iter_mut().zip(chunks.remainder()) {
        *lane += f(*v);
    }
    lanes.iter().sum()
}

/// Σ f(a, b) over two slices of one length, in lanes.
#[inline(always)]
pub(crate) fn sum_of_pairs(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (mut a, mut b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    for (a, b) in (&mut a).zip(&mut b) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += f(*a, *b);
        }
    }
    for ((lane, a), b) in lanes.iter_mut().zip(a.remainder()).zip(b.remainder()) {
        *lane += f(*a, *b);
    }
    lanes.iter().sum()
}

/// Mean and (biased) variance in two passes; long slices are summed in blocks into f64.
#[inline(always)]
pub(crate) fn moments(values: &[f32]) -> (f32, f32) {
    const BLOCK: usize = 4096;
    let n = values.len() as f64;
    let (mut sum, mut squares) = (0.0, 0.0);
    for block in values.chunks(BLOCK) {
        sum += f64::from(sum_of(block, |v| v));
    }
    let mean = (sum / n) as f32;
    for block in values.chunks(BLOCK) {
        squares += f64::from(sum_of(block, |v| (v - mean) * (v - mean)));
    }
    (mean, (squares / n) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_exact_to_single_precision() {
        for i in -8700..8800 {
            let x = i as f32 * 0.01;
            let want = f64::from(x).exp();
            assert!((f64::from(exp(x)) - want).abs() <= 3e-7 * want, "exp({x})");
        }
        assert!(exp(-1e9) < 1.3e-38);
    }

    #[test]
    fn erf_follows_the_table() {
        // Abramowitz and Stegun, table 7.1
        for (x, want) in [(0.1, 0.112_462_916), (0.5, 0.520_499_9), (1.0, 0.842_700_8), (2.0, 0.995_322_3)] {
            assert!((erf(x) - want).abs() < 3e-7, "erf({x})");
            assert!((erf(-x) + want).abs() < 3e-7, "erf(-{x})");
        }
    }

    #[test]
    fn sums_and_moments_cover_the_remainder() {
        let values: Vec<f32> = (0..10_007).map(|i| ((i * 37) % 101) as f32 * 0.1 - 2.0).collect();
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64;
        let var = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / values.len() as f64;
        let (m, v) = moments(&values);
        assert!((f64::from(m) - mean).abs() < 1e-5 && (f64::from(v) - var).abs() < 1e-4);
        let dot: f64 = values.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
        assert!((f64::from(sum_of_pairs(&values, &values, |a, b| a * b)) - dot).abs() < 1e-6 * dot);
    }
}
