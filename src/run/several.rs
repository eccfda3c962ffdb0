//! The `tunelab run` command: every experiment of every file, one after the other, or several at once (`jobs`).
//!
//! In: its arguments. Out: a folder of results for each, the table of all, and where there are
//! several a closing summary on stderr. An experiment that fails does not stop the others; the exit
//! code is that of the worst.

use super::jobs::Jobs;
use super::outcome::{Line, Outcome, Waiting, failed_already, mark};
use super::room::Room;
use super::{job, next};
use crate::cli::output::print;
use crate::cli::{DeviceChoice, RunArgs};
use crate::config::files::{self, Loaded, Sweep};
use crate::config::{Plan, Planned};
use crate::device;
use crate::error::{Error, Kind, Result};
use crate::interrupt::Interrupt;
use crate::numbers::counted;
use crate::progress::Progress;
use crate::report::runs::Runs;
use crate::report::sweep::Swept;
use crate::report::table;
use crate::results::{RunDir, sweep_folder, write_sweep};
use candle_core::Device;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// `tunelab run`: every experiment in order, or several at once.
///
/// Errors: the only experiment's own, an interrupt, two experiments of one name (then nothing is
/// run), or how many failed.
pub fn run(args: &RunArgs) -> Result<()> {
    if args.job {
        return job::run(args);
    }
    let interrupt = Interrupt::install()?;
    let progress = Progress::from_env();
    let asked = args.tensorboard.then(|| "log.tensorboard=true".to_owned());
    let set: Vec<String> = args.set.iter().cloned().chain(asked).collect();
    let loaded = files::load(&args.files, &set, &mut |note| progress.line(format!("note: {note}")))?;
    if let Some(error) = files::clashes(&loaded).into_iter().next() {
        return Err(error);
    }
    if !args.only.is_empty() {
        files::only(loaded.iter().flat_map(Loaded::plans).cloned(), &args.only)?;
    }
    let sweeps: Vec<(Sweep, Vec<Stated>)> = loaded.iter().filter_map(swept).collect();
    let mut queue: Vec<Waiting> = loaded.into_iter().flat_map(|file| waiting(file, args)).collect();
    // Problems are told before hours of work.
    queue.sort_by_key(|(_, plan)| plan.is_ok());
    if queue.iter().all(|(_, plan)| plan.is_err()) {
        return close(queue.into_iter().map(failed_already).collect(), args, &progress);
    }
    let jobs = Jobs::of(args, queue.len());
    // Each job opens its own.
    let mut device = Device::Cpu;
    if jobs.is_none() {
        let opened = device::open(args.device.first().copied().unwrap_or(DeviceChoice::Auto))?;
        opened.why.iter().for_each(|why| progress.line(why));
        device = opened.device;
    }
    let room = Room::new(args, device, &progress, &interrupt);
    let lines = match jobs {
        Some(jobs) => jobs.work_through(&room, queue)?,
        None => room.work_through(queue),
    };
    for (mut sweep, stated) in sweeps {
        let results = &args.results;
        sweep.outdated = stated.iter().filter(|of| of.is_outdated(results)).map(|of| of.name.clone()).collect();
        if let Err(error) = write_swept(&sweep, results, &progress) {
            progress.warn(format!("what came of the sweep {} is not written: {}", sweep.name, error.line()));
        }
    }
    let shown = room.newest.take().map_or(Ok(()), |table| print(&table::to_terminal(&table)));
    // What became of the experiments matters more than a terminal that is gone.
    close(lines, args, &progress).and(shown)
}

/// What a file states of one run of its sweep.
struct Stated {
    name: String,
    plan_toml: String,
}

impl Stated {
    fn of(plan: &Plan) -> Self {
        Self { name: plan.name.clone(), plan_toml: plan.to_toml() }
    }

    /// Whether its folder holds the results of another plan; one that cannot be read is told of elsewhere.
    fn is_outdated(&self, results: &Path) -> bool {
        RunDir::is_of_another_plan(results, &self.name, &self.plan_toml).unwrap_or(false)
    }
}

/// The sweep of a file, and what it states of each run and its stand-in.
fn swept(of: &Loaded) -> Option<(Sweep, Vec<Stated>)> {
    let sweep = of.sweep.clone()?;
    let plans = of.plans().flat_map(|planned| [&planned.plan].into_iter().chain(&planned.stand_in));
    Some((sweep, plans.map(Stated::of).collect()))
}

