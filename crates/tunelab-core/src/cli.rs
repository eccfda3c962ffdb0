//! The command line: what may be typed, and what `--help` says about it.
//!
//! In: the process's arguments. Out: one struct of arguments for each command. A wrong argument
//! ends the process with exit code 2, as a wrong experiment does. What the keys of an experiment
//! mean, `tunelab keys` says: they are stated in [`crate::config::keys`].

mod cluster;
pub mod command;
pub mod output;
pub mod terminal;

use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub use cluster::{StatusArgs, SubmitArgs, seconds as cluster_seconds};

use crate::diffusion::Sampler;
use crate::metrics::EncoderName;

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 a run failed, 2 the input is wrong; stopped by a signal: 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP,
138 SIGUSR1.

Environment:
  HF_HOME, HF_ENDPOINT, HF_TOKEN              cache, mirror and token for Hugging Face
  MODELSCOPE_ENDPOINT, MODELSCOPE_API_TOKEN   the same for ModelScope
  XDG_CACHE_HOME                              where built-in files are unpacked
  COLUMNS                                     how wide tables are; else as the terminal, or 100 columns where there is none
  NO_COLOR                                    no colours
  RAYON_NUM_THREADS                           threads on the CPU, at most four for each core; results do not depend on it
  TUNELAB_SIMD                                instructions of the CPU kernels: portable, avx2, avx512, amx, neon (default: the best)";

/// Types of the UNet's frozen weights.
const DTYPES: [&str; 3] = ["f32", "bf16", "f16"];

const RUN_EXAMPLES: &str = "\
Examples:
  tunelab run experiments/lora_dog.toml
  tunelab run experiments/lora_dog.toml --set train.epochs=2 --set name=short
  tunelab run a.toml b.toml --set model.path=/models/sd15 --device cuda:1
  tunelab run experiments/
  tunelab run experiments/sweep_lora.toml --jobs 2
  tunelab run sweep.toml --device cuda:0,cuda:1

The results of a.toml are in results/a, those of its [[variant]] x in results/a-x.
Where no hub can be reached and the model or the pictures are not on this machine, the experiment's [stand_in] is run,
into results/a-stand-in, and says so.
A finished run is not run again; if only [eval]'s pictures have changed, they are drawn again; --force starts over.";

const DATA_EXAMPLES: &str = "\
Examples:
  tunelab data experiments/lora_dog.toml
  tunelab data experiments/lora_dog.toml --set dataset.buckets=true --results look";
const PLAN_EXAMPLES: &str = "\
Examples:
  tunelab plan experiments/lora_dog.toml --set adapter.lora.rank=16
  tunelab plan experiments/sweep_lora.toml
  tunelab plan experiments/sweep_lora.toml --only sweep_lora-lr1e-3-rank4-seed1

Of a [sweep] its runs are listed, with their steps, and the time that they take as finished runs of this machine tell.";

const SAMPLE_EXAMPLES: &str = "\
Examples:
  tunelab sample results/lora_dog --prompt \"a dog\" \"a dog on the moon\" --images 4 -o pictures
  tunelab sample --model /models/sd15 --lora dog.safetensors --prompt \"a dog\" -o pictures
  tunelab sample --model builtin:mini --prompt \"a dog\" -o pictures
  tunelab sample results/lora_dog --step best --prompt \"a dog\" -o pictures

Writes DIR/<prompt>/<index>.png, with the parameters inside, and DIR/grid.png.
What is not given comes from the run's [eval], or without a run from the defaults of [eval].
Seeds count up from --seed over the pictures of a prompt.";

const MEASURE_EXAMPLES: &str = "\
Examples:
  tunelab measure --images results/dreambooth_dog/samples/tuned --reference photographs
  tunelab measure --images drawn --reference photographs --prompts-from drawn/metadata.jsonl --identifier sks --json
  tunelab measure --images drawn --prompt \"a dog on the beach\" --encoder clip_vit_b32=/models/clip-vit-base-patch32
  tunelab measure --images results/try/samples/tuned/a-dog --reference photographs --prompt \"a dog\" --encoders builtin

dino, clip_i    mean cosine of all images to all photographs: subject fidelity, higher is nearer
subject         the same by builtin
clip_t          mean cosine of the images to their prompts: prompt fidelity
prompt          by builtin, the mean share of what a prompt says that its images show; none where it says nothing known
diversity       1 less the mean cosine of two images of one prompt: 0 where all are the same
nearest         the largest cosine of an image to a photograph: near 1 is a copy
Cosines are raw, from -1 to 1. Intervals are 95 % of resampled prompts, of images where there is only one prompt.
Encoders are fetched from Hugging Face (dino_vits16 87 MB, clip_vit_b32 605 MB, clip_vit_l14 1.7 GB), but for builtin,
which is compiled in and knows the drawn world of builtin:mini and nothing else: of photographs its numbers mean nothing.";

