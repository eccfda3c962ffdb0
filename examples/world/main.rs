//! The little world that `builtin:mini` is trained on: flat illustrations of eight animals, drawn by code from a
//! seed; and what trains and measures the model of it.
//!
//! `cargo run --release --example world -- help` lists the commands, and `just mini` runs them in their order. The same
//! seed gives the same pictures.

mod assemble;
mod autoencoder;
mod brush;
mod build;
mod caption;
mod duck;
mod evaluate;
mod face;
mod figure;
mod files;
mod findings;
mod frame;
mod head;
mod judge;
mod lesson;
mod looks;
mod palette;
mod picture;
mod place;
mod pose;
mod rng;
mod scene;
mod sheet;
mod sketch;
mod subject;
mod tally;
mod untrained;
mod vocabulary;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Draws the little world that builtin:mini is trained on, trains its small parts, and measures it")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write training pictures (64 x 64) and metadata.jsonl
    Draw {
        /// The folder to write
        folder: PathBuf,
        /// How many
        #[arg(long, default_value_t = 24_000)]
        count: usize,
        /// Which world
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Let half of the animals face left; without it all face right
        #[arg(long)]
        mirrored: bool,
    },
    /// Write the five pictures of the subject
    Subject {
        /// The folder to write
        folder: PathBuf,
        /// Side in pixels
        #[arg(long, default_value_t = 256)]
        size: usize,
    },
    /// Write a contact sheet of the world
    Sheet {
        /// The PNG file to write
        file: PathBuf,
        /// Which scenes
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Side of a picture in pixels
        #[arg(long, default_value_t = 128)]
        size: usize,
    },
    /// Write the untrained model
    Untrained {
        /// The folder to write
        model: PathBuf,
        /// Seeds the weights
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Train the autoencoder of a model folder in place
    Vae {
        /// The folder of training pictures
        pictures: PathBuf,
        /// The model's folder
        model: PathBuf,
        /// Optimizer steps
        #[arg(long, default_value_t = 3000)]
        steps: usize,
        /// Seeds weights, order and noise
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Go on from the weights that are there, at half the rate
        #[arg(long)]
        again: bool,
    },
    /// Write a trained model as it is shipped: all weights as float16, at most 12 MB
    Assemble {
        /// The folder of a finished full fine-tuning
        run: PathBuf,
        /// The folder to write
        model: PathBuf,
    },
    /// Train the judge, and test it on fresh pictures
    Judge(Learn),
    /// Draw held-out captions with a model and judge the pictures
    Evaluate(evaluate::Evaluate),
    /// Print what the runs of crates/tunelab-core/assets/mini/findings.toml found, as one table
    Findings(findings::Findings),
}

/// The arguments of `world judge`.
#[derive(Args)]
struct Learn {
    /// The safetensors file to write
    file: PathBuf,
    /// Batches of 32 pictures; 0 tests the file that is there
    #[arg(long, default_value_t = 1600)]
    steps: usize,
    /// Seeds weights and pictures
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Fresh pictures to test it on
    #[arg(long, default_value_t = 4096)]
    test: usize,
    /// Train the judge that is there on: half of the pictures, and all of a second test, as the autoencoder of this model folder
    /// makes them
    #[arg(long)]
    through: Option<PathBuf>,
    /// Also write a PNG of the pictures that it was wrong about
    #[arg(long)]
    wrong: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> files::Result<()> {
    match command {
        Command::Draw { folder, count, seed, mirrored } => files::draw_world(&folder, count, seed, mirrored),
        Command::Subject { folder, size } => files::draw_subject(&folder, size),
        Command::Sheet { file, seed, size } => files::write_sheet(&file, &sheet::rows(seed, size), size),
        Command::Untrained { model, seed } => {
            let words = caption::words();
            let vocabulary = vocabulary::Vocabulary::of(words.iter().map(String::as_str));
            Ok(untrained::write(&model, &vocabulary, seed)?)
        }
        Command::Vae { pictures, model, steps, seed, again } => {
            Ok(autoencoder::train(&pictures, &model, steps, seed, again)?)
        }
        Command::Assemble { run, model } => {
            let size = assemble::assemble(&run, &model)?;
            eprintln!("{}: {size} bytes", model.display());
            Ok(())
        }
        Command::Judge(args) => learn(&args),
        Command::Evaluate(args) => evaluate::evaluate(&args),
        Command::Findings(args) => Ok(findings::findings(&args)?),
    }
}

/// Trains the judge and prints how it does on fresh pictures.
fn learn(args: &Learn) -> files::Result<()> {
    let vae = args.through.as_deref().map(brush::autoencoder).transpose()?;
    if args.steps > 0 {
        let lesson = lesson::Lesson { steps: args.steps, seed: args.seed, through: vae.as_ref() };
        lesson::train(&args.file, &lesson)?;
    }
    let judge = tunelab::measure::Judge::open(&args.file, &candle_core::Device::Cpu)?;
    // Other pictures than those that it was trained on.
    let seed = args.seed.wrapping_add(1_000_003);
    let mut exam = lesson::examine(&judge, args.test, seed, None)?;
    println!("{} fresh drawn pictures.\n\n{}{}", args.test, exam.tally.summary(), exam.tally.confusion());
    if vae.is_some() {
        exam = lesson::examine(&judge, args.test, seed, vae.as_ref())?;
        println!("The same through the autoencoder.\n\n{}{}", exam.tally.summary(), exam.tally.confusion());
    }
    for (number, errors) in exam.errors.iter().enumerate() {
        eprintln!("wrong {}: {errors}", number + 1);
    }
    let Some(sheet) = &args.wrong else { return Ok(()) };
    let pictures: Vec<Vec<u8>> = exam.wrong.into_iter().map(|picture| picture.pixels).collect();
    files::write_sheet(
        sheet,
        &pictures.chunks(10).map(<[_]>::to_vec).collect::<Vec<_>>(),
        tunelab::measure::judge::SIDE,
    )
}
