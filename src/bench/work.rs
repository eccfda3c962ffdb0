//! The work that is timed: the very functions that a run calls, on random numbers.

use super::operations::{self, Batch as Size, Half, Passes, TOKENS};
use crate::cli::{BenchArgs, BenchFamily, BenchWork};
use crate::config::{self, AdamW, Train};
use crate::device::{self, GpuUtilization};
use crate::diffusion::LossFunction;
use crate::error::{Error, Result};
use crate::model::Dtype;
use crate::model::build::Trainable;
use crate::model::lora::LoraConfig;
use crate::model::unet::{TimeIds, UnetConfig};
use crate::pipeline::{Conditioning, Configs, Family, PipelineLoader, TokenIds};
use crate::random::Generator;
use crate::sample::guided;
use crate::train::examples::Batch;
use crate::train::objective::{NoiseSample, Predictor};
use crate::train::optimizer::Optimizer;
use crate::train::pass;
use crate::train::texts::TextConditioning;
use crate::weights::PartName;
use candle_core::{Device, Tensor};
use std::collections::BTreeMap;
use std::time::Instant;
use tunelab_ops::kinds::seconds_by_kind;
use tunelab_ops::replay::Replay;

/// Seeds noise and timesteps.
const SEED: u64 = 7;
/// Seeds the weights, which change no cost.
const WEIGHTS_SEED: u64 = 1;
/// The caption of every picture of the batch.
const CAPTION: &str = "a dog";
/// Guidance as in diffusers' default.
const GUIDANCE: f64 = 7.5;
/// AdamW with diffusers' defaults.
const ADAMW: config::Optimizer =
    config::Optimizer::AdamW(AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 1e-2 });
/// Gradients are scaled down to this global norm.
const MAX_GRAD_NORM: f64 = 1.0;

/// Times of the steps, and what a step is.
pub struct Timed {
    /// Each of them.
    pub steps: Steps,
    /// Of one step.
    pub operations: f64,
    /// Numbers that are trained.
    pub trained_parameters: usize,
    /// Seconds of both passes by kind of operation, on a CUDA card.
    pub by_kind: BTreeMap<&'static str, f64>,
}

/// The steps that were timed.
pub struct Steps {
    /// One a step.
    pub seconds: Vec<f64>,
    /// How busy a GPU was, in per cent, where its driver tells.
    pub device_busy_percent: Option<f64>,
    /// Of each, the seconds until its passes were given out to a GPU.
    pub launched: Vec<f64>,
    /// Whether they were CUDA graphs, or why not, where there is a choice.
    pub graphs: Option<std::result::Result<(), String>>,
    /// The most memory of a GPU, MiB.
    pub peak_device_mib: Option<f64>,
}

impl Steps {
    /// The same with how `replay` launched them.
    fn replayed(self, replay: &Replay) -> Self {
        Self { graphs: replay.state().map(|state| state.map_err(str::to_owned)), ..self }
    }
}

/// Prepares and times the work that was asked for.
pub fn time(args: &BenchArgs, device: &Device) -> Result<Timed> {
    dtype(args, device)?;
    if args.tf32 && !device.is_cuda() {
        return Err(Error::input("--tf32 is for CUDA devices").hint("leave it out, or use a CUDA device"));
    }
    match args.work {
        BenchWork::Lora | BenchWork::Dreambooth => {
            let targets = ["to_q", "to_k", "to_v", "to_out.0"].map(str::to_owned).to_vec();
            let config = LoraConfig { rank: args.rank, alpha: args.rank as f64, targets, dropout: 0.0 };
            training(args, Trainable::Lora(config), device)
        }
        BenchWork::Full => training(args, Trainable::Full, device),
        BenchWork::Sample => sampling(args, device),
        BenchWork::Vae => autoencoding(args, &[Half::Encoder, Half::Decoder], device),
        BenchWork::VaeEncode => autoencoding(args, &[Half::Encoder], device),
        BenchWork::VaeDecode => autoencoding(args, &[Half::Decoder], device),
        BenchWork::Text => {
            let configs = configs(args)?;
            let (encoders, _) = loader(&configs, device).text_encoders()?;
            let ids: Vec<u32> = (0..TOKENS as u32).collect();
            let text: TokenIds = configs.text_encoders.keys().map(|part| (*part, ids.clone())).collect();
            let texts = vec![&text; args.batch];
            let steps = steps(args.steps, device, || read(&encoders.encode(&texts)?.hidden_states))?;
            let operations = configs.text_encoders.values().map(|config| operations::text(config, args.batch));
            Ok(without_training(steps, operations.sum::<Result<f64>>()?))
        }
    }
}