/// What came of a sweep, as far as its runs are finished.
fn write_swept(sweep: &Sweep, results: &Path, progress: &Progress) -> Result<()> {
    let finished = Runs::read(results, &mut |_| {}).map(|runs| runs.finished).unwrap_or_default();
    let Some(swept) = Swept::of(sweep, &finished) else { return Ok(()) };
    write_sweep(results, sweep)?;
    swept.write(results)?;
    let folder = results.join(sweep_folder(&sweep.name));
    let best: Vec<String> = swept.best()?.into_iter().map(|line| format!("\n  {line}")).collect();
    progress.line(format!(
        "\n{} of the sweep {} in {}{}{}",
        counted(swept.count(), "run"),
        sweep.name,
        folder.display(),
        left_out(sweep),
        best.concat()
    ));
    Ok(())
}

/// What is said of runs that are no part of what came of a sweep.
fn left_out(sweep: &Sweep) -> String {
    match sweep.outdated.len() {
        0 => String::new(),
        n => format!("; left out: {} with the results of another plan", counted(n, "run")),
    }
}

/// The experiments of a file, those that `--only` names; with `--stand-in` its stand-ins in their place. Where
/// none of them can be run, the file's one error.
fn waiting(Loaded { file, error, variants, .. }: Loaded, args: &RunArgs) -> Vec<Waiting> {
    let alone = |planned: Planned| Ok(Planned { plan: planned.stand_in(&file)?, stand_in: None });
    let place = |variant: Option<String>| {
        let name = variant.map_or_else(|| "a variant".to_owned(), |name| format!("variant {name}"));
        PathBuf::from(format!("{} ({name})", file.display()))
    };
    let one = |(variant, planned): (_, Result<Planned>)| {
        (place(variant), if args.stand_in { planned.and_then(alone) } else { planned })
    };
    let is_asked = |(_, planned): &(_, Result<Planned>)| {
        let is_called = |plan: &Plan| args.only.contains(&plan.name);
        let planned = planned.as_ref().ok();
        args.only.is_empty()
            || planned.is_some_and(|of| is_called(&of.plan) || of.stand_in.as_ref().is_some_and(is_called))
    };
    let mut waiting: Vec<Waiting> = variants.into_iter().filter(is_asked).map(one).collect();
    if !args.only.is_empty() || waiting.iter().any(|(_, planned)| planned.is_ok()) {
        return waiting;
    }
    let error = error.or_else(|| waiting.pop()?.1.err());
    error.map(|error| (file, Err(error))).into_iter().collect()
}

/// What to look at now, of every run that is there.
fn tell_next(lines: &[Line], args: &RunArgs, progress: &Progress) {
    let runs: Vec<&Path> = lines.iter().filter(|line| line.outcome.is_there()).map(|line| &*line.place).collect();
    if !runs.is_empty() {
        progress.line(next::told(&runs, &args.results));
    }
}

/// The summary of several experiments, and the error of them all.
fn close(mut lines: Vec<Line>, args: &RunArgs, progress: &Progress) -> Result<()> {
    if lines.len() > 1 {
        progress.line(summary(&lines));
    }
    tell_next(&lines, args, progress);
    if lines.len() == 1 {
        return lines.pop().and_then(Line::error).map_or(Ok(()), Err);
    }
    let all = lines.len();
    let errors: Vec<Error> = lines.into_iter().filter_map(Line::error).collect();
    let message = format!("{} of {all} experiments failed", errors.len());
    let has = |kind| errors.iter().any(|error| error.kind() == kind);
    match errors.iter().position(Error::is_interrupted) {
        Some(at) => Err(errors.into_iter().nth(at).unwrap_or_else(|| Error::run(message))),
        None if has(Kind::Run) => Err(Error::run(message)),
        None if has(Kind::Input) => Err(Error::input(message)),
        None => Ok(()),
    }
}

fn summary(lines: &[Line]) -> String {
    let mut text = format!("\n{} experiments:", lines.len());
    for Line { place, outcome, stand_in } in lines {
        // Writing into a text does not fail.
        let _ = write!(text, "\n  {:<13} {}{}", outcome.name(), place.display(), mark(*stand_in));
        if let Outcome::Failed(error) = outcome {
            let _ = write!(text, ": {}", error.message().lines().next().unwrap_or_default());
        }
    }
    text
}
