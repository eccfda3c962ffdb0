//! The choice of a set, and each vector operation against a plain statement of it.
#![expect(unsafe_code, reason = "vectors are loaded and stored")]
#![expect(clippy::float_cmp, reason = "each operation is exact")]

use super::isa::{ALL, Isa, LANES, first_lanes};
use super::*;
use half::bf16;

#[test]
fn a_set_is_chosen_by_its_name_and_nothing_chooses_the_best() {
    for &best in Simd::ALL {
        for nothing in [None, Some(""), Some(" ")] {
            assert_eq!(resolve(nothing, best), Ok(best));
        }
        for &simd in Simd::ALL {
            assert_eq!(resolve(Some(simd.name()), best).ok(), (simd <= best).then_some(simd), "{simd} of {best}");
        }
    }
    let second = Simd::ALL[1];
    assert_eq!(resolve(Some(&format!(" {second} ")), Simd::ALL[Simd::ALL.len() - 1]), Ok(second));
}

#[cfg(target_arch = "x86_64")]
#[test]
fn what_the_processor_lacks_and_unknown_words_are_refused_with_the_remedy() {
    assert_eq!(
        resolve(Some("avx512"), Simd::Avx2).unwrap_err(),
        "TUNELAB_SIMD=avx512: this processor or system lacks these instructions; \
         this processor has portable, avx2; unset TUNELAB_SIMD to use avx2"
    );
    assert_eq!(
        resolve(Some("neon"), Simd::Portable).unwrap_err(),
        "TUNELAB_SIMD=neon is no set of instructions; this processor has portable; unset TUNELAB_SIMD to use portable"
    );
}

/// The set in use is what the environment of the tests asks for, and is chosen once.
#[test]
fn the_set_in_use_stays() {
    let simd = current();
    assert_eq!(choose(Some(simd.name())), Ok(simd));
    if simd != Simd::Portable {
        assert!(choose(Some("portable")).unwrap_err().contains("is in use already"));
    }
    assert!(simd <= Simd::detect());
}

#[cfg(target_arch = "x86_64")]
#[test]
fn witnesses_follow_the_set_in_use() {
    assert_eq!(Avx512::detect().is_some(), current() >= Simd::Avx512);
    assert_eq!(Avx2::detect().is_some(), current() >= Simd::Avx2);
    assert!(Avx512Bf16::detect().is_none() || current() >= Simd::Avx512);
    assert_eq!(Amx::detect().is_some(), current() == Simd::Amx);
}

/// A loop gives the same numbers, to the bit, whatever it is compiled for.
#[test]
fn vectorized_loops_equal_plain_ones() {
    let x: Vec<f32> = (0..1000).map(|i| i as f32 * 0.37 - 120.0).collect();
    let mut y = vec![0.0; x.len()];
    vectorize(
        #[inline(always)]
        || y.iter_mut().zip(&x).for_each(|(y, x)| *y = x * x * 0.3 + x),
    );
    assert!(y.iter().zip(&x).all(|(y, x)| y.to_bits() == (x * x * 0.3 + x).to_bits()));
}

/// Numbers that are all different, from -5 to 5.
fn numbers(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 37 + seed * 101) % 1009) as f32 / 100.9 - 5.0).collect()
}

fn vector<S: Isa>(isa: S, values: &[f32]) -> S::F32 {
    assert!(values.len() >= LANES);
    // SAFETY: 16 values are there.
    unsafe { isa.load(values.as_ptr()) }
}

fn values<S: Isa>(isa: S, a: S::F32) -> [f32; LANES] {
    let mut values = [f32::NAN; LANES];
    // SAFETY: there is room for 16 values.
    unsafe { isa.store(values.as_mut_ptr(), a) };
    values
}

