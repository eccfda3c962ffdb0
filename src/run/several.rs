//! The `tunelab run` command: every experiment of every file, one after the other.
//!
//! In: its arguments. Out: a folder of results for each, the table of all, and where there are
//! several a closing summary on stderr. An experiment that fails does not stop the others; the exit
//! code is that of the worst.

use super::inputs::Inputs;
use super::{Experiment, next};
use crate::adapter;
use crate::assets::{Hubs, Reach};
use crate::cli::RunArgs;
use crate::cli::output::print;
use crate::config::files::{self, Loaded};
use crate::config::{Plan, Planned};
use crate::device::{self, Threads};
use crate::error::{Error, Kind, Result};
use crate::interrupt::Interrupt;
use crate::numbers::counted;
use crate::progress::Progress;
use crate::report::table::{self, Table};
use crate::results::{LOSS_CSV, METRICS_CSV, Opened, RunDir, run_folder};
use crate::train::checkpoint::Checkpoint;
use candle_core::Device;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// What became of an experiment; with the table of all runs, where it has a new row.
enum Outcome {
    Done(Table),
    DrawnAgain(Table),
    AlreadyDone,
    NotRun,
    Failed(Error),
}

/// An experiment's folder (its file and variant, if those could not be read), what became of it,
/// and whether it is a stand-in.
struct Line {
    place: PathBuf,
    outcome: Outcome,
    stand_in: bool,
}

/// An experiment before its turn: its file and variant, and its plan or what is wrong.
type Waiting = (PathBuf, Result<Planned>);

/// What is to be run; `why` where it is a stand-in.
struct Chosen {
    plan: Plan,
    why: Option<String>,
}

/// `tunelab run`: every experiment in order.
///
/// Errors: the only experiment's own, an interrupt, two experiments of one name (then nothing is
/// run), or how many failed.
pub fn run(args: &RunArgs) -> Result<()> {
    let interrupt = Interrupt::install()?;
    let progress = Progress::from_env();
    let asked = args.tensorboard.then(|| "log.tensorboard=true".to_owned());
    let set: Vec<String> = args.set.iter().cloned().chain(asked).collect();
    let loaded = files::load(&args.files, &set, &mut |note| progress.line(format!("note: {note}")))?;
    if let Some(error) = files::clashes(&loaded).into_iter().next() {
        return Err(error);
    }
    let mut queue: Vec<Waiting> = loaded.into_iter().flat_map(|file| waiting(file, args.stand_in)).collect();
    // Problems are told before hours of work.
    queue.sort_by_key(|(_, plan)| plan.is_ok());
    if queue.iter().all(|(_, plan)| plan.is_err()) {
        return close(queue.into_iter().map(failed_already).collect(), args, &progress);
    }
    let device::Opened { device, why } = device::open(args.device)?;
    if let Some(why) = why {
        progress.line(why);
    }
    let reach = Reach::new(Hubs::from_env());
    // It was said before anything else.
    let warnings = Threads::from_env().warning.into_iter().collect();
    let told = RefCell::default();
    let inputs = Inputs::default();
    let room = Room { args, device, reach, inputs, progress: &progress, interrupt: &interrupt, warnings, told };
    let lines = room.work_through(queue);
    let shown = show_table(&lines);
    // What became of the experiments matters more than a terminal that is gone.
    close(lines, args, &progress).and(shown)
}

/// The experiments of a file; with `stand_in` its stand-ins in their place. Where none of them can
/// be run, the file's one error.
fn waiting(Loaded { file, error, variants }: Loaded, stand_in: bool) -> Vec<Waiting> {
    let alone = |planned: Planned| Ok(Planned { plan: planned.stand_in(&file)?, stand_in: None });
    let place = |variant: Option<String>| {
        let name = variant.map_or_else(|| "a variant".to_owned(), |name| format!("variant {name}"));
        PathBuf::from(format!("{} ({name})", file.display()))
    };
    let one = |(variant, planned): (_, Result<Planned>)| {
        (place(variant), if stand_in { planned.and_then(alone) } else { planned })
    };
    let mut waiting: Vec<Waiting> = variants.into_iter().map(one).collect();
    if waiting.iter().any(|(_, planned)| planned.is_ok()) {
        return waiting;
    }
    let error = error.or_else(|| waiting.pop()?.1.err());
    error.map(|error| (file, Err(error))).into_iter().collect()
}

fn failed_already((place, plan): Waiting) -> Line {
    Line { place, outcome: plan.err().map_or(Outcome::NotRun, Outcome::Failed), stand_in: false }
}

/// What all experiments share.
struct Room<'a> {
    args: &'a RunArgs,
    device: Device,
    reach: Reach,
    inputs: Inputs,
    progress: &'a Progress,
    interrupt: &'a Interrupt,
    /// What was warned of before any experiment.
    warnings: Vec<String>,
    /// What was said of stand-ins.
    told: RefCell<BTreeSet<String>>,
}

