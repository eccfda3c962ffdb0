//! Learning-rate schedules against `diffusers.optimization`.

#![allow(clippy::float_cmp, reason = "the ends of the schedules are exact")]

use serde_json::Value;
use tunelab::config::LrScheduler;
use tunelab::config::keys::{Setting, Value as _};
use tunelab::train::lr::learning_rate;

/// The schedule and warm-up that a diffusers name stands for: its `constant` knows no warm-up.
fn schedule(name: &str, warmup: usize) -> (LrScheduler, usize) {
    match name {
        "constant" => (LrScheduler::Constant, 0),
        "constant_with_warmup" => (LrScheduler::Constant, warmup),
        "linear" => (LrScheduler::Linear, warmup),
        "cosine" => (LrScheduler::Cosine, warmup),
        "polynomial" => (LrScheduler::Polynomial, warmup),
        other => panic!("unknown schedule {other}"),
    }
}

#[test]
fn every_step_equals_diffusers() {
    let cases: Vec<Value> =
        serde_json::from_str(&fs_err::read_to_string("tests/fixtures/lr_schedules.json").unwrap()).unwrap();
    assert!(cases.len() >= 8);
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let (kind, warmup) = schedule(name, case["warmup_steps"].as_u64().unwrap() as usize);
        let (base, total) = (case["base"].as_f64().unwrap(), case["steps"].as_u64().unwrap() as usize);
        for (step, expected) in case["lr"].as_array().unwrap().iter().enumerate() {
            let (got, expected) = (learning_rate(kind, base, step, warmup, total), expected.as_f64().unwrap());
            assert!(
                (got - expected).abs() <= 1e-12 * base,
                "{name}, warm-up {warmup}, step {step}: {got}, not {expected}"
            );
        }
    }
}

#[test]
fn a_schedule_keeps_its_end() {
    assert_eq!(learning_rate(LrScheduler::Linear, 1e-3, 30, 2, 20), 0.0);
    assert_eq!(learning_rate(LrScheduler::Cosine, 1e-3, 30, 2, 20), 0.0);
    assert_eq!(learning_rate(LrScheduler::Polynomial, 1e-3, 30, 2, 20), 1e-7);
    assert_eq!(learning_rate(LrScheduler::Polynomial, 5e-8, 10, 0, 20), 5e-8);
}

#[test]
fn names_are_those_of_experiments() {
    let kinds = [LrScheduler::Constant, LrScheduler::Linear, LrScheduler::Cosine, LrScheduler::Polynomial];
    let names = ["constant", "linear", "cosine", "polynomial"];
    for (kind, name) in kinds.into_iter().zip(names) {
        assert_eq!(kind.to_string(), name);
        assert_eq!(LrScheduler::from_setting(Setting::Text(name.into())), Some(kind));
    }
}
