//! One piece of work: counted on a bar of its own, in plain lines, or as a phase of a run.
//!
//! In: a title, a total and counts. Out: what a person sees of it.

use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressState, ProgressStyle};

use super::{Mode, PLAIN_PAUSE, Progress, tell};
use crate::numbers::duration;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Steps,
    Bytes,
}

/// One piece of work. A bar that is dropped before [`Bar::finish`] disappears from the terminal.
#[derive(Debug)]
pub struct Bar {
    kind: Kind,
    tally: Mutex<Tally>,
}

#[derive(Debug)]
enum Kind {
    Drawn {
        bars: MultiProgress,
        bar: ProgressBar,
    },
    Lines,
    Hidden,
    /// The phase at this place of the run that is under way.
    Phase {
        progress: Progress,
        at: usize,
    },
}

impl Progress {
    /// A bar that counts `total` units of work, such as steps. While a run is under way it is a
    /// phase of that run's own bar.
    pub fn bar(&self, title: &str, total: u64) -> Bar {
        self.phase(title, total).unwrap_or_else(|| Bar::start(&self.mode, title, total, Unit::Steps))
    }

    /// A bar that counts bytes.
    pub fn bytes(&self, title: &str, total: u64) -> Bar {
        Bar::start(&self.mode, title, total, Unit::Bytes)
    }
}

impl Bar {
    /// Begins a piece of work that stands alone.
    pub(super) fn start(mode: &Mode, title: &str, total: u64, unit: Unit) -> Self {
        let kind = match mode {
            Mode::Terminal { bars, color, .. } => {
                Kind::Drawn { bars: bars.clone(), bar: draw(bars, *color, title, total, unit) }
            }
            Mode::Plain => Kind::Lines,
            Mode::Hidden(_) => Kind::Hidden,
        };
        let tally = Tally::new(title, total, unit);
        if let Kind::Lines = kind {
            tell(&format!("{title}: 0/{}", tally.count(total)));
        }
        Self { kind, tally: Mutex::new(tally) }
    }

    /// Begins a phase of a run.
    pub(super) fn of_run(progress: Progress, at: usize, title: &str, total: u64) -> Self {
        Self { kind: Kind::Phase { progress, at }, tally: Mutex::new(Tally::new(title, total, Unit::Steps)) }
    }

    /// Counts `n` more units.
    pub fn inc(&self, n: u64) {
        match &self.kind {
            Kind::Drawn { bar, .. } => bar.inc(n),
            Kind::Phase { progress, at } => progress.count(*at, n),
            Kind::Lines | Kind::Hidden => {}
        }
        let mut tally = self.tally();
        tally.done += n;
        // The last line comes with `finish`, when the last message is known.
        if matches!(self.kind, Kind::Lines) && tally.done < tally.total && tally.told.elapsed() >= PLAIN_PAUSE {
            tally.told = Instant::now();
            tell(&tally.text(tally.began.elapsed()));
        }
    }

    /// Counts `n` units that were done in an earlier run; they do not enter the speed.
    pub fn skip(&self, n: u64) {
        self.tally().skip(n);
        match &self.kind {
            Kind::Drawn { bar, .. } => {
                bar.inc(n);
                bar.reset_eta();
            }
            Kind::Phase { progress, at } => progress.pass_over(*at, n),
            Kind::Lines | Kind::Hidden => {}
        }
    }

    /// Sets the words at the bar's end, such as `loss 0.0123`.
    pub fn set_message(&self, message: impl Into<String>) {
        let message = message.into();
        match &self.kind {
            Kind::Drawn { bar, .. } => bar.set_message(message.clone()),
            Kind::Phase { progress, .. } => progress.say(message.clone()),
            Kind::Lines | Kind::Hidden => {}
        }
        self.tally().message = message;
    }