const TABLE_EXAMPLES: &str = "\
Examples:
  tunelab table
  tunelab table --baseline lora_dog
  tunelab table --sort -eval_loss_last
  tunelab table --columns method,seconds_per_step,final_loss
  tunelab table --all
  tunelab table --json | jq -r '.[] | [.name, .seconds_per_step] | @tsv'
  tunelab table results/lora_dog results/sft_dog
  tunelab table --group-by train.learning_rate,adapter.lora.rank --best eval_loss_last
  tunelab table --group-by auto --columns eval_loss_last --json

Without RUN_DIRs also writes table.md, table.csv and table.tex into the results folder, with all columns and rows by name.
2.00× under a number: it is twice that of the baseline. What is equal in all rows is said once, below.
The table is as wide as COLUMNS says, else as the terminal is; where stdout is none, 100 columns.
Figures that a plan's [reference] gives have rows of their own below their run; they are divided by those of the
baseline's [reference].";

const DIFF_EXAMPLES: &str = "\
Examples:
  tunelab diff results/lora_dog results/sft_dog
  tunelab diff results/lora_dog /mnt/other/results/lora_dog --json

Settings come from plan.toml, all else from run.json; of a run that is not finished, what there is by now.
Times and memory, which always differ, are last.";

const INIT_EXAMPLES: &str = "\
Examples:
  tunelab init
  tunelab init my_dog --from dreambooth
  tunelab init experiments/my_dog.toml
  tunelab init --list

An existing file is never overwritten.";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  tunelab completions bash > ~/.local/share/bash-completion/completions/tunelab
  tunelab completions zsh > ~/.zfunc/_tunelab
  tunelab completions fish > ~/.config/fish/completions/tunelab.fish
  source <(tunelab completions bash)

For zsh, ~/.zshrc needs the line fpath+=~/.zfunc before its compinit.";

const MAN_EXAMPLES: &str = "\
Examples:
  tunelab man | man -l -
  tunelab man --dir ~/.local/share/man/man1

The second one writes tunelab.1, tunelab-run.1 and one more for each command; then `man tunelab-run` finds them.";

const PLOT_EXAMPLES: &str = "\
Examples:
  tunelab plot
  tunelab plot results/lora_dog results/sft_dog -o compared.svg
  tunelab plot --eval --log -o evaluation.png
  tunelab plot --metric eval_loss_last --by train.learning_rate,adapter.lora.rank -o heat.svg

The figure is 3.4 inches wide with 8-point letters: it fits a paper's column as it is. PNG is 600 pixels an inch.";

const REPORT_EXAMPLES: &str = "\
Example:
  tunelab report --results results

Writes report.md and index.html (what was asked and what came of it, pictures, table, curves, what differs, all details), and
makes table.{md,csv,tex} and loss.{png,svg} of the whole folder anew. The page needs no network and may be moved with the folder;
--single-file also writes report.html, which may be moved alone.";

const SERVE_EXAMPLES: &str = "\
Examples:
  tunelab serve
  tunelab serve --results /mnt/cluster/results --port 8080
  ssh -L 7007:localhost:7007 workstation tunelab serve --results work/results

The page of all runs at http://127.0.0.1:7007/, with those that are under way: curves, newest pictures, speed, time left and
warnings, of runs of any process. It reads the folder and writes nothing. Ctrl-C ends it with exit code 0.";

const KEYS_EXAMPLES: &str = "\
Examples:
  tunelab keys
  tunelab keys train
  tunelab keys adapter.lora.rank";

const SCHEMA_EXAMPLES: &str = "\
Example:
  tunelab schema > tunelab.schema.json

An editor with taplo (Even Better TOML) then completes and checks keys in a file that begins with
  #:schema ./tunelab.schema.json";

const BENCH_EXAMPLES: &str = "\
Examples:
  tunelab bench lora
  tunelab bench full --res 512 --checkpointing
  tunelab bench sample --json

The networks have the shapes of Stable Diffusion 1.5 (--family sd2, sdxl: 2.1, XL) and random weights. One step before those that are timed is not counted.
GFLOP are those of the matrix products, convolutions and attention that a step needs. The peak that they are compared with is that of
sums in the registers of all cores: in f32, or for --dtype bf16 in bf16 where the processor multiplies that. On a GPU it is the fastest
of some matrix products. --json says which (peak_of).";

