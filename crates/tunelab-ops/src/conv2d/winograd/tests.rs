//! Against sums in f64, and against the errors of products.

use crate::conv2d::implicit_gemm;
use crate::conv2d::winograd::{Filters, Images, convolve, weight_gradient};
use crate::cpu::checks::{by_definition, close, values};
use crate::shapes::{ConvShape, Padding};
use crate::simd::isa::Isa;
use crate::simd::{Vectors, with_isa};
use half::bf16;

/// Samples, channels, height and width, result channels.
type Case = (usize, usize, (usize, usize), usize);

/// Rows of tiles that are whole vectors, halves and quarters of vectors, and others; odd heights
/// and widths; rests of channels, of blocks, of vectors of tiles; several chunks, and more pixels
/// than are transformed at once.
const CASES: [Case; 18] = [
    (1, 5, (7, 9), 6),
    (1, 33, (3, 4), 20),
    (5, 33, (4, 4), 20),
    (7, 20, (4, 4), 33),
    (2, 40, (8, 8), 50),
    (2, 20, (16, 16), 30),
    (3, 70, (8, 8), 17),
    (1, 33, (8, 8), 130),
    (1, 33, (8, 16), 20),
    (1, 33, (4, 32), 20),
    (2, 80, (4, 4), 33),
    (1, 65, (32, 32), 97),
    (3, 9, (6, 32), 49),
    (1, 17, (34, 48), 40),
    (2, 3, (5, 64), 3),
    (3, 6, (1, 1), 5),
    (2, 130, (2, 3), 113),
    (1, 12, (200, 240), 5),
];

fn shape((samples, c, (h, w), o): Case) -> ConvShape {
    ConvShape::new((samples, c, h, w), (o, c, 3, 3), 1, Padding::same(1)).unwrap()
}

fn images((samples, _, (height, width), _): Case) -> Images {
    Images { samples, height, width }
}

#[test]
fn winograd_equals_the_definition() {
    for vectors in Vectors::all() {
        with_isa!(vectors, isa => winograd_equals_the_definition_in(isa));
    }
}

fn winograd_equals_the_definition_in<S: Isa>(isa: S) {
    for case @ (samples, c, (h, w), o) in CASES {
        let (g, of) = (shape(case), images(case));
        let (x, weight, b) = (values(samples * c * h * w, 1), values(o * c * 9, 2), values(o, 3));
        let dy = values(samples * o * h * w, 4);
        let [want_y, want_dx, want_dw] = by_definition(&g, [&x, &weight, &b, &dy]);
        let [mut y, mut dx, mut dw] = [&dy, &x, &weight].map(|like| vec![f32::NAN; like.len()]);
        convolve(isa, of, &x, Filters { values: &weight[..], inputs: c, flipped: false }, Some(&b), &mut y);
        close(&y, &want_y, &format!("y of {case:?}"));
        convolve(isa, of, &dy, Filters { values: &weight[..], inputs: c, flipped: true }, None, &mut dx);
        close(&dx, &want_dx, &format!("dx of {case:?}"));
        weight_gradient(isa, of, &x, &dy, &mut dw);
        close(&dw, &want_dw, &format!("dW of {case:?}"));
    }
}

/// The sums are those of the upcast values, to the bit.
#[test]
fn filters_in_bf16_are_upcast() {
    for vectors in Vectors::all() {
        with_isa!(vectors, isa => filters_in_bf16_are_upcast_in(isa));
    }
}

fn filters_in_bf16_are_upcast_in<S: Isa>(isa: S) {
    for case @ (samples, c, (h, w), o) in CASES {
        let rounded: Vec<bf16> = values(o * c * 9, 2).into_iter().map(bf16::from_f32).collect();
        let widened: Vec<f32> = rounded.iter().map(|v| v.to_f32()).collect();
        for flipped in [false, true] {
            let (from, to) = if flipped { (o, c) } else { (c, o) };
            let x = values(samples * from * h * w, 1);
            let [mut ours, mut other] = [(); 2].map(|()| vec![f32::NAN; samples * to * h * w]);
            convolve(isa, images(case), &x, Filters { values: &rounded[..], inputs: c, flipped }, None, &mut ours);
            convolve(isa, images(case), &x, Filters { values: &widened[..], inputs: c, flipped }, None, &mut other);
            assert!(ours == other, "{case:?}, flipped: {flipped}");
        }
    }
}

#[test]
fn results_do_not_depend_on_threads() {
    for vectors in Vectors::all() {
        with_isa!(vectors, isa => results_do_not_depend_on_threads_in(isa));
    }
}

