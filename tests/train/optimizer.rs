//! Ten steps of AdamW and of Lion behind a clipped norm, against torch.

use crate::fixture::{Tensors, tensors, values, within};
use candle_core::{DType, Tensor, Var};
use std::collections::BTreeMap;
use tunelab::config::optimizer::Lion;
use tunelab::config::{self, AdamW};
use tunelab::train::optimizer::{Optimizer, clip_grad_norm, state_names};
use tunelab_ops::adamw::{AdamWStep, Moments, adamw};

const STEPS: usize = 10;
const LEARNING_RATE: f64 = 1e-2;
const CLIP: f64 = 0.7;
const ADAMW: config::Optimizer =
    config::Optimizer::AdamW(AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 1e-2 });

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
    let mut optimizer = Optimizer::new(trained.clone(), &ADAMW, CLIP).unwrap();
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
    let mut optimizer = Optimizer::new(trained, &ADAMW, 1.0).unwrap();
    for bad in [f32::NAN, f32::INFINITY] {
        let gradient = Tensor::new(&[0.5, bad], var.device()).unwrap();
        let norm = optimizer.step(&BTreeMap::from([("w".to_owned(), gradient)]), 0.1, 1.0).unwrap();
        assert!(!norm.is_finite());
        assert_eq!(var.to_vec1::<f32>().unwrap(), [1.0, 2.0]);
    }
    assert!(optimizer.step(&BTreeMap::new(), 0.1, 1.0).is_err(), "a gradient that is missing is named");
}

/// Losses come back as they are, and one that is not finite keeps a step from changing anything, however good its gradient.
#[test]
fn a_loss_that_is_not_finite_changes_nothing() {
    let lion = config::Optimizer::Lion(Lion { beta1: 0.9, beta2: 0.99, weight_decay: 1e-2 });
    for method in [ADAMW, lion] {
        let var = Var::new(&[1.0_f32, 2.0], &candle_core::Device::Cpu).unwrap();
        let trained = BTreeMap::from([("w".to_owned(), var.as_tensor().clone())]);
        let mut optimizer = Optimizer::new(trained, &method, 1.0).unwrap();
        let gradients = BTreeMap::from([("w".to_owned(), Tensor::new(&[0.3_f32, 0.4], var.device()).unwrap())]);
        let mut step = |losses: [f32; 2]| {
            let losses = losses.map(|loss| Tensor::new(loss, var.device()).unwrap());
            optimizer.step_with_losses(&gradients, 0.1, 1.0, &losses.each_ref()).unwrap()
        };
        for bad in [f32::NAN, f32::INFINITY] {
            let clipped = step([0.25, bad]);
            assert!(clipped.norm.is_nan() && clipped.scalars[0].to_bits() == 0.25f64.to_bits());
            assert!(!clipped.scalars[1].is_finite());
            assert_eq!(var.to_vec1::<f32>().unwrap(), [1.0, 2.0]);
        }
        let clipped = step([0.25, -1.5]);
        assert!((clipped.norm - 0.5).abs() < 1e-7);
        assert_eq!(clipped.scalars, [0.25, -1.5]);
        assert_ne!(var.to_vec1::<f32>().unwrap(), [1.0, 2.0]);
    }
}

#[test]
fn clipping_equals_torch_and_divides_by_the_loss_scale_first() {
    let f = tensors("adamw.safetensors");
    for (step, wanted) in values(&f["norms"]).into_iter().map(f64::from).enumerate() {
        let gradients = ["0", "1"].map(|n| row(&f, &format!("gradients.{n}"), step));
        let [plain, scaled] = [1.0, 256.0].map(|loss_scale: f64| {
            let scaled = gradients.each_ref().map(|g| (g * loss_scale).unwrap());
            let clipped = clip_grad_norm(&scaled.each_ref(), 1.0 / loss_scale, CLIP).unwrap();
            (clipped.norm, clipped.gradient_scale * loss_scale)
        });
        assert!((plain.0 / wanted - 1.0).abs() < 1e-6, "step {step}: {} instead of {wanted}", plain.0);
        let clip = (CLIP / (wanted + 1e-6)).min(1.0);
        assert!((plain.1 / clip - 1.0).abs() < 1e-6, "step {step}: {} instead of {clip}", plain.1);
        assert!(plain.0.to_bits() == scaled.0.to_bits() && plain.1.to_bits() == scaled.1.to_bits(), "powers of 2");
    }
}

