//! Noise schedule and samplers against diffusers.

#![allow(
    clippy::unreadable_literal,
    clippy::excessive_precision,
    clippy::float_cmp,
    reason = "numbers as diffusers printed them; what is exact is compared exactly"
)]

use candle_core::{Device, Tensor};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;
use tunelab::diffusion::{HuberSchedule, NoiseSchedule, PredictionType, Sampler, SamplerRun, zero_terminal_snr_json};
use tunelab::error::{Error, Kind};
use tunelab::random::Generator;

/// SD 1.5's `scheduler_config.json`, with some keys set.
fn schedule_with(changes: &Value) -> Result<NoiseSchedule, Error> {
    let file = "tests/fixtures/model/scheduler/scheduler_config.json";
    let mut config: Value = serde_json::from_str(&fs_err::read_to_string(file).unwrap()).unwrap();
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    NoiseSchedule::from_config(&config.to_string(), Path::new("model/scheduler/scheduler_config.json"))
}

fn fixture(name: &str) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(format!("tests/fixtures/{name}.safetensors"), &Device::Cpu).unwrap()
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Every number within `tolerance` of the largest expected one.
#[track_caller]
fn close(got: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0_f32, |largest, b| largest.max(b.abs()));
    for (i, (a, b)) in got.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= tolerance * largest, "{what}[{i}]: {a} instead of {b}");
    }
}

/// The fixtures' stand-in for the UNet: 0.6 cos(t / 1000) x + 0.1 sin(3 x).
fn cheap_model(x: &Tensor, timestep: f64) -> Tensor {
    let straight = (x * (0.6 * (timestep / 1000.0).cos())).unwrap();
    let bent = ((x * 3.0).unwrap().sin().unwrap() * 0.1).unwrap();
    (straight + bent).unwrap()
}

/// Two pictures of `shape`, noise and ancestral noise from generators 11 and 12: latents before each call and after the last.
fn denoise(run: &mut SamplerRun, shape: [usize; 3]) -> Vec<Tensor> {
    let mut generators = [Generator::manual_seed(11), Generator::manual_seed(12)];
    let noise: Vec<f32> = generators.iter_mut().flat_map(|g| g.randn(shape.iter().product())).collect();
    let x = Tensor::from_vec(noise, (2, shape[0], shape[1], shape[2]), &Device::Cpu).unwrap();
    let mut trace = vec![(x * run.init_noise_sigma()).unwrap()];
    for call in 0..run.timesteps().len() {
        let x = &trace[call];
        let output = cheap_model(&run.scale_model_input(x, call).unwrap(), run.timesteps()[call]);
        trace.push(run.step(&output, call, x, &mut generators).unwrap());
    }
    trace
}

/// Those of the first fixtures.
const FIRST: [Sampler; 5] = [Sampler::Pndm, Sampler::Ddim, Sampler::EulerA, Sampler::Dpmpp2m, Sampler::Heun];

#[test]
fn whole_loops_equal_diffusers_at_every_step() {
    let fixture = fixture("samplers");
    let mut loops = 0;
    for sampler in FIRST {
        for prediction in ["epsilon", "v_prediction"] {
            for steps in [50, 10, 7] {
                let key = format!("{sampler}.{prediction}.{steps}");
                check_loop(&fixture, &key, sampler, steps, &json!({ "prediction_type": prediction }));
                loops += 1;
            }
        }
    }
    for sampler in [Sampler::EulerA, Sampler::Dpmpp2m, Sampler::Heun] {
        let key = format!("{sampler}.leading.10");
        check_loop(&fixture, &key, sampler, 10, &json!({ "timestep_spacing": "leading" }));
        loops += 1;
    }
    assert_eq!(loops, fixture.keys().filter(|key| key.ends_with('x')).count(), "a stored loop is not compared");
}

fn check_loop(fixture: &HashMap<String, Tensor>, key: &str, sampler: Sampler, steps: usize, changes: &Value) {
    let run = SamplerRun::new(sampler, &schedule_with(changes).unwrap(), steps).unwrap();
    assert_eq!(run.timesteps(), fixture[&format!("{key}.timesteps")].to_vec1::<f64>().unwrap(), "{key}");
    check_run(fixture, key, run, [4, 4, 6]);
}

fn check_run(fixture: &HashMap<String, Tensor>, key: &str, mut run: SamplerRun, shape: [usize; 3]) {
    let sigma: f64 = fixture[&format!("{key}.init_noise_sigma")].to_scalar().unwrap();
    assert!(
        (run.init_noise_sigma() / sigma - 1.0).abs() < 1e-6,
        "{key}: {} instead of {sigma}",
        run.init_noise_sigma()
    );
    let expected = &fixture[&format!("{key}.x")];
    let trace = denoise(&mut run, shape);
    assert_eq!(trace.len(), expected.dims()[0], "{key}");
    for (call, x) in trace.iter().enumerate() {
        let what = format!("{key}, before call {call}");
        close(&numbers(x), &numbers(&expected.get(call).unwrap()), 2e-5, &what);
    }
}

