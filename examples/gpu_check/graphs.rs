//! Steps that are launched as CUDA graphs against the same steps launched kernel by kernel, and denoising against the processor's.

use super::files::{Folder, tensors};
use super::networks::{Check, largest_difference};
use super::table::{Seen, Table};
use super::{F32, SHORT};
use candle_core::{Device, Tensor};
use std::collections::BTreeMap;
use tunelab::config::{self, AdamW, Dtype, SampleParams, Train};
use tunelab::diffusion::{LossFunction, Sampler};
use tunelab::error::{Error, Result};
use tunelab::interrupt::Interrupt;
use tunelab::model::build::Trainable;
use tunelab::progress::Progress;
use tunelab::random::Generator;
use tunelab::results::ImageMetadata;
use tunelab::sample::ImageGenerator;
use tunelab::train::examples::Batch;
use tunelab::train::objective::{NoiseSample, Predictor};
use tunelab::train::optimizer::Optimizer;
use tunelab::train::pass;
use tunelab::train::texts::TextConditioning;
use tunelab_ops::replay::Replay;

/// Samples of each step's batch: both sizes are seen often enough to become graphs.
const BATCHES: [usize; 7] = [2, 2, 1, 2, 1, 2, 1];

/// All of them; in the short types too, where the device has them. If `small`, LoRA in one of them.
pub fn check(folder: &Folder, device: &Device, small: bool, table: &mut Table) {
    let with = Check { folder, device };
    let types: &[Dtype] = match (device.is_cuda(), small) {
        (true, false) => &[Dtype::F32, Dtype::Bf16, Dtype::F16],
        (true, true) => &[Dtype::Bf16],
        (false, _) => &[Dtype::F32],
    };
    let works = [("LoRA", false, false), ("all weights", true, false), ("prior preservation", false, true)];
    let works = if small { &works[..1] } else { &works };
    for dtype in types.iter().copied() {
        let named = dtype.to_string();
        for (what, all, prior) in works.iter().copied() {
            table.row(&format!("graphs, {what}: seven steps"), &named, steps(&with, all, prior, dtype));
        }
        table.row("graphs, denoising: six calls", &named, denoising(folder, device, dtype));
    }
}

/// The same steps twice: losses, norms of gradients and all weights must be equal to the last bit.
fn steps(with: &Check, all: bool, prior: bool, dtype: Dtype) -> Result<Seen> {
    let mut replay = Replay::new(with.device);
    let [plain, replayed] = [&mut Replay::never(), &mut replay].map(|replay| trained(with, all, prior, dtype, replay));
    let (plain, replayed) = (plain?, replayed?);
    let numbers = plain.len();
    let different = plain.iter().zip(&replayed).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
    let finite = plain.iter().all(|v| v.is_finite());
    Ok(match (replay.state(), with.device.is_cuda()) {
        (Some(Err(why)), _) => Seen::Outcome(false, format!("no graph: {why}")),
        (None, true) => Seen::Outcome(false, "no graph was made".to_owned()),
        (None, false) => Seen::Outcome(true, "there are no graphs on this device".to_owned()),
        (Some(Ok(())), _) => {
            let text = format!("{different} of {numbers} numbers differ");
            Seen::Outcome(different == 0 && numbers == replayed.len() && finite, text)
        }
    })
}

