//! The `tunelab` command: parse, dispatch, print the error, exit with its code.

use std::io::{self, Write};
use std::panic::{self, PanicHookInfo};
use std::process::{self, ExitCode};

use clap::Parser;
use rayon::ThreadPoolBuilder;
use tunelab::cli::{Cli, Command};
use tunelab::ops::memory::Memory;
use tunelab::{bench, plan, report, run, sample};

#[global_allocator]
static MEMORY: Memory = Memory;

fn main() -> ExitCode {
    panic::set_hook(Box::new(confess));
    // This thread is one of those that compute: to hand each operation's work to others and sleep meanwhile costs more than many
    // of them. Without a pool, which is told where it is first needed, a command that computes nothing does its work.
    let _ = ThreadPoolBuilder::new().use_current_thread().build_global();
    let result = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => plan::command::check(&args),
        Command::Plan(args) => plan::command::plan(&args),
        Command::Sample(args) => sample::command(&args),
        Command::Table(args) => report::command::table(&args),
        Command::Plot(args) => report::command::plot(&args),
        Command::Report(args) => report::command::report(&args),
        Command::Bench(args) => bench::command(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody may be listening any more; the exit code still says it.
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::from(error.exit_code())
        }
    }
}

/// A panic is a fault of this program, whatever the input was: one line, and the exit code of a failed run.
fn confess(info: &PanicHookInfo) {
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let words = info.payload_as_str().unwrap_or("no message").replace('\n', " ");
    let _ = writeln!(io::stderr(), "error: a fault in tunelab, please report it with this line: {words} ({place})");
    process::exit(1);
}
