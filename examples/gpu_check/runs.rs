//! Short trainings: whole runs of the program on the built-in miniature, whose evaluation loss must fall; and optimizer and
//! denoising steps on random weights of Stable Diffusion 1.5's shapes, with their times and memory.

use super::files::Folder;
use super::table::{Seen, Table};
use candle_core::Device;
use tunelab::bench;
use tunelab::cli::{BenchArgs, BenchFamily, BenchWork, DeviceChoice, RunArgs};
use tunelab::error::Result;
use tunelab::results::RunDir;
use tunelab::run;

/// The evaluation loss at the end, as a share of that at the beginning, at most. Most of it is noise that nothing can predict.
const LOSS: f64 = 0.95;
/// Timed steps.
const STEPS: usize = 10;

const LORA: &str = "adapter.lora.rank = 4";
const FULL: &str = "adapter.full = {}";
const DREAMBOOTH: &str = "adapter.dreambooth = { class_prompt = 'a dog', class_images = 4, class_steps = 10, \
                          class_sampler = 'dpmpp_2m', class_guidance_scale = 3, lora = { rank = 4 } }";

/// LoRA, full fine-tuning and DreamBooth; if `small`, three steps of LoRA in f32.
pub fn on_the_miniature(folder: &Folder, choice: DeviceChoice, device: &Device, small: bool, table: &mut Table) {
    let types: &[&str] = if device.is_cuda() && !small { &["f32", "bf16", "f16"] } else { &["f32"] };
    let works = [("lora", LORA, 2e-3), ("full", FULL, 2e-4), ("dreambooth", DREAMBOOTH, 2e-3)];
    let works = if small { &works[..1] } else { &works };
    for dtype in types {
        for (what, adapter, rate) in works.iter().copied() {
            let name = format!("{what}_{dtype}");
            let steps = if small { 3 } else { 100 };
            let seen = learns(folder, choice, &name, (adapter, rate), steps, dtype);
            table.row(&format!("miniature, {what}: {steps} steps and 2 pictures"), dtype, seen);
        }
    }
}

/// A run, and whether it has learned something, which a few steps need not.
fn learns(
    folder: &Folder,
    device: DeviceChoice,
    name: &str,
    (adapter, rate): (&str, f64),
    steps: usize,
    dtype: &str,
) -> Result<Seen> {
    // Of the pictures too, and the batch.
    let (few, batch) = if steps < 100 { (2, 1) } else { (10, 4) };
    let file = folder.path().join(format!("{name}.toml"));
    let text = format!(
        "seed = 3
model.builtin = 'mini'
dataset = {{ builtin = 'corgi', prompt = 'a sks dog', resolution = 64 }}
{adapter}
train = {{ steps = {steps}, batch_size = {batch}, learning_rate = {rate}, checkpoint_every = 50, dtype = '{dtype}' }}
eval = {{ prompts = ['a sks dog'], images = 1, steps = {few}, sampler = 'dpmpp_2m', guidance_scale = 3, every = 100 }}
"
    );
    fs_err::write(&file, text)?;
    let results = folder.path().join("results");
    let args = RunArgs {
        files: vec![file],
        set: Vec::new(),
        results: results.clone(),
        tensorboard: false,
        device: vec![device],
        jobs: None,
        only: Vec::new(),
        wait: false,
        job: false,
        force: true,
        stand_in: false,
        no_stand_in: false,
    };
    run::run(&args)?;
    let record = RunDir::existing(&results.join(name))?.record()?;
    let [first, last] = [record.loss.eval_first, record.loss.eval_last].map(|loss| f64::from(loss.unwrap_or(f32::NAN)));
    let memory = record.peak_memory.device_mib.map_or_else(String::new, |mib| format!(", {mib:.0} MiB"));
    let busy = busy(record.device_busy_percent);
    let per_step = record.seconds.per_step;
    let text = format!("evaluation loss {first:.4} to {last:.4}, {per_step:.4} s a step{memory}{busy}");
    Ok(Seen::Outcome(if steps < 100 { last.is_finite() } else { last < LOSS * first }, text))
}

