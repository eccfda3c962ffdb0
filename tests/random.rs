//! Random streams against torch's CPU generator.

use candle_core::{DType, Device, Tensor};
use sha2::{Digest, Sha256};
use std::collections::{BTreeSet, HashMap};
use tunelab::random::Generator;

const SEEDS: [u64; 4] = [0, 1, 42, (1 << 32) + 5];

fn fixture() -> HashMap<String, Tensor> {
    candle_core::safetensors::load("tests/fixtures/randn.safetensors", &Device::Cpu).unwrap()
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

/// What a generator draws: `kind` is the middle of a fixture's name.
fn draw(generator: &mut Generator, kind: &str, n: usize) -> Vec<f64> {
    match kind {
        "randn" => generator.randn(n).into_iter().map(f64::from).collect(),
        "rand" => generator.rand(n).into_iter().map(f64::from).collect(),
        "randint" => generator.randint(1000, n).into_iter().map(|i| i as f64).collect(),
        "randperm" => generator.randperm(n).into_iter().map(|i| i as f64).collect(),
        other => panic!("unknown kind {other}"),
    }
}

#[track_caller]
fn check(fixture: &HashMap<String, Tensor>, name: &str, kind: &str, drawn: &[f64]) {
    let expected = numbers(&fixture[name]);
    assert_eq!(drawn.len(), expected.len(), "{name}");
    let tolerance = if kind == "randn" { 1e-6 } else { 0.0 };
    for (i, (a, b)) in drawn.iter().zip(&expected).enumerate() {
        assert!((a - b).abs() <= tolerance, "{name}[{i}]: {a} instead of {b}");
    }
}

#[test]
fn first_draws_equal_torch() {
    let fixture = fixture();
    for seed in SEEDS {
        for n in [1, 5, 15, 16, 17, 100, 1000, 16384] {
            let drawn = draw(&mut Generator::manual_seed(seed), "randn", n);
            check(&fixture, &format!("{seed}.randn.{n}"), "randn", &drawn);
        }
        let others = [
            ("rand.100", "rand", 100),
            ("randint.1000.50", "randint", 50),
            ("randperm.10", "randperm", 10),
            ("randperm.1000", "randperm", 1000),
        ];
        for (name, kind, n) in others {
            let drawn = draw(&mut Generator::manual_seed(seed), kind, n);
            check(&fixture, &format!("{seed}.{name}"), kind, &drawn);
        }
    }
}

#[test]
fn successive_draws_equal_torch() {
    let fixture = fixture();
    for seed in SEEDS {
        for counts in [&[17, 100][..], &[5, 3, 40], &[1, 16, 1, 2]] {
            let mut generator = Generator::manual_seed(seed);
            let name = counts.iter().map(ToString::to_string).collect::<Vec<_>>().join("_");
            for (i, n) in counts.iter().enumerate() {
                let drawn = draw(&mut generator, "randn", *n);
                check(&fixture, &format!("{seed}.successive.{name}.{i}"), "randn", &drawn);
            }
        }
    }
}

#[test]
fn mixed_draws_equal_torch() {
    let fixture = fixture();
    let order = [("rand", 3), ("randn", 5), ("randint", 7), ("randn", 20), ("randperm", 6), ("randn", 2)];
    for seed in SEEDS {
        let mut generator = Generator::manual_seed(seed);
        for (kind, n) in order {
            let drawn = draw(&mut generator, kind, n);
            check(&fixture, &format!("{seed}.mixed.{kind}.{n}"), kind, &drawn);
        }
    }
}

/// From 2²⁸ on torch reduces 64 bits: `torch.randint(0, 2**28 + 5, (3,))`, then `torch.randint(0, 10, (3,))`, of seed 3.
#[test]
fn wide_integers_equal_torch() {
    let mut generator = Generator::manual_seed(3);
    assert_eq!(generator.randint((1 << 28) + 5, 3), [29_606_712, 2_681_380, 156_549_511]);
    assert_eq!(generator.randint(10, 3), [0, 5, 1]);
}

#[test]
fn a_stream_is_the_torch_seed_of_its_hash() {
    let mut hash = Sha256::new();
    hash.update([7, 0, 0, 0, 0, 0, 0, 0, 3, 1, 0, 0, 0, 0, 0, 0]);
    hash.update("noise");
    let digest = hash.finalize();
    let seed = u64::from(digest[0])
        + (u64::from(digest[1]) << 8)
        + (u64::from(digest[2]) << 16)
        + (u64::from(digest[3]) << 24);
    assert_eq!(Generator::stream(7, "noise", 259).randn(20), Generator::manual_seed(seed).randn(20));
}

#[test]
fn streams_differ_by_seed_name_and_index() {
    let streams = [(1, "noise", 0), (2, "noise", 0), (1, "noise", 1), (1, "order", 0), (1, "nois", 0), (0, "noise", 1)];
    let firsts: BTreeSet<u64> = streams.map(|(s, n, i)| Generator::stream(s, n, i).randint(1 << 62, 1)[0]).into();
    assert_eq!(firsts.len(), streams.len());
}

#[test]
fn empty_draws_are_empty() {
    let mut generator = Generator::manual_seed(1);
    assert!(generator.randn(0).is_empty() && generator.rand(0).is_empty());
    assert!(generator.randint(10, 0).is_empty() && generator.randperm(0).is_empty());
    assert_eq!(generator.randint(0, 2), [0, 0]);
}
