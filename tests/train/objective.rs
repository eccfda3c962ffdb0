//! The loss of a batch against its formula, worked out here in f64 from the betas: epsilon and
//! v-prediction, min-SNR, offset.

use super::Bench;
use crate::fixture::{model, randn, values};
use candle_core::{Device, Tensor};
use tunelab::config::Train;
use tunelab::diffusion::{LossFunction, NoiseSchedule};
use tunelab::model::build::Trainable;
use tunelab::random::Generator;
use tunelab::train::examples::Batch;
use tunelab::train::objective::{NoiseSample, Predictor};
use tunelab::train::texts::TextConditioning;

/// Steep, middle and flat parts of the schedule: SNR far above and below 5.
const TIMESTEPS: [usize; 3] = [12, 437, 981];

/// The product of 1 - beta up to and including `t`; the square roots of the betas lie on a line.
fn alpha_bar(t: usize) -> f64 {
    let (first, last) = (0.00085_f64.sqrt(), 0.012_f64.sqrt());
    (0..=t).map(|i| 1.0 - (first + (last - first) * i as f64 / 999.0).powi(2)).product()
}

fn schedule(prediction: &str) -> NoiseSchedule {
    let file = model().scheduler_config;
    let mut config: serde_json::Value = serde_json::from_str(&fs_err::read_to_string(&file).unwrap()).unwrap();
    config["prediction_type"] = prediction.into();
    NoiseSchedule::from_config(&config.to_string(), &file).unwrap()
}

/// The mean over samples of weight · mean((prediction - target)²).
fn on_paper(bench: &Bench, batch: &Batch, text: &Tensor, noise: &Tensor, v: bool, gamma: Option<f64>) -> f64 {
    let mut sum = 0.0;
    for (i, t) in TIMESTEPS.into_iter().enumerate() {
        let one = |x: &Tensor| x.narrow(0, i, 1).unwrap();
        let a = alpha_bar(t);
        let mix = |x: f64, n: f64| ((one(&batch.latents) * x).unwrap() + (one(noise) * n).unwrap()).unwrap();
        let noisy = mix(a.sqrt(), (1.0 - a).sqrt());
        let target = if v { mix(-(1.0 - a).sqrt(), a.sqrt()) } else { mix(0.0, 1.0) };
        let prediction = bench.unet.forward(&noisy, &[t as f64], &one(text).into()).unwrap();
        let pairs = values(&prediction).into_iter().zip(values(&target));
        let squares: Vec<f64> = pairs.map(|(p, t)| f64::from(p - t).powi(2)).collect();
        let snr = a / (1.0 - a);
        let weight = gamma.map_or(1.0, |g| g.min(snr) / if v { snr + 1.0 } else { snr });
        sum += weight * squares.iter().sum::<f64>() / squares.len() as f64;
    }
    sum / TIMESTEPS.len() as f64
}

#[test]
fn losses_follow_their_formulas() {
    let bench = Bench::new(Trainable::None, 1);
    let captions: Vec<String> = ["one", "two", "three"].map(str::to_owned).to_vec();
    let batch =
        Batch { latents: randn(&[3, 4, 8, 8], 1), captions: captions.clone(), time_ids: Vec::new(), loss_mask: None };
    let text = randn(&[3, 77, 24], 2);
    let embeds = captions.into_iter().enumerate().map(|(i, c)| (c, text.narrow(0, i, 1).unwrap().into())).collect();
    let texts = TextConditioning::Cached(embeds);
    let noise = randn(&[3, 4, 8, 8], 3);
    let mut seen = Vec::new();
    for prediction in ["epsilon", "v_prediction"] {
        for gamma in [None, Some(5.0), Some(0.3)] {
            let sample = NoiseSample::fixed(noise.clone(), TIMESTEPS.to_vec());
            let schedule = schedule(prediction);
            let predictor = Predictor {
                unet: &bench.unet,
                texts: &texts,
                schedule: &schedule,
                snr_gamma: gamma,
                loss: LossFunction::L2,
            };
            let ours = predictor.loss(&predictor.prepare(&batch, &sample).unwrap()).unwrap();
            let ours = f64::from(ours.to_scalar::<f32>().unwrap());
            let paper = on_paper(&bench, &batch, &text, &noise, prediction == "v_prediction", gamma);
            assert!((ours / paper - 1.0).abs() < 1e-4, "{prediction} {gamma:?}: {ours} instead of {paper}");
            assert!(seen.iter().all(|other: &f64| (ours / other - 1.0).abs() > 1e-2), "all six differ");
            seen.push(ours);
        }
    }
}

