//! The run that is under way: one bar for all its phases.
//!
//! In: a run's phases, and what its pieces of work count. Out: on a terminal one bar with the phase,
//! the time that all the rest takes, counts and a message; elsewhere a line at the beginning, at
//! most one a minute, and one at the end; and for whoever watches it a [`Snapshot`].

use std::io::{Write as _, stderr};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use super::bar::{Bar, Unit, speed};
use super::estimate::{Phase, RunProgress, Work};
use super::taskbar::Shown;
use super::{Mode, PLAIN_PAUSE, Progress, tell};
use crate::numbers::duration;

/// The first phase of every run.
const LOADING: &str = "loading";

/// What loading costs beside a forward pass of the UNet: hashing and reading gigabytes.
const LOADING_WEIGHT: f64 = 10.0;

/// Steps of a run's bar.
const BAR_STEPS: u64 = 1000;

/// The run under way, if there is one, and who waits for its next phase.
#[derive(Debug, Default)]
pub(super) struct Shared {
    run: Mutex<Option<Running>>,
    changed: Condvar,
}

#[derive(Debug)]
struct Running {
    title: String,
    estimate: RunProgress,
    message: String,
    begun: Instant,
    begun_at: f64,
    /// When it was last heard of.
    last: Instant,
    /// The highest share so far: a better estimate does not take back what was shown.
    fraction: f64,
    /// Phases begun so far.
    phases: u64,
    /// When the last plain line was.
    told: Instant,
    bar: Option<ProgressBar>,
    /// What the taskbar shows.
    percent: Option<u8>,
}

/// How far a run is.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// What it does now.
    pub phase: String,
    /// Units of this phase that are done.
    pub done: u64,
    /// All units of this phase.
    pub total: u64,
    /// Such as `loss 0.0123`.
    pub message: String,
    /// Of the whole run, from 0 to 1.
    pub fraction: f64,
    /// Until its end, where that can be known.
    pub seconds_left: Option<f64>,
    /// What a unit of this phase takes.
    pub seconds_per_unit: Option<f64>,
    /// What was warned of so far.
    pub warnings: Vec<String>,
    /// When this process took the run up, in seconds since 1970.
    pub begun: f64,
    /// Phases begun so far.
    pub phases: u64,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It came to its end.
    Done,
    /// It was asked to stop.
    Interrupted,
    /// It could not go on.
    Failed,
}

/// A run's bar, from its beginning to its end.
#[derive(Debug)]
pub struct WholeRun(Progress);