/// Euler and `UniPC`, Karras sigmas as they are asked for, and schedules of zero-terminal SNR, in every spacing.
#[test]
fn more_loops_equal_diffusers_at_every_step() {
    let fixture = fixture("more_samplers");
    let mut loops = 0;
    for key in fixture.keys().filter_map(|key| key.strip_suffix(".x")) {
        let [name, prediction, kind, spacing, steps] = key.split('.').collect::<Vec<_>>()[..] else { panic!("{key}") };
        let sampler: Sampler = name.parse().unwrap();
        let mut changes = json!({ "prediction_type": prediction });
        if spacing != "none" {
            changes["timestep_spacing"] = spacing.into();
        }
        let mut schedule = schedule_with(&changes).unwrap();
        if kind == "zero" {
            // The spacing too is what the training key makes of it.
            schedule = schedule_with(&json!({ "prediction_type": prediction, "timestep_spacing": "leading" })).unwrap();
            schedule = schedule.with_zero_terminal_snr().unwrap();
        }
        let run = SamplerRun::spread(sampler, &schedule, steps.parse().unwrap(), kind == "karras").unwrap();
        // Where they come from logarithms that numpy takes in f32, the last digits are numpy's own.
        let rounding = if kind == "karras" { 1e-3 } else { 0.0 };
        let timesteps = fixture[&format!("{key}.timesteps")].to_vec1::<f64>().unwrap();
        assert_eq!(run.timesteps().len(), timesteps.len(), "{key}");
        for (ours, theirs) in run.timesteps().iter().zip(timesteps) {
            assert!((ours - theirs).abs() <= rounding, "{key}: timestep {ours} instead of {theirs}");
        }
        check_run(&fixture, key, run, [1, 2, 3]);
        loops += 1;
    }
    assert_eq!(loops, 80);
}

/// Lin et al., 2023: what is trained over rescaled betas.
#[test]
fn zero_terminal_snr_equals_diffusers() {
    let fixture = fixture("zero_snr");
    let own = schedule_with(&json!({ "prediction_type": "v_prediction" })).unwrap();
    let schedule = own.with_zero_terminal_snr().unwrap();
    let timesteps: Vec<usize> =
        fixture["timesteps"].to_vec1::<i64>().unwrap().into_iter().map(|t| usize::try_from(t).unwrap()).collect();
    assert!(timesteps.contains(&999) && schedule.alphas_cumprod()[999] == 0.0 && own.alphas_cumprod()[999] > 0.0);
    close(schedule.alphas_cumprod(), &numbers(&fixture["alphas_cumprod"]), 1e-6, "alphas_cumprod");
    let (latents, noise) = (&fixture["latents"], &fixture["noise"]);
    let noisy = schedule.add_noise(latents, noise, &timesteps).unwrap();
    close(&numbers(&noisy), &numbers(&fixture["noisy"]), 1e-6, "noisy");
    let target = schedule.target(latents, noise, &timesteps).unwrap();
    close(&numbers(&target), &numbers(&fixture["velocity"]), 1e-6, "velocity");
    for (i, t) in timesteps.into_iter().enumerate() {
        for (what, ours) in [("snr", schedule.snr(t)), ("min_snr_3", schedule.min_snr_weight(t, 3.0))] {
            let wanted = f64::from(numbers(&fixture[what])[i]);
            assert!((ours - wanted).abs() <= 1e-4 * wanted, "{what} at {t}: {ours} instead of {wanted}");
        }
    }
    // At the last timestep nothing is left of the picture, and the schedules of c end where they should.
    let snr = HuberSchedule::Snr.threshold(0.1, &schedule, 999);
    assert!((snr - 0.1).abs() < 1e-12, "{snr}");
}

#[test]
fn zero_terminal_snr_is_refused_for_epsilon() {
    let epsilon = schedule_with(&json!({})).unwrap();
    refused(epsilon.with_zero_terminal_snr(), &["predicts v", "epsilon", "scheduler_config.json", "zero_terminal_snr"]);
    let velocity =
        schedule_with(&json!({ "prediction_type": "v_prediction" })).unwrap().with_zero_terminal_snr().unwrap();
    refused(SamplerRun::new(Sampler::Pndm, &velocity, 20), &["rescale_betas_zero_snr"]);
    assert_eq!(SamplerRun::new(Sampler::Ddim, &velocity, 20).unwrap().timesteps()[0], 999.0);
}

/// The configuration that is written beside a model that was trained so reads as the schedule that it was trained over.
#[test]
fn a_written_configuration_has_zero_terminal_snr() {
    let text = r#"{"prediction_type": "v_prediction", "timestep_spacing": "leading", "beta_schedule": "scaled_linear",
        "lambda_min_clipped": -Infinity, "beta_start": 0.00085, "beta_end": 0.012, "note": "kept"}"#;
    let wanted = NoiseSchedule::from_config(text, Path::new("a")).unwrap().with_zero_terminal_snr().unwrap();
    let written = zero_terminal_snr_json(text).unwrap();
    assert!(written.contains("\"note\": \"kept\"") && !written.contains("Infinity"), "{written}");
    let read = NoiseSchedule::from_config(&written, Path::new("b")).unwrap();
    assert_eq!(read.alphas_cumprod(), wanted.alphas_cumprod());
    let timesteps = |schedule| SamplerRun::new(Sampler::Ddim, schedule, 6).unwrap().timesteps().to_vec();
    assert_eq!((timesteps(&read)[0], timesteps(&read)), (999.0, timesteps(&wanted)));
}

