//! How many operations a second all cores could do, if nothing but sums in registers held them up:
//! what the kernels' speed is measured by.
//!
//! In: nothing. Out: operations in f32, or of pairs of bf16, two for each multiplication with its
//! addition.

use super::isa::Isa;
use super::{Vectors, with_isa};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Steps between which the clock is read.
const STEPS: usize = 1 << 15;
/// How long each thread sums so many at once.
const TIME: Duration = Duration::from_millis(100);

/// Operations a second of all threads together in f32, of the set in use: of three, six or 24 sums at once those that its
/// registers hold and that hide the time until a sum is there.
#[must_use]
pub fn peak() -> f64 {
    of_all_threads(|| {
        with_isa!(Vectors::detect(), isa =>
            best(|| sums::<_, 3>(isa)).max(best(|| sums::<_, 6>(isa))).max(best(|| sums::<_, 24>(isa))))
    })
}

/// The same of pairs of bf16 on the unit that multiplies them; `None` where there is none.
#[must_use]
pub fn peak_bf16() -> Option<f64> {
    #[cfg(target_arch = "x86_64")]
    {
        use crate::gemm_bf16::{peak::sum, unit::ConfiguredUnit, unit::Unit};
        let unit = Unit::detect()?;
        Some(of_all_threads(|| {
            let on = ConfiguredUnit::new(unit);
            best(|| sum(&on, STEPS))
        }))
    }
    #[cfg(not(target_arch = "x86_64"))]
    None
}

fn of_all_threads(of_thread: impl Fn() -> f64 + Sync) -> f64 {
    rayon::broadcast(|_| of_thread()).iter().sum()
}

/// Operations a second of this thread: in the best of the intervals, for another process may have
/// taken its part of others. `work` says how many an interval has.
fn best(work: impl Fn() -> usize) -> f64 {
    let (begun, mut best) = (Instant::now(), 0.0f64);
    while begun.elapsed() < TIME {
        let start = Instant::now();
        let operations = work() as f64;
        best = best.max(operations / start.elapsed().as_secs_f64());
    }
    best
}

/// Does N sums in f32, and counts their operations.
fn sums<S: Isa, const N: usize>(isa: S) -> usize {
    let factors = black_box([0.999, 0.001]);
    let result = isa.run(
        #[inline(always)]
        || {
            let [factor, summand] = factors.map(|value| isa.splat(value));
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
        },
    );
    black_box(result);
    2 * super::isa::LANES * N * STEPS
}