/// A declarative lab for fine-tuning Stable Diffusion: one TOML file is one experiment.
#[derive(Debug, Parser)]
#[command(name = "tunelab", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The program's arguments, with each of several prompts as a `--prompt=TEXT` of its own: behind a
/// bare `--prompt`, clap would take one that begins with a hyphen, such as `-dog`, for an option.
/// What begins as one of the command's own options stays one.
pub fn arguments(given: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let is_text = |argument: &OsString| {
        let text = argument.to_string_lossy();
        !["--", "-o", "-h"].iter().any(|option| text.starts_with(option))
    };
    let mut given = given.peekable();
    let mut out: Vec<OsString> = Vec::new();
    while let Some(argument) = given.next() {
        let is_prompt = argument == "--prompt" && out.get(1).is_some_and(|command| command == "sample");
        if !is_prompt || !given.peek().is_some_and(is_text) {
            out.push(argument);
            continue;
        }
        while let Some(text) = given.next_if(is_text) {
            let mut joined = OsString::from("--prompt=");
            joined.push(text);
            out.push(joined);
        }
    }
    out
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a commented experiment to begin with.
    #[command(after_help = INIT_EXAMPLES)]
    Init(InitArgs),
    /// Run experiments and write their results.
    #[command(after_help = RUN_EXAMPLES)]
    Run(RunArgs),
    /// Hand the runs that are missing to Slurm, and the report after them.
    #[command(after_help = cluster::SUBMIT_EXAMPLES)]
    Submit(SubmitArgs),
    /// Say of every run whether it is queued, running, done, interrupted or failed.
    #[command(after_help = cluster::STATUS_EXAMPLES)]
    Status(StatusArgs),
    /// Say every problem of every file; needs no model.
    Check(CheckArgs),
    /// Print the resolved experiment as TOML, with steps, parameters, memory and downloads as
    /// comments.
    #[command(after_help = PLAN_EXAMPLES)]
    Plan(PlanArgs),
    /// Show what the network will see: every image as it is cropped, with its caption; trains nothing.
    #[command(after_help = DATA_EXAMPLES)]
    Data(DataArgs),
    /// Draw pictures with a run's result, or with any model and LoRA.
    #[command(after_help = SAMPLE_EXAMPLES)]
    Sample(SampleArgs),
    /// Measure subject and prompt fidelity of any folder of images.
    #[command(after_help = MEASURE_EXAMPLES)]
    Measure(MeasureArgs),
    /// Compare finished runs in a table.
    #[command(after_help = TABLE_EXAMPLES)]
    Table(TableArgs),
    /// Say what differs between two runs: settings, environment, losses, metrics, times.
    #[command(after_help = DIFF_EXAMPLES)]
    Diff(DiffArgs),
    /// Draw the losses of several runs over each other.
    #[command(after_help = PLOT_EXAMPLES)]
    Plot(PlotArgs),
    /// Write up the whole results folder, as Markdown and as a page.
    #[command(after_help = REPORT_EXAMPLES)]
    Report(ReportArgs),
    /// Show the results folder in a browser and follow the runs that are under way.
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(ServeArgs),
    /// Say what an experiment may hold: every key with its default, type, range and meaning.
    #[command(after_help = KEYS_EXAMPLES)]
    Keys(KeysArgs),
    /// Print the JSON Schema of an experiment, for editors.
    #[command(after_help = SCHEMA_EXAMPLES)]
    Schema,
    /// Time the work of an experiment on this machine; needs no file.
    #[command(after_help = BENCH_EXAMPLES)]
    Bench(BenchArgs),
    /// Print what a shell needs to complete commands and options.
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions(CompletionsArgs),
    /// Print the manual page, or write one for each command.
    #[command(after_help = MAN_EXAMPLES)]
    Man(ManArgs),
}

