//! The training of the miniature's autoencoder (Kingma & Welling 2013; Rombach et al. 2022, without their adversary).
//!
//! In: a folder of drawn pictures and the untrained model's folder. Out: its `vae/` with trained weights and the
//! `scaling_factor` that brings the latents to unit variance, and the losses as CSV. The loss is the mean squared and
//! absolute difference of the pictures, and a little of the latents' divergence from the normal distribution.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};
use tunelab::config::{self, AdamW, LrScheduler};
use tunelab::data::{self, Picture};
use tunelab::error::Result;
use tunelab::model::build::{Build, Trainable};
use tunelab::model::vae::{LatentDistribution, Vae, VaeConfig};
use tunelab::random::Generator;
use tunelab::train::lr::learning_rate;
use tunelab::train::optimizer::Optimizer;
use tunelab::weights::{Loader, Weights, write_safetensors};
use tunelab_ops::{composed, mean_squares, tape};

/// Weight of the absolute difference beside the squared one.
const ABSOLUTE: f64 = 0.2;
/// Weight of the divergence of one latent number.
const DIVERGENCE: f64 = 3e-4;
/// Pictures in a step on whole pictures; pieces in a step on pieces.
const BATCH: usize = 8;
const PIECES: usize = 16;
/// The side of a piece. The network is convolutional, so most of its training is done on quarters, which cost a quarter.
const PIECE: usize = 32;
/// The share of the steps that pieces are trained on; the rest sees whole pictures.
const ON_PIECES: f64 = 0.9;
const RATE: f64 = 2e-3;
const WARMUP: usize = 100;
/// Pictures from which the scaling factor is taken.
const MEASURED: usize = 512;
const SETTINGS: config::Optimizer =
    config::Optimizer::AdamW(AdamW { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weight_decay: 1e-4 });
/// Gradients are scaled down to this global norm.
const MAX_GRAD_NORM: f64 = 1.0;

/// Trains for `steps` steps: from random weights, or `again` from those that are there, at half the rate.
pub fn train(pictures: &Path, model: &Path, steps: usize, seed: u64, again: bool) -> Result<()> {
    let pictures = data::load_dataset(pictures, Some(""), false, &mut |_| {})?;
    let folder = model.join("vae");
    let config = VaeConfig::read(&folder.join("config.json"))?;
    let weights = folder.join("diffusion_pytorch_model.safetensors");
    let build = if again {
        let loader = Loader::new(Weights::open(std::slice::from_ref(&weights))?, &Device::Cpu, DType::F32);
        Build::from_files(loader, Trainable::Full, seed)
    } else {
        Build::untrained(Trainable::Full, seed, &Device::Cpu)
    };
    let (vae, parameters) = Vae::new(&config, build)?;
    let peak = if again { RATE / 2.0 } else { RATE };
    let mut optimizer = Optimizer::new(parameters.trained(), &SETTINGS, MAX_GRAD_NORM)?;
    let mut csv = fs_err::File::create(folder.join("loss.csv"))?;
    writeln!(csv, "step,squared,absolute,divergence")?;
    let mut batches = Vec::new();
    let mut epoch = 0;
    for step in 0..steps {
        let whole = step as f64 >= ON_PIECES * steps as f64;
        if batches.is_empty() {
            batches = data::batches(pictures.len(), PIECES, seed, epoch);
            epoch += 1;
        }
        let batch = batches.pop().unwrap_or_default();
        let batch = if whole {
            load(&pictures, &batch[..batch.len().min(BATCH)])?
        } else {
            load_pieces(&pictures, &batch, &mut Generator::stream(seed, "pieces", step as u64))?
        };
        let ((loss, parts), tape) = tape::record(|| loss(&vae, &batch, seed, step as u64))?;
        let rate = learning_rate(LrScheduler::Cosine, peak, step, WARMUP, steps);
        let gradients = optimizer.gradients(&loss, tape)?;
        optimizer.step(&gradients, rate, 1.0)?;
        let [squared, absolute, divergence] = parts;
        writeln!(csv, "{},{squared},{absolute},{divergence}", step + 1)?;
        if (step + 1) % 50 == 0 {
            eprintln!("step {} of {steps}: squared {squared:.5}, absolute {absolute:.4}", step + 1);
        }
        if (step + 1) % 500 == 0 || step + 1 == steps {
            let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
            write_safetensors(&weights, &parameters.weights, &metadata)?;
            write_factor(&folder.join("config.json"), factor(&vae, &pictures)?)?;
        }
    }
    Ok(())
}

/// The loss of a batch, and its three parts for the log.
fn loss(vae: &Vae, pictures: &Tensor, seed: u64, step: u64) -> Result<(Tensor, [f32; 3])> {
    let LatentDistribution { mean, std } = vae.encode(pictures)?;
    let noise = Generator::stream(seed, "latents", step).randn(mean.elem_count());
    let noise = Tensor::from_vec(noise, mean.shape(), mean.device())?;
    let latents = composed(&[&mean, &std], |t| &t[0] + (&t[1] * &noise)?)?;
    let decoded = vae.decode(&latents)?;
    let squared = mean_squares(&decoded, pictures, 0, &vec![1.0; pictures.dim(0)?])?;
    let absolute = composed(&[&decoded], |t| (&t[0] - pictures)?.abs()?.mean_all())?;
    let divergence = composed(&[&mean, &std], |t| {
        ((((t[0].sqr()? + t[1].sqr()?)? - (t[1].log()? * 2.0)?)? - 1.0)? * 0.5)?.mean_all()
    })?;
    let loss =
        composed(&[&squared, &absolute, &divergence], |t| (&t[0] + (&t[1] * ABSOLUTE)?)? + (&t[2] * DIVERGENCE)?)?;
    let parts = [squared.to_scalar()?, absolute.to_scalar()?, divergence.to_scalar()?];
    Ok((loss, parts))
}

fn load(pictures: &[Picture], indices: &[usize]) -> Result<Tensor> {
    let tensors = indices.iter().map(|&i| data::to_tensor(&pictures[i].image()?)).collect::<Result<Vec<_>>>()?;
    Ok(Tensor::stack(&tensors, 0)?)
}

/// A random piece of each picture.
fn load_pieces(pictures: &[Picture], indices: &[usize], random: &mut Generator) -> Result<Tensor> {
    let piece = |&i: &usize| data::to_tensor(&data::random_crop(&pictures[i].image()?, PIECE, random));
    Ok(Tensor::stack(&indices.iter().map(piece).collect::<Result<Vec<_>>>()?, 0)?)
}

/// One over the standard deviation of the latents' means.
fn factor(vae: &Vae, pictures: &[Picture]) -> Result<f64> {
    let mut values = Vec::new();
    for first in (0..pictures.len().min(MEASURED)).step_by(BATCH) {
        let batch: Vec<usize> = (first..pictures.len().min(first + BATCH)).collect();
        values.extend(vae.encode(&load(pictures, &batch)?)?.mean.flatten_all()?.to_vec1::<f32>()?);
    }
    let n = values.len() as f64;
    let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    let variance = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
    eprintln!("latents: mean {mean:.3}, deviation {:.3}", variance.sqrt());
    Ok(1.0 / variance.sqrt())
}

fn write_factor(file: &Path, factor: f64) -> Result<()> {
    let text = fs_err::read_to_string(file)?;
    let mut config: Value = serde_json::from_str(&text).map_err(|e| tunelab::error::Error::run(e.to_string()))?;
    config["scaling_factor"] = json!((factor * 1e5).round() / 1e5);
    Ok(fs_err::write(file, format!("{config:#}\n"))?)
}
