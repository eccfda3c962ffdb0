//! The `tunelab run` command: every experiment of every file, one after the other, or several at once (`jobs`).
//!
//! In: its arguments. Out: a folder of results for each, the table of all, and where there are
//! several a closing summary on stderr. An experiment that fails does not stop the others; the exit
//! code is that of the worst.

use super::inputs::Inputs;
use super::jobs::Jobs;
use super::{Experiment, job, next};
use crate::adapter;
use crate::assets::{Hubs, Reach};
use crate::cli::output::print;
use crate::cli::{DeviceChoice, RunArgs};
use crate::config::files::{self, Loaded, Sweep};
use crate::config::{Plan, Planned};
use crate::device::{self, Threads};
use crate::error::{Error, Kind, Result};
use crate::interrupt::Interrupt;
use crate::numbers::counted;
use crate::progress::Progress;
use crate::report::runs::Runs;
use crate::report::sweep::Swept;
use crate::report::table::{self, Table};
use crate::results::{LOSS_CSV, METRICS_CSV, Opened, RunDir, run_folder, sweep_folder, write_sweep};
use crate::train::checkpoint::Checkpoint;
use candle_core::Device;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// What became of an experiment.
pub(super) enum Outcome {
    Done,
    DrawnAgain,
    AlreadyDone,
    NotRun,
    /// Another process has it.
    Taken,
    Failed(Error),
}

/// What is done about a run that another process has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum IfTaken {
    /// It is an error.
    Refuse,
    /// Others come first.
    PassOver,
    /// It is waited for: it may be done then, or not, if that process ended before its end.
    Wait,
}

/// What is said of a run that has nothing left to do.
const FINISHED: &str = "finished already with this plan (--force runs it again)";

/// Between two looks at a run that another process has.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// An experiment's folder (its file and variant, if those could not be read), what became of it,
/// and whether it is a stand-in.
pub(super) struct Line {
    pub place: PathBuf,
    pub outcome: Outcome,
    pub stand_in: bool,
}

/// An experiment before its turn: its file and variant, and its plan or what is wrong.
pub(super) type Waiting = (PathBuf, Result<Planned>);

/// What is to be run; `why` where it is a stand-in.
pub(super) struct Chosen {
    pub plan: Plan,
    pub why: Option<String>,
}

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

pub(super) fn failed_already((place, plan): Waiting) -> Line {
    Line { place, outcome: plan.err().map_or(Outcome::NotRun, Outcome::Failed), stand_in: false }
}

/// What all experiments share.
pub(super) struct Room<'a> {
    pub args: &'a RunArgs,
    pub device: Device,
    reach: Reach,
    inputs: Inputs,
    pub progress: &'a Progress,
    pub interrupt: &'a Interrupt,
    /// What was warned of before any experiment.
    warnings: Vec<String>,
    /// What was said of stand-ins.
    told: RefCell<BTreeSet<String>>,
    /// The table of all runs, once it has a new row.
    pub newest: RefCell<Option<Table>>,
}

impl<'a> Room<'a> {
    pub fn new(args: &'a RunArgs, device: Device, progress: &'a Progress, interrupt: &'a Interrupt) -> Self {
        Self {
            args,
            device,
            reach: Reach::new(Hubs::from_env()),
            inputs: Inputs::default(),
            progress,
            interrupt,
            // It was said before anything else.
            warnings: Threads::from_env().warning.into_iter().collect(),
            told: RefCell::default(),
            newest: RefCell::default(),
        }
    }

    /// One after the other; those that another process has last.
    fn work_through(&self, queue: Vec<Waiting>) -> Vec<Line> {
        let all = queue.len();
        let if_taken = match (all, self.args.wait) {
            (2.., _) => IfTaken::PassOver,
            (_, true) => IfTaken::Wait,
            (_, false) => IfTaken::Refuse,
        };
        let mut lines: Vec<Line> = Vec::new();
        let mut later = Vec::new();
        for (index, (file, planned)) in queue.into_iter().enumerate() {
            let turn = (index + 1, all);
            let stopped = lines.iter().any(Line::is_interrupted);
            let line = match planned {
                Ok(planned) if stopped => self.line(&planned.plan, Outcome::NotRun),
                Ok(planned) => {
                    let line = self.take_turn(planned.clone(), turn, if_taken);
                    if matches!(line.outcome, Outcome::Taken) {
                        self.tell_taken(&line.place);
                        later.push((index, planned));
                    }
                    line
                }
                Err(error) => {
                    self.head(&file, turn);
                    Line { place: file, outcome: Outcome::Failed(error), stand_in: false }
                }
            };
            self.tell_failure(&line, all);
            lines.push(line);
        }
        for (index, planned) in later {
            lines[index] = if lines.iter().any(Line::is_interrupted) {
                self.line(&planned.plan, Outcome::NotRun)
            } else {
                self.take_turn(planned, (index + 1, all), IfTaken::Wait)
            };
            self.tell_failure(&lines[index], all);
        }
        lines
    }

    /// Says that a run is another process's, for now.
    pub fn tell_taken(&self, place: &Path) {
        self.progress.line(format!("{}: another tunelab has this run, so others come first", place.display()));
    }

    fn tell_failure(&self, line: &Line, all: usize) {
        if let (Outcome::Failed(error), true) = (&line.outcome, all > 1) {
            self.progress.line(error.to_string());
        }
    }

