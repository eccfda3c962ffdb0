//! The trainer's loop: accumulation, epochs, rates, determinism, and the end of a run that
//! diverges.

#![allow(clippy::float_cmp, reason = "rates are exact")]

use super::{Bench, SEED, bits, lora, settings};
use candle_core::Tensor;
use std::collections::BTreeMap;
use tunelab::config::{AdamW, Length, LrScheduler, Optimizer, Train};
use tunelab::data::batches;
use tunelab::error::Kind;
use tunelab::model::build::Trainable;
use tunelab::results::LossRow;
use tunelab::train::objective::NoiseSample;
use tunelab_ops::tape;

/// Loss and gradients of batch number `draw` in the untrained state.
fn by_hand(bench: &Bench, train: &Train, indices: &[usize], draw: u64) -> (f64, BTreeMap<String, Tensor>) {
    let batch = bench.examples.batch(indices, &bench.vae, SEED, draw).unwrap();
    let dims = batch.latents.dims();
    let sample = NoiseSample::new(dims, 1000, train, SEED, draw, &candle_core::Device::Cpu).unwrap();
    let predictor = bench.predictor(&bench.unet, train.snr_gamma);
    let (loss, tape) = tape::record(|| predictor.loss(&predictor.prepare(&batch, &sample)?)).unwrap();
    let mut store = tape.backward(&loss).unwrap();
    let trained = bench.parameters.trained();
    let gradients = trained.into_iter().map(|(name, t)| (name, store.remove(&t).unwrap())).collect();
    (f64::from(loss.to_scalar::<f32>().unwrap()), gradients)
}

fn norm<'a>(gradients: impl Iterator<Item = &'a Tensor>) -> f64 {
    let squares = gradients.map(|g| f64::from(g.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap()));
    squares.sum::<f64>().sqrt()
}

/// Loss and gradient of a step are the means over its batches; an epoch's last step takes what is
/// left, undiluted.
#[test]
fn accumulation_takes_the_mean() {
    let bench = Bench::new(lora(0.0), 3);
    // At a rate of zero every step starts from the same weights.
    let train = Train {
        gradient_accumulation: 2,
        warmup_steps: 9,
        length: Length::Epochs(1),
        snr_gamma: Some(5.0),
        noise_offset: 0.1,
        ..settings(0)
    };
    let order = batches(3, 1, SEED, 0);
    let each: Vec<_> = (0..3).map(|i| by_hand(&bench, &train, &order[i], i as u64)).collect();
    let row = bench.trainer(&train).step().unwrap().unwrap();
    let mean = f64::midpoint(each[0].0, each[1].0);
    assert!((f64::from(row.loss) / mean - 1.0).abs() < 1e-6, "{} instead of {mean}", row.loss);
    let means: Vec<Tensor> =
        each[0].1.iter().map(|(name, g)| ((g + &each[1].1[name]).unwrap() * 0.5).unwrap()).collect();
    let wanted = norm(means.iter());
    assert!((f64::from(row.grad_norm) / wanted - 1.0).abs() < 1e-5, "{} instead of {wanted}", row.grad_norm);

    let rows = bench
        .rows(&Train {
            learning_rate: 1e-30,
            warmup_steps: 0,
            optimizer: Optimizer::AdamW(AdamW { weight_decay: 0.0, ..AdamW::default() }),
            ..train
        })
        .unwrap();
    assert_eq!(rows.len(), 2, "three batches in pairs");
    assert!((f64::from(rows[1].loss) / each[2].0 - 1.0).abs() < 1e-5);
    assert!((f64::from(rows[1].grad_norm) / norm(each[2].1.values()) - 1.0).abs() < 1e-5);
}

#[test]
fn a_batch_of_two_is_the_mean_of_its_samples() {
    let bench = Bench::new(lora(0.0), 3);
    let train = Train { batch_size: 2, ..settings(1) };
    let row = bench.trainer(&train).step().unwrap().unwrap();
    let indices = &batches(3, 2, SEED, 0)[0];
    assert_eq!(indices.len(), 2);
    let (loss, gradients) = by_hand(&bench_again(), &train, indices, 0);
    assert!((f64::from(row.loss) / loss - 1.0).abs() < 1e-6);
    assert!((f64::from(row.grad_norm) / norm(gradients.values()) - 1.0).abs() < 1e-5);
}

