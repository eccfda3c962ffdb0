//! How far one run is.
//!
//! In: what its folder holds, what its job said, what the queue has of it. Out: a [`RunStatus`]. The folder tells more than the
//! queue, which forgets; without a queue what the folder says last is believed for a minute.

use std::borrow::Cow;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fs_err as fs;
use serde::Serialize;

use super::folder::Folder;
use super::log::{self, End};
use super::queue::Queued;
use crate::config::Plan;
use crate::error::{Result, Stop};
use crate::numbers::{counted, duration, grouped};
use crate::plan::steps::total_steps;
use crate::results::{LOSS_CSV, PLAN_TOML, RunDir, RunProgressRecord, RunState, run_folder};
use crate::train::checkpoint::Checkpoint;

/// A run that writes its progress every two seconds and was silent for so long is not at work, where the queue says so too.
const SILENT: f64 = 10.0;
/// The same, where there is no queue: file systems keep times for themselves for a while.
const SILENT_WITHOUT_QUEUE: f64 = 60.0;
/// What a job writes should be seen after so many seconds.
const UNSEEN: u64 = 60;

/// What a run is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Done,
    Running,
    /// It waits for its turn.
    Queued,
    /// It was begun, and waits to go on.
    Requeued,
    /// It was begun, and nobody is at work on it.
    Interrupted,
    Failed,
    /// It was submitted; the queue cannot be asked.
    Submitted,
    #[serde(rename = "not run")]
    NotRun,
}

impl State {
    pub const ALL: [Self; 8] = [
        Self::Done,
        Self::Running,
        Self::Queued,
        Self::Requeued,
        Self::Interrupted,
        Self::Failed,
        Self::Submitted,
        Self::NotRun,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Running => "running",
            Self::Queued => "queued",
            Self::Requeued => "requeued",
            Self::Interrupted => "interrupted",
            Self::Failed => "failed",
            Self::Submitted => "submitted",
            Self::NotRun => "not run",
        }
    }
}

/// How far a run is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct RunStatus {
    pub run: String,
    pub state: State,
    /// Its job, as `scancel` takes it.
    pub job: Option<String>,
    /// What it does, of a run that is at work.
    pub phase: Option<String>,
    /// Optimizer steps that are done: of a run that is not at work, those that are kept.
    pub step: Option<usize>,
    /// All of them, where that is known.
    pub steps: Option<usize>,
    pub seconds_left: Option<f64>,
    /// What else is to be said.
    pub detail: String,
    /// Of a run that failed, what its job said last.
    pub last_lines: Vec<String>,
}

/// What the queue has of a run.
#[derive(Debug, Clone, Copy)]
pub(super) enum InQueue<'a> {
    /// It cannot be asked.
    Unknown,
    /// No job.
    Nothing,
    Job(&'a Queued),
}

/// Where a run is looked for.
pub(super) struct Seen<'a> {
    pub results: &'a Path,
    pub folder: &'a Folder,
    pub queue: InQueue<'a>,
    /// The job that it was submitted with last.
    pub submitted: Option<&'a str>,
}

impl RunStatus {
    /// Of a run that is to have the plan `plan`.
    ///
    /// # Errors
    /// Its folder cannot be read.
    pub fn of(plan: &Plan, seen: &Seen) -> Result<Self> {
        let place = seen.folder.place(&plan.name);
        let text = seen.folder.submitted_plan(&plan.name).unwrap_or_else(|| plan.to_toml());
        let path = seen.results.join(run_folder(&plan.name));
        let mut status = Self {
            run: plan.name.clone(),
            state: State::NotRun,
            job: None,
            phase: None,
            step: None,
            steps: total_steps(&submitted(plan, &text)),
            seconds_left: None,
            detail: String::new(),
            last_lines: Vec::new(),
        };
        if RunDir::is_done(seen.results, &plan.name, &text)? {
            status.state = State::Done;
            status.step = status.steps;
            return Ok(status);
        }
        if matches!(seen.queue, InQueue::Nothing | InQueue::Unknown)
            && RunDir::is_of_another_plan(seen.results, &plan.name, &text)?
        {
            status.state = State::Failed;
            status.say("holds the results of another plan: run it with --force, or give another --results folder");
            return Ok(status);
        }
        let log = place.and_then(|place| seen.folder.log(place));
        let record = RunProgressRecord::read(&path);
        let has_begun = path.join(LOSS_CSV).is_file();
        match seen.queue {
            InQueue::Job(queued) if queued.is_running => {
                status.at_work(record.filter(|record| !is_silent(record, SILENT_WITHOUT_QUEUE)));
                if queued.seconds > UNSEEN && log.is_none() {
                    status.detail = format!("nothing that it writes is seen here: {}", not_shared(seen));
                }
                status.job = Some(queued.job.clone());
            }
            InQueue::Job(queued) => {
                status.state = if has_begun { State::Requeued } else { State::Queued };
                status.job = Some(queued.job.clone());
                status.keep(&path);
                status.say(&queued.reason);
            }
            InQueue::Nothing => status.without_job(&path, record, log.as_deref(), seen, true),
            InQueue::Unknown => status.without_job(&path, record, log.as_deref(), seen, false),
        }
        Ok(status)
    }