    fn take_turn(&self, planned: Planned, turn: (usize, usize), if_taken: IfTaken) -> Line {
        let name = planned.plan.name.clone();
        self.progress.keep_warnings(&self.warnings);
        let Chosen { plan, why } = match self.interrupt.check().and_then(|()| self.choose(planned)) {
            Ok(chosen) => chosen,
            Err(error) => return Line { place: self.place(&name), outcome: Outcome::Failed(error), stand_in: false },
        };
        self.head(&self.place(&plan.name), turn);
        self.tell_stand_in(&plan, why.as_deref());
        let outcome = self.one(&plan, why.as_deref(), if_taken).unwrap_or_else(Outcome::Failed);
        self.line(&plan, outcome)
    }

    /// Says what stands in for what, and why, once in a command: the folders' names and the summary
    /// mark every stand-in.
    pub fn tell_stand_in(&self, plan: &Plan, why: Option<&str>) {
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

    pub fn place(&self, name: &str) -> PathBuf {
        self.args.results.join(run_folder(name))
    }

    pub fn line(&self, plan: &Plan, outcome: Outcome) -> Line {
        Line { place: self.place(&plan.name), outcome, stand_in: plan.stands_in_for.is_some() }
    }

    /// The experiment itself; or its stand-in, where its model is on a hub and the model or the
    /// pictures cannot be had. What is done already needs neither.
    pub fn choose(&self, Planned { plan, stand_in }: Planned) -> Result<Chosen> {
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

    /// Whether a run is finished, with nothing left to draw or to measure.
    pub fn is_finished(&self, plan: &Plan, why: Option<&str>) -> Result<bool> {
        let plan_toml = plan.to_toml();
        if self.args.force || !RunDir::is_done(&self.args.results, &plan.name, &plan_toml)? {
            return Ok(false);
        }
        let opened = RunDir::open_if_free(&self.args.results, &plan.name, &plan_toml, false, Duration::ZERO)?;
        let Some(Opened::Finished(run)) = opened else { return Ok(false) };
        let compared = self.inputs.compare(&run, plan, &self.reach, self.progress)?;
        let experiment = Experiment::new(plan, why, &run, &self.device, self.progress, self.interrupt, &self.reach);
        if experiment.find_new_judges()?.is_some() {
            return Ok(false);
        }
        let note = compared.map_or_else(String::new, |note| format!("; {note}"));
        self.progress.line(format!("{}: {FINISHED}{note}", run.path().display()));
        experiment.log_finished()?;
        run.forget_progress();
        Ok(true)
    }

    /// The run's folder, once no other process has it.
    fn open(&self, plan: &Plan, if_taken: IfTaken) -> Result<Option<Opened>> {
        let (results, plan_toml) = (&self.args.results, plan.to_toml());
        if if_taken == IfTaken::Refuse {
            return RunDir::open(results, &plan.name, &plan_toml, self.args.force).map(Some);
        }
        // What another process has just done is not done again.
        let force = self.args.force && if_taken != IfTaken::Wait;
        let open = || RunDir::open_if_free(results, &plan.name, &plan_toml, force, Duration::ZERO);
        let mut opened = open()?;
        if opened.is_some() || if_taken == IfTaken::PassOver {
            return Ok(opened);
        }
        let place = self.place(&plan.name);
        self.progress.line(format!("{}: waiting for the other tunelab that has this run", place.display()));
        while opened.is_none() {
            self.interrupt.check()?;
            thread::sleep(LOOK_AGAIN);
            opened = open()?;
        }
        Ok(opened)
    }

    /// Runs it, as far as that is not done yet.
    pub fn one(&self, plan: &Plan, why: Option<&str>, if_taken: IfTaken) -> Result<Outcome> {
        // What is finished may stand where its type cannot be computed.
        if let Err(error) = device::check(&self.device, &plan.train, adapter::method(&plan.adapter).trains_weights())
            && (self.args.force || !RunDir::is_done(&self.args.results, &plan.name, &plan.to_toml())?)
        {
            return Err(error);
        }
        device::prepare(&self.device, plan.train.tf32);
        let Some(opened) = self.open(plan, if_taken)? else { return Ok(Outcome::Taken) };
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
                experiment.run()?;
                Outcome::Done
            }
        };
        if !self.args.job {
            self.write_table()?;
        }
        progress.line(format!("results in {place}{}", mark(plan.stands_in_for.is_some())));
        self.list(&run.record()?.warnings);
        Ok(outcome)
    }

    /// Writes the table of all runs: after each, so that a failure later on leaves no stale one.
    pub fn write_table(&self) -> Result<()> {
        let table = table::write(&self.args.results, &mut |text| self.progress.warn(text))?;
        self.newest.replace(Some(table));
        Ok(())
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
        Opened::Finished(run) => (run, FINISHED.to_owned()),
    })
}

/// Behind the folder of a stand-in.
fn mark(stand_in: bool) -> &'static str {
    if stand_in { " (STAND-IN)" } else { "" }
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
    pub fn is_interrupted(&self) -> bool {
        matches!(&self.outcome, Outcome::Failed(error) if error.is_interrupted())
    }

    fn error(self) -> Option<Error> {
        if let Outcome::Failed(error) = self.outcome { Some(error) } else { None }
    }
}

impl Outcome {
    /// Whether there is a finished run.
    fn is_there(&self) -> bool {
        matches!(self, Self::Done | Self::DrawnAgain | Self::AlreadyDone)
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::DrawnAgain => "drawn again",
            Self::AlreadyDone => "already done",
            Self::NotRun | Self::Taken => "not run",
            Self::Failed(error) if error.is_interrupted() => "interrupted",
            Self::Failed(_) => "failed",
        }
    }
}
