//! What all experiments of a command share, and one experiment in it: chosen, opened, run as far as that is not done yet.
//!
//! In: the command's arguments, a device, and plans. Out: folders of results, the table of all runs, and what became of each.

use super::experiment::Experiment;
use super::inputs::Inputs;
use super::outcome::{Chosen, IfTaken, Line, Outcome, Waiting, mark};
use crate::adapter;
use crate::assets::{Hubs, Reach};
use crate::cli::RunArgs;
use crate::config::{Plan, Planned};
use crate::device::{self, Threads};
use crate::error::Result;
use crate::interrupt::Interrupt;
use crate::numbers::counted;
use crate::progress::Progress;
use crate::report::table::{self, Table};
use crate::results::{LOSS_CSV, METRICS_CSV, Opened, RunDir, run_folder};
use crate::train::checkpoint::Checkpoint;
use candle_core::Device;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// What is said of a run that has nothing left to do.
const FINISHED: &str = "finished already with this plan (--force runs it again)";

/// Between two looks at a run that another process has.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

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
    pub fn work_through(&self, queue: Vec<Waiting>) -> Vec<Line> {
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
