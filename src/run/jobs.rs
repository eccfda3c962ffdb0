//! Several runs at once: each in a process of its own, so that one that crashes takes no other with it.
//!
//! In: the experiments of a command, how many at once, and the devices. Out: what became of each, as of one after the other; the
//! table of all runs; on stderr one bar for all of them, and behind their runs' names what they warn of. What is finished already
//! is seen here, everything else is a [`job`](super::job). Whoever stops this process stops them, where nothing is lost; they stop
//! by themselves if it is killed.

use super::job::{Order, Told};
use super::outcome::{Chosen, IfTaken, Line, Outcome, Waiting, failed_already};
use super::room::Room;
use crate::cli::{DeviceChoice, RunArgs};
use crate::config::Planned;
use crate::device::Threads;
use crate::error::{Error, Result};
use crate::numbers::{counted, duration};
use crate::plan::fit;
use crate::results::{RunProgressRecord, run_folder};
use std::collections::VecDeque;
use std::env;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

/// Between two looks at how far the jobs are.
const TICK: Duration = Duration::from_millis(250);
/// Between two writings of the table of all runs.
const TABLE_PAUSE: Duration = Duration::from_secs(5);
/// So many of the last lines of a job are kept, to be shown if it dies.
const LAST_LINES: usize = 8;

/// How many at once, and where.
pub(super) struct Jobs {
    count: usize,
    devices: Vec<DeviceChoice>,
}

/// A run that waits for its turn: its place in the summary.
struct Turn {
    at: usize,
    planned: Planned,
    if_taken: IfTaken,
}

/// A job at work.
struct Job {
    turn: Turn,
    /// Its run's name.
    name: String,
    place: PathBuf,
    stand_in: bool,
    /// Closed, it asks the job to stop.
    stdin: Option<ChildStdin>,
    last_lines: VecDeque<String>,
    /// Of its run, as last seen.
    fraction: f64,
    begun: Instant,
}

/// What is heard of the job in a slot.
enum Heard {
    Line(usize, String),
    Ended(usize, String, std::io::Result<ExitStatus>),
}

/// Everything that changes.
struct Work<'a, 'r> {
    room: &'a Room<'r>,
    devices: &'a [DeviceChoice],
    threads: Option<usize>,
    all: usize,
    queue: VecDeque<Turn>,
    later: VecDeque<Turn>,
    slots: Vec<Option<Job>>,
    lines: Vec<Option<Line>>,
    sender: Sender<Heard>,
    begun: Instant,
    /// Runs that were finished before, and that these jobs have finished.
    done_before: usize,
    done: usize,
    /// When the table was written, and whether there is news since.
    table: (Instant, bool),
}

impl Jobs {
    /// As asked for; `None` where it is one at a time.
    pub fn of(args: &RunArgs, runs: usize) -> Option<Self> {
        let count = args.jobs.unwrap_or(args.device.len()).min(runs);
        (count > 1).then(|| Self { count, devices: args.device.clone() })
    }

    /// All of them.
    ///
    /// # Errors
    /// Wrong input: so many at once have no room in the memory.
    pub fn work_through(&self, room: &Room, queue: Vec<Waiting>) -> Result<Vec<Line>> {
        let all = queue.len();
        let plans = || queue.iter().filter_map(|(_, planned)| planned.as_ref().ok());
        if let Some(warning) = fit::fit_jobs(plans().map(|planned| &planned.plan), self.count, &self.devices)? {
            room.progress.warn(warning);
        }
        let threads = threads_each(self.count);
        room.progress.line(self.head(all, threads));
        let (sender, receiver) = mpsc::channel();
        let mut work = Work {
            room,
            devices: &self.devices,
            threads,
            all,
            queue: VecDeque::new(),
            later: VecDeque::new(),
            slots: (0..self.count).map(|_| None).collect(),
            lines: (0..all).map(|_| None).collect(),
            sender,
            begun: Instant::now(),
            done_before: 0,
            done: 0,
            table: (Instant::now(), false),
        };
        for (at, (file, planned)) in queue.into_iter().enumerate() {
            match planned {
                Ok(planned) => work.queue.push_back(Turn { at, planned, if_taken: IfTaken::PassOver }),
                Err(error) => work.end(at, failed_already((file, Err(error)))),
            }
        }
        work.go(&receiver);
        Ok(work.lines.into_iter().flatten().collect())
    }

