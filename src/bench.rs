//! `tunelab bench`: how fast is this machine at the work of an experiment, without any file?
//!
//! In: what to time (a training step with LoRA or of all weights, a denoising step with guidance,
//! the VAE, the text encoder). Out: seconds, GFLOP/s, the share of what sums in registers (on a
//! GPU: a matrix product) reach, and the peak of memory. Operations are those of plain products:
//! Winograd's algorithm takes four times fewer for 3 x 3 kernels, so a share may be above 100 %.
//! With `--dtype bf16` the registers are those of the processor's unit for bf16, where it has one,
//! also for what is summed in f32 beside its products. The networks have the shapes of Stable
//! Diffusion 1.5, 2.1 or XL and random weights, which changes no cost; the code is that of a run.

mod convolutions;
mod operations;
mod work;

use std::collections::BTreeMap;
use std::time::Instant;

use crate::cli::output::print;
use crate::cli::{BenchArgs, BenchWork};
use crate::device;
use crate::error::{Error, Result};
use crate::model::Dtype;
use crate::numbers::median;
use crate::results::peak_memory_mib;
use candle_core::{Device, Tensor};
use serde::Serialize;
use tunelab_ops as ops;
use tunelab_ops::chosen::Chosen;
use tunelab_ops::conv2d::chosen;
use tunelab_ops::replay::NO_GRAPHS;
use work::Steps;

/// Side of the matrices of the product whose speed is the machine's measure.
const SIDE: usize = 1024;
/// How often it is computed; the fastest counts.
const PRODUCTS: usize = 8;

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// What was timed.
    pub work: &'static str,
    /// Whose networks.
    pub family: &'static str,
    /// On what.
    pub device: String,
    /// Side of the pictures.
    pub resolution: usize,
    /// Pictures at once.
    pub batch: usize,
    /// The type of the UNet's frozen weights.
    pub dtype: String,
    /// The set of instructions that the kernels used on the CPU.
    pub simd: &'static str,
    /// Numbers that are trained.
    pub trained_parameters: usize,
    /// The median of `seconds`.
    pub seconds_per_step: f64,
    /// Every timed step, in order; one before them is not counted.
    pub seconds: Vec<f64>,
    /// Operations of a step, in 10⁹.
    pub gflop: f64,
    /// Operations in a second, in 10⁹.
    pub gflops: f64,
    /// The same of `peak_of`.
    pub peak_gflops: f64,
    /// What is the peak: sums in the registers of all cores or, on a GPU, a matrix product.
    pub peak_of: &'static str,
    /// The share of that.
    pub share_of_peak: f64,
    /// The most memory of this process, MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_rss_mib: Option<f64>,
    /// The most memory of a GPU, MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_device_mib: Option<f64>,
    /// How busy a GPU was during the timed steps, in per cent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_busy_percent: Option<f64>,
    /// Whether the steps were launched as CUDA graphs; nothing where there is no choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cuda_graphs: Option<bool>,
    /// Of a step on a GPU, the median until its passes were given out: the launch of the graph, with the copies to its inputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub launch_seconds: Option<f64>,
    /// Why they were not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_cuda_graphs: Option<String>,
    /// Of a training step's passes on a CUDA card, launched kernel by kernel: seconds of each kind of operation.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub seconds_by_kind: BTreeMap<&'static str, f64>,
    /// What cuDNN computes the convolutions with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub convolutions: Vec<Chosen>,
}

/// Times one kind of work and prints what it took.
pub fn command(args: &BenchArgs) -> Result<()> {
    let device::Opened { device, why } = device::open(args.device)?;
    if let Some(why) = why {
        eprintln!("{why}");
    }
    let measured = measure(args, &device)?;
    print(&if args.json { json(&measured)? } else { plain(args, &measured) })
}

/// Times one kind of work.
pub fn measure(args: &BenchArgs, device: &Device) -> Result<Measured> {
    device::prepare(device, args.tf32);
    // Before memory is taken, while the processor is as it will be.
    let (peak, peak_of) = peak(device, Dtype::named(&args.dtype))?;
    let timed = work::time(args, device)?;
    let Steps { seconds, device_busy_percent, launched, graphs, peak_device_mib } = timed.steps;
    let seconds_per_step = median(&seconds);
    let gflop = timed.operations / 1e9;
    Ok(Measured {
        work: args.work.name(),
        family: args.family.name(),
        device: device::name(device),
        resolution: args.res,
        batch: args.batch,
        dtype: args.dtype.clone(),
        simd: ops::simd::current().name(),
        trained_parameters: timed.trained_parameters,
        seconds_per_step,
        gflop,
        gflops: gflop / seconds_per_step,
        peak_gflops: peak,
        peak_of,
        share_of_peak: gflop / seconds_per_step / peak,
        peak_rss_mib: peak_memory_mib(),
        peak_device_mib,
        device_busy_percent,
        cuda_graphs: graphs.as_ref().map(std::result::Result::is_ok),
        launch_seconds: (!launched.is_empty()).then(|| median(&launched)),
        no_cuda_graphs: graphs.and_then(std::result::Result::err),
        seconds_by_kind: timed.by_kind,
        convolutions: chosen(device),
        seconds,
    })
}