/// The sizes of the networks that were asked for.
fn configs(args: &BenchArgs) -> Result<Configs> {
    Configs::of(match args.family {
        BenchFamily::Sd15 => Family::Sd1,
        BenchFamily::Sd2 => Family::Sd2,
        BenchFamily::Sdxl => Family::Sdxl,
    })
}

/// Networks of random weights.
fn loader<'a>(configs: &'a Configs, device: &'a Device) -> PipelineLoader<'a> {
    PipelineLoader::random(configs, device).seed(WEIGHTS_SEED)
}

/// The type of the UNet's frozen weights, and on a CUDA device of its activations.
fn dtype(args: &BenchArgs, device: &Device) -> Result<Dtype> {
    let dtype = Dtype::named(&args.dtype).unwrap_or(Dtype::F32);
    let all = args.work == BenchWork::Full;
    let has = matches!(args.work, BenchWork::Lora | BenchWork::Dreambooth | BenchWork::Sample)
        || ((all || args.work == BenchWork::VaeDecode) && device.is_cuda());
    if dtype != Dtype::F32 && !has {
        return Err(Error::input(format!("`bench {}` has no frozen weights of the UNet to round", args.work.name()))
            .hint(format!("--dtype {dtype} is for `bench lora`, `bench dreambooth` and `bench sample`, and on CUDA for `bench full` and `bench vae-decode`")));
    }
    device::check_type(device, dtype, all)?;
    Ok(dtype)
}

/// Optimizer steps, with latents and hidden states as a run has them: computed before.
fn training(args: &BenchArgs, trained: Trainable, device: &Device) -> Result<Timed> {
    let all = trained == Trainable::Full;
    let configs = configs(args)?;
    let loader = loader(&configs, device).training(BTreeMap::from([(PartName::Unet, trained)]));
    let (mut unet, parameters) = loader.dtype(dtype(args, device)?).unet()?;
    if args.checkpointing {
        unet.recompute();
    }
    let schedule = &configs.schedule;
    // Half of the samples are class images, with a weight of 1 for their loss as in diffusers.
    let prior = (args.work == BenchWork::Dreambooth).then_some((args.batch, 1.0));
    let samples = if prior.is_some() { 2 * args.batch } else { args.batch };
    let texts =
        TextConditioning::Cached(BTreeMap::from([(CAPTION.to_owned(), conditioning(&configs.unet, 1, device)?)]));
    let predictor = Predictor { unet: &unet, texts: &texts, schedule, snr_gamma: None, loss: LossFunction::L2 };
    let latents = latents(args, &configs, samples);
    let captions = vec![CAPTION.to_owned(); samples];
    let batch = Batch::new(randn(&latents, device)?, captions, vec![time_ids(args); samples]);
    let mut optimizer = Optimizer::new(parameters.trained(), &ADAMW, MAX_GRAD_NORM)?;
    let mut step = 0;
    let mut launched = Vec::new();
    let steps = {
        // Its graph's memory is gone before the passes below.
        let mut replay = Replay::new(device);
        let steps = steps(args.steps, device, || {
            let sample = NoiseSample::new(&latents, schedule.len(), &Train::default(), SEED, step, device)?;
            step += 1;
            let batch = predictor.prepare(&batch, &sample)?;
            let begun = Instant::now();
            let passed = pass::run(&mut replay, predictor, &optimizer, &batch, prior, false, 1.0)?;
            launched.push(begun.elapsed().as_secs_f64());
            let losses: Vec<&Tensor> = passed.losses.iter().collect();
            optimizer.step_with_losses(&passed.gradients, 1e-4, 1.0, &losses)?;
            Ok(())
        })?;
        steps.replayed(&replay)
    };
    // On the CPU passes are given out when they are done.
    let launched = if device.is_cpu() { Vec::new() } else { launched.split_off(launched.len() - args.steps) };
    let steps = Steps { launched, ..steps };
    let by_kind = if device.is_cuda() {
        let sample = NoiseSample::new(&latents, schedule.len(), &Train::default(), SEED, step, device)?;
        let batch = predictor.prepare(&batch, &sample)?;
        // Launched one by one.
        seconds_by_kind(device, || {
            pass::run(&mut Replay::never(), predictor, &optimizer, &batch, prior, false, 1.0).map(drop)
        })?
    } else {
        BTreeMap::new()
    };
    let passes = Passes::unet(&configs.unet, size(&latents))?;
    let weights = if all { passes.weights } else { 0.0 };
    let operations = passes.forward + passes.inputs + weights;
    Ok(Timed { steps, operations, trained_parameters: optimizer.count(), by_kind })
}