impl Progress {
    /// Begins a run, with the phase `loading`: until it ends, [`Progress::bar`] gives phases of it.
    pub fn begin_run(&self, title: &str) -> WholeRun {
        let first =
            Phase { name: LOADING.to_owned(), work: Work::Loading, units: 1, skipped: 0, weight: LOADING_WEIGHT };
        let now = Instant::now();
        let running = Running {
            title: title.to_owned(),
            estimate: RunProgress::new(first),
            message: String::new(),
            begun: now,
            begun_at: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64()),
            last: now,
            fraction: 0.0,
            phases: 1,
            told: now,
            bar: self.draw_run(),
            percent: None,
        };
        if matches!(self.mode, Mode::Plain) {
            tell(&running.line(now));
        }
        *self.running() = Some(running);
        self.update(|_| ());
        WholeRun(self.clone())
    }

    /// Says which phases the run under way will have.
    pub fn expect(&self, phases: Vec<Phase>) {
        self.update(|run| run.estimate.expect(phases));
    }

    /// Leaves out a phase that has nothing to do.
    pub fn leave_out(&self, phase: &str) {
        self.update(|run| run.estimate.leave_out(phase));
    }

    /// The first phase is over.
    pub fn loaded(&self) {
        self.update(|run| {
            run.estimate.inc(0, 1);
            run.estimate.end(0);
        });
    }

    /// Waits until the run's next phase after the first `phases` begins, it ends, or `timeout` has
    /// passed.
    pub fn wait(&self, phases: u64, timeout: Duration) {
        let waits = |run: &mut Option<Running>| run.as_ref().is_some_and(|run| run.phases == phases);
        // What it waited for is looked at by the caller.
        drop(self.whole.changed.wait_timeout_while(self.running(), timeout, waits));
    }

    /// How far the run under way is.
    pub fn snapshot(&self) -> Option<Snapshot> {
        let warnings = self.warnings().clone();
        let running = self.running();
        let run = running.as_ref()?;
        let (phase, done, total) = run.estimate.phase();
        Some(Snapshot {
            phase: phase.to_owned(),
            done,
            total,
            message: run.message.clone(),
            fraction: run.fraction,
            seconds_left: run.estimate.seconds_left(run.last.elapsed().as_secs_f64()),
            seconds_per_unit: run.estimate.seconds_per_unit(),
            warnings,
            begun: run.begun_at,
            phases: run.phases,
        })
    }

    /// A phase of the run under way, if there is one.
    pub(super) fn phase(&self, title: &str, total: u64) -> Option<Bar> {
        let at = self.update(|run| {
            run.phases += 1;
            run.message.clear();
            run.estimate.enter(title, total)
        })?;
        self.whole.changed.notify_all();
        Some(Bar::of_run(self.clone(), at, title, total))
    }

    pub(super) fn count(&self, at: usize, n: u64) {
        self.update(|run| run.estimate.inc(at, n));
    }

    pub(super) fn pass_over(&self, at: usize, n: u64) {
        self.update(|run| run.estimate.skip(at, n));
    }

    pub(super) fn say(&self, message: String) {
        self.update(|run| run.message = message);
    }

    pub(super) fn end(&self, at: usize) {
        self.update(|run| run.estimate.end(at));
    }

    /// Changes the run under way, and shows what came of it.
    fn update<T>(&self, change: impl FnOnce(&mut Running) -> T) -> Option<T> {
        let mut running = self.running();
        let run = running.as_mut()?;
        let now = Instant::now();
        run.estimate.spend(now.duration_since(run.last).as_secs_f64());
        run.last = now;
        let value = change(run);
        run.fraction = run.fraction.max(run.estimate.fraction()).min(1.0);
        let is_due = matches!(self.mode, Mode::Plain) && now.duration_since(run.told) >= PLAIN_PAUSE;
        let line = is_due.then(|| run.line(now));
        if is_due {
            run.told = now;
        }
        let (bar, fraction) = (run.bar.clone(), run.fraction);
        let new = run.percent != Some(run.percent());
        run.percent = Some(run.percent());
        // A bar that is drawn asks for the run.
        drop(running);
        if let Some(line) = line {
            tell(&line);
        }
        if let Some(bar) = bar {
            bar.set_position((fraction * BAR_STEPS as f64) as u64);
        }
        if new {
            self.show_beside(Shown::Percent((fraction * 100.0) as u8));
        }
        Some(value)
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.whole.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn draw_run(&self) -> Option<ProgressBar> {
        let Mode::Terminal { bars, color, .. } = &self.mode else { return None };
        let bar = bars.add(ProgressBar::new(BAR_STEPS));
        let key = if *color { "{bar:20.cyan/dim}" } else { "{bar:20}" };
        // The template is ours and valid; were it not, indicatif's own style would still show the
        // share.
        let style = ProgressStyle::with_template(&format!("{key} {{percent:>3}} % {{state}}"))
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let progress = self.clone();
        let write_state = move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
            let text = progress.running().as_ref().map(|run| run.state(Instant::now()));
            // Writing into indicatif's line buffer cannot fail.
            let _ = out.write_str(&text.unwrap_or_default());
        };
        bar.set_style(style.with_key("state", write_state));
        bar.enable_steady_tick(Duration::from_millis(500));
        Some(bar)
    }

    /// Shows progress in a terminal's tab or taskbar.
    pub(super) fn show_beside(&self, shown: Shown) {
        if let Mode::Terminal { taskbar: true, .. } = self.mode {
            // Nobody may be listening any more.
            let _ = stderr().write_all(shown.sequence().as_bytes());
        }
    }

    fn end_run(&self, ended: Ended) {
        let Some(run) = self.running().take() else { return };
        self.whole.changed.notify_all();
        if let (Mode::Terminal { bars, .. }, Some(bar)) = (&self.mode, &run.bar) {
            bar.finish_and_clear();
            bars.remove(bar);
        }
        self.show_beside(match ended {
            Ended::Failed => Shown::Failed(run.percent()),
            Ended::Done | Ended::Interrupted => Shown::Nothing,
        });
        if ended == Ended::Done && !matches!(self.mode, Mode::Hidden(_)) {
            self.line(format!("{}: done in {}", run.title, duration(run.begun.elapsed().as_secs_f64())));
        }
    }
}

impl WholeRun {
    /// Ends the run; a line says so if it came to its end.
    pub fn end(self, ended: Ended) {
        self.0.end_run(ended);
    }
}

