//! Progress on stderr: one bar for each long piece of work, or plain lines where stderr is no
//! terminal.
//!
//! In: titles, totals and counts. Out: on a terminal a bar with count, speed (`it/s`, or `s/it`
//! where that is slower than one), time left and a message such as the loss; elsewhere a line at
//! the start, at every tenth and at the end. Nothing here goes to stdout, and no number here goes
//! into a result.

use std::fmt::Write;
use std::io::{IsTerminal, Write as _, stderr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressState, ProgressStyle};

use crate::numbers::duration;

/// Where progress goes; decided once. Clones share the terminal and the warnings.
#[derive(Debug, Clone)]
pub struct Progress {
    mode: Mode,
    warnings: Arc<Mutex<Vec<String>>>,
}

#[derive(Debug, Clone)]
enum Mode {
    Terminal { bars: MultiProgress, color: bool },
    Plain,
    Hidden(Arc<Mutex<Vec<String>>>),
}

impl Progress {
    /// Bars where stderr is a terminal, else plain tally. Colors unless `NO_COLOR` is set and not
    /// empty.
    pub fn from_env() -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|v: std::ffi::OsString| !v.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
        if stderr().is_terminal() && !dumb {
            Self::new(Mode::Terminal { bars: MultiProgress::new(), color: !set("NO_COLOR") })
        } else {
            Self::plain()
        }
    }

    /// Plain lines, whatever stderr is.
    pub fn plain() -> Self {
        Self::new(Mode::Plain)
    }

    /// Shows nothing and keeps the lines, for tests: see [`Progress::hidden_lines`].
    pub fn hidden() -> Self {
        Self::new(Mode::Hidden(Arc::default()))
    }

    fn new(mode: Mode) -> Self {
        Self { mode, warnings: Arc::default() }
    }

    /// What [`Progress::line`] was given while hidden.
    pub fn hidden_lines(&self) -> Vec<String> {
        match &self.mode {
            Mode::Hidden(lines) => lines.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            _ => Vec::new(),
        }
    }

    /// A bar that counts `total` units of work, such as steps.
    pub fn bar(&self, title: &str, total: u64) -> Bar {
        self.start(title, total, Unit::Steps)
    }

    /// A bar that counts bytes.
    pub fn bytes(&self, title: &str, total: u64) -> Bar {
        self.start(title, total, Unit::Bytes)
    }

    /// Prints one line to stderr without tearing a bar.
    pub fn line(&self, text: impl AsRef<str>) {
        let text = text.as_ref();
        match &self.mode {
            Mode::Terminal { bars, .. } => bars.suspend(|| tell(text)),
            Mode::Plain => tell(text),
            Mode::Hidden(lines) => lines.lock().unwrap_or_else(PoisonError::into_inner).push(text.to_owned()),
        }
    }

    /// Prints a warning, and keeps it for [`Progress::take_warnings`]: what was passed over, cut or
    /// clamped.
    pub fn warn(&self, text: impl AsRef<str>) {
        let text = text.as_ref();
        self.line(format!("warning: {text}"));
        let mut warnings = self.warnings();
        if !warnings.iter().any(|warning| warning == text) {
            warnings.push(text.to_owned());
        }
    }

    /// Keeps these warnings and no others: those that hold for each of a command's runs, before the
    /// next one begins.
    pub fn keep_warnings(&self, only: &[String]) {
        *self.warnings() = only.to_vec();
    }

    /// The warnings since the last call, each once, in the order in which they came.
    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut *self.warnings())
    }

    fn warnings(&self) -> MutexGuard<'_, Vec<String>> {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, title: &str, total: u64, unit: Unit) -> Bar {
        let kind = match &self.mode {
            Mode::Terminal { bars, color } => {
                Kind::Drawn { bars: bars.clone(), bar: draw(bars, *color, title, total, unit) }
            }
            Mode::Plain => Kind::Lines,
            Mode::Hidden(_) => Kind::Hidden,
        };
        let tally = Tally::new(title, total, unit);
        if let Kind::Lines = kind {
            tell(&format!("{title}: 0/{}", tally.count(total)));
        }
        Bar { kind, tally: Mutex::new(tally) }
    }
}

/// Prints a line to stderr. Nobody may be listening any more (`2>&1 | head`), which is no reason to
/// end a run.
fn tell(text: &str) {
    let _ = writeln!(stderr(), "{text}");
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
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
    Drawn { bars: MultiProgress, bar: ProgressBar },
    Lines,
    Hidden,
}

impl Bar {
    /// Counts `n` more units.
    pub fn inc(&self, n: u64) {
        let mut tally = self.tally();
        tally.done += n;
        match &self.kind {
            Kind::Drawn { bar, .. } => bar.inc(n),
            // The last line comes with `finish`, when the last message is known.
            Kind::Lines if tally.next_tenth() && tally.told < 10 => tell(&tally.text(tally.began.elapsed())),
            Kind::Lines | Kind::Hidden => {}
        }
    }

    /// Counts `n` units that were done in an earlier run; they do not enter the speed.
    pub fn skip(&self, n: u64) {
        self.tally().skip(n);
        if let Kind::Drawn { bar, .. } = &self.kind {
            bar.inc(n);
            bar.reset_eta();
        }
    }

    /// Sets the words at the bar's end, such as `loss 0.0123`.
    pub fn set_message(&self, message: impl Into<String>) {
        let message = message.into();
        if let Kind::Drawn { bar, .. } = &self.kind {
            bar.set_message(message.clone());
        }
        self.tally().message = message;
    }

    /// Ends the work; a line that says how it went stays where the bar was.
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

fn speed(per_second: f64, unit: Unit) -> String {
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
    /// Tenths of the work that have been told.
    told: u64,
    finished: bool,
    began: Instant,
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
            told: 0,
            finished: false,
            began: Instant::now(),
        }
    }

    fn skip(&mut self, n: u64) {
        self.done += n;
        self.skipped += n;
        self.told = self.tenth();
        self.began = Instant::now();
    }

    /// Whether another tenth of the work is done since the last time.
    fn next_tenth(&mut self) -> bool {
        let tenth = self.tenth();
        let next = tenth > self.told;
        self.told = tenth;
        next
    }

    fn tenth(&self) -> u64 {
        self.done.saturating_mul(10).checked_div(self.total).unwrap_or(0)
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
