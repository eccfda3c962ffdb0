//! Progress on stderr: one bar for a run, or for another long piece of work, or plain lines where
//! stderr is no terminal.
//!
//! In: titles, totals and counts. Out: on a terminal a bar with count, speed (`it/s`, or `s/it`
//! where that is slower than one), time left and a message such as the loss; elsewhere a line at
//! the start, at most one a minute, and one at the end. `bar` is one piece of work, `whole` the run
//! that its pieces belong to, `jobs` the bar of several runs in other processes, `estimate` how far that run is, `taskbar` what a terminal shows of it.
//! Nothing here goes to stdout, and no number here goes into a result.

mod bar;
mod estimate;
mod jobs;
mod taskbar;
mod whole;

use std::io::{IsTerminal, Write as _, stderr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::MultiProgress;

pub use bar::Bar;
pub use estimate::{Phase, RunProgress, Work};
pub use jobs::JobsBar;
pub use whole::{Ended, Snapshot, WholeRun};

/// Between two plain lines of one piece of work: a log of days stays readable.
const PLAIN_PAUSE: Duration = Duration::from_mins(1);

/// Where progress goes; decided once. Clones share the terminal, the warnings and the run.
#[derive(Debug, Clone)]
pub struct Progress {
    mode: Mode,
    warnings: Arc<Mutex<Vec<String>>>,
    whole: Arc<whole::Shared>,
}

#[derive(Debug, Clone)]
enum Mode {
    Terminal {
        bars: MultiProgress,
        color: bool,
        /// Whether it shows progress beside its text.
        taskbar: bool,
    },
    Plain,
    Hidden(Arc<Mutex<Vec<String>>>),
}

impl Progress {
    /// Bars where stderr is a terminal, else plain lines. Colors unless `NO_COLOR` is set and not
    /// empty.
    pub fn from_env() -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|v: std::ffi::OsString| !v.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
        if stderr().is_terminal() && !dumb {
            let taskbar = taskbar::is_known(|name| std::env::var(name).ok());
            Self::new(Mode::Terminal { bars: MultiProgress::new(), color: !set("NO_COLOR"), taskbar })
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
        Self { mode, warnings: Arc::default(), whole: Arc::default() }
    }

    /// What [`Progress::line`] was given while hidden.
    pub fn hidden_lines(&self) -> Vec<String> {
        match &self.mode {
            Mode::Hidden(lines) => lines.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            _ => Vec::new(),
        }
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
}

/// Prints a line to stderr. Nobody may be listening any more (`2>&1 | head`), which is no reason to
/// end a run.
fn tell(text: &str) {
    let _ = writeln!(stderr(), "{text}");
}