/// Arguments of `tunelab run`.
// Each flag is an option of its own that a person types.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// Experiments, or folders of them, run in this order; one that fails does not stop the others.
    #[arg(required = true, value_name = "FILE_OR_FOLDER")]
    pub files: Vec<PathBuf>,
    /// Replace one key of each experiment and variant: `train.epochs=2`. The value is TOML, or
    /// text. May be repeated.
    #[arg(long, value_name = "KEY.PATH=VALUE")]
    pub set: Vec<String>,
    /// Where each experiment gets a folder of its name.
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub results: PathBuf,
    /// Write an event file for TensorBoard into each run's folder `tb/`, as the key log.tensorboard.
    #[arg(long)]
    pub tensorboard: bool,
    /// Where to compute: auto, cpu, cuda, cuda:N or metal; of several, one run at once on each.
    #[arg(long, value_name = "DEVICE,…", value_delimiter = ',', default_value = "auto")]
    pub device: Vec<DeviceChoice>,
    /// So many runs at once, each in a process of its own; as many as there are devices if not given.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = count(1, 256))]
    pub jobs: Option<usize>,
    /// Only this run of the files' variants and sweeps, by its name. May be repeated.
    #[arg(long, value_name = "NAME")]
    pub only: Vec<String>,
    /// Wait for a run that another tunelab has, in place of an error.
    #[arg(long)]
    pub wait: bool,
    /// Start over, even if the results are there already.
    #[arg(long)]
    pub force: bool,
    /// Run each experiment's stand-in, whether its hub can be reached or not.
    #[arg(long, conflicts_with = "no_stand_in")]
    pub stand_in: bool,
    /// Never run a stand-in: a hub that cannot be reached is an error.
    #[arg(long)]
    pub no_stand_in: bool,
    /// This process is one of another's `--jobs`, which says on stdin what to run.
    #[arg(long, hide = true)]
    pub job: bool,
}

/// Arguments of `tunelab bench`.
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// What to time.
    #[arg(value_enum, value_name = "WORK")]
    pub work: BenchWork,
    /// Whose networks: Stable Diffusion 1.5's, 2.1's or XL's.
    #[arg(long, value_enum, value_name = "FAMILY", default_value_t = BenchFamily::Sd15)]
    pub family: BenchFamily,
    /// Side of the pictures in pixels.
    #[arg(long, value_name = "N", default_value = "256", allow_negative_numbers = true, value_parser = latent_side)]
    pub res: usize,
    /// Pictures at once.
    #[arg(long, value_name = "N", default_value = "1", allow_negative_numbers = true, value_parser = count(1, 1024))]
    pub batch: usize,
    /// Rank of the LoRA.
    #[arg(long, value_name = "N", default_value = "4", allow_negative_numbers = true, value_parser = count(1, 1024))]
    pub rank: usize,
    /// Timed steps.
    #[arg(long, value_name = "N", default_value = "5", allow_negative_numbers = true, value_parser = count(1, 10_000))]
    pub steps: usize,
    /// Train with gradient checkpointing.
    #[arg(long)]
    pub checkpointing: bool,
    /// The type of the UNet's frozen weights.
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = DTYPES)]
    pub dtype: String,
    /// Let a CUDA device round operands of f32 to TF32.
    #[arg(long)]
    pub tf32: bool,
    /// Where to compute: auto, cpu, cuda, cuda:N or metal.
    #[arg(long, default_value_t = DeviceChoice::Auto)]
    pub device: DeviceChoice,
    /// One line of JSON.
    #[arg(long)]
    pub json: bool,
}

/// Whose networks `tunelab bench` times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BenchFamily {
    /// Stable Diffusion 1.5.
    Sd15,
    /// Stable Diffusion 2.1.
    Sd2,
    /// Stable Diffusion XL's base model.
    Sdxl,
}

impl BenchFamily {
    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sd15 => "sd15",
            Self::Sd2 => "sd2",
            Self::Sdxl => "sdxl",
        }
    }
}

/// What `tunelab bench` times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BenchWork {
    /// An optimizer step with LoRA.
    Lora,
    /// An optimizer step of all weights of the UNet.
    Full,
    /// An optimizer step with LoRA over pictures and as many class images.
    Dreambooth,
    /// A denoising step with guidance.
    Sample,
    /// Pictures to latents and back.
    Vae,
    /// Pictures to latents.
    VaeEncode,
    /// Latents to pictures.
    VaeDecode,
    /// A text to its hidden states.
    Text,
}

impl BenchWork {
    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lora => "lora",
            Self::Full => "full",
            Self::Dreambooth => "dreambooth",
            Self::Sample => "sample",
            Self::Vae => "vae",
            Self::VaeEncode => "vae-encode",
            Self::VaeDecode => "vae-decode",
            Self::Text => "text",
        }
    }
}

/// Arguments of `tunelab check`.
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// Experiments, or folders of them.
    #[arg(required = true, value_name = "FILE_OR_FOLDER")]
    pub files: Vec<PathBuf>,
    /// Replace one key of each experiment first. May be repeated.
    #[arg(long, value_name = "KEY.PATH=VALUE")]
    pub set: Vec<String>,
    /// Say of each good file too what its model is, what its first run trains, and what that needs.
    #[arg(long, short)]
    pub verbose: bool,
}