fn bench_again() -> Bench {
    Bench::new(lora(0.0), 3)
}

#[test]
fn every_epoch_is_a_permutation_of_its_own() {
    let orders: Vec<Vec<usize>> = (0..6).map(|epoch| batches(5, 2, SEED, epoch).concat()).collect();
    for order in &orders {
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, [0, 1, 2, 3, 4]);
    }
    let distinct: std::collections::BTreeSet<_> = orders.iter().collect();
    assert!(distinct.len() > 3);

    let train = Train { batch_size: 2, length: Length::Epochs(3), ..settings(0) };
    let rows = Bench::new(lora(0.0), 5).rows(&train).unwrap();
    assert_eq!(rows.iter().map(|r| r.epoch).collect::<Vec<_>>(), [1, 1, 1, 2, 2, 2, 3, 3, 3]);
    assert_eq!(rows.iter().map(|r| r.step).collect::<Vec<_>>(), (1..=9).collect::<Vec<_>>());
}

#[test]
fn the_warm_up_reaches_the_weights() {
    let bench = Bench::new(lora(0.0), 1);
    let train = Train { warmup_steps: 2, lr_scheduler: LrScheduler::Linear, learning_rate: 4e-3, ..settings(6) };
    let mut trainer = bench.trainer(&train);
    let mut moved = Vec::new();
    let mut rates = Vec::new();
    loop {
        let before = bench.parameters.trained().into_iter().map(|(n, t)| (n, t.copy().unwrap())).collect::<Vec<_>>();
        let Some(row) = trainer.step().unwrap() else { break };
        rates.push(row.lr);
        let after = bench.parameters.trained();
        let steps = before.iter().map(|(n, t)| crate::fixture::largest(&(&after[n] - t).unwrap()));
        moved.push(steps.fold(0.0, f64::max));
    }
    assert_eq!(rates, [0.0, 2e-3, 4e-3, 3e-3, 2e-3, 1e-3]);
    assert_eq!(moved[0], 0.0, "a rate of zero moves nothing");
    for (rate, moved) in rates.iter().zip(&moved).skip(1) {
        // Adam moves a number by about the rate, and by at most 7.3 times as much in these six
        // steps.
        assert!(*moved > 0.2 * rate && *moved < 7.3 * rate, "{moved} at a rate of {rate}");
    }
}

#[test]
fn a_run_that_diverges_names_its_step_and_keeps_what_was() {
    let bench = Bench::new(Trainable::Full, 1);
    let train = Train { learning_rate: 1e30, ..settings(5) };
    let mut trainer = bench.trainer(&train);
    let row = trainer.step().unwrap().unwrap();
    assert!(row.loss.is_finite() && row.grad_norm.is_finite());
    let before = bench.trained();
    let error = trainer.step().unwrap_err();
    assert!(error.message().contains("loss of step 2 is not finite"), "{error}");
    assert!(error.to_string().contains("learning_rate"), "{error}");
    assert_eq!((error.kind(), error.exit_code()), (Kind::Run, 1));
    assert!(bench.trained() == before);
}

fn run_once() -> (Vec<LossRow>, Vec<Vec<u32>>) {
    let bench = Bench::new(lora(0.2), 3);
    let train = Train { batch_size: 2, gradient_accumulation: 2, noise_offset: 0.1, ..settings(6) };
    let rows = bench.rows(&train).unwrap();
    (rows, bench.parameters.trained().values().map(bits).collect())
}

#[test]
fn two_runs_are_equal_bit_for_bit_whatever_the_number_of_threads() {
    let on = |threads: usize| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(run_once);
    let (rows, weights) = run_once();
    assert_eq!(rows.len(), 6);
    for (other, others) in [run_once(), on(1), on(4)] {
        assert_eq!(other, rows);
        assert!(others == weights);
    }
}