/// Denoising steps: two samples for each picture, as guidance needs them.
fn sampling(args: &BenchArgs, device: &Device) -> Result<Timed> {
    let configs = configs(args)?;
    let (unet, _) = loader(&configs, device).dtype(dtype(args, device)?).unet()?;
    let samples = 2 * args.batch;
    let x = randn(&latents(args, &configs, args.batch), device)?;
    let conditioning = Conditioning {
        time_ids: unet.time_ids_embedding(&vec![time_ids(args); samples], device)?,
        ..conditioning(&configs.unet, samples, device)?
    };
    let mut timestep = 999.0;
    let mut replay = Replay::new(device);
    let steps = steps(args.steps, device, || {
        let output = guided(&mut replay, &unet, &x, &vec![timestep; args.batch], &conditioning, GUIDANCE)?;
        timestep -= 1.0;
        read(&output)
    })?;
    let passes = Passes::unet(&configs.unet, size(&latents(args, &configs, samples)))?;
    Ok(without_training(steps.replayed(&replay), passes.forward))
}

/// The VAE's halves, one after the other.
fn autoencoding(args: &BenchArgs, halves: &[Half], device: &Device) -> Result<Timed> {
    let configs = configs(args)?;
    let vae = loader(&configs, device).vae()?;
    // Beside a UNet of a short type.
    let short = dtype(args, device)? != Dtype::F32;
    let picture = randn(&[args.batch, 3, args.res, args.res], device)?.clamp(-1f32, 1f32)?;
    let latents = randn(&latents(args, &configs, args.batch), device)?;
    let steps = steps(args.steps, device, || {
        halves.iter().try_for_each(|half| match half {
            Half::Encoder => read(&vae.encode(&picture)?.mean),
            Half::Decoder => read(&device::with_tf32(short, || vae.decode(&latents))?),
        })
    })?;
    let pictures = Size { samples: args.batch, pixels: args.res * args.res };
    let operations: Result<f64> = halves.iter().map(|half| operations::vae(vae.config(), *half, pictures)).sum();
    Ok(without_training(steps, operations?))
}

fn without_training(steps: Steps, operations: f64) -> Timed {
    Timed { steps, operations, trained_parameters: 0, by_kind: BTreeMap::new() }
}

/// Times each of `steps` calls, after those that are not counted: one, or on a GPU as many as it
/// takes until graphs are launched.
fn steps(steps: usize, device: &Device, mut step: impl FnMut() -> Result<()>) -> Result<Steps> {
    (0..if device.is_cpu() { 1 } else { 3 }).try_for_each(|_| step())?;
    let busy = GpuUtilization::watch(device);
    let timed = |_| {
        let begun = Instant::now();
        step()?;
        Ok(begun.elapsed().as_secs_f64())
    };
    let seconds: Result<Vec<f64>> = (0..steps).map(timed).collect();
    Ok(Steps {
        seconds: seconds?,
        device_busy_percent: busy.percent(),
        launched: Vec::new(),
        graphs: None,
        peak_device_mib: device::memory_mib(device).map(|[_, peak]| peak),
    })
}

/// Waits for a result: reads one value of it.
fn read(t: &Tensor) -> Result<()> {
    t.flatten_all()?.narrow(0, 0, 1)?.to_vec1::<f32>()?;
    Ok(())
}

/// The shape of the latents of `samples` pictures.
fn latents(args: &BenchArgs, configs: &Configs, samples: usize) -> [usize; 4] {
    let side = args.res / configs.vae.downscale();
    [samples, configs.unet.in_channels, side, side]
}

/// What a family's text encoders make of `samples` texts.
fn conditioning(unet: &UnetConfig, samples: usize, device: &Device) -> Result<Conditioning> {
    let pooled = unet.text_time.map(|text_time| randn(&[samples, text_time.pooled_dim()], device)).transpose()?;
    Ok(Conditioning { pooled, ..randn(&[samples, TOKENS, unet.cross_attention_dim], device)?.into() })
}

/// Of a picture that is not cropped.
fn time_ids(args: &BenchArgs) -> TimeIds {
    [args.res, args.res, 0, 0, args.res, args.res]
}

fn size([samples, _, height, width]: &[usize; 4]) -> Size {
    Size { samples: *samples, pixels: height * width }
}

fn randn(dims: &[usize], device: &Device) -> Result<Tensor> {
    let values = Generator::stream(SEED, "bench", dims.len() as u64).randn(dims.iter().product());
    Ok(Tensor::from_vec(values, dims, device)?)
}
