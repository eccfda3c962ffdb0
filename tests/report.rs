//! The results tree and what is drawn from it: names, whole-or-nothing writes, logs, records,
//! curve, grid, table.

mod commands;
mod curves;
mod diffs;
mod fidelity;
mod grids;
mod names;
mod pages;
mod plots;
mod records;
mod run_dir;
mod sweeps;
mod tables;
mod writing;

use std::path::Path;

use fs_err as fs;
use tunelab::config::SampleParams;
use tunelab::data::Rgb;
use tunelab::diffusion::Sampler;
use tunelab::error::Kind;
use tunelab::report::grid::{Heading, Row};
use tunelab::report::losses::{Losses, smooth, thin};
use tunelab::report::{curve, grid, table, text};
use tunelab::results::{
    Counts, ElapsedSoFar, Gpu, Hashes, ImageMetadata, Loss, LossLog, LossRow, Machine, Opened, PeakMemory, RunDir,
    RunRecord, SampleSet, Seconds, StandIn, Status, Timing, TrainingSummary, read_text, run_folder, slug, write_atomic,
    write_png, write_with,
};

const PLAN: &str = "seed = 7\n\n[eval]\nprompts = [\"a dog\", \"a cat\"]\n";

fn fresh(results: &Path) -> RunDir {
    match RunDir::open(results, "lora_dog", PLAN, false).unwrap() {
        // Opened once more to be read, without the lock, so that a test can open the folder again.
        Opened::Fresh(run) => RunDir::existing(run.path()).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn record(name: &str) -> RunRecord {
    RunRecord {
        status: Status::Finished,
        name: name.to_string(),
        stand_in: None,
        method: "lora".to_string(),
        device: "cpu".to_string(),
        dtype: "f32".to_string(),
        counts: Counts {
            trained_parameters: 797_184,
            total_parameters: 1_066_235_307,
            images: 5,
            steps: 500,
            epochs: 100,
        },
        loss: Loss { last: Some(0.125_372), eval_first: Some(0.151), eval_last: Some(0.1302) },
        seconds: Seconds { total: 3725.4, training: 3600.0, sampling: 100.0, measuring: 0.0, per_step: 7.2 },
        peak_memory: PeakMemory { host_mib: Some(9_216.0), device_mib: None },
        metrics: None,
        device_busy_percent: None,
        cuda_graphs: None,
        versions: tunelab::run::versions(),
        machine: Machine {
            os: "Debian GNU/Linux 12".to_string(),
            kernel: Some("6.1.0".to_string()),
            arch: "x86_64".to_string(),
            cpu: Some("A processor".to_string()),
            cpu_features: vec!["avx2".to_string(), "fma".to_string()],
            simd: Some("avx2".to_string()),
            cores: 2,
            memory_mib: Some(24_576.5),
            gpus: vec![Gpu {
                name: "A card".into(),
                driver: Some("550.1".into()),
                cuda: None,
                memory_mib: Some(81_559.0),
            }],
        },
        hashes: Hashes::default(),
        warnings: Vec::new(),
        files: Vec::new(),
    }
}

/// An image whose every pixel differs from its neighbors', without white or gray.
fn image(width: usize, height: usize, tint: u8) -> Rgb {
    let pixel = |i: usize| [(i % width) as u8, (i / width) as u8, tint];
    Rgb { width, height, pixels: (0..width * height).flat_map(pixel).collect() }
}

fn pixel(of: &Rgb, x: usize, y: usize) -> [u8; 3] {
    let at = 3 * (y * of.width + x);
    [of.pixels[at], of.pixels[at + 1], of.pixels[at + 2]]
}

/// Where `part` lies in `whole`, pixel for pixel.
fn find(whole: &Rgb, part: &Rgb) -> Option<(usize, usize)> {
    let row = |of: &Rgb, x: usize, y: usize, width: usize| {
        let at = 3 * (y * of.width + x);
        of.pixels[at..at + 3 * width].to_vec()
    };
    let matches = |x: usize, y: usize| {
        (0..part.height).all(|dy| row(whole, x, y + dy, part.width) == row(part, 0, dy, part.width))
    };
    let corners = (0..=whole.height - part.height).flat_map(|y| (0..=whole.width - part.width).map(move |x| (x, y)));
    corners.into_iter().find(|&(x, y)| pixel(whole, x, y) == pixel(part, 0, 0) && matches(x, y))
}

/// The words of an SVG, in its order.
fn texts(svg: &str) -> Vec<&str> {
    let elements = svg.split("<text").skip(1).filter_map(|text| text.split_once('>'));
    elements.filter_map(|(_, text)| Some(text.split_once('<')?.0.trim())).collect()
}

fn dark_pixels(of: &Rgb, x: std::ops::Range<usize>, y: std::ops::Range<usize>) -> usize {
    let dark = |x, y| pixel(of, x, y).iter().all(|&value| value < 110);
    y.map(|y| x.clone().filter(|&x| dark(x, y)).count()).sum()
}
