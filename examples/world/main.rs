//! The little world that `builtin:mini` is trained on: flat illustrations of eight animals, drawn by code from a
//! seed.
//!
//! `cargo run --release --example world -- draw DIR` writes training pictures with captions, `subject DIR` the five
//! pictures of the subject, `sheet FILE.png` a contact sheet of everything. The same seed gives the same pictures.

#![allow(dead_code, reason = "the measuring commands use the rest")]

mod autoencoder;
mod build;
mod caption;
mod duck;
mod face;
mod figure;
mod files;
mod frame;
mod head;
mod judge;
mod palette;
mod picture;
mod place;
mod pose;
mod rng;
mod scene;
mod sheet;
mod sketch;
mod subject;
mod untrained;
mod vocabulary;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Draws the little world that builtin:mini is trained on")]
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
    },
    /// Write the five pictures of the subject
    Subject {
        /// The folder to write
        folder: PathBuf,
        /// Side in pixels
        #[arg(long, default_value_t = 256)]
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
    /// Train the autoencoder
    Vae { pictures: PathBuf, model: PathBuf, steps: usize },
    /// Train the judge
    Judge {
        /// The safetensors file to write
        file: PathBuf,
        /// Batches of 32 pictures
        #[arg(long, default_value_t = 2000)]
        steps: usize,
        /// Fresh pictures to test it on
        #[arg(long, default_value_t = 4096)]
        test: usize,
    },
    /// Write a contact sheet
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
}

fn main() -> files::Result<()> {
    match Cli::parse().command {
        Command::Draw { folder, count, seed } => files::draw_world(&folder, count, seed),
        Command::Subject { folder, size } => files::draw_subject(&folder, size),
        Command::Untrained { model, seed } => {
            let words = caption::words();
            let vocabulary = vocabulary::Vocabulary::of(words.iter().map(String::as_str));
            Ok(untrained::write(&model, &vocabulary, seed)?)
        }
        Command::Vae { pictures, model, steps } => Ok(autoencoder::train(&pictures, &model, steps, 1)?),
        Command::Judge { file, steps, test } => {
            if steps > 0 {
                judge::train(&file, steps, 1)?;
            }
            for (question, right) in judge::QUESTIONS.iter().zip(judge::test(&file, test, 1_000_003)?) {
                println!("{question} {:.2} %", 100.0 * right);
            }
            Ok(())
        }
        Command::Sheet { file, seed, size } => files::write_sheet(&file, &sheet::rows(seed, size), size),
    }
}
