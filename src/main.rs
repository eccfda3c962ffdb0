//! The `tunelab` command: parse, dispatch, print the error, exit with its code.

#![forbid(unsafe_code)]

use std::env;
use std::io::{self, Write};
use std::panic::{self, PanicHookInfo};
use std::process::{self, ExitCode};

use clap::Parser;
use rayon::ThreadPoolBuilder;
use tunelab::cli::{self, Cli, Command, arguments};
use tunelab::device::Threads;
use tunelab::error::{Error, Result};
use tunelab::{bench, config, measure, plan, report, run, sample, serve, sheet, slurm};
use tunelab_ops::candle_threads::compute_in_the_callers_thread;
use tunelab_ops::memory::Memory;
use tunelab_ops::simd;

#[global_allocator]
static MEMORY: Memory = Memory;

fn main() -> ExitCode {
    panic::set_hook(Box::new(report_panic));
    match choose_instructions().and_then(|()| {
        let command = Cli::parse_from(arguments(env::args_os())).command;
        // It computes several images at once, each on a thread of its own. Now, while there is one.
        if matches!(command, Command::Measure(_)) {
            compute_in_the_callers_thread();
        }
        begin_threads().and_then(|()| dispatch(command))
    }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&error.to_string());
            ExitCode::from(error.exit_code())
        }
    }
}

/// Which instructions the kernels may use on the CPU, before any of them computes.
fn choose_instructions() -> Result<()> {
    let asked = env::var_os(simd::VARIABLE).map(|asked| asked.to_string_lossy().into_owned());
    simd::choose(asked.as_deref()).map(|_| ()).map_err(Error::input)
}

/// This thread is one of those that compute: to hand each operation's work to others and sleep
/// meanwhile costs more than many of them.
fn begin_threads() -> Result<()> {
    let Threads { count, warning } = Threads::from_env();
    if let Some(warning) = warning {
        say(&format!("warning: {warning}"));
    }
    ThreadPoolBuilder::new()
        .num_threads(count)
        .use_current_thread()
        .build_global()
        .map_err(|e| Error::run(format!("{count} threads cannot be started")).cause(e).hint("set RAYON_NUM_THREADS=1"))
}

fn dispatch(command: Command) -> Result<()> {
    match command {
        Command::Init(args) => config::init::init(&args),
        Command::Run(args) => run::run(&args),
        Command::Submit(args) => slurm::submit(&args),
        Command::Status(args) => slurm::status(&args),
        Command::Check(args) => plan::command::check(&args),
        Command::Plan(args) => plan::command::plan(&args),
        Command::Data(args) => sheet::command(&args),
        Command::Sample(args) => sample::command(&args),
        Command::Measure(args) => measure::command(&args),
        Command::Table(args) => report::command::table(&args),
        Command::Diff(args) => report::diff::command(&args),
        Command::Plot(args) => report::command::plot(&args),
        Command::Report(args) => report::command::report(&args),
        Command::Serve(args) => serve::command(&args),
        Command::Keys(args) => config::command::keys(&args),
        Command::Schema => config::command::schema(),
        Command::Bench(args) => bench::command(&args),
        Command::Completions(args) => cli::command::completions(&args),
        Command::Man(args) => cli::command::man(&args),
    }
}

/// Nobody may be listening any more; the exit code still says it.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// A panic is a fault of this program, whatever the input was: one line, and the exit code of a
/// failed run.
fn report_panic(info: &PanicHookInfo) {
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let words = info.payload_as_str().unwrap_or("no message").replace('\n', " ");
    say(&format!("error: a fault in tunelab, please report it with this line: {words} ({place})"));
    process::exit(1);
}
