//! Is what a GPU computes right, and how fast is it? `just gpu-check`
//!
//! In: `--device`; the fixtures are compiled in, so the program can be carried to a machine that has nothing but a GPU. Out: one
//! table on stdout, a row for each check with what was seen and what is allowed; exit code 1 if one failed. All of it takes a
//! few minutes on a GPU. On the CPU, which it can be tried on, `--only` picks sections.

mod files;
mod graphs;
mod networks;
mod operations;
mod pictures;
mod runs;
mod shapes;
mod table;

use clap::Parser;
use std::process::ExitCode;
use std::time::Instant;
use table::Table;
use tunelab::cli::DeviceChoice;
use tunelab::device;
use tunelab::error::{Error, Result};
use tunelab_ops::conv2d::chosen;

/// What is computed in f32 may differ from its reference by this share of the largest value.
pub const F32: f64 = 1e-3;
/// What is computed in bf16 or f16.
pub const SHORT: f64 = 2e-2;

/// Checks a device against the fixtures, trains on it, and times it.
#[derive(Parser)]
struct Args {
    /// Where to compute: auto, cpu, cuda, cuda:N or metal.
    #[arg(long, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    /// Sections to run: operations, networks, graphs, shapes, pictures, runs, sd15. All, if none is named. After an error of a
    /// kernel a card does nothing more for a process, so `scripts/gpu_run.sh` has one for each.
    #[arg(long, value_parser = ["operations", "networks", "graphs", "shapes", "pictures", "runs", "sd15"])]
    only: Vec<String>,
    /// Something of each section only, for machines where nothing computes fast: every fourth of `shapes` with a tenth of the channels,
    /// `networks` without f16, `graphs` in bf16 and of LoRA, `pictures` of one sampler, network and size, a run of three steps in `runs`,
    /// which need not learn anything, of `sd15` one work of each type.
    #[arg(long)]
    small: bool,
}

fn main() -> ExitCode {
    let mut table = Table::default();
    let result = all(&Args::parse(), &mut table);
    print!("{table}");
    match result {
        Ok(()) if table.failed() == 0 => ExitCode::SUCCESS,
        Ok(()) => {
            eprintln!("error: {} of {} checks failed", table.failed(), table.len());
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn all(args: &Args, table: &mut Table) -> Result<()> {
    let begun = Instant::now();
    let device::Opened { device, why } = device::open(args.device)?;
    let opened = begun.elapsed().as_secs_f64();
    if args.device == DeviceChoice::Auto && device.is_cpu() {
        let why = why.unwrap_or_else(|| "this build of gpu_check is for the CPU".to_owned());
        return Err(Error::input(why).hint("--device cpu checks this machine's processor"));
    }
    eprintln!("{}", why.unwrap_or_else(|| format!("computing on {}", device::name(&device))));
    eprintln!("opened in {opened:.1} s");
    device::prepare(&device, false);
    let wanted = |section: &str| args.only.is_empty() || args.only.iter().any(|only| only == section);
    if wanted("operations") {
        operations::check(&device, table);
    }
    let folder = files::Folder::unpack()?;
    if wanted("networks") {
        networks::check(&folder, &device, args.small, table);
    }
    if wanted("graphs") {
        graphs::check(&folder, &device, args.small, table);
    }
    if wanted("shapes") {
        // The processor's convolutions have no short types.
        if device.is_cuda() {
            shapes::check(&device, args.small, table);
        } else {
            eprintln!("`shapes` is for CUDA devices");
        }
    }
    if wanted("pictures") {
        pictures::check(&folder, &device, args.small, table);
    }
    if wanted("runs") {
        runs::on_the_miniature(&folder, args.device, &device, args.small, table);
    }
    if wanted("sd15") {
        runs::of_sd15s_shape(&device, args.small, table);
    }
    table.convolutions(chosen(&device));
    Ok(())
}
