//! One bar for runs that other processes are at.
//!
//! In: the share that is done of all of them, and words. Out: on a terminal a bar; elsewhere at most one line a minute.

use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

use super::taskbar::Shown;
use super::{Mode, PLAIN_PAUSE, Progress, tell};

/// Steps of the bar.
const BAR_STEPS: u64 = 1000;

/// The bar of several runs, from the first one's beginning to the last one's end.
#[derive(Debug)]
pub struct JobsBar {
    progress: Progress,
    bar: Option<ProgressBar>,
    /// When the last plain line was.
    told: Instant,
}

impl Progress {
    /// Begins the bar.
    pub fn jobs(&self) -> JobsBar {
        let bar = match &self.mode {
            Mode::Terminal { bars, color, .. } => {
                let bar = bars.add(ProgressBar::new(BAR_STEPS));
                let key = if *color { "{bar:20.cyan/dim}" } else { "{bar:20}" };
                // The template is ours and valid; were it not, indicatif's own style would still show the share.
                let style = ProgressStyle::with_template(&format!("{key} {{percent:>3}} % {{msg}}"))
                    .unwrap_or_else(|_| ProgressStyle::default_bar());
                bar.set_style(style);
                Some(bar)
            }
            Mode::Plain | Mode::Hidden(_) => None,
        };
        JobsBar { progress: self.clone(), bar, told: Instant::now() }
    }
}

impl JobsBar {
    /// Shows that the share `fraction`, from 0 to 1, is done.
    pub fn show(&mut self, fraction: f64, words: &str) {
        let percent = (fraction * 100.0) as u8;
        if let Some(bar) = &self.bar {
            bar.set_position((fraction * BAR_STEPS as f64) as u64);
            bar.set_message(words.to_owned());
            self.progress.show_beside(Shown::Percent(percent));
        } else if matches!(self.progress.mode, Mode::Plain) && self.told.elapsed() >= PLAIN_PAUSE {
            self.told = Instant::now();
            tell(&format!("{percent} %, {words}"));
        }
    }
}

impl Drop for JobsBar {
    fn drop(&mut self) {
        if let (Mode::Terminal { bars, .. }, Some(bar)) = (&self.progress.mode, &self.bar) {
            bar.finish_and_clear();
            bars.remove(bar);
        }
        self.progress.show_beside(Shown::Nothing);
    }
}