/// Arguments of `tunelab plan`.
#[derive(Debug, Clone, Args)]
pub struct PlanArgs {
    /// The experiment.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Replace one key of the experiment first. May be repeated.
    #[arg(long, value_name = "KEY.PATH=VALUE")]
    pub set: Vec<String>,
    /// Print its stand-in instead.
    #[arg(long)]
    pub stand_in: bool,
    /// Only this run of its variants or of its sweep, with its whole plan. May be repeated.
    #[arg(long, value_name = "NAME")]
    pub only: Vec<String>,
    /// The folder of finished runs, by which the time is estimated and what is done already is known.
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub results: PathBuf,
}

/// Arguments of `tunelab data`.
#[derive(Debug, Clone, Args)]
pub struct DataArgs {
    /// The experiment; of several variants or a sweep's runs the first.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Replace one key of the experiment first. May be repeated.
    #[arg(long, value_name = "KEY.PATH=VALUE")]
    pub set: Vec<String>,
    /// Show its stand-in's data instead.
    #[arg(long)]
    pub stand_in: bool,
    /// This run of its variants or of its sweep.
    #[arg(long, value_name = "NAME")]
    pub only: Vec<String>,
    /// Where `<name>.data.png` and `<name>.data.html` are written.
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub results: PathBuf,
}

/// Arguments of `tunelab keys`.
#[derive(Debug, Clone, Args)]
pub struct KeysArgs {
    /// Only keys whose path begins so: `train`, `adapter.lora`, `eval.steps`.
    #[arg(value_name = "PREFIX")]
    pub prefix: Option<String>,
}

/// Arguments of `tunelab sample`; `None` is what the run, or without one the defaults of `[eval]`,
/// say.
#[derive(Debug, Clone, Args)]
#[command(group(ArgGroup::new("what").required(true).args(["run_dir", "model"])))]
pub struct SampleArgs {
    /// The folder of a finished run.
    #[arg(value_name = "RUN_DIR")]
    pub run_dir: Option<PathBuf>,
    /// A step of the run instead of its end: a number, of which `eval.keep_weights` kept the weights
    /// (0: the base model), or `best`, as `metrics.best_by` found it.
    #[arg(long, value_name = "N|best", allow_negative_numbers = true, value_parser = step_choice, conflicts_with = "model")]
    pub step: Option<StepChoice>,
    /// A model instead of a run: a folder, a model in one .safetensors file, a repository
    /// `owner/name` on Hugging Face, or `builtin:mini`.
    #[arg(long, value_name = "DIR_OR_FILE_OR_REPO")]
    pub model: Option<String>,
    /// For a --model in one file: a folder in diffusers' layout whose config.json files, tokenizer
    /// and scheduler go with it, in place of those that are compiled in.
    #[arg(long, value_name = "DIR", conflicts_with = "run_dir", requires = "model")]
    pub config: Option<PathBuf>,
    /// A LoRA for --model: a .safetensors file in diffusers', PEFT's or kohya's form, or the folder
    /// that it lies in.
    #[arg(long, value_name = "FILE_OR_FOLDER", conflicts_with = "run_dir", requires = "model")]
    pub lora: Option<PathBuf>,
    /// How strongly the LoRA works.
    #[arg(long, value_name = "S", default_value_t = 1.0, value_parser = finite, allow_negative_numbers = true, requires = "lora", conflicts_with = "run_dir")]
    pub lora_scale: f64,
    /// What to draw; several texts may follow, also such as begin with one hyphen.
    #[arg(long = "prompt", value_name = "TEXT", required = true, num_args = 1.., value_parser = filled)]
    pub prompts: Vec<String>,
    /// What to lead away from.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub negative_prompt: Option<String>,
    /// Chunks of 75 tokens that long prompts are read in; the run's, or 1 (what is longer is cut).
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = count(1, 8))]
    pub text_chunks: Option<usize>,
    /// Seed of each prompt's first picture.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = seed)]
    pub seed: Option<u64>,
    /// Pictures of each prompt.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = count(1, 1_000_000))]
    pub images: Option<usize>,
    /// Denoising steps, 1 to 1000.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = count(1, 1000))]
    pub steps: Option<usize>,
    /// Classifier-free guidance; 1 is off.
    #[arg(long, value_name = "G", value_parser = not_negative, allow_negative_numbers = true)]
    pub guidance_scale: Option<f64>,
    /// The denoising method.
    #[arg(long, value_parser = sampler())]
    pub sampler: Option<Sampler>,
    /// Noise levels spread as Karras et al. do, where diffusers has that.
    #[arg(long)]
    pub karras: bool,
    /// Width in pixels, a multiple of 8; the run's resolution or the model's own if not given.
    #[arg(long, value_name = "W", allow_negative_numbers = true, value_parser = side, requires = "height")]
    pub width: Option<usize>,
    /// Height in pixels, a multiple of 8.
    #[arg(long, value_name = "H", allow_negative_numbers = true, value_parser = side, requires = "width")]
    pub height: Option<usize>,
    /// The type of the UNet's frozen weights; the run's own, or f32, if not given.
    #[arg(long, value_name = "TYPE", value_parser = DTYPES)]
    pub dtype: Option<String>,
    /// Where to compute: auto, cpu, cuda, cuda:N or metal.
    #[arg(long, default_value_t = DeviceChoice::Auto)]
    pub device: DeviceChoice,
    /// The folder for the pictures.
    #[arg(short, long = "output", value_name = "DIR")]
    pub output: PathBuf,
}