#[test]
fn noise_offset_adds_one_number_to_each_channel() {
    let dims = [3, 4, 8, 8];
    let draw = |offset: f64, number: u64| {
        let train = Train { noise_offset: offset, ..Train::default() };
        NoiseSample::new(&dims, 1000, &train, 9, number, &Device::Cpu).unwrap()
    };
    let (plain, shifted) = (draw(0.0, 4), draw(0.25, 4));
    assert_eq!(plain.timesteps, shifted.timesteps);
    let difference = values(&(shifted.noise - &plain.noise).unwrap());
    let wanted = Generator::stream(9, "noise offset", 4).randn(12);
    for (plane, n) in difference.chunks(64).zip(&wanted) {
        assert!(plane.iter().all(|d| (d - 0.25 * n).abs() < 1e-6));
    }
    assert!(wanted.iter().all(|n| values(&plain.noise).iter().all(|other| n.to_bits() != other.to_bits())));
}

/// As in diffusers' `train_text_to_image.py`: `new_noise = noise + γ · randn`, `add_noise(latents, new_noise)`, and the target is
/// that of `noise`.
#[test]
fn input_perturbation_reaches_the_input_and_not_the_target() {
    const GAMMA: f64 = 0.3;
    let bench = Bench::new(Trainable::None, 1);
    let captions = vec!["one".to_owned(); 3];
    let batch = Batch { latents: randn(&[3, 4, 8, 8], 1), captions, time_ids: Vec::new(), loss_mask: None };
    let texts = TextConditioning::Cached([("one".to_owned(), randn(&[1, 77, 24], 2).into())].into());
    let train = Train { input_perturbation: GAMMA, noise_offset: 0.2, ..Train::default() };
    let sample = NoiseSample::new(&[3, 4, 8, 8], 1000, &train, 9, 4, &Device::Cpu).unwrap();
    let plain =
        NoiseSample::new(&[3, 4, 8, 8], 1000, &Train { input_perturbation: 0.0, ..train.clone() }, 9, 4, &Device::Cpu)
            .unwrap();
    assert_eq!((values(&sample.noise), &sample.timesteps), (values(&plain.noise), &plain.timesteps));
    let other = Generator::stream(9, "input perturbation", 4).randn(3 * 4 * 64);
    for prediction in ["epsilon", "v_prediction"] {
        let schedule = schedule(prediction);
        let predictor = Predictor {
            unet: &bench.unet,
            texts: &texts,
            schedule: &schedule,
            snr_gamma: None,
            loss: LossFunction::L2,
        };
        let perturbed = predictor.prepare(&batch, &sample).unwrap();
        assert_eq!(values(&perturbed.target), values(&predictor.prepare(&batch, &plain).unwrap().target));
        let (latents, noise, noisy) = (values(&batch.latents), values(&sample.noise), values(&perturbed.noisy_latents));
        for (i, noisy) in noisy.into_iter().enumerate() {
            let a = alpha_bar(sample.timesteps[i / 256]);
            let new_noise = f64::from(noise[i]) + GAMMA * f64::from(other[i]);
            let wanted = a.sqrt() * f64::from(latents[i]) + (1.0 - a).sqrt() * new_noise;
            assert!((f64::from(noisy) - wanted).abs() < 1e-5, "{prediction}, value {i}: {noisy} instead of {wanted}");
        }
    }
}

#[test]
fn every_draw_is_of_its_own() {
    let train = Train::default();
    let draw =
        |number: u64, seed: u64| NoiseSample::new(&[8, 4, 8, 8], 1000, &train, seed, number, &Device::Cpu).unwrap();
    let (first, again) = (draw(0, 1), draw(0, 1));
    assert_eq!(values(&first.noise), values(&again.noise));
    assert_eq!(first.timesteps, again.timesteps);
    for other in [draw(1, 1), draw(0, 2)] {
        assert_ne!(values(&first.noise), values(&other.noise));
        assert_ne!(first.timesteps, other.timesteps);
    }
    let timesteps: Vec<usize> = (0..250).flat_map(|i| draw(i, 1).timesteps).collect();
    assert!(timesteps.iter().all(|t| *t < 1000));
    let mean = timesteps.iter().sum::<usize>() as f64 / timesteps.len() as f64;
    // The mean of 2000 uniform draws has a deviation of 6.5.
    assert!((mean - 499.5).abs() < 26.0, "{mean}");
    assert!(timesteps.contains(&0) || timesteps.iter().any(|t| *t < 5), "the ends are drawn too");
    assert!(timesteps.iter().any(|t| *t > 994));
}