/// How busy the device was, behind its memory.
fn busy(percent: Option<f64>) -> String {
    percent.map_or_else(String::new, |percent| format!(", {percent:.0} % busy"))
}

/// What is done, the pictures' side, and how many at once.
type Works = &'static [(BenchWork, usize, usize)];

/// What is timed, in the order of its worth: a run may end in the midst of it.
const TIMED: [(&str, Works); 4] = [
    (
        "bf16",
        &[
            (BenchWork::Lora, 256, 1),
            (BenchWork::Lora, 512, 1),
            (BenchWork::Lora, 512, 4),
            (BenchWork::Full, 256, 1),
            (BenchWork::Sample, 512, 1),
            (BenchWork::Lora, 256, 4),
            (BenchWork::Full, 512, 1),
            (BenchWork::Sample, 256, 1),
            (BenchWork::VaeDecode, 512, 1),
        ],
    ),
    (
        "f32",
        &[
            (BenchWork::Lora, 256, 1),
            (BenchWork::Lora, 512, 4),
            (BenchWork::Full, 512, 1),
            (BenchWork::Sample, 512, 1),
            (BenchWork::VaeDecode, 512, 1),
        ],
    ),
    ("f16", &[(BenchWork::Lora, 512, 1)]),
    ("tf32", &[(BenchWork::Lora, 256, 1), (BenchWork::Lora, 512, 4)]),
];

/// The benchmark. A step on a card that is not a CUDA graph fails: its time would be another's. If `small`, one work of each type.
pub fn of_sd15s_shape(device: &Device, small: bool, table: &mut Table) {
    for (dtype, works) in TIMED.iter().filter(|(dtype, _)| device.is_cuda() || *dtype == "f32") {
        for (work, res, batch) in works.iter().copied().take(if small { 1 } else { works.len() }) {
            let (decodes, tf32) = (matches!(work, BenchWork::VaeDecode), *dtype == "tf32");
            let steps = if device.is_cpu() { 1 } else { STEPS };
            let args = BenchArgs {
                family: BenchFamily::Sd15,
                work,
                res,
                batch,
                rank: 4,
                steps,
                checkpointing: false,
                dtype: if tf32 { "f32" } else { dtype }.to_owned(),
                tf32,
                device: DeviceChoice::Auto,
                json: false,
            };
            let seen = bench::measure(&args, device).map(|m| {
                let memory = m.peak_device_mib.or(m.peak_rss_mib).unwrap_or(f64::NAN) / 1024.0;
                let (seconds, gflops, busy) = (m.seconds_per_step, m.gflops, busy(m.device_busy_percent));
                let launch = m.launch_seconds.map_or_else(String::new, |s| format!(", given out in {:.2} ms", 1e3 * s));
                let graph = match (m.cuda_graphs, &m.no_cuda_graphs) {
                    (Some(true), _) => ", a graph".to_owned(),
                    (_, Some(why)) => format!(", no graph: {why}"),
                    _ => String::new(),
                };
                let kinds = if m.seconds_by_kind.is_empty() {
                    String::new()
                } else {
                    let of = m.seconds_by_kind.iter().map(|(kind, s)| format!("{kind} {:.2}", 1e3 * s));
                    format!(", kernel by kernel in ms: {}", of.collect::<Vec<_>>().join(" "))
                };
                let over = m.convolutions.iter().filter(|of| !of.passed_over.is_empty()).count();
                let over = if over == 0 { String::new() } else { format!(", {over} convolutions not cuDNN's first") };
                let text = format!(
                    "{seconds:.4} s a step, {gflops:.0} GFLOP/s, {memory:.2} GiB{busy}{graph}{launch}{over}{kinds}"
                );
                Seen::Outcome(m.cuda_graphs == Some(true) || decodes || device.is_cpu(), text)
            });
            table.row(&format!("bench {} --res {res} --batch {batch}", work.name()), dtype, seen);
        }
    }
}