/// Which step of a run draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepChoice {
    /// The one that the run found best.
    Best,
    /// So many optimizer steps.
    Number(usize),
}

fn step_choice(text: &str) -> Result<StepChoice, String> {
    match text {
        "best" => Ok(StepChoice::Best),
        number => {
            number.parse().map(StepChoice::Number).map_err(|_| "it is neither a step's number nor `best`".to_owned())
        }
    }
}

/// Arguments of `tunelab measure`.
#[derive(Debug, Clone, Args)]
#[command(group(ArgGroup::new("against").required(true).multiple(true).args(["reference", "prompt", "prompts_from"])))]
pub struct MeasureArgs {
    /// The folder of the images, and of the folders in it.
    #[arg(long, value_name = "DIR")]
    pub images: PathBuf,
    /// The folder of the subject's photographs, and of the folders in it.
    #[arg(long, value_name = "DIR")]
    pub reference: Option<PathBuf>,
    /// The prompt of all images.
    #[arg(long, value_name = "TEXT", value_parser = filled, allow_hyphen_values = true, conflicts_with = "prompts_from")]
    pub prompt: Option<String>,
    /// The prompt of each image: lines of JSON with `file_name`, relative to this file, and `prompt` or `text`.
    #[arg(long, value_name = "FILE.jsonl")]
    pub prompts_from: Option<PathBuf>,
    /// A word that is left out of the prompts, such as sks: the encoder does not know it.
    #[arg(long, value_name = "WORD", value_parser = filled)]
    pub identifier: Option<String>,
    /// What to measure with.
    #[arg(long, value_enum, value_name = "NAME,…", value_delimiter = ',', default_value = "dino_vits16,clip_vit_b32")]
    pub encoders: Vec<EncoderName>,
    /// A folder of an encoder's repository on this machine, in place of the repository. May be repeated.
    #[arg(long = "encoder", value_name = "NAME=DIR", value_parser = encoder_folder)]
    pub encoder_folders: Vec<(EncoderName, PathBuf)>,
    /// Resamplings for the intervals; 0 for none.
    #[arg(long, value_name = "N", default_value = "1000", allow_negative_numbers = true, value_parser = count(0, 100_000))]
    pub bootstrap: usize,
    /// Where to compute: auto, cpu, cuda, cuda:N or metal.
    #[arg(long, default_value_t = DeviceChoice::Auto)]
    pub device: DeviceChoice,
    /// One line of JSON.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `tunelab table`.
#[derive(Debug, Clone, Args)]
pub struct TableArgs {
    /// Folders of finished runs, in the order of their rows; all in the results folder if none is
    /// given.
    #[arg(value_name = "RUN_DIR")]
    pub run_dirs: Vec<PathBuf>,
    /// The folder of all runs.
    #[arg(long, value_name = "DIR", default_value = "results", conflicts_with = "run_dirs")]
    pub results: PathBuf,
    /// The run that ratios refer to; the first by name, or the first that is given, if not said.
    #[arg(long, value_name = "NAME")]
    pub baseline: Option<String>,
    /// These columns only, by their names in table.csv; all of them are shown.
    #[arg(long, value_name = "KEY,…", value_delimiter = ',', conflicts_with = "all")]
    pub columns: Vec<String>,
    /// Sort the rows by a column, by its name in table.csv; with a hyphen before it from the largest
    /// to the smallest.
    #[arg(long, value_name = "KEY|-KEY", allow_hyphen_values = true)]
    pub sort: Option<String>,
    /// A row for each group of runs that are equal in these keys, with mean and deviation over all others, such as seeds; `auto`
    /// takes every key in which they differ but the seed.
    #[arg(long, value_name = "KEY,…", value_delimiter = ',', conflicts_with_all = ["baseline", "sort", "all"])]
    pub group_by: Vec<String>,
    /// Say which run is the best by this column, and of groups which one by its mean.
    #[arg(long, value_name = "METRIC", conflicts_with = "json")]
    pub best: Option<String>,
    /// Every column that says something, in as many blocks as it takes.
    #[arg(long, conflicts_with = "json")]
    pub all: bool,
    /// A list of JSON objects, one for each row: all that table.csv has, in all digits.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `tunelab diff`.
#[derive(Debug, Clone, Args)]
pub struct DiffArgs {
    /// The folder of a run, finished or not.
    #[arg(value_name = "RUN_DIR")]
    pub a: PathBuf,
    /// The folder of another.
    #[arg(value_name = "OTHER_RUN_DIR")]
    pub b: PathBuf,
    /// Also what is equal, and the metrics of each prompt.
    #[arg(long)]
    pub all: bool,
    /// One JSON object with the exact values.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `tunelab init`.
#[derive(Debug, Clone, Args)]
pub struct InitArgs {
    /// The experiment's name, and so its file's, with or without `.toml`; it may lie in a folder that
    /// is there. The template's name if not given.
    #[arg(value_name = "NAME")]
    pub name: Option<PathBuf>,
    /// What it begins as.
    #[arg(long, value_enum, value_name = "TEMPLATE", default_value_t = Template::Lora)]
    pub from: Template,
    /// Say which templates there are, and write nothing.
    #[arg(long, conflicts_with_all = ["name", "from"])]
    pub list: bool,
}

/// What `tunelab init` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Template {
    /// A LoRA.
    Lora,
    /// `DreamBooth` with prior preservation.
    Dreambooth,
    /// All weights.
    Full,
    /// Several runs that differ in one key.
    Sweep,
}

impl Template {
    /// Every template.
    pub const ALL: [Self; 4] = [Self::Lora, Self::Dreambooth, Self::Full, Self::Sweep];

    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lora => "lora",
            Self::Dreambooth => "dreambooth",
            Self::Full => "full",
            Self::Sweep => "sweep",
        }
    }
}