impl Room<'_> {
    fn work_through(&self, queue: Vec<Waiting>) -> Vec<Line> {
        let all = queue.len();
        let mut lines: Vec<Line> = Vec::new();
        for (index, (file, planned)) in queue.into_iter().enumerate() {
            let turn = (index + 1, all);
            let stopped = lines.iter().any(Line::is_interrupted);
            let line = match planned {
                Ok(planned) if stopped => self.line(&planned.plan, Outcome::NotRun),
                Ok(planned) => self.take_turn(planned, turn),
                Err(error) => {
                    self.head(&file, turn);
                    Line { place: file, outcome: Outcome::Failed(error), stand_in: false }
                }
            };
            if let (Outcome::Failed(error), true) = (&line.outcome, all > 1) {
                self.progress.line(error.to_string());
            }
            lines.push(line);
        }
        lines
    }

    fn take_turn(&self, planned: Planned, turn: (usize, usize)) -> Line {
        let name = planned.plan.name.clone();
        self.progress.keep_warnings(&self.warnings);
        let Chosen { plan, why } = match self.interrupt.check().and_then(|()| self.choose(planned)) {
            Ok(chosen) => chosen,
            Err(error) => return Line { place: self.place(&name), outcome: Outcome::Failed(error), stand_in: false },
        };
        self.head(&self.place(&plan.name), turn);
        self.tell_stand_in(&plan, why.as_deref());
        let outcome = self.one(&plan, why.as_deref()).unwrap_or_else(Outcome::Failed);
        self.line(&plan, outcome)
    }

    /// Says what stands in for what, and why, once in a command: the folders' names and the summary
    /// mark every stand-in.
    fn tell_stand_in(&self, plan: &Plan, why: Option<&str>) {
        let Some((what, why)) = plan.in_place().zip(why) else { return };
        let sentence = format!("stand-in: {what}, because {why}");
        let mut told = self.told.borrow_mut();
        if told.contains(&sentence) {
            return;
        }
        let is_known = !told.insert(why.to_owned());
        self.progress.line(if is_known { format!("stand-in: {what}, for the same reason") } else { sentence.clone() });
        told.insert(sentence);
    }

    /// Says whose turn it is, where there are several: the first number is its own.
    fn head(&self, place: &Path, (turn, all): (usize, usize)) {
        if all > 1 {
            self.progress.line(format!("\n{turn}/{all} {}", place.display()));
        }
    }

    /// Says once more, perhaps hours later, what was warned of on the way.
    fn list(&self, warnings: &[String]) {
        if !warnings.is_empty() {
            let lines: String = warnings.iter().flat_map(|warning| ["\n  - ", warning]).collect();
            self.progress
                .line(format!("{} in this run (see also run.json):{lines}", counted(warnings.len(), "warning")));
        }
    }

    fn place(&self, name: &str) -> PathBuf {
        self.args.results.join(run_folder(name))
    }

    fn line(&self, plan: &Plan, outcome: Outcome) -> Line {
        Line { place: self.place(&plan.name), outcome, stand_in: plan.stands_in_for.is_some() }
    }

    /// The experiment itself; or its stand-in, where its model is on a hub and the model or the
    /// pictures cannot be had. What is done already needs neither.
    fn choose(&self, Planned { plan, stand_in }: Planned) -> Result<Chosen> {
        if plan.stands_in_for.is_some() {
            let why = if self.args.stand_in { "--stand-in was given" } else { "its plan says so" };
            return Ok(Chosen { plan, why: Some(why.to_owned()) });
        }
        let itself = |plan| Ok(Chosen { plan, why: None });
        let Some(stand_in) = stand_in.filter(|_| !self.args.no_stand_in && !plan.model.is_here()) else {
            return itself(plan);
        };
        if !self.args.force && RunDir::is_done(&self.args.results, &plan.name, &plan.to_toml())? {
            return itself(plan);
        }
        let obstacle = self.reach.obstacle(&plan);
        // A hub that was not waited for has not been silent.
        self.interrupt.check()?;
        match obstacle {
            Some(why) if self.reach.obstacle(&stand_in).is_none() => Ok(Chosen { plan: stand_in, why: Some(why) }),
            _ => itself(plan),
        }
    }

    fn one(&self, plan: &Plan, why: Option<&str>) -> Result<Outcome> {
        // What is finished may stand where its type cannot be computed.
        if let Err(error) = device::check(&self.device, &plan.train, adapter::method(&plan.adapter).trains_weights())
            && (self.args.force || !RunDir::is_done(&self.args.results, &plan.name, &plan.to_toml())?)
        {
            return Err(error);
        }
        device::prepare(&self.device, plan.train.tf32);
        let opened = RunDir::open(&self.args.results, &plan.name, &plan.to_toml(), self.args.force)?;
        let compared = match &opened {
            Opened::Resample(run)
            | Opened::Remeasure(run)
            | Opened::MissingPictures(run, _)
            | Opened::Finished(run) => self.inputs.compare(run, plan, &self.reach, self.progress)?,
            Opened::Fresh(_) | Opened::Unfinished(_) | Opened::MissingWeights(..) => None,
        };
        let (run, mut news) = news(&opened)?;
        let place = run.path().display();
        news.extend(compared.map(|note| format!("; {note}")));
        if !news.is_empty() {
            self.progress.line(format!("{place}: {news}"));
        }
        let experiment = Experiment::new(plan, why, run, &self.device, self.progress, self.interrupt, &self.reach);
        let progress = self.progress;
        let outcome = match &opened {
            Opened::Finished(_) => match experiment.find_new_judges()? {
                Some(judges) if experiment.resample(&self.inputs, &judges)? => Outcome::DrawnAgain,
                _ => {
                    experiment.log_finished()?;
                    run.forget_progress();
                    return Ok(Outcome::AlreadyDone);
                }
            },
            Opened::Resample(_) | Opened::Remeasure(_) | Opened::MissingPictures(..) => {
                let judges = experiment.find_judges()?;
                if !experiment.resample(&self.inputs, &judges)? {
                    return Ok(Outcome::AlreadyDone);
                }
                Outcome::DrawnAgain
            }
            Opened::Fresh(_) | Opened::Unfinished(_) | Opened::MissingWeights(..) => {
                experiment.run().map(|()| Outcome::Done)?
            }
        };
        // After each, so that a failure later on leaves no stale table.
        let table = table::write(&self.args.results, &mut |text| progress.warn(text))?;
        progress.line(format!("results in {place}{}", mark(plan.stands_in_for.is_some())));
        self.list(&run.record()?.warnings);
        Ok(outcome(table))
    }
}