/// An error on the way out.
impl Drop for WholeRun {
    fn drop(&mut self) {
        self.0.end_run(Ended::Failed);
    }
}

impl Running {
    fn percent(&self) -> u8 {
        (self.fraction * 100.0) as u8
    }

    /// `a: 31 %, training, 5 min 20 s left, 120/600 2.50 it/s, loss 0.1234`.
    fn line(&self, now: Instant) -> String {
        format!("{}: {} %, {}", self.title, self.percent(), self.state(now))
    }

    fn state(&self, now: Instant) -> String {
        let (phase, done, total) = self.estimate.phase();
        let mut parts = vec![phase.to_owned()];
        let left = self.estimate.seconds_left(now.saturating_duration_since(self.last).as_secs_f64());
        parts.extend(left.map(|seconds| format!("{} left", duration(seconds))));
        if total > 1 {
            let rate = self.estimate.seconds_per_unit().filter(|seconds| *seconds > 0.0).map(f64::recip);
            let rate = rate.map_or_else(String::new, |rate| format!(" {}", speed(rate, Unit::Steps)));
            parts.push(format!("{done}/{total}{rate}"));
        }
        parts.extend(Some(self.message.clone()).filter(|message| !message.is_empty()));
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn training(units: u64, skipped: u64) -> Phase {
        Phase { name: "training".to_owned(), work: Work::Training, units, skipped, weight: 3.0 }
    }

    #[test]
    fn a_bar_is_a_phase_while_a_run_is_under_way() {
        let progress = Progress::hidden();
        assert!(progress.snapshot().is_none());
        let run = progress.begin_run("a");
        progress.expect(vec![training(10, 4)]);
        progress.warn("mind the gap");
        progress.loaded();
        let bar = progress.bar("training", 10);
        bar.skip(4);
        bar.set_message("loss 0.5");
        bar.inc(2);
        let seen = progress.snapshot().unwrap();
        assert_eq!((seen.phase.as_str(), seen.done, seen.total), ("training", 6, 10));
        assert_eq!((seen.message.as_str(), seen.phases), ("loss 0.5", 2));
        assert_eq!(seen.warnings, ["mind the gap"]);
        assert!(seen.fraction > 0.3 && seen.fraction < 1.0 && seen.begun > 1e9);
        // Two steps within a moment say nothing of the others.
        assert_eq!(seen.seconds_left, None);
        bar.finish();
        run.end(Ended::Done);
        assert!(progress.snapshot().is_none());
        // What belongs to a run that is over is counted by nobody.
        bar.inc(1);
        let alone = progress.bar("measuring", 3);
        assert!(progress.snapshot().is_none());
        drop(alone);
    }

    #[test]
    fn who_waits_hears_of_the_next_phase_and_of_the_end() {
        let progress = Progress::hidden();
        let run = progress.begin_run("a");
        std::thread::scope(|scope| {
            let waits = |phases| {
                let progress = progress.clone();
                scope.spawn(move || {
                    let begun = Instant::now();
                    progress.wait(phases, Duration::from_secs(20));
                    begun.elapsed() < Duration::from_secs(15)
                })
            };
            let first = waits(1);
            std::thread::sleep(Duration::from_millis(20));
            let _bar = progress.bar("training", 3);
            assert!(first.join().unwrap());
            let second = waits(2);
            std::thread::sleep(Duration::from_millis(20));
            run.end(Ended::Interrupted);
            assert!(second.join().unwrap());
        });
        progress.wait(7, Duration::from_secs(20));
    }

    #[test]
    fn a_line_has_share_phase_time_left_count_speed_and_message() {
        let now = Instant::now();
        let mut run = Running {
            title: "a".to_owned(),
            estimate: RunProgress::new(training(40, 10)),
            message: "loss 0.123".to_owned(),
            begun: now,
            begun_at: 0.0,
            last: now,
            fraction: 0.25,
            phases: 1,
            told: now,
            bar: None,
            percent: None,
        };
        assert_eq!(run.line(now), "a: 25 %, training, 10/40, loss 0.123");
        run.estimate.skip(0, 10);
        run.estimate.spend(12.0);
        run.estimate.inc(0, 3);
        run.fraction = run.estimate.fraction();
        assert_eq!(run.line(now), "a: 32 %, training, 1 min 48 s left, 13/40 4.00 s/it, loss 0.123");
    }
}
