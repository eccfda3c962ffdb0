//! How many operations a second all cores could do, if nothing but sums in registers held them up:
//! what the kernels' speed is measured by.
//!
//! In: nothing. Out: operations in f32, two for each multiplication with its addition.

use super::isa::Isa;
use super::{Vectors, with_isa};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Steps between which the clock is read.
const STEPS: usize = 1 << 15;
/// How long each thread sums.
const TIME: Duration = Duration::from_millis(200);

/// Operations a second of all threads together, of the set in use; `None` where it has no kernels.
#[must_use]
pub fn peak() -> Option<f64> {
    let vectors = Vectors::detect()?;
    let each = rayon::broadcast(|_| with_isa!(vectors, isa => of_thread(isa)));
    Some(each.iter().sum())
}

/// Of this thread: in the best of the intervals, for another process may have taken its part of others.
fn of_thread<S: Isa>(isa: S) -> f64 {
    let (begun, mut best) = (Instant::now(), f64::INFINITY);
    let sums = S::TILE.0 * S::TILE.1;
    while begun.elapsed() < TIME {
        let start = Instant::now();
        let factors = black_box([0.999, 0.001]);
        let result = isa.run(
            #[inline(always)]
            || match S::TILE {
                (6, 1) => sum::<S, 6>(isa, factors),
                _ => sum::<S, 24>(isa, factors),
            },
        );
        black_box(result);
        best = best.min(start.elapsed().as_secs_f64());
    }
    (2 * super::isa::LANES * sums * STEPS) as f64 / best
}

/// As many sums as a product's tile has.
#[inline(always)]
fn sum<S: Isa, const N: usize>(isa: S, [factor, summand]: [f32; 2]) -> f32 {
    let (factor, summand) = (isa.splat(factor), isa.splat(summand));
    let mut sums = [isa.splat(1.0); N];
    for _ in 0..STEPS {
        for sum in &mut sums {
            *sum = isa.fma(*sum, factor, summand);
        }
    }
    let mut all = isa.zero();
    for sum in sums {
        all = isa.add(all, sum);
    }
    isa.reduce_add(all)
}