/// The folder, and what is to be said of what was found there.
fn news(opened: &Opened) -> Result<(&RunDir, String)> {
    Ok(match opened {
        Opened::Fresh(run) => (run, String::new()),
        Opened::Unfinished(run) => {
            let cut = match Checkpoint::last_step(run)? {
                Some(_) => "going on with a run that was cut off",
                None if run.path().join(LOSS_CSV).is_file() => {
                    "a run was cut off here before its first checkpoint, so it begins again"
                }
                None => "",
            };
            (run, cut.to_owned())
        }
        Opened::Remeasure(run) => (run, "only [metrics] has changed, so the pictures are measured again".to_owned()),
        Opened::Resample(run) => (run, "only [eval] has changed, so only the pictures are drawn again".to_owned()),
        Opened::MissingWeights(run, what) => {
            let next = match Checkpoint::last_step(run)? {
                Some(_) => "so the training goes on from its last checkpoint",
                None => "and there is no checkpoint, so the training begins again",
            };
            (run, format!("{what}, {next}"))
        }
        Opened::MissingPictures(run, what) if what.starts_with(METRICS_CSV) => {
            (run, format!("{what}, so the pictures are measured again"))
        }
        Opened::MissingPictures(run, what) => (run, format!("{what}, so only the pictures are drawn again")),
        Opened::Finished(run) => (run, "finished already with this plan (--force runs it again)".to_owned()),
    })
}

/// Behind the folder of a stand-in.
fn mark(stand_in: bool) -> &'static str {
    if stand_in { " (STAND-IN)" } else { "" }
}

/// The newest table on stdout, if anything is new.
fn show_table(lines: &[Line]) -> Result<()> {
    let newest = lines.iter().rev().find_map(|line| match &line.outcome {
        Outcome::Done(table) | Outcome::DrawnAgain(table) => Some(table),
        _ => None,
    });
    newest.map_or(Ok(()), |table| print(&table::to_terminal(table)))
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

impl Line {
    fn is_interrupted(&self) -> bool {
        matches!(&self.outcome, Outcome::Failed(error) if error.is_interrupted())
    }

    fn error(self) -> Option<Error> {
        if let Outcome::Failed(error) = self.outcome { Some(error) } else { None }
    }
}

impl Outcome {
    /// Whether there is a finished run.
    fn is_there(&self) -> bool {
        matches!(self, Self::Done(_) | Self::DrawnAgain(_) | Self::AlreadyDone)
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Done(_) => "done",
            Self::DrawnAgain(_) => "drawn again",
            Self::AlreadyDone => "already done",
            Self::NotRun => "not run",
            Self::Failed(error) if error.is_interrupted() => "interrupted",
            Self::Failed(_) => "failed",
        }
    }
}