fn json(measured: &Measured) -> Result<String> {
    let line =
        serde_json::to_string(measured).map_err(|e| Error::run("no JSON can be made of a measurement").cause(e))?;
    Ok(line + "\n")
}

fn plain(args: &BenchArgs, m: &Measured) -> String {
    let what = match args.work {
        BenchWork::Lora | BenchWork::Full | BenchWork::Dreambooth => "training step",
        BenchWork::Sample => "denoising step with guidance",
        BenchWork::Vae => "encoding and decoding of a picture",
        BenchWork::VaeEncode => "encoding of a picture",
        BenchWork::VaeDecode => "decoding of a picture",
        BenchWork::Text => "text",
    };
    let fastest = m.seconds.iter().copied().fold(f64::INFINITY, f64::min);
    let slowest = m.seconds.iter().copied().fold(0.0, f64::max);
    let mut lines = vec![
        format!(
            "{} of {}, {} x {}, batch of {}, {}, on {}",
            m.work, m.family, m.resolution, m.resolution, m.batch, m.dtype, m.device
        ),
        format!(
            "  {:.3} s for each {what} (median of {}: {fastest:.3} to {slowest:.3})",
            m.seconds_per_step,
            m.seconds.len()
        ),
        format!(
            "  {:.0} GFLOP, {:.0} GFLOP/s: {:.0} % of the {:.0} GFLOP/s of {}",
            m.gflop,
            m.gflops,
            100.0 * m.share_of_peak,
            m.peak_gflops,
            m.peak_of
        ),
    ];
    lines.extend(m.peak_rss_mib.map(|mib| format!("  {:.2} GiB of memory at most", mib / 1024.0)));
    lines.extend(m.peak_device_mib.map(|mib| format!("  {:.2} GiB of the device's memory at most", mib / 1024.0)));
    lines.extend(m.device_busy_percent.map(|percent| format!("  the device computed {percent:.0} % of the time")));
    lines.extend(m.cuda_graphs.filter(|yes| *yes).map(|_| "  each step was one CUDA graph".to_owned()));
    lines.extend(m.launch_seconds.map(|seconds| format!("  {:.2} ms until its passes were given out", 1e3 * seconds)));
    lines.extend(m.no_cuda_graphs.as_ref().map(|why| format!("  {NO_GRAPHS}: {why}")));
    if !m.seconds_by_kind.is_empty() {
        let of = m.seconds_by_kind.iter().map(|(kind, seconds)| format!("{kind} {:.2} ms", 1e3 * seconds));
        lines.push(format!("  passes kernel by kernel: {}", of.collect::<Vec<_>>().join(", ")));
    }
    lines.extend(convolutions::plain(&m.convolutions));
    lines.join("\n") + "\n"
}

/// GFLOP/s that work in `dtype` is measured by, and of what.
fn peak(device: &Device, dtype: Option<Dtype>) -> Result<(f64, &'static str)> {
    let bf16 = || if dtype == Some(Dtype::Bf16) { ops::simd::peak_bf16() } else { None };
    if !device.is_cpu() {
        return Ok((matrix_product(device)?, "a matrix product"));
    }
    Ok(match bf16() {
        Some(peak) => (peak / 1e9, "sums in registers in bf16"),
        None => (ops::simd::peak() / 1e9, "sums in registers in f32"),
    })
}

/// GFLOP/s of the fastest of some products of square matrices.
fn matrix_product(device: &Device) -> Result<f64> {
    let values: Vec<f32> = (0..SIDE * SIDE).map(|i| (i % 251) as f32 / 251.0).collect();
    let a = Tensor::from_vec(values, (SIDE, SIDE), device)?;
    let mut best = f64::INFINITY;
    for _ in 0..PRODUCTS {
        let begun = Instant::now();
        ops::linear(&a, &a, None)?.narrow(0, 0, 1)?.narrow(1, 0, 1)?.flatten_all()?.to_vec1::<f32>()?;
        best = best.min(begun.elapsed().as_secs_f64());
    }
    Ok(2.0 * (SIDE as f64).powi(3) / best / 1e9)
}
