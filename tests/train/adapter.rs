//! The adapter in training: dropout, what changes and what does not.

use super::{Bench, SEED, bits, lora, settings};
use crate::fixture::{randn, values};
use candle_core::{Device, Tensor, Var};
use std::collections::BTreeMap;
use std::sync::Arc;
use tunelab::config::{AdamW, Optimizer, Train};
use tunelab::model::lora::{Dropout, LoraConfig, LoraLayer};
use tunelab::random::Generator;

/// Forward passes whose mean is compared.
const DRAWS: usize = 2000;

/// A layer of 24 inputs with B ≠ 0, and the switch of its dropout.
fn dropping(p: f64) -> (LoraLayer, Arc<Dropout>) {
    let dropout = Arc::new(Dropout::new(p));
    let config = LoraConfig { rank: 3, alpha: 5.0, targets: vec!["m".to_owned()], dropout: p };
    let layer = LoraLayer::fresh(&config, "m", &[7, 24], 1, &dropout, &Device::Cpu).unwrap();
    Var::from_tensor(&layer.lora_b).unwrap().set(&randn(&[7, 3], 2)).unwrap();
    (layer, dropout)
}

#[test]
fn dropout_keeps_the_mean_and_depends_on_its_seed_alone() {
    let (layer, dropout) = dropping(0.4);
    let x = randn(&[5, 24], 3);
    let with = |seed: u64| {
        dropout.set(Some(Generator::manual_seed(seed)));
        layer.update(&x).unwrap()
    };
    assert_eq!(values(&with(1)), values(&with(1)));
    assert_ne!(values(&with(1)), values(&with(2)));

    let outputs: Vec<Vec<f32>> = (0..DRAWS as u64).map(|seed| values(&with(seed))).collect();
    dropout.set(None);
    let whole = values(&layer.update(&x).unwrap());
    assert_eq!(whole, values(&layer.without_dropout().update(&x).unwrap()));
    for (i, wanted) in whole.iter().enumerate() {
        let of = |f: &dyn Fn(f64) -> f64| outputs.iter().map(|o| f(f64::from(o[i]))).sum::<f64>() / DRAWS as f64;
        let mean = of(&|v| v);
        let deviation = of(&|v| (v - mean).powi(2)).sqrt() / (DRAWS as f64).sqrt();
        assert!(deviation > 0.0 && (mean - f64::from(*wanted)).abs() < 5.0 * deviation, "{i}: {mean}, not {wanted}");
    }
}

/// A share p of A's inputs is zero, and the others are 1 / (1 - p) times as large: read off an A
/// that passes them on.
#[test]
fn dropout_drops_single_inputs() {
    let dropout = Arc::new(Dropout::new(0.3));
    let config = LoraConfig { rank: 50, alpha: 50.0, targets: vec!["m".to_owned()], dropout: 0.3 };
    let layer = LoraLayer::fresh(&config, "m", &[50, 50], 1, &dropout, &Device::Cpu).unwrap();
    let one = Tensor::eye(50, candle_core::DType::F32, &Device::Cpu).unwrap();
    for t in [&layer.lora_a, &layer.lora_b] {
        Var::from_tensor(t).unwrap().set(&one).unwrap();
    }
    dropout.set(Some(Generator::manual_seed(4)));
    let y = values(&layer.update(&Tensor::ones((100, 50), one.dtype(), &Device::Cpu).unwrap()).unwrap());
    let zeros = y.iter().filter(|v| **v == 0.0).count();
    assert!((zeros as f64 / 5000.0 - 0.3).abs() < 0.03, "{zeros} of 5000");
    assert!(y.iter().all(|v| *v == 0.0 || (v - 1.0 / 0.7).abs() < 1e-5));
}

#[test]
fn dropout_works_in_training_and_not_in_evaluation() {
    let train = Train { learning_rate: 5e-2, ..settings(3) };
    let [without, with, again] = [0.0, 0.5, 0.5].map(|p| {
        let bench = Bench::new(lora(p), 2);
        let rows = bench.rows(&train).unwrap();
        (rows, bench)
    });
    assert_eq!(with.0, again.0, "the same masks in both runs");
    assert_ne!(without.0, with.0);
    assert_eq!(without.0[0].loss.to_bits(), with.0[0].loss.to_bits(), "B is zero at first, so masks change no output");
    assert_eq!(with.1.evaluate().to_bits(), with.1.evaluate().to_bits(), "no masks in evaluation");
    // The same adapter on a network that knows no dropout at all.
    let plain = Bench::new(lora(0.0), 2);
    for (name, tensor) in plain.parameters.trained() {
        Var::from_tensor(&tensor).unwrap().set(&with.1.parameters.trained()[&name]).unwrap();
    }
    assert_eq!(with.1.evaluate().to_bits(), plain.evaluate().to_bits());
}

#[test]
fn every_adapter_tensor_learns_and_every_weight_stays() {
    // At 64x64 the innermost attention has a single key, so no gradient reaches its queries and
    // keys.
    let bench = Bench::at(128, lora(0.0), 2);
    let weights = || -> BTreeMap<String, Vec<u32>> {
        bench.parameters.weights.iter().map(|(name, t)| (name.clone(), bits(t))).collect()
    };
    let (frozen, fresh) = (weights(), bench.trained());
    assert_eq!((frozen.len(), fresh.len()), (688, 256));
    // Without decay, what has no gradient stays as it is.
    let train = Train { optimizer: Optimizer::AdamW(AdamW { weight_decay: 0.0, ..AdamW::default() }), ..settings(2) };
    let mut trainer = bench.trainer(&train);
    trainer.step().unwrap().unwrap();
    let first = bench.trained();
    for (name, values) in &first {
        assert_eq!(
            values == &fresh[name],
            name.ends_with("lora_A.weight"),
            "{name}: while B is zero, A has no gradient"
        );
    }
    trainer.step().unwrap().unwrap();
    for (name, values) in bench.trained() {
        assert!(values != first[&name], "{name} has changed");
    }
    assert!(trainer.step().unwrap().is_none());
    assert!(weights() == frozen);
}

/// What sampling sees while training goes on is the same memory.
#[test]
fn a_network_of_the_same_tensors_sees_every_step() {
    let bench = Bench::new(lora(0.0), 1);
    let before = bench.evaluate();
    bench.rows(&settings(2)).unwrap();
    assert_ne!(before.to_bits(), bench.evaluate().to_bits());
    let again = Bench::new(lora(0.0), 1);
    assert_eq!(before.to_bits(), again.evaluate().to_bits(), "seed {SEED} gives the same loss again");
}