    fn head(&self, all: usize, threads: Option<usize>) -> String {
        let names: Vec<String> = self.devices.iter().map(ToString::to_string).collect();
        let on = if names.len() > 1 { format!(" on {}", names.join(", ")) } else { String::new() };
        let threads = threads.map_or_else(String::new, |threads| {
            format!("; each computes with {} (RAYON_NUM_THREADS gives each another number)", counted(threads, "thread"))
        });
        format!("{}, {} at once{on}{threads}", counted(all, "experiment"), self.count)
    }
}

/// The share of the cores that each job gets, unless the user said how many.
fn threads_each(jobs: usize) -> Option<usize> {
    let asked = env::var_os("RAYON_NUM_THREADS").is_some_and(|asked| !asked.is_empty());
    (!asked).then(|| (Threads::from_env().count / jobs).max(1))
}

impl Work<'_, '_> {
    fn go(&mut self, receiver: &Receiver<Heard>) {
        let mut bar = self.room.progress.jobs();
        loop {
            if self.room.interrupt.requested().is_some() {
                self.stop();
            }
            self.fill();
            if self.slots.iter().all(Option::is_none) && self.queue.is_empty() && self.later.is_empty() {
                break;
            }
            match receiver.recv_timeout(TICK) {
                Ok(Heard::Line(slot, line)) => self.hear(slot, line),
                Ok(Heard::Ended(slot, told, status)) => self.ended(slot, &told, status),
                // The sender is here.
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    self.look();
                    bar.show(self.fraction(), &self.words());
                    self.write_table(TABLE_PAUSE);
                }
            }
        }
        drop(bar);
        self.write_table(Duration::ZERO);
    }

    /// Asks every job to stop; those that wait are not run.
    fn stop(&mut self) {
        self.slots.iter_mut().flatten().for_each(|job| drop(job.stdin.take()));
        for turn in self.queue.drain(..).chain(self.later.drain(..)).collect::<Vec<_>>() {
            let line = self.room.line(&turn.planned.plan, Outcome::NotRun);
            self.lines[turn.at] = Some(line);
        }
    }

    /// Gives every free slot a run.
    fn fill(&mut self) {
        while let Some(slot) = self.slots.iter().position(Option::is_none) {
            let Some(turn) = self.queue.pop_front().or_else(|| self.later.pop_front()) else { return };
            let at = turn.at;
            let name = turn.planned.plan.name.clone();
            match self.begin(turn, slot) {
                Ok(Some(job)) => self.slots[slot] = Some(job),
                Ok(None) => {}
                Err(error) => {
                    let place = self.room.place(&name);
                    self.end(at, Line { place, outcome: Outcome::Failed(error), stand_in: false });
                }
            }
        }
    }

    /// Begins a run; nothing, where it is finished already.
    fn begin(&mut self, turn: Turn, slot: usize) -> Result<Option<Job>> {
        self.room.interrupt.check()?;
        let Chosen { plan, why } = self.room.choose(turn.planned.clone())?;
        self.room.tell_stand_in(&plan, why.as_deref());
        if self.room.is_finished(&plan, why.as_deref())? {
            self.done_before += 1;
            let line = self.room.line(&plan, Outcome::AlreadyDone);
            self.end(turn.at, line);
            return Ok(None);
        }
        let device = self.devices[slot % self.devices.len()];
        let mut child = self.command(device)?.spawn().map_err(|e| Error::run("a job cannot be started").cause(e))?;
        let order = Order { plan: plan.to_toml(), why, if_taken: turn.if_taken };
        let order = serde_json::to_string(&order).map_err(|e| Error::run("a job cannot be told its run").cause(e))?;
        let mut stdin = child.stdin.take();
        if let Some(stdin) = &mut stdin {
            // A job that has ended already is heard of where it is waited for.
            let _ = stdin.write_all(format!("{order}\n").as_bytes());
        }
        listen(child, slot, self.sender.clone())?;
        let line = self.room.line(&plan, Outcome::NotRun);
        Ok(Some(Job {
            turn,
            name: plan.name,
            place: line.place,
            stand_in: line.stand_in,
            stdin,
            last_lines: VecDeque::new(),
            fraction: 0.0,
            begun: Instant::now(),
        }))
    }

    fn command(&self, device: DeviceChoice) -> Result<Command> {
        let args = self.room.args;
        let mut command = own_program()?;
        command.args(["run", "--job", "--device", &device.to_string(), "--results"]).arg(&args.results);
        if args.force {
            command.arg("--force");
        }
        command.arg("-").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.envs(self.threads.map(|threads| ("RAYON_NUM_THREADS", threads.to_string())));
        Ok(command)
    }

    /// What a job says: warnings, and what is said of its folder, are for the person.
    fn hear(&mut self, slot: usize, line: String) {
        let Some(job) = &mut self.slots[slot] else { return };
        let of_folder = format!("{}: ", job.place.display());
        if line.starts_with("warning: ") || line.starts_with("note: ") {
            self.room.progress.line(format!("{}: {line}", job.name));
        } else if line.starts_with(&of_folder) {
            self.room.progress.line(&line);
        }
        if job.last_lines.len() == LAST_LINES {
            job.last_lines.pop_front();
        }
        job.last_lines.push_back(line);
    }

    fn ended(&mut self, slot: usize, told: &str, status: std::io::Result<ExitStatus>) {
        let Some(job) = self.slots[slot].take() else { return };
        let told = serde_json::from_str(told.trim()).unwrap_or_else(|_| Told::Failed(died(status, &job.last_lines)));
        let outcome = match told {
            Told::Taken => {
                if job.turn.if_taken == IfTaken::PassOver {
                    self.room.tell_taken(&job.place);
                }
                self.later.push_back(Turn { if_taken: IfTaken::Wait, ..job.turn });
                return;
            }
            Told::Done => Outcome::Done,
            Told::DrawnAgain => Outcome::DrawnAgain,
            Told::AlreadyDone => Outcome::AlreadyDone,
            Told::Failed(error) => Outcome::Failed(self.stopped_by(error)),
        };
        match outcome {
            Outcome::AlreadyDone => self.done_before += 1,
            _ => self.done += 1,
        }
        self.table.1 |= matches!(outcome, Outcome::Done | Outcome::DrawnAgain);
        let line = Line { place: job.place, outcome, stand_in: job.stand_in };
        if matches!(line.outcome, Outcome::Done | Outcome::DrawnAgain) {
            let so_far = self.lines.iter().flatten().count() + 1;
            let took = duration(job.begun.elapsed().as_secs_f64());
            self.room.progress.line(format!("{so_far}/{} results in {}, after {took}", self.all, line.place.display()));
        }
        self.end(job.turn.at, line);
    }

    /// A job that was asked to stop by this process stopped for this one's reason; one that somebody else stopped has failed.
    fn stopped_by(&self, error: Error) -> Error {
        if !error.is_interrupted() {
            return error;
        }
        let reason = match self.room.interrupt.requested() {
            Some(by) => Error::interrupted(by),
            None => Error::run(format!("the job was {}", error.message())),
        };
        match error.remedy() {
            Some(remedy) => reason.hint(remedy),
            None => reason,
        }
    }

    fn end(&mut self, at: usize, line: Line) {
        if let Outcome::Failed(error) = &line.outcome
            && !error.is_interrupted()
        {
            self.room.progress.line(format!("{}: {error}", line.place.display()));
        }
        self.lines[at] = Some(line);
    }

    /// How far each job is, as it says in its run's folder.
    fn look(&mut self) {
        for job in self.slots.iter_mut().flatten() {
            let folder = self.room.args.results.join(run_folder(&job.name));
            job.fraction = RunProgressRecord::read(&folder).map_or(job.fraction, |seen| seen.fraction);
        }
    }

    /// What is done of the work of these jobs, in runs.
    fn worked(&self) -> f64 {
        self.done as f64 + self.slots.iter().flatten().map(|job| job.fraction).sum::<f64>()
    }

    fn fraction(&self) -> f64 {
        ((self.done_before as f64 + self.worked()) / self.all as f64).min(1.0)
    }

    /// `3 of 18 done, 5 min 20 s left, a-rank4 31 %, a-rank8 2 %`.
    fn words(&self) -> String {
        let mut parts = vec![format!("{} of {} done", self.lines.iter().flatten().count(), self.all)];
        let (worked, begun) = (self.worked(), self.begun.elapsed().as_secs_f64());
        if worked > 0.05 && begun > 5.0 {
            let left = self.all as f64 - self.done_before as f64 - worked;
            parts.push(format!("{} left", duration(begun / worked * left.max(0.0))));
        }
        let at_work = self.slots.iter().flatten();
        parts.extend(at_work.map(|job| format!("{} {} %", job.name, (job.fraction * 100.0) as u8)));
        parts.join(", ")
    }

    fn write_table(&mut self, pause: Duration) {
        if !self.table.1 || self.table.0.elapsed() < pause {
            return;
        }
        self.table = (Instant::now(), false);
        if let Err(error) = self.room.write_table() {
            self.room.progress.warn(format!("the table of all runs is not written: {}", error.line()));
        }
    }
}