/// Losses, norms and weights after the steps.
fn trained(with: &Check, all: bool, prior: bool, dtype: Dtype, replay: &mut Replay) -> Result<Vec<f32>> {
    let (unet, parameters) = if all {
        with.unet(Trainable::Full, dtype)?
    } else {
        with.unet_with_lora("unet_lora.safetensors", 5.0, dtype)?
    };
    let text = with.here(&tensors("unet_lora.safetensors")?["text"])?;
    let kinds = text.dim(0)?;
    let embeds = (0..kinds).map(|i| Ok((i.to_string(), text.narrow(0, i, 1)?.into())));
    let texts = TextConditioning::Cached(embeds.collect::<Result<BTreeMap<_, _>>>()?);
    let schedule = with.folder.model()?.noise_schedule()?;
    let predictor =
        Predictor { unet: &unet, texts: &texts, schedule: &schedule, snr_gamma: Some(5.0), loss: LossFunction::L2 };
    let adamw = config::Optimizer::AdamW(AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 1e-2 });
    let mut optimizer = Optimizer::new(parameters.trained(), &adamw, 1.0)?;
    let scale = if dtype == Dtype::F16 { 1024.0 } else { 1.0 };
    let mut numbers = Vec::new();
    for (step, samples) in (0..).zip(BATCHES) {
        let samples = if prior { 2 * samples } else { samples };
        let latents = Generator::stream(7, "latents", step).randn(samples * 4 * 8 * 8);
        let latents = Tensor::from_vec(latents, (samples, 4, 8, 8), with.device)?;
        let captions = (0..samples).map(|i| (i % kinds).to_string()).collect();
        let sample = NoiseSample::new(latents.dims(), schedule.len(), &Train::default(), 7, step, with.device)?;
        let batch = predictor.prepare(&Batch::new(latents, captions, Vec::new()), &sample)?;
        let prior = prior.then_some((samples / 2, 0.7));
        let passed = pass::run(replay, predictor, &optimizer, &batch, prior, false, scale)?;
        let losses: Vec<&Tensor> = passed.losses.iter().collect();
        let clipped = optimizer.step_with_losses(&passed.gradients, 1e-3, scale, &losses)?;
        numbers.extend(clipped.scalars.iter().chain([&clipped.norm]).map(|v| *v as f32));
    }
    for weights in optimizer.tensors().values() {
        numbers.extend(weights.detach().flatten_all()?.to_vec1::<f32>()?);
    }
    Ok(numbers)
}

/// Latents after guided steps of a multistep sampler, which remembers earlier answers; in f32 on the processor they are the same.
fn denoising(folder: &Folder, device: &Device, dtype: Dtype) -> Result<Seen> {
    let here = denoised(&Check { folder, device }, dtype)?;
    let reference = denoised(&Check { folder, device: &Device::Cpu }, Dtype::F32)?;
    Ok(Seen::Difference(largest_difference(&here, &reference)?, if dtype == Dtype::F32 { F32 } else { 2.0 * SHORT }))
}

fn denoised(with: &Check, dtype: Dtype) -> Result<Tensor> {
    let (unet, _) = with.unet(Trainable::None, dtype)?;
    let vae = with.autoencoder()?;
    let schedule = with.folder.model()?.noise_schedule()?;
    let interrupt = Interrupt::default();
    let generator = ImageGenerator::new(&unet, &vae, &schedule, with.device, &interrupt);
    let text = with.here(&tensors("unet_lora.safetensors")?["text"])?;
    let side = 8 * vae.config().downscale();
    let shot = ImageMetadata {
        prompt: String::new(),
        params: SampleParams {
            force_zeros_for_empty_prompt: true,
            negative_prompt: String::new(),
            steps: 5,
            sampler: Sampler::Pndm,
            karras: false,
            guidance_scale: 3.0,
            seed: 5,
            width: side,
            height: side,
        },
        stand_in: None,
    };
    let bar = Progress::hidden().bar("", 6);
    let (prompt, negative) = (text.narrow(0, 0, 1)?.into(), text.narrow(0, 1, 1)?.into());
    let latents = generator.latents(&shot, 1, Sampler::Pndm, &prompt, &negative, &bar)?;
    match (generator.replayed(), with.device.is_cuda()) {
        (Some(Err(why)), _) => Err(Error::run(format!("no graph: {why}"))),
        (None, true) => Err(Error::run("no graph was made")),
        (Some(Ok(())), _) | (None, false) => Ok(latents),
    }
}