#[test]
fn lanes_are_computed_alike() {
    for vectors in Vectors::all() {
        let rounds_once = !matches!(vectors, Vectors::Plain(_));
        with_isa!(vectors, isa => isa.run(#[inline(always)] || of_lanes(isa, rounds_once)));
    }
}

fn of_lanes<S: Isa>(isa: S, rounds_once: bool) {
    let fma = |a: f32, b: f32, c: f32| if rounds_once { a.mul_add(b, c) } else { a * b + c };
    let (a, b, c) = (numbers(LANES, 1), numbers(LANES, 2), numbers(LANES, 3));
    let [x, y, z] = [&a, &b, &c].map(|v| vector(isa, v));
    let each = |f: &dyn Fn(f32, f32, f32) -> f32| std::array::from_fn::<f32, LANES, _>(|i| f(a[i], b[i], c[i]));
    assert_eq!(values(isa, isa.splat(1.25)), [1.25; LANES]);
    assert_eq!(values(isa, isa.add(x, y)), each(&|a, b, _| a + b));
    assert_eq!(values(isa, isa.sub(x, y)), each(&|a, b, _| a - b));
    assert_eq!(values(isa, isa.mul(x, y)), each(&|a, b, _| a * b));
    assert_eq!(values(isa, isa.max(x, y)), each(&|a, b, _| a.max(b)));
    assert_eq!(values(isa, isa.fma(x, y, z)), each(&fma));
    assert_eq!(values(isa, isa.fnma(x, y, z)), each(&|a, b, c| fma(-a, b, c)));
    assert_eq!(values(isa, isa.round(x)), each(&|a, _, _| a.round_ties_even()));
    let exponents =
        [0.0, -1.0, -2.0, -7.0, -20.0, -100.0, -126.0, -0.0, -3.0, -4.0, -5.0, -1e3, -1e30, -11.0, -12.0, -13.0];
    let powers = values(isa, isa.times_power_of_two(x, vector(isa, &exponents)));
    for (i, power) in powers.into_iter().enumerate() {
        let want = a[i] * exponents[i].exp2();
        assert!((power - want).abs() <= 1.2e-38, "{power:e}, {want:e}");
        assert!(power == want || want.abs() < 1e-36, "{power:e}, {want:e}");
    }
    for mask in [ALL, 0, 1, 0x8000, 0x0f30, first_lanes(7)] {
        let there = |i: usize| mask >> i & 1 == 1;
        // The rest is neither read nor written.
        let few: Vec<f32> = (0..LANES).map(|i| if there(i) { a[i] } else { f32::NAN }).collect();
        // SAFETY: all values are there.
        let loaded = values(isa, unsafe { isa.load_or(y, mask, few.as_ptr()) });
        assert_eq!(loaded, std::array::from_fn(|i| if there(i) { a[i] } else { b[i] }));
        let mut stored = b.clone();
        // SAFETY: there is room for all.
        unsafe { isa.store_masked(stored.as_mut_ptr(), mask, x) };
        assert_eq!(stored, loaded);
    }
    let sum: f64 = a.iter().map(|&v| f64::from(v)).sum();
    assert!((f64::from(isa.reduce_add(x)) - sum).abs() < 1e-5);
}

#[test]
fn values_move_alike() {
    for vectors in Vectors::all() {
        with_isa!(vectors, isa => isa.run(#[inline(always)] || of_moves(isa)));
    }
}

fn of_moves<S: Isa>(isa: S) {
    let all = numbers(LANES * LANES, 5);
    let rows: [S::F32; LANES] = std::array::from_fn(|i| vector(isa, &all[i * LANES..]));
    for (i, column) in isa.transpose(&rows).iter().enumerate() {
        assert_eq!(values(isa, *column), std::array::from_fn(|j| all[j * LANES + i]));
    }
    let four = [rows[0], rows[1], rows[2], rows[3]];
    for (i, row) in isa.transpose_quarters(four).into_iter().enumerate() {
        assert_eq!(values(isa, row), std::array::from_fn(|j| all[j % 4 * LANES + j / 4 * 4 + i]));
    }
    for (i, row) in isa.every_fourth(four).into_iter().enumerate() {
        assert_eq!(values(isa, row), std::array::from_fn(|j| all[4 * j + i]));
    }
    let places: [i32; LANES] = std::array::from_fn(|i| ((i * 7 + 3) % 100) as i32);
    let at = |place: usize| all[place..].as_ptr();
    let rounded: Vec<bf16> = all.iter().map(|v| bf16::from_f32(*v)).collect();
    // SAFETY: as many values as are loaded are at all of these places.
    unsafe {
        assert_eq!(values(isa, isa.gather(at(2), &places)), places.map(|place| all[place as usize + 2]));
        let halves = [3, 50];
        let of = |i: usize, n: usize, places: &[usize]| all[places[i / n] + i % n];
        assert_eq!(values(isa, isa.load_halves(halves.map(at))), std::array::from_fn(|i| of(i, 8, &halves)));
        let quarters = [3, 50, 9, 120];
        assert_eq!(values(isa, isa.load_quarters(quarters.map(at))), std::array::from_fn(|i| of(i, 4, &quarters)));
        let pairs = [3, 50, 9, 120, 77, 31, 0, 200];
        assert_eq!(values(isa, isa.load_pairs(pairs.map(at))), std::array::from_fn(|i| of(i, 2, &pairs)));
        assert_eq!(values(isa, isa.upcast(rounded[5..].as_ptr())), std::array::from_fn(|i| rounded[5 + i].to_f32()));
        let upcast = isa.upcast_quarters(quarters.map(|place| rounded[place..].as_ptr()));
        assert_eq!(values(isa, upcast), std::array::from_fn(|i| rounded[quarters[i / 4] + i % 4].to_f32()));
    }
    let mut out = vec![0.0; 200];
    // SAFETY: there is room at all of these places.
    unsafe {
        let first = out.as_mut_ptr();
        isa.store_halves([first.add(40), first.add(3)], rows[1]);
        isa.store_quarters([100, 60, 150, 90].map(|place| first.add(place)), rows[2]);
    }
    assert_eq!([&out[40..48], &out[3..11]].concat(), all[LANES..2 * LANES]);
    let quarters = [100, 60, 150, 90].map(|place: usize| &out[place..place + 4]);
    assert_eq!(quarters.concat(), all[2 * LANES..3 * LANES]);
    assert_eq!(out.iter().filter(|v| **v != 0.0).count(), 2 * LANES);
}

/// What is counted is counted in time, for every unit there is.
#[test]
fn every_unit_has_a_peak() {
    assert!(peak().is_normal());
    #[cfg(target_arch = "x86_64")]
    assert_eq!(peak_bf16().map(f64::is_normal), crate::gemm_bf16::unit::Unit::detect().map(|_| true));
    #[cfg(not(target_arch = "x86_64"))]
    assert_eq!(peak_bf16(), None);
}
