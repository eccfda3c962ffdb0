//! Ten steps of AdamW behind a clipped norm, against torch.

use crate::fixture::{Tensors, tensors, values, within};
use candle_core::{DType, Tensor, Var};
use std::collections::BTreeMap;
use tunelab::train::optimizer::{Optimizer, Settings};
use tunelab_ops::adamw::{AdamWStep, Moments, adamw};

const STEPS: usize = 10;
const LEARNING_RATE: f64 = 1e-2;
const CLIP: f64 = 0.7;

fn row(f: &Tensors, name: &str, step: usize) -> Tensor {
    f[name].get(step).unwrap().contiguous().unwrap()
}

#[test]
fn ten_steps_equal_torch() {
    let f = tensors("adamw.safetensors");
    let names = ["0", "1"];
    let trained: BTreeMap<String, Tensor> = names
        .iter()
        .map(|n| ((*n).to_owned(), Var::from_tensor(&row(&f, &format!("parameters.{n}"), 0)).unwrap().into_inner()))
        .collect();
    let settings = Settings { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 1e-2, max_grad_norm: CLIP };
    let mut optimizer = Optimizer::new(trained.clone(), settings).unwrap();
    let norms = values(&f["norms"]);
    let clipped = norms.iter().filter(|n| f64::from(**n) > CLIP).count();
    assert!(clipped > 0 && clipped < STEPS, "some steps are clipped, and some are not");
    assert_eq!(norms.len(), STEPS);
    for (step, wanted) in norms.iter().enumerate() {
        let gradients = names.iter().map(|n| ((*n).to_owned(), row(&f, &format!("gradients.{n}"), step))).collect();
        let norm = optimizer.step(&gradients, LEARNING_RATE, 1.0).unwrap();
        assert!((norm / f64::from(*wanted) - 1.0).abs() < 1e-6, "step {step}: norm {norm}");
        for n in names {
            within(
                &trained[n],
                &row(&f, &format!("parameters.{n}"), step + 1),
                1e-6,
                &format!("{n} after step {step}"),
            );
        }
    }
    assert_eq!(optimizer.count(), 15 + 7);
}

/// Both bodies of AdamW, and their moments.
#[test]
fn moments_equal_torch_in_both_bodies() {
    let f = tensors("adamw.safetensors");
    for (n, dtype) in [("0", DType::F32), ("1", DType::F32), ("0", DType::F64), ("1", DType::F64)] {
        let var = Var::from_tensor(&row(&f, &format!("parameters.{n}"), 0).to_dtype(dtype).unwrap()).unwrap();
        let mut moments = Moments::zeros(&var).unwrap();
        for (i, norm) in values(&f["norms"]).into_iter().enumerate() {
            let step = AdamWStep {
                learning_rate: LEARNING_RATE,
                beta1: 0.9,
                beta2: 0.999,
                epsilon: 1e-8,
                weight_decay: 1e-2,
                t: i as i32 + 1,
                gradient_scale: (CLIP / (f64::from(norm) + 1e-6)).min(1.0),
            };
            let gradient = row(&f, &format!("gradients.{n}"), i).to_dtype(dtype).unwrap();
            adamw(&var, &gradient, &mut moments, &step).unwrap();
        }
        within(&var, &row(&f, &format!("parameters.{n}"), STEPS), 1e-6, n);
        let [first, second] = moments.tensors();
        within(first, &f[&format!("first_moment.{n}")], 1e-6, "first moment");
        within(second, &f[&format!("second_moment.{n}")], 1e-6, "second moment");
    }
}

#[test]
fn a_gradient_that_is_not_finite_changes_nothing() {
    let var = Var::new(&[1.0_f32, 2.0], &candle_core::Device::Cpu).unwrap();
    let trained = BTreeMap::from([("w".to_owned(), var.as_tensor().clone())]);
    let settings = Settings { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 1e-2, max_grad_norm: 1.0 };
    let mut optimizer = Optimizer::new(trained, settings).unwrap();
    for bad in [f32::NAN, f32::INFINITY] {
        let gradient = Tensor::new(&[0.5, bad], var.device()).unwrap();
        let norm = optimizer.step(&BTreeMap::from([("w".to_owned(), gradient)]), 0.1, 1.0).unwrap();
        assert!(!norm.is_finite());
        assert_eq!(var.to_vec1::<f32>().unwrap(), [1.0, 2.0]);
    }
    assert!(optimizer.step(&BTreeMap::new(), 0.1, 1.0).is_err(), "a gradient that is missing is named");
}
