//! The `tunelab run` command: every experiment of every file, one after the other.
//!
//! In: its arguments. Out: a folder of results for each, the table of all, and where there are several a closing summary on
//! stderr. An experiment that fails does not stop the others; the exit code is that of the worst.

use super::Experiment;
use crate::cli::RunArgs;
use crate::device;
use crate::error::{Error, Kind, Result};
use crate::interrupt::Interrupt;
use crate::plan::command::print;
use crate::plan::{Plan, files};
use crate::progress::Progress;
use crate::report::table;
use crate::results::{Opened, RunDir, run_folder};
use candle_core::Device;
use std::fmt::Write as _;
use std::path::PathBuf;

/// What became of an experiment.
enum Outcome {
    Done,
    DrawnAgain,
    AlreadyDone,
    NotRun,
    Failed(Error),
}

/// An experiment's folder (its file, if that could not be read) and what became of it.
struct Line {
    place: PathBuf,
    outcome: Outcome,
}

/// `tunelab run`: every experiment in order.
///
/// Errors: the only experiment's own, an interrupt, two experiments of one name (then nothing is run), or how many failed.
pub fn run(args: &RunArgs) -> Result<()> {
    let progress = Progress::from_env();
    let interrupt = Interrupt::install()?;
    let loaded = files::load(&args.files, &args.set)?;
    if let Some(error) = files::clashes(&loaded).into_iter().next() {
        return Err(error);
    }
    let mut queue: Vec<(PathBuf, Result<Plan>)> = Vec::new();
    for file in loaded {
        match file.plans {
            Ok(plans) => queue.extend(plans.into_iter().map(|p| (args.results.join(run_folder(&p.name)), Ok(p)))),
            Err(error) => queue.push((file.file, Err(error))),
        }
    }
    // Problems are told before hours of work.
    queue.sort_by_key(|(_, plan)| plan.is_ok());
    if queue.iter().all(|(_, plan)| plan.is_err()) {
        return close(queue.into_iter().map(failed_already).collect(), &progress);
    }
    let room = Room { args, device: device::open(args.device)?, progress: &progress, interrupt: &interrupt };
    let lines = room.work_through(queue);
    room.show_table(&lines)?;
    close(lines, &progress)
}

fn failed_already((place, plan): (PathBuf, Result<Plan>)) -> Line {
    Line { place, outcome: plan.err().map_or(Outcome::NotRun, Outcome::Failed) }
}

/// What all experiments share.
struct Room<'a> {
    args: &'a RunArgs,
    device: Device,
    progress: &'a Progress,
    interrupt: &'a Interrupt,
}

impl Room<'_> {
    fn work_through(&self, queue: Vec<(PathBuf, Result<Plan>)>) -> Vec<Line> {
        let several = queue.len() > 1;
        let mut lines: Vec<Line> = Vec::new();
        for (place, plan) in queue {
            let stopped = lines.iter().any(Line::is_interrupted);
            if several && !stopped {
                self.progress.line(format!("\n{}", place.display()));
            }
            let outcome = match plan {
                _ if stopped => Outcome::NotRun,
                Ok(plan) => self.one(&plan).unwrap_or_else(Outcome::Failed),
                Err(error) => Outcome::Failed(error),
            };
            if let (Outcome::Failed(error), true) = (&outcome, several) {
                self.progress.line(error.to_string());
            }
            lines.push(Line { place, outcome });
        }
        lines
    }

    fn one(&self, plan: &Plan) -> Result<Outcome> {
        let opened = RunDir::open(&self.args.results, &plan.name, &plan.to_toml(), self.args.force)?;
        let (run, news) = match &opened {
            Opened::Fresh(run) => (run, ""),
            Opened::Unfinished(run) => (run, "going on with a run that was cut off"),
            Opened::Resample(run) => (run, "only [eval] has changed, so only the pictures are drawn again"),
            Opened::Finished(run) => (run, "finished already with this plan (--force runs it again)"),
        };
        let place = run.path().display();
        if !news.is_empty() {
            self.progress.line(format!("{place}: {news}"));
        }
        let Self { device, progress, interrupt, .. } = self;
        let experiment = Experiment { plan, run, device, progress, interrupt };
        let outcome = match opened {
            Opened::Finished(_) => return Ok(Outcome::AlreadyDone),
            Opened::Resample(_) => experiment.resample().map(|()| Outcome::DrawnAgain)?,
            Opened::Fresh(_) | Opened::Unfinished(_) => experiment.run().map(|()| Outcome::Done)?,
        };
        // After each, so that a failure later on leaves no stale table.
        table::write(&self.args.results, &mut |text| progress.line(format!("warning: {text}")))?;
        progress.line(format!("results in {place}"));
        Ok(outcome)
    }

    /// On stdout, if anything is new.
    fn show_table(&self, lines: &[Line]) -> Result<()> {
        if lines.iter().any(|line| matches!(line.outcome, Outcome::Done | Outcome::DrawnAgain)) {
            // Its warnings were given when it was written.
            let table = table::write(&self.args.results, &mut |_| {})?;
            print(&table::to_terminal(&table))?;
        }
        Ok(())
    }
}

/// The summary of several experiments, and the error of them all.
fn close(mut lines: Vec<Line>, progress: &Progress) -> Result<()> {
    if lines.len() == 1 {
        return match lines.pop().map(|line| line.outcome) {
            Some(Outcome::Failed(error)) => Err(error),
            _ => Ok(()),
        };
    }
    progress.line(summary(&lines));
    let all = lines.len();
    let errors: Vec<Error> = lines.into_iter().filter_map(Line::error).collect();
    let message = format!("{} of {all} experiments failed", errors.len());
    let has = |kind| errors.iter().any(|error| error.kind() == kind);
    match errors.iter().position(|error| error.kind() == Kind::Interrupted) {
        Some(at) => Err(errors.into_iter().nth(at).unwrap_or_else(|| Error::run(message))),
        None if has(Kind::Run) => Err(Error::run(message)),
        None if has(Kind::Input) => Err(Error::input(message)),
        None => Ok(()),
    }
}

fn summary(lines: &[Line]) -> String {
    let mut text = format!("\n{} experiments:", lines.len());
    for Line { place, outcome } in lines {
        // Writing into a text does not fail.
        let _ = write!(text, "\n  {:<13} {}", outcome.name(), place.display());
        if let Outcome::Failed(error) = outcome {
            let _ = write!(text, ": {}", error.message().lines().next().unwrap_or_default());
        }
    }
    text
}

impl Line {
    fn is_interrupted(&self) -> bool {
        matches!(&self.outcome, Outcome::Failed(error) if error.kind() == Kind::Interrupted)
    }

    fn error(self) -> Option<Error> {
        if let Outcome::Failed(error) = self.outcome { Some(error) } else { None }
    }
}

impl Outcome {
    fn name(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::DrawnAgain => "drawn again",
            Self::AlreadyDone => "already done",
            Self::NotRun => "not run",
            Self::Failed(error) if error.kind() == Kind::Interrupted => "interrupted",
            Self::Failed(_) => "failed",
        }
    }
}