/// The names in a checkpoint are a file format: these stay, whatever torch calls the averages.
#[test]
fn what_is_kept_goes_on_under_its_names() {
    assert_eq!(state_names(&ADAMW), ["exp_avg", "exp_avg_sq"]);
    let new = || {
        let var = Var::new(&[1.0_f32, -2.0, 0.5], &candle_core::Device::Cpu).unwrap();
        let trained = BTreeMap::from([("w".to_owned(), var.as_tensor().clone())]);
        (var, Optimizer::new(trained, &ADAMW, 1.0).unwrap())
    };
    let step = |optimizer: &mut Optimizer, i: usize| {
        let gradient = Tensor::new(&[0.3_f32, -0.1 * i as f32, 0.7], &candle_core::Device::Cpu).unwrap();
        optimizer.step(&BTreeMap::from([("w".to_owned(), gradient)]), 0.1, 1.0).unwrap()
    };
    let (straight, mut optimizer) = new();
    for i in 0..3 {
        step(&mut optimizer, i);
    }
    let state: BTreeMap<String, Tensor> =
        optimizer.state().into_iter().map(|(name, t)| (name, t.copy().unwrap())).collect();
    assert_eq!(state.keys().collect::<Vec<_>>(), ["moment1.w", "moment2.w", "value.w"]);
    step(&mut optimizer, 3);

    let (resumed, mut optimizer) = new();
    optimizer.restore(&state, 3).unwrap();
    step(&mut optimizer, 3);
    assert_eq!(values(&resumed), values(&straight), "to the last bit");
    let without: BTreeMap<String, Tensor> = state.into_iter().filter(|(name, _)| name != "moment2.w").collect();
    assert!(optimizer.restore(&without, 3).is_err());
}

/// Other betas than the defaults, a strong weight decay, a learning rate that changes, some steps that are clipped, and a gradient
/// that is 0.
#[test]
fn ten_steps_of_lion_equal_its_statement() {
    const CLIP: f64 = 1.1;
    let f = tensors("lion.safetensors");
    let names = ["0", "1", "2"];
    let start = |n: &str| Var::from_tensor(&row(&f, &format!("parameters.{n}"), 0)).unwrap().into_inner();
    let trained: BTreeMap<String, Tensor> = names.iter().map(|n| ((*n).to_owned(), start(n))).collect();
    let lion = config::Optimizer::Lion(Lion { beta1: 0.87, beta2: 0.96, weight_decay: 0.3 });
    let mut optimizer = Optimizer::new(trained.clone(), &lion, CLIP).unwrap();
    assert_eq!(state_names(&lion), ["exp_avg"]);
    let (norms, rates) = (values(&f["norms"]), f["learning_rates"].to_vec1::<f64>().unwrap());
    assert!(norms.iter().any(|n| f64::from(*n) > CLIP) && norms.iter().any(|n| f64::from(*n) < CLIP));
    for (step, (wanted, rate)) in norms.iter().zip(&rates).enumerate() {
        let gradients = names.iter().map(|n| ((*n).to_owned(), row(&f, &format!("gradients.{n}"), step))).collect();
        // A loss that was scaled by 8 gives the same step.
        let scaled = |gradients: BTreeMap<String, Tensor>| -> BTreeMap<String, Tensor> {
            gradients.into_iter().map(|(name, g)| (name, (g * 8.0).unwrap())).collect()
        };
        let norm = optimizer.step(&scaled(gradients), *rate, 8.0).unwrap();
        assert!((norm / f64::from(*wanted) - 1.0).abs() < 1e-6, "step {step}: norm {norm}");
        for n in names {
            let wanted = row(&f, &format!("parameters.{n}"), step + 1);
            within(&trained[n], &wanted, 1e-6, &format!("{n} after step {step}"));
        }
    }
    // What a checkpoint keeps is taken up again.
    let state = optimizer.state();
    let fresh: BTreeMap<String, Tensor> = names.iter().map(|n| ((*n).to_owned(), start(n))).collect();
    let mut again = Optimizer::new(fresh.clone(), &lion, CLIP).unwrap();
    again.restore(&state, 10).unwrap();
    for n in names {
        let kept =
            state.iter().find(|(name, _)| name.ends_with(&format!(".{n}")) && !name.starts_with("value.")).unwrap().1;
        within(kept, &f[&format!("exp_avg.{n}")], 1e-6, "the average");
        assert_eq!(values(&fresh[n]), values(&trained[n]));
    }
    let gradients: BTreeMap<String, Tensor> =
        names.iter().map(|n| ((*n).to_owned(), row(&f, &format!("gradients.{n}"), 3))).collect();
    optimizer.step(&gradients, 1e-3, 1.0).unwrap();
    again.step(&gradients, 1e-3, 1.0).unwrap();
    for n in names {
        assert_eq!(values(&fresh[n]), values(&trained[n]), "{n} after the restored step");
    }
}