/// Arguments of `tunelab completions`.
#[derive(Debug, Clone, Args)]
pub struct CompletionsArgs {
    /// For which shell.
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: Shell,
}

/// Arguments of `tunelab man`.
#[derive(Debug, Clone, Args)]
pub struct ManArgs {
    /// Write a page for the program and one for each command into this folder.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Arguments of `tunelab plot`.
#[derive(Debug, Clone, Args)]
pub struct PlotArgs {
    /// Folders of runs, finished or not; all in the results folder if none is given.
    #[arg(value_name = "RUN_DIR")]
    pub run_dirs: Vec<PathBuf>,
    /// The folder of all runs, and of loss.png and loss.svg.
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub results: PathBuf,
    /// The figure; its ending says the form. DIR/loss.png and DIR/loss.svg if not given.
    #[arg(short, long, value_name = "FILE.png|FILE.svg")]
    pub output: Option<PathBuf>,
    /// In place of losses over steps this column of the table over keys, mean and deviation over all else: of one key a line, of two
    /// a heat map.
    #[arg(long, value_name = "METRIC", requires = "by", conflicts_with_all = ["log", "smoothing", "eval", "loss"])]
    pub metric: Option<String>,
    /// The keys, one or two.
    #[arg(long, value_name = "KEY[,KEY]", value_delimiter = ',', requires = "metric")]
    pub by: Vec<String>,
    /// Logarithmic loss axes.
    #[arg(long)]
    pub log: bool,
    /// Average training losses over about so many steps; 1 shows them as they are. A tenth of the
    /// longest run if not given.
    #[arg(long, value_name = "SPAN", allow_negative_numbers = true, value_parser = count(1, 1_000_000))]
    pub smoothing: Option<usize>,
    /// Evaluation losses only.
    #[arg(long, conflicts_with = "loss")]
    pub eval: bool,
    /// Training losses only.
    #[arg(long)]
    pub loss: bool,
}

/// Arguments of `tunelab report`.
#[derive(Debug, Clone, Args)]
pub struct ReportArgs {
    /// The folder of all runs.
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub results: PathBuf,
    /// The run that the table's ratios refer to; the first row if not given.
    #[arg(long, value_name = "NAME")]
    pub baseline: Option<String>,
    /// Also write report.html: the page with all pictures in it, one file to send.
    #[arg(long)]
    pub single_file: bool,
}

/// Arguments of `tunelab serve`.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// The folder of all runs.
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub results: PathBuf,
    /// The port; 0 for any free one.
    #[arg(long, value_name = "N", default_value_t = 7007)]
    pub port: u16,
    /// The address to listen at. Any but this machine's own lets others read the results.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub host: IpAddr,
}