fn results_do_not_depend_on_threads_in<S: Isa>(isa: S) {
    for case @ (samples, c, (h, w), o) in [(2, 100, (24, 20), 150), (2, 70, (8, 8), 150)] {
        let (x, weight, dy) = (values(samples * c * h * w, 1), values(o * c * 9, 2), values(samples * o * h * w, 3));
        let run = |threads: usize| {
            let (mut y, mut dw) = (vec![f32::NAN; dy.len()], vec![f32::NAN; weight.len()]);
            let filters = Filters { values: &weight[..], inputs: c, flipped: false };
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                convolve(isa, images(case), &x, filters, None, &mut y);
                weight_gradient(isa, images(case), &x, &dy, &mut dw);
            });
            [y, dw]
        };
        let one = run(1);
        assert!([2, 3, 5].into_iter().all(|threads| run(threads) == one), "{case:?}");
    }
}

/// What all instructions are compared with.
fn plain_arrays() -> Vectors {
    Vectors::all().pop().unwrap()
}

/// The additions before and after the products round too: the error may be at most three times that
/// of plain products.
fn at_most_three_times_as_far([ours, plain]: [Vec<f32>; 2], exact: impl Fn(usize) -> f64, what: &str) {
    let [ours, plain] = [ours, plain].map(|y| {
        let places = (0..y.len()).step_by(97);
        places.map(|at| (f64::from(y[at]) - exact(at)).powi(2)).sum::<f64>().sqrt()
    });
    println!("{what}: {:.2} times the error of products", ours / plain);
    assert!(ours < 3.0 * plain, "{what}: {ours:e}, products {plain:e}");
}

#[test]
fn errors_are_close_to_those_of_products() {
    for vectors in Vectors::all() {
        with_isa!(vectors, isa => errors_are_close_to_those_of_products_in(isa));
    }
}

fn errors_are_close_to_those_of_products_in<S: Isa>(isa: S) {
    for case @ (_, c, (h, w), o) in [(1, 320, (32, 32), 320), (1, 640, (16, 16), 320), (1, 1280, (8, 8), 320)] {
        let (x, weight) = (values(c * h * w, 1), values(o * c * 9, 2));
        let (mut ours, mut plain) = (vec![f32::NAN; o * h * w], vec![0.0; o * h * w]);
        convolve(isa, images(case), &x, Filters { values: &weight[..], inputs: c, flipped: false }, None, &mut ours);
        with_isa!(plain_arrays(), isa => implicit_gemm::forward(isa, &shape(case), &x, weight[..].into(), None, &mut plain));
        let exact = |at: usize| {
            let (o, row, column) = (at / (h * w), at / w % h, at % w);
            let mut sum = 0.0;
            for (tap, filter) in weight[o * c * 9..(o + 1) * c * 9].iter().enumerate() {
                let (c, i, j) = (tap / 9, row + tap / 3 % 3, column + tap % 3);
                if (1..=h).contains(&i) && (1..=w).contains(&j) {
                    sum += f64::from(*filter) * f64::from(x[(c * h + i - 1) * w + j - 1]);
                }
            }
            sum
        };
        at_most_three_times_as_far([ours, plain], exact, &format!("{case:?}"));
    }
}

#[test]
fn errors_of_gradients_are_close_to_those_of_products() {
    for vectors in Vectors::all() {
        with_isa!(vectors, isa => errors_of_gradients_are_close_in(isa));
    }
}

fn errors_of_gradients_are_close_in<S: Isa>(isa: S) {
    for case @ (_, c, (h, w), o) in [(1, 64, (32, 32), 48), (1, 96, (16, 16), 32), (1, 64, (8, 16), 64)] {
        let (x, dy) = (values(c * h * w, 1), values(o * h * w, 2));
        let mut ours = vec![f32::NAN; o * c * 9];
        weight_gradient(isa, images(case), &x, &dy, &mut ours);
        let plain = with_isa!(plain_arrays(), isa => implicit_gemm::backward_weight(isa, &shape(case), &x, &dy));
        let exact = |at: usize| {
            let (o, c, i, j) = (at / (c * 9), at / 9 % c, at / 3 % 3, at % 3);
            let mut sum = 0.0;
            for (row, column) in (0..h).flat_map(|row| (0..w).map(move |column| (row, column))) {
                if (1..=h).contains(&(row + i)) && (1..=w).contains(&(column + j)) {
                    let pixel = x[(c * h + row + i - 1) * w + column + j - 1];
                    sum += f64::from(dy[(o * h + row) * w + column]) * f64::from(pixel);
                }
            }
            sum
        };
        at_most_three_times_as_far([ours, plain], exact, &format!("{case:?}"));
    }
}