    fn at_work(&mut self, record: Option<RunProgressRecord>) {
        self.state = State::Running;
        let Some(record) = record else {
            self.say("starting");
            return;
        };
        if record.phase == TRAINING {
            self.step = usize::try_from(record.done).ok();
            self.steps = usize::try_from(record.total).ok().or(self.steps);
        }
        self.seconds_left = record.seconds_left;
        self.detail = match (self.step, self.steps) {
            (Some(step), Some(steps)) => format!("step {} of {}", grouped(step), grouped(steps)),
            _ if record.total > 0 => format!("{}, {} of {}", record.phase, record.done, record.total),
            _ => record.phase.clone(),
        };
        self.phase = Some(record.phase);
        self.say(&record.message);
        if let Some(left) = record.seconds_left {
            self.say(&format!("{} left", duration(left)));
        }
    }

    /// Neither running nor queued, as far as is known.
    fn without_job(
        &mut self,
        path: &Path,
        record: Option<RunProgressRecord>,
        log: Option<&Path>,
        seen: &Seen,
        is_asked: bool,
    ) {
        let patience = if is_asked && log.is_some() { SILENT } else { SILENT_WITHOUT_QUEUE };
        if record.as_ref().is_some_and(|record| record.state == RunState::Running && !is_silent(record, patience)) {
            return self.at_work(record);
        }
        // A later run by hand is what counts.
        let is_older = |log: &Path| record.as_ref().is_some_and(|record| record.updated > changed(log) + 1.0);
        let tail = log.filter(|log| !is_older(log)).and_then(log::read);
        self.job = seen.submitted.filter(|_| tail.is_some()).map(str::to_owned);
        let (is_begun, again) = (path.join(LOSS_CSV).is_file() || record.is_some(), "is not in the queue");
        self.keep(path);
        match (tail, record) {
            (Some(tail), _) if matches!(tail.end, End::Code(code) if code != 0 && !is_stop(code)) => {
                self.state = State::Failed;
                if let End::Code(code) = tail.end {
                    self.say(&format!("exit code {code}"));
                }
                self.last_lines = tail.lines;
            }
            (Some(tail), _) if tail.end == End::Again && !is_asked => self.state = State::Requeued,
            (Some(tail), _) if tail.end != End::Code(0) => {
                self.state = State::Interrupted;
                if tail.end == End::Open {
                    self.say("its job was ended");
                    self.last_lines = tail.lines;
                }
            }
            (_, Some(record)) if record.state == RunState::Failed => {
                self.state = State::Failed;
                self.last_lines = record.error.into_iter().collect();
            }
            (..) if is_begun => self.state = State::Interrupted,
            (_, None) if seen.submitted.is_some() && !is_asked => {
                self.state = State::Submitted;
                self.job = seen.submitted.map(str::to_owned);
            }
            (None, None) if log.is_none() => {
                if let Some(job) = seen.submitted {
                    self.detail = format!(
                        "job {job} {again} and left no log here: cancelled before it began, or {}",
                        not_shared(seen)
                    );
                }
            }
            (..) => {}
        }
    }

    /// How much is kept of a run that is to go on.
    fn keep(&mut self, path: &Path) {
        let step = RunDir::existing(path).and_then(|run| Checkpoint::last_step(&run)).ok().flatten();
        if let Some(step) = step {
            self.step = Some(step);
            let of = self.steps.map_or_else(String::new, |steps| format!(" of {}", grouped(steps)));
            self.say(&format!("{}{of} kept", counted(step, "step")));
        }
    }

    fn say(&mut self, words: &str) {
        let gap = if self.detail.is_empty() || words.is_empty() { "" } else { ", " };
        self.detail = format!("{}{gap}{words}", self.detail);
    }
}

/// What was submitted, where the file has changed since.
fn submitted<'a>(plan: &'a Plan, text: &str) -> Cow<'a, Plan> {
    let other = (plan.to_toml() != text).then(|| Plan::parse(text, Path::new(PLAN_TOML), &[]).ok()).flatten();
    other.map_or(Cow::Borrowed(plan), Cow::Owned)
}

/// The phase whose units are steps.
const TRAINING: &str = "training";

fn not_shared(seen: &Seen) -> String {
    format!("{} is not on a file system that all nodes have", seen.results.display())
}

/// Whether a code is that of a signal that stopped the run.
fn is_stop(code: i32) -> bool {
    // A process that could not listen yet has the same; 137 is SIGKILL's.
    Stop::ALL.iter().any(|stop| i32::from(stop.exit_code()) == code) || code == 137
}

fn is_silent(record: &RunProgressRecord, patience: f64) -> bool {
    since_1970(SystemTime::now()) - record.updated > patience
}

fn changed(path: &Path) -> f64 {
    fs::metadata(path).and_then(|of| of.modified()).map_or(0.0, since_1970)
}

fn since_1970(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64()
}