    /// Ends the work; a line that says how it went stays where the bar was. A phase of a run ends
    /// without one.
    pub fn finish(&self) {
        let mut tally = self.tally();
        if std::mem::replace(&mut tally.finished, true) {
            return;
        }
        let text = tally.text(tally.began.elapsed());
        match &self.kind {
            Kind::Drawn { bars, bar } => {
                // A finished bar would be wiped away by the next line that is printed above the
                // bars.
                bar.finish_and_clear();
                bars.remove(bar);
                bars.suspend(|| tell(&text));
            }
            Kind::Lines => tell(&text),
            Kind::Hidden => {}
            Kind::Phase { progress, at } => progress.end(*at),
        }
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn draw(bars: &MultiProgress, color: bool, title: &str, total: u64, unit: Unit) -> ProgressBar {
    let bar = bars.add(ProgressBar::new(total));
    let bar_key = if color { "{bar:30.cyan/dim}" } else { "{bar:30}" };
    let counts = match unit {
        Unit::Steps => "{pos}/{len} {speed}",
        Unit::Bytes => "{bytes}/{total_bytes} {speed}",
    };
    let template = format!("{{prefix}} {bar_key} {counts} {{eta}} left {{msg}}");
    // The template is ours and valid; were it not, indicatif's own style would still show the
    // count.
    let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let write_speed = move |state: &ProgressState, out: &mut dyn Write| {
        // Writing into indicatif's line buffer cannot fail.
        let _ = out.write_str(&speed(state.per_sec(), unit));
    };
    bar.set_style(style.with_key("speed", write_speed));
    bar.set_prefix(title.to_owned());
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

/// Units or bytes a second, or seconds a unit where that is slower.
pub(super) fn speed(per_second: f64, unit: Unit) -> String {
    match unit {
        Unit::Bytes => format!("{}/s", HumanBytes(per_second.max(0.0) as u64)),
        Unit::Steps if per_second >= 1.0 => format!("{per_second:.2} it/s"),
        Unit::Steps if per_second > 0.0 => format!("{:.2} s/it", per_second.recip()),
        Unit::Steps => "- it/s".to_owned(),
    }
}

/// What is known of a piece of work, and the line that says it.
#[derive(Debug)]
struct Tally {
    title: String,
    message: String,
    unit: Unit,
    total: u64,
    done: u64,
    skipped: u64,
    finished: bool,
    began: Instant,
    /// When the last plain line was.
    told: Instant,
}

impl Tally {
    fn new(title: &str, total: u64, unit: Unit) -> Self {
        Self {
            title: title.to_owned(),
            message: String::new(),
            unit,
            total,
            done: 0,
            skipped: 0,
            finished: false,
            began: Instant::now(),
            told: Instant::now(),
        }
    }

    fn skip(&mut self, n: u64) {
        self.done += n;
        self.skipped += n;
        self.began = Instant::now();
    }

    /// The line for now, `passed` after the work began.
    fn text(&self, passed: Duration) -> String {
        let rate = (self.done - self.skipped) as f64 / passed.as_secs_f64().max(1e-9);
        let (done, total) = (self.count(self.done), self.count(self.total));
        let mut text = format!("{}: {done}/{total} {}", self.title, speed(rate, self.unit));
        if self.done < self.total && rate > 0.0 {
            text = format!("{text}, {} left", duration((self.total - self.done) as f64 / rate));
        }
        if !self.message.is_empty() {
            text = format!("{text}, {}", self.message);
        }
        text
    }

    fn count(&self, n: u64) -> String {
        match self.unit {
            Unit::Steps => n.to_string(),
            Unit::Bytes => HumanBytes(n).to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_line_has_count_speed_time_left_and_message() {
        let mut tally = Tally::new("training", 40, Unit::Steps);
        tally.message = "loss 0.123".to_owned();
        tally.skip(10);
        tally.done += 3;
        assert_eq!(tally.text(Duration::from_secs(12)), "training: 13/40 4.00 s/it, 1 min 48 s left, loss 0.123");
        tally.done += 27;
        assert_eq!(tally.text(Duration::from_secs(12)), "training: 40/40 2.50 it/s, loss 0.123");
    }

    #[test]
    fn bytes_and_long_times_read_well() {
        let mut tally = Tally::new("unet", 4 << 30, Unit::Bytes);
        tally.done += 1 << 30;
        let text = tally.text(Duration::from_hours(2));
        assert_eq!(text, "unet: 1.00 GiB/4.00 GiB 145.63 KiB/s, 6 h 00 min left");
    }
}
