//! What the tests of several operations need: numbers, comparison of results, and the convolution by
//! its definition.

use crate::shapes::ConvShape;

/// Numbers from -1 to 1.
pub(crate) fn values(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// Both are the same but for rounding, relative to the largest value.
#[track_caller]
pub(crate) fn close(a: &[f32], b: &[f32], what: &str) {
    assert_eq!(a.len(), b.len(), "{what}");
    let largest = b.iter().fold(1.0f32, |m, v| m.max(v.abs()));
    let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-5 * largest && a.iter().all(|a| a.is_finite()), "{what}: {worst:e} of {largest}");
}

/// y, dx and dW of a convolution, summed in f64.
pub(crate) fn by_definition(g: &ConvShape, [x, weight, bias, dy]: [&[f32]; 4]) -> [Vec<f32>; 3] {
    let mut y: Vec<f64> = (0..dy.len()).map(|at| f64::from(bias[at / g.pixels_out() % g.o])).collect();
    let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; weight.len()]);
    for (at, (y, dy)) in y.iter_mut().zip(dy).enumerate() {
        let (sample, o, row, column) =
            (at / g.pixels_out() / g.o, at / g.pixels_out() % g.o, at / g.wo % g.ho, at % g.wo);
        for (tap, (w, dw)) in weight.iter().zip(&mut dw).enumerate().skip(o * g.patch()).take(g.patch()) {
            let (c, i, j) = (tap / (g.kh * g.kw) % g.c, tap / g.kw % g.kh, tap % g.kw);
            let (i, j) = (row * g.stride + i, column * g.stride + j);
            if i < g.pad || i >= g.pad + g.h || j < g.pad || j >= g.pad + g.w {
                continue;
            }
            let pixel = ((sample * g.c + c) * g.h + i - g.pad) * g.w + j - g.pad;
            *y += f64::from(*w) * f64::from(x[pixel]);
            dx[pixel] += f64::from(*w) * f64::from(*dy);
            *dw += f64::from(x[pixel]) * f64::from(*dy);
        }
    }
    [y, dx, dw].map(|sums| sums.into_iter().map(|sum| sum as f32).collect())
}