#[test]
fn karras_sigmas_are_refused_where_diffusers_has_none() {
    let schedule = schedule_with(&json!({})).unwrap();
    for sampler in Sampler::ALL {
        let run = SamplerRun::spread(sampler, &schedule, 8, true);
        if sampler.has_karras() {
            assert_ne!(run.unwrap().timesteps(), SamplerRun::new(sampler, &schedule, 8).unwrap().timesteps());
        } else {
            refused(run, &[sampler.name(), "Karras", "dpmpp_2m, heun, euler, unipc"]);
        }
    }
}

/// The last latents of short loops and of other configurations: the same loop in diffusers 0.42.1 (`from_config` of SD 1.5's
/// configuration with these changes, null being a key left out), two pictures of shape
/// [1, 1, 2].
const LAST_LATENTS: &[(Sampler, &str, usize, [f32; 4])] = &[
    (Sampler::Pndm, "{}", 1, [0.731599, 1.933108, -0.211621, -1.36953]),
    (Sampler::Pndm, "{}", 2, [0.642096, 1.881619, -0.174314, -1.423103]),
    (Sampler::Pndm, "{}", 3, [0.700658, 1.769748, -0.12135, -1.41328]),
    (Sampler::Pndm, r#"{"timestep_spacing": "linspace"}"#, 6, [1.938671, 4.658493, -0.240386, -3.202299]),
    (
        Sampler::Pndm,
        r#"{"timestep_spacing": "trailing", "set_alpha_to_one": true}"#,
        6,
        [2.05942, 5.631988, -0.237067, -3.715919],
    ),
    (
        Sampler::Pndm,
        r#"{"clip_sample": true, "clip_sample_range": 0.5, "prediction_type": "v_prediction"}"#,
        6,
        [0.202122, 0.746196, -0.052428, -0.476116],
    ),
    (
        Sampler::Pndm,
        r#"{"beta_schedule": "squaredcos_cap_v2", "timestep_spacing": "leading", "steps_offset": 0}"#,
        6,
        [0.966284, 2.420811, -0.160844, -1.83022],
    ),
    (Sampler::Ddim, "{}", 1, [0.731599, 1.933108, -0.211621, -1.36953]),
    (Sampler::Ddim, "{}", 2, [0.659391, 2.141604, -0.133476, -1.601457]),
    (Sampler::Ddim, "{}", 3, [0.892682, 2.669857, -0.152565, -1.911986]),
    (Sampler::Ddim, r#"{"timestep_spacing": "linspace"}"#, 6, [2.323561, 6.88799, -0.361226, -4.810992]),
    (
        Sampler::Ddim,
        r#"{"timestep_spacing": "trailing", "set_alpha_to_one": true}"#,
        6,
        [2.57717, 7.516351, -0.353906, -5.306634],
    ),
    (
        Sampler::Ddim,
        r#"{"clip_sample": true, "clip_sample_range": 0.5, "prediction_type": "v_prediction"}"#,
        6,
        [0.180025, 0.512829, -0.044092, -0.461193],
    ),
    (
        Sampler::Ddim,
        r#"{"rescale_betas_zero_snr": true, "timestep_spacing": "trailing", "prediction_type": "v_prediction"}"#,
        6,
        [0.151309, 0.648421, -0.036737, -0.401123],
    ),
    (
        Sampler::Ddim,
        r#"{"beta_schedule": "squaredcos_cap_v2", "timestep_spacing": "leading", "steps_offset": 0}"#,
        6,
        [1.089799, 3.065201, -0.178255, -2.095941],
    ),
    (Sampler::Pndm, r#"{"set_alpha_to_one": true}"#, 6, [1.254006, 3.092425, -0.169459, -2.057877]),
    (Sampler::Ddim, r#"{"set_alpha_to_one": true}"#, 6, [1.412125, 3.669856, -0.191996, -2.645114]),
    (
        Sampler::Pndm,
        r#"{"set_alpha_to_one": null, "clip_sample": null}"#,
        6,
        [1.271428, 3.142135, -0.172628, -2.078609],
    ),
    (
        Sampler::Ddim,
        r#"{"set_alpha_to_one": null, "clip_sample": null}"#,
        6,
        [0.707684, 0.867679, -0.191996, -0.805908],
    ),
    (Sampler::EulerA, "{}", 1, [0.02095, 0.055271, -0.006073, -0.039138]),
    (Sampler::EulerA, "{}", 2, [5.987898, 19.488815, -1.221366, -14.557284]),
    (Sampler::EulerA, "{}", 3, [2.563483, 9.696958, -0.573218, -7.78302]),
    (Sampler::EulerA, r#"{"timestep_spacing": "linspace"}"#, 6, [0.389917, 2.830787, -0.040617, -3.764075]),
    (
        Sampler::EulerA,
        r#"{"timestep_spacing": "trailing", "set_alpha_to_one": true}"#,
        6,
        [0.733556, 1.98903, -0.060292, -3.352708],
    ),
    (
        Sampler::EulerA,
        r#"{"clip_sample": true, "clip_sample_range": 0.5, "prediction_type": "v_prediction"}"#,
        6,
        [0.12399, -0.162918, -0.017989, -0.19527],
    ),
    (
        Sampler::EulerA,
        r#"{"rescale_betas_zero_snr": true, "timestep_spacing": "trailing", "prediction_type": "v_prediction"}"#,
        6,
        [0.387266, -0.179236, -0.034339, 0.028541],
    ),
    (
        Sampler::EulerA,
        r#"{"beta_schedule": "squaredcos_cap_v2", "timestep_spacing": "leading", "steps_offset": 0}"#,
        6,
        [0.141878, 1.179563, -0.009699, -1.875828],
    ),
    (Sampler::Dpmpp2m, "{}", 1, [6.134816, 19.901421, -1.243068, -14.870514]),
    (Sampler::Dpmpp2m, "{}", 2, [3.813981, 11.351954, -0.680016, -8.645222]),
    (Sampler::Dpmpp2m, "{}", 3, [2.585903, 7.931634, -0.383434, -5.79718]),
    (Sampler::Dpmpp2m, r#"{"timestep_spacing": "linspace"}"#, 6, [2.057013, 6.155268, -0.264649, -4.208485]),
    (
        Sampler::Dpmpp2m,
        r#"{"timestep_spacing": "trailing", "set_alpha_to_one": true}"#,
        6,
        [2.057368, 6.156619, -0.264584, -4.209893],
    ),
    (
        Sampler::Dpmpp2m,
        r#"{"clip_sample": true, "clip_sample_range": 0.5, "prediction_type": "v_prediction"}"#,
        6,
        [0.184332, 0.771652, -0.046329, -0.475908],
    ),
    (
        Sampler::Dpmpp2m,
        r#"{"rescale_betas_zero_snr": true, "timestep_spacing": "trailing", "prediction_type": "v_prediction"}"#,
        6,
        [0.167645, 0.720503, -0.041927, -0.438273],
    ),
    (
        Sampler::Dpmpp2m,
        r#"{"beta_schedule": "squaredcos_cap_v2", "timestep_spacing": "leading", "steps_offset": 0}"#,
        6,
        [1.141238, 3.086049, -0.177254, -2.052981],
    ),
    (Sampler::Heun, "{}", 1, [0.02095042, 0.05527104, -0.006072784, -0.03913801]),
    (Sampler::Heun, "{}", 2, [-17.67132, -61.76605, 2.7987, 46.95488]),
    (Sampler::Heun, "{}", 3, [-1.433614, -6.856624, 0.3426509, 4.810704]),
    (Sampler::Heun, r#"{"timestep_spacing": "trailing"}"#, 6, [1.863918, 5.035686, -0.2117381, -3.44487]),
    (
        Sampler::Heun,
        r#"{"clip_sample": true, "clip_sample_range": 0.5, "prediction_type": "v_prediction"}"#,
        6,
        [0.2879148, 0.5, -0.07634664, -0.5],
    ),
    (Sampler::Heun, r#"{"clip_sample": true, "clip_sample_range": 0.5}"#, 6, [0.5, 0.5, -0.2140699, -0.5]),
    (
        Sampler::Heun,
        r#"{"beta_schedule": "squaredcos_cap_v2", "timestep_spacing": "leading", "steps_offset": 0}"#,
        6,
        [0.9695224, 2.497689, -0.1633744, -1.836767],
    ),
    (
        Sampler::Heun,
        r#"{"use_karras_sigmas": true, "prediction_type": "v_prediction"}"#,
        6,
        [0.3463328, 1.199888, -0.09579215, -0.7649201],
    ),
];

#[test]
fn few_steps_and_other_configurations_equal_diffusers() {
    for (sampler, changes, steps, expected) in LAST_LATENTS {
        let schedule = schedule_with(&serde_json::from_str(changes).unwrap()).unwrap();
        let mut run = SamplerRun::new(*sampler, &schedule, *steps).unwrap();
        let trace = denoise(&mut run, [1, 1, 2]);
        close(&numbers(&trace[trace.len() - 1]), expected, 1e-5, &format!("{sampler}, {steps} steps, {changes}"));
    }
}

/// Timesteps of six steps in diffusers 0.42.1; without a spacing in the configuration each sampler has its own.
const TIMESTEPS: &[(Sampler, Option<&str>, &[f64])] = &[
    (Sampler::Pndm, None, &[831.0, 665.0, 665.0, 499.0, 333.0, 167.0, 1.0]),
    (Sampler::Pndm, Some("linspace"), &[999.0, 799.0, 799.0, 599.0, 400.0, 200.0, 0.0]),
    (Sampler::Pndm, Some("leading"), &[831.0, 665.0, 665.0, 499.0, 333.0, 167.0, 1.0]),
    (Sampler::Pndm, Some("trailing"), &[999.0, 832.0, 832.0, 666.0, 499.0, 332.0, 166.0]),
    (Sampler::Ddim, None, &[831.0, 665.0, 499.0, 333.0, 167.0, 1.0]),
    (Sampler::Ddim, Some("linspace"), &[999.0, 799.0, 599.0, 400.0, 200.0, 0.0]),
    (Sampler::Ddim, Some("leading"), &[831.0, 665.0, 499.0, 333.0, 167.0, 1.0]),
    (Sampler::Ddim, Some("trailing"), &[999.0, 832.0, 666.0, 499.0, 332.0, 166.0]),
    (Sampler::EulerA, None, &[999.0, 799.2000122070312, 599.4000244140625, 399.6000061035156, 199.8000030517578, 0.0]),
    (
        Sampler::EulerA,
        Some("linspace"),
        &[999.0, 799.2000122070312, 599.4000244140625, 399.6000061035156, 199.8000030517578, 0.0],
    ),
    (Sampler::EulerA, Some("leading"), &[831.0, 665.0, 499.0, 333.0, 167.0, 1.0]),
    (Sampler::EulerA, Some("trailing"), &[999.0, 832.0, 666.0, 499.0, 332.0, 166.0]),
    (Sampler::Dpmpp2m, None, &[999.0, 832.0, 666.0, 500.0, 333.0, 166.0]),
    (Sampler::Dpmpp2m, Some("linspace"), &[999.0, 832.0, 666.0, 500.0, 333.0, 166.0]),
    (Sampler::Dpmpp2m, Some("leading"), &[853.0, 711.0, 569.0, 427.0, 285.0, 143.0]),
    (Sampler::Dpmpp2m, Some("trailing"), &[999.0, 832.0, 666.0, 499.0, 332.0, 166.0]),
    (
        Sampler::Heun,
        None,
        &[
            999.0,
            799.2000122070312,
            799.2000122070312,
            599.4000244140625,
            599.4000244140625,
            399.6000061035156,
            399.6000061035156,
            199.8000030517578,
            199.8000030517578,
            0.0,
            0.0,
        ],
    ),
    (
        Sampler::Heun,
        Some("linspace"),
        &[
            999.0,
            799.2000122070312,
            799.2000122070312,
            599.4000244140625,
            599.4000244140625,
            399.6000061035156,
            399.6000061035156,
            199.8000030517578,
            199.8000030517578,
            0.0,
            0.0,
        ],
    ),
    (Sampler::Heun, Some("leading"), &[831.0, 665.0, 665.0, 499.0, 499.0, 333.0, 333.0, 167.0, 167.0, 1.0, 1.0]),
    (Sampler::Heun, Some("trailing"), &[999.0, 832.0, 832.0, 666.0, 666.0, 499.0, 499.0, 332.0, 332.0, 166.0, 166.0]),
];

#[test]
fn timesteps_equal_diffusers_in_every_spacing() {
    for (sampler, spacing, expected) in TIMESTEPS {
        let changes = spacing.map_or(json!({}), |spacing| json!({ "timestep_spacing": spacing }));
        let run = SamplerRun::new(*sampler, &schedule_with(&changes).unwrap(), 6).unwrap();
        assert_eq!(run.timesteps(), *expected, "{sampler} {spacing:?}");
    }
}

/// Classes of another process than the one that is built, or of models of another kind.
const OTHER_CLASSES: [&str; 4] =
    ["CogVideoXDDIMScheduler", "CogVideoXDPMScheduler", "RePaintScheduler", "UnCLIPScheduler"];

/// What a sampler refuses though diffusers goes on, by the variant of the configuration, with the key that is named.
const REFUSED: [(&str, Sampler, &str); 14] = [
    ("use_exponential_sigmas", Sampler::Euler, "use_exponential_sigmas"),
    ("use_exponential_sigmas", Sampler::UniPc, "use_exponential_sigmas"),
    ("solver_order 3", Sampler::UniPc, "solver_order"),
    ("final_sigmas_type sigma_min", Sampler::Euler, "final_sigmas_type"),
    ("final_sigmas_type sigma_min", Sampler::UniPc, "final_sigmas_type"),
    ("karras, zero SNR", Sampler::Pndm, "rescale_betas_zero_snr"),
    ("karras, zero SNR", Sampler::Heun, "rescale_betas_zero_snr"),
    ("karras, cosine", Sampler::Dpmpp2m, "use_karras_sigmas"),
    ("use_exponential_sigmas", Sampler::Dpmpp2m, "use_exponential_sigmas"),
    ("use_exponential_sigmas", Sampler::Heun, "use_exponential_sigmas"),
    ("solver_order 3", Sampler::Dpmpp2m, "solver_order"),
    ("solver_type heun", Sampler::Dpmpp2m, "solver_type"),
    ("final_sigmas_type sigma_min", Sampler::Dpmpp2m, "final_sigmas_type"),
    ("variance_type learned_range", Sampler::Dpmpp2m, "variance_type"),
];

/// Every scheduler class's configuration as it is saved, with its defaults, with Stable Diffusion's betas and with some options,
/// under every sampler: what diffusers' `from_config` makes of it, or a refusal that says the way out.
#[test]
fn every_scheduler_configuration_is_taken_as_from_config_takes_it() {
    assert_eq!(scheduler_classes("scheduler_classes.json", &FIRST), (350, 55));
    assert_eq!(scheduler_classes("scheduler_classes_more.json", &[Sampler::Euler, Sampler::UniPc]), (136, 26));
}

/// How many were equal, and how many refused.
fn scheduler_classes(file: &str, samplers: &[Sampler]) -> (usize, usize) {
    let text = fs_err::read_to_string(format!("tests/fixtures/{file}")).unwrap();
    let fixture: Value = serde_json::from_str(&text).unwrap();
    let steps = serde_json::from_value(fixture["steps"].clone()).unwrap();
    let (mut equal, mut refused) = (0, 0);
    for row in fixture["rows"].as_array().unwrap() {
        let [class, variant, config] = ["class", "variant", "config"].map(|key| row[key].as_str().unwrap());
        let schedule = NoiseSchedule::from_config(config, Path::new("scheduler_config.json"));
        let Ok(schedule) = schedule else {
            assert!(OTHER_CLASSES.contains(&class), "{class} is refused");
            assert_way_out(&schedule.unwrap_err(), class);
            refused += samplers.len();
            continue;
        };
        assert!(!OTHER_CLASSES.contains(&class), "{class}");
        for &sampler in samplers {
            let what = format!("{class}, {variant}, {sampler}");
            let outcome = &fixture["outcomes"][row[sampler.name()].as_u64().unwrap() as usize];
            let key = REFUSED.iter().find(|r| (r.0, r.1) == (variant, sampler)).map(|r| r.2);
            match SamplerRun::new(sampler, &schedule, steps) {
                Ok(run) => {
                    assert!(key.is_none(), "{what}");
                    check_outcome(run, outcome, &what);
                    equal += 1;
                }
                Err(error) => {
                    assert!(key.is_some() || outcome["error"].is_string(), "{what}: {error}");
                    // Over the last step unipc's differences are divided by an infinite h.
                    let other = match (sampler, variant) {
                        (Sampler::UniPc, "karras, cosine") => "use_karras_sigmas",
                        (Sampler::UniPc, _) => "lower_order_final",
                        _ => "algorithm_type",
                    };
                    assert_way_out(&error, key.unwrap_or(other));
                    refused += 1;
                }
            }
        }
    }
    (equal, refused)
}

#[track_caller]
fn assert_way_out(error: &Error, key: &str) {
    let text = error.to_string();
    assert!(error.kind() == Kind::Input && text.contains("scheduler_config.json"), "{text}");
    assert!(text.contains(key) && text.contains("hint: "), "no {key} in: {text}");
}

#[track_caller]
fn check_outcome(mut run: SamplerRun, outcome: &Value, what: &str) {
    assert!(outcome["error"].is_null(), "{what}: diffusers refuses this: {}", outcome["error"]);
    let timesteps: Vec<f64> = serde_json::from_value(outcome["timesteps"].clone()).unwrap();
    // Where they come from logarithms that numpy takes in f32, the last digits are numpy's own.
    let rounding =
        if ["heun", "euler"].iter().any(|s| what.ends_with(s)) && what.contains("karras") { 1e-3 } else { 0.0 };
    assert_eq!(run.timesteps().len(), timesteps.len(), "{what}");
    for (ours, theirs) in run.timesteps().iter().zip(&timesteps) {
        assert!((ours - theirs).abs() <= rounding, "{what}: {ours} and {theirs}");
    }
    let sigma = outcome["init_noise_sigma"].as_f64().unwrap();
    assert!((run.init_noise_sigma() / sigma - 1.0).abs() < 1e-6, "{what}: {}", run.init_noise_sigma());
    let last: Vec<f32> = serde_json::from_value(outcome["last"].clone()).unwrap();
    let trace = denoise(&mut run, [1, 1, 2]);
    close(&numbers(&trace[trace.len() - 1]), &last, 2e-5, what);
}

/// The paper's start: twelve calls for three steps, for which there must be a fourth.
#[test]
fn pndm_takes_the_runge_kutta_start_unless_it_is_to_skip_it() {
    let runge_kutta = schedule_with(&json!({ "skip_prk_steps": null })).unwrap_or_else(|e| panic!("{e}"));
    let calls = |schedule: &NoiseSchedule, steps| {
        Ok::<_, Error>(SamplerRun::new(Sampler::Pndm, schedule, steps)?.timesteps().len())
    };
    assert_eq!(calls(&runge_kutta, 4).unwrap(), 13);
    assert_eq!(calls(&runge_kutta, 50).unwrap(), 59);
    assert_eq!(calls(&schedule_with(&json!({})).unwrap(), 50).unwrap(), 51);
    refused(calls(&runge_kutta, 3), &["3 sampling steps", "at least 4", "another sampler", "skip_prk_steps"]);
}

#[test]
fn schedules_equal_diffusers() {
    let fixture = fixture("schedule");
    let timesteps: Vec<usize> =
        fixture["timesteps"].to_vec1::<i64>().unwrap().into_iter().map(|t| usize::try_from(t).unwrap()).collect();
    let (latents, noise) = (&fixture["latents"], &fixture["noise"]);
    for name in ["scaled_linear", "linear", "squaredcos_cap_v2"] {
        let stored = |what: &str| numbers(&fixture[&format!("{name}.{what}")]);
        let epsilon = schedule_with(&json!({ "beta_schedule": name })).unwrap();
        let velocity = schedule_with(&json!({ "beta_schedule": name, "prediction_type": "v_prediction" })).unwrap();
        assert_eq!(epsilon.len(), 1000);
        for (t, (a, b)) in epsilon.alphas_cumprod().iter().zip(stored("alphas_cumprod")).enumerate() {
            assert!((a - b).abs() <= 1e-6 * b, "{name}, timestep {t}: {a} instead of {b}");
        }
        let noisy = epsilon.add_noise(latents, noise, &timesteps).unwrap();
        close(&numbers(&noisy), &stored("noisy"), 1e-6, name);
        close(&numbers(&epsilon.target(latents, noise, &timesteps).unwrap()), &numbers(noise), 0.0, name);
        let target = velocity.target(latents, noise, &timesteps).unwrap();
        close(&numbers(&target), &stored("velocity"), 1e-6, name);
        for (i, t) in timesteps.iter().enumerate() {
            let pairs = [
                ("snr", epsilon.snr(*t)),
                ("min_snr_5.epsilon", epsilon.min_snr_weight(*t, 5.0)),
                ("min_snr_5.v_prediction", velocity.min_snr_weight(*t, 5.0)),
            ];
            for (what, got) in pairs {
                let expected = f64::from(stored(what)[i]);
                assert!((got - expected).abs() <= 1e-5 * expected, "{name}.{what} at {t}: {got} instead of {expected}");
            }
        }
    }
}

#[test]
fn keys_decide_what_is_read() {
    let trained: Vec<f32> = (0..10).map(|i| 0.01 + 0.02 * i as f32).collect();
    let schedule = schedule_with(&json!({ "trained_betas": trained, "num_train_timesteps": 10 })).unwrap();
    let product: f32 = trained.iter().map(|beta| 1.0 - beta).product();
    close(&schedule.alphas_cumprod()[9..], &[product], 1e-6, "trained betas");

    let zero = schedule_with(&json!({ "rescale_betas_zero_snr": true, "prediction_type": "v_prediction" })).unwrap();
    assert_eq!(zero.prediction_type(), PredictionType::VPrediction);
    assert_eq!(zero.alphas_cumprod()[999], 0.0);
    close(&zero.alphas_cumprod()[..1], &[0.999_15], 1e-5, "the first timestep stays");
    assert_eq!(zero.min_snr_weight(999, 5.0), 0.0);
    let epsilon = schedule_with(&json!({ "rescale_betas_zero_snr": true })).unwrap();
    assert_eq!(epsilon.min_snr_weight(999, 5.0), 1.0);
}

/// diffusers writes `-Infinity`, which is not JSON, into DPM-Solver's configuration.
#[test]
fn a_configuration_with_infinity_is_read() {
    let text = r#"{"_class_name": "DPMSolverMultistepScheduler", "note": "a \"-Infinity\" stays",
        "lambda_min_clipped": -Infinity, "flow_shift": 1.0, "beta_schedule": "scaled_linear"}"#;
    let schedule = NoiseSchedule::from_config(text, Path::new("x.json")).unwrap();
    assert!(SamplerRun::new(Sampler::Dpmpp2m, &schedule, 20).is_ok());
}

#[track_caller]
fn refused(result: Result<impl Sized, Error>, words: &[&str]) {
    let Err(error) = result else { panic!("not refused: {words:?}") };
    assert_eq!(error.kind(), Kind::Input);
    for word in words {
        assert!(error.to_string().contains(word), "no {word:?} in: {error}");
    }
}

#[test]
fn unsupported_options_name_file_and_key() {
    let file = "model/scheduler/scheduler_config.json";
    let options = [
        ("prediction_type", json!("sample")),
        ("thresholding", json!(true)),
        ("use_flow_sigmas", json!(true)),
        ("_class_name", json!("FlowMatchEulerDiscreteScheduler")),
        ("beta_start", json!(-0.1)),
        ("trained_betas", json!([0.1, 0.2])),
        ("num_train_timesteps", json!(1)),
    ];
    for (key, value) in options {
        let mut changes = json!({});
        changes[key] = value;
        refused(schedule_with(&changes), &[file, key]);
    }
    refused(schedule_with(&json!({ "beta_schedule": "sigmoid" })), &[file, "sigmoid"]);
    refused(NoiseSchedule::from_config("{\"beta_start\": ", Path::new(file)), &[file]);
}

#[test]
fn a_sampler_refuses_what_it_has_not() {
    let pndm = |changes| SamplerRun::new(Sampler::Pndm, &schedule_with(&changes).unwrap(), 20);
    refused(pndm(json!({ "rescale_betas_zero_snr": true })), &["rescale_betas_zero_snr"]);
    let noise_only = schedule_with(&json!({ "rescale_betas_zero_snr": true, "timestep_spacing": "trailing" })).unwrap();
    refused(SamplerRun::new(Sampler::Ddim, &noise_only, 20), &["rescale_betas_zero_snr", "epsilon"]);
    let options = [
        ("algorithm_type", json!("sde-dpmsolver++")),
        ("solver_type", json!("heun")),
        ("solver_order", json!(3)),
        ("final_sigmas_type", json!("sigma_min")),
        ("lambda_min_clipped", json!(-5.1)),
        ("use_exponential_sigmas", json!(true)),
        ("use_beta_sigmas", json!(true)),
        ("variance_type", json!("learned")),
    ];
    for (key, value) in options {
        let mut changes = json!({});
        changes[key] = value;
        let schedule = schedule_with(&changes).unwrap();
        refused(SamplerRun::new(Sampler::Dpmpp2m, &schedule, 20), &["scheduler_config.json", key]);
        assert!(SamplerRun::new(Sampler::Pndm, &schedule, 20).is_ok(), "pndm has no {key}");
    }
}

#[test]
fn impossible_numbers_of_steps_are_refused() {
    let schedule = schedule_with(&json!({})).unwrap();
    for sampler in Sampler::ALL {
        refused(SamplerRun::new(sampler, &schedule, 0), &["0 sampling steps"]);
        refused(SamplerRun::new(sampler, &schedule, 1001), &["1001 sampling steps", "1000"]);
    }
    // With the offset of 1 the first of 1000 timesteps would be 1000; DPM-Solver++ needs one level more than it has steps.
    refused(SamplerRun::new(Sampler::Pndm, &schedule, 1000), &["1000 sampling steps"]);
    refused(SamplerRun::new(Sampler::Dpmpp2m, &schedule, 1000), &["1000 sampling steps"]);
    assert!(SamplerRun::new(Sampler::Pndm, &schedule, 999).is_ok());
}

#[test]
fn wrong_batches_are_errors() {
    let schedule = schedule_with(&json!({})).unwrap();
    let x = Tensor::zeros((2, 4, 4, 6), candle_core::DType::F32, &Device::Cpu).unwrap();
    assert!(schedule.add_noise(&x, &x, &[1]).is_err());
    assert!(schedule.target(&x, &x, &[1, 1000]).is_err());
    let mut run = SamplerRun::new(Sampler::EulerA, &schedule, 5).unwrap();
    assert!(run.step(&x, 0, &x, &mut [Generator::manual_seed(1)]).is_err());
}

#[test]
fn sampler_names() {
    for (sampler, name) in
        Sampler::ALL.into_iter().zip(["pndm", "ddim", "euler_a", "dpmpp_2m", "heun", "euler", "unipc"])
    {
        assert_eq!(sampler.to_string(), name);
        assert_eq!(name.parse::<Sampler>().unwrap(), sampler);
        assert_eq!(serde_json::from_value::<Sampler>(json!(name)).unwrap(), sampler);
    }
    refused("plms".parse::<Sampler>(), &["\"plms\"", "pndm, ddim, euler_a, dpmpp_2m"]);
    refused("DPM++ 2M Karras".parse::<Sampler>(), &["pndm, ddim, euler_a, dpmpp_2m", "eval.karras"]);
}

#[test]
fn what_is_null_in_a_configuration_is_as_if_it_were_not_there() {
    let nulls = json!({ "thresholding": null, "rescale_betas_zero_snr": null, "clip_sample_range": null, "variance_type": null });
    let schedule = schedule_with(&nulls).unwrap();
    assert_eq!(schedule.len(), 1000);
    assert!(schedule_with(&json!({ "thresholding": true })).is_err());
}

#[test]
fn the_class_of_a_configuration_is_a_sampler() {
    let of = |changes: Value| Sampler::of_model(&schedule_with(&changes).unwrap());
    let classes = [
        ("PNDMScheduler", Sampler::Pndm),
        ("DDIMScheduler", Sampler::Ddim),
        ("EulerAncestralDiscreteScheduler", Sampler::EulerA),
        ("DPMSolverMultistepScheduler", Sampler::Dpmpp2m),
        ("HeunDiscreteScheduler", Sampler::Heun),
        ("EulerDiscreteScheduler", Sampler::Euler),
        ("UniPCMultistepScheduler", Sampler::UniPc),
    ];
    assert_eq!(classes.len(), Sampler::ALL.len());
    for (class, sampler) in classes {
        assert_eq!(of(json!({"_class_name": class})), Some(sampler));
    }
    for class in [json!("LCMScheduler"), json!("DPMSolverSDEScheduler"), Value::Null] {
        assert_eq!(of(json!({"_class_name": class})), None);
    }
}
