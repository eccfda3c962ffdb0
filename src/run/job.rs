//! A job: one run in a process of its own, for the process that does several at once.
//!
//! In: on stdin a line that says what to run ([`Order`]); stdin stays open while the other process lives and wants the run. Out:
//! the run's folder, and on stdout a line that says what became of it ([`Told`]). Where stdin ends, the run stops at its next step,
//! with a checkpoint: nothing goes on that nobody watches.

use super::outcome::{IfTaken, Outcome};
use super::room::Room;
use crate::cli::output::print;
use crate::cli::{DeviceChoice, RunArgs};
use crate::config::Plan;
use crate::device;
use crate::error::{Error, Result, Stop};
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;
use std::thread;

/// What to run.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    /// The text of the resolved plan.
    pub plan: String,
    /// Why it is run, if it is a stand-in.
    pub why: Option<String>,
    /// What to do if yet another process has the run.
    pub if_taken: IfTaken,
}

/// What became of it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Told {
    Done,
    DrawnAgain,
    AlreadyDone,
    Taken,
    Failed(Error),
}

/// `tunelab run --job`.
///
/// # Errors
/// What is on stdin is no order, or stdout takes nothing: of the run itself the other process is told.
pub(super) fn run(args: &RunArgs) -> Result<()> {
    let interrupt = Interrupt::install()?;
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    let order: Order = serde_json::from_str(&line).map_err(|e| {
        Error::input("--job is for tunelab's own use: `tunelab run --jobs N` starts such processes").cause(e)
    })?;
    let watched = interrupt.clone();
    let watch = move || {
        // However it ends, nobody is there any more.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        watched.ask(Stop::Terminate);
    };
    thread::Builder::new().name("parent".into()).spawn(watch)?;
    let told = match work(args, &order, &interrupt) {
        Ok(Outcome::Done) => Told::Done,
        Ok(Outcome::DrawnAgain) => Told::DrawnAgain,
        Ok(Outcome::AlreadyDone) => Told::AlreadyDone,
        Ok(Outcome::Taken | Outcome::NotRun) => Told::Taken,
        Ok(Outcome::Failed(error)) | Err(error) => Told::Failed(error),
    };
    let told =
        serde_json::to_string(&told).map_err(|e| Error::run("what became of the run cannot be told").cause(e))?;
    print(&format!("{told}\n"))
}

fn work(args: &RunArgs, order: &Order, interrupt: &Interrupt) -> Result<Outcome> {
    // It says its own name, and every path in it is a whole one.
    let plan = Plan::parse(&order.plan, Path::new("plan.toml"), &[])?;
    let device::Opened { device, .. } = device::open(args.device.first().copied().unwrap_or(DeviceChoice::Auto))?;
    let progress = Progress::plain();
    let room = Room::new(args, device, &progress, interrupt);
    room.one(&plan, order.why.as_deref(), order.if_taken)
}