/// This very program, also where its file has been replaced since it was started.
fn own_program() -> Result<Command> {
    let own = env::current_exe().map_err(|e| Error::run("this program's own file cannot be found").cause(e))?;
    if !cfg!(target_os = "linux") {
        return Ok(Command::new(own));
    }
    Ok(Command::new("/proc/self/exe"))
}

/// Sends everything that a job says, and its end.
fn listen(mut child: Child, slot: usize, sender: Sender<Heard>) -> Result<()> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let said = sender.clone();
    // Nobody hears them any more only where this process ends.
    let errors = thread::Builder::new().name("job's lines".into()).spawn(move || {
        let lines = stderr.map(|stderr| BufReader::new(stderr).split(b'\n'));
        for line in lines.into_iter().flatten().map_while(std::io::Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            let _ = said.send(Heard::Line(slot, line));
        }
    })?;
    thread::Builder::new().name("job".into()).spawn(move || {
        let mut told = String::new();
        if let Some(mut stdout) = stdout {
            let _ = stdout.read_to_string(&mut told);
        }
        let _ = errors.join();
        let _ = sender.send(Heard::Ended(slot, told, child.wait()));
    })?;
    Ok(())
}

/// Of a job that told nothing of its run.
fn died(status: std::io::Result<ExitStatus>, last_lines: &VecDeque<String>) -> Error {
    let how = match status {
        Ok(status) => ended_by(status),
        Err(error) => error.to_string(),
    };
    let error = Error::run(format!("the job died: {how}"));
    let lines: Vec<&str> = last_lines.iter().map(String::as_str).filter(|line| !line.is_empty()).collect();
    let error =
        if lines.is_empty() { error } else { error.cause(format!("its last lines:\n    {}", lines.join("\n    "))) };
    error.hint("the same command goes on with it; if the memory was full, fewer --jobs need less")
}

#[cfg(unix)]
fn ended_by(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    status.signal().map_or_else(|| status.to_string(), |signal| format!("a signal ended it, number {signal}"))
}

#[cfg(not(unix))]
fn ended_by(status: ExitStatus) -> String {
    status.to_string()
}