/// Where to compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first GPU that this build and this machine have, otherwise the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// A CUDA device by its number.
    Cuda(usize),
    /// Apple's GPU.
    Metal,
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            "metal" => Ok(Self::Metal),
            _ => {
                let number = text.strip_prefix("cuda:").and_then(|n| n.parse().ok());
                number.map(Self::Cuda).ok_or_else(|| "use auto, cpu, cuda, cuda:N or metal".into())
            }
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(n) => write!(f, "cuda:{n}"),
            Self::Metal => f.write_str("metal"),
        }
    }
}

fn encoder_folder(text: &str) -> Result<(EncoderName, PathBuf), String> {
    let (name, dir) = text.split_once('=').ok_or("use NAME=DIR, as dino_vits16=/models/dino-vits16")?;
    let named = EncoderName::value_variants().iter().find(|known| known.as_str() == name);
    let known = EncoderName::value_variants().iter().map(|known| known.as_str()).collect::<Vec<_>>().join(", ");
    Ok((*named.ok_or_else(|| format!("there is no encoder {name}; there are {known}"))?, PathBuf::from(dir)))
}

fn sampler() -> impl TypedValueParser<Value = Sampler> {
    PossibleValuesParser::new(Sampler::ALL.map(Sampler::name)).try_map(|name| name.parse::<Sampler>())
}

fn count(low: usize, high: usize) -> impl Fn(&str) -> Result<usize, String> + Clone + Send + Sync + 'static {
    move |text| {
        let number = text.parse().ok().filter(|n| (low..=high).contains(n));
        number.ok_or_else(|| format!("use a whole number from {low} to {high}"))
    }
}

/// Other programs draw a seed of their own for -1.
fn seed(text: &str) -> Result<u64, String> {
    let seed = text.parse::<u64>().ok().filter(|n| i64::try_from(*n).is_ok());
    let chosen = "a seed is chosen, never drawn, so that the pictures can be drawn again";
    seed.ok_or_else(|| format!("use a whole number from 0 to {}: {chosen}", i64::MAX))
}

fn finite(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|n: &f64| n.is_finite());
    number.ok_or_else(|| "use a number".into())
}

fn not_negative(text: &str) -> Result<f64, String> {
    finite(text).ok().filter(|n| *n >= 0.0).ok_or_else(|| "use a number from 0 on".into())
}

fn filled(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("there is nothing in it".into()) } else { Ok(text.into()) }
}

/// Stable Diffusion's VAE halves a side three times; what the model at hand needs is checked once
/// it is known.
fn side(text: &str) -> Result<usize, String> {
    let pixels = text.parse().ok().filter(|n: &usize| (64..=2048).contains(n) && n.is_multiple_of(8));
    pixels.ok_or_else(|| "use a multiple of 8 from 64 to 2048".into())
}

/// The UNet halves the latents three times too.
fn latent_side(text: &str) -> Result<usize, String> {
    let pixels = text.parse().ok().filter(|n: &usize| (64..=2048).contains(n) && n.is_multiple_of(64));
    pixels.ok_or_else(|| "use a multiple of 64 from 64 to 2048".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_prompt_is_an_argument_of_its_own() {
        let of = |line: &str| {
            let given = line.split(' ').map(OsString::from);
            arguments(given).iter().map(|a| a.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
        };
        for (given, taken) in [
            ("t sample x --prompt a -dog b -o out", "t sample x --prompt=a --prompt=-dog --prompt=b -o out"),
            ("t sample x -o out --prompt -1 --seed 3", "t sample x -o out --prompt=-1 --seed 3"),
            ("t sample x --prompt -o out", "t sample x --prompt -o out"),
            ("t sample x --prompt", "t sample x --prompt"),
            ("t sample --prompt=a -dog", "t sample --prompt=a -dog"),
            ("t plan --prompt a", "t plan --prompt a"),
        ] {
            assert_eq!(of(given), taken);
        }
    }
}
