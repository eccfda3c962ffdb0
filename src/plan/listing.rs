//! The runs of a sweep, for `tunelab plan`.
//!
//! In: what the sweep states, the plans of its runs, what is to be said of stand-ins, the results folder. Out: lines: the first runs by name with their steps and
//! whether they are done, how many more there are, all their steps, and how long they will take.

use std::fmt::Write as _;
use std::path::Path;

use super::pace::Paces;
use super::steps::total_steps;
use crate::config::Plan;
use crate::config::files::Sweep;
use crate::error::Result;
use crate::numbers::{counted, duration, grouped};
use crate::results::RunDir;

/// So many runs are listed one by one.
const MOST: usize = 40;

/// What is to be done of all runs.
#[derive(Default)]
struct Sum {
    steps: usize,
    done: usize,
    done_steps: usize,
    /// Runs whose number of steps is not known before their pictures are here.
    unknown: usize,
    /// Of runs that are to be done, and how many those are.
    seconds: f64,
    timed: usize,
    /// The run that told.
    like: Option<(String, f64)>,
}

/// The list.
///
/// # Errors
/// The results folder holds a record that cannot be read.
pub(super) fn list(sweep: &Sweep, plans: &[Plan], note: Option<String>, results: &Path) -> Result<String> {
    let mut paces = Paces::read(results);
    let mut sum = Sum::default();
    let mut out = format!("{} of {}: {}\n", counted(plans.len(), "run"), sweep.name, sweep.keys.join(" × "));
    let widest = plans.iter().take(MOST).map(|plan| plan.name.chars().count()).max().unwrap_or(0);
    for (at, plan) in plans.iter().enumerate() {
        let steps = total_steps(plan);
        let is_done = RunDir::is_done(results, &plan.name, &plan.to_toml())?;
        sum.add(plan, steps, is_done, &mut paces);
        if at < MOST {
            let steps = steps.map_or_else(|| "steps not known yet".to_owned(), |steps| counted(steps, "step"));
            let done = if is_done { "   done" } else { "" };
            // Writing into a text does not fail.
            let _ = writeln!(out, "  {:<widest$}   {steps}{done}", plan.name);
        }
    }
    if plans.len() > MOST {
        let _ = writeln!(out, "  … and {} more", grouped(plans.len() - MOST));
    }
    let _ = writeln!(out, "{}", sum.steps(plans.len()));
    let _ = writeln!(out, "{}", sum.time(plans.len(), results));
    out.extend(note.map(|note| format!("{note}\n")));
    Ok(out)
}

impl Sum {
    fn add(&mut self, plan: &Plan, steps: Option<usize>, is_done: bool, paces: &mut Paces) {
        self.steps += steps.unwrap_or(0);
        self.unknown += usize::from(steps.is_none());
        if is_done {
            self.done += 1;
            self.done_steps += steps.unwrap_or(0);
            return;
        }
        if let (Some(steps), Some(pace)) = (steps, paces.of(plan)) {
            self.seconds += pace.seconds(steps);
            self.timed += 1;
            self.like.get_or_insert((pace.run, pace.per_step));
        }
    }

    fn steps(&self, all: usize) -> String {
        let unknown = match self.unknown {
            0 => String::new(),
            unknown => format!(" but for {}, whose pictures are not here yet", counted(unknown, "run")),
        };
        let done = match self.done {
            0 => String::new(),
            done if done == all => "; all runs are done".to_owned(),
            done => format!("; {} with {} done", counted(done, "run"), counted(self.done_steps, "step")),
        };
        format!("{} in all{unknown}{done}", counted(self.steps, "step"))
    }

    fn time(&self, all: usize, results: &Path) -> String {
        let left = all - self.done;
        let Some((run, per_step)) = self.like.as_ref().filter(|_| left > 0) else {
            return if left == 0 {
                "nothing is left to do".to_owned()
            } else {
                format!(
                    "how long that takes is not known yet: no finished run of this machine in {} is like these",
                    results.display()
                )
            };
        };
        // What is like no finished run takes as long as the others, for all that is known.
        let seconds = self.seconds / self.timed as f64 * left as f64;
        let rest = if self.done > 0 { "the rest takes " } else { "" };
        format!(
            "{rest}about {} on this machine, one run after the other ({per_step:.3} s a step, as in {run})",
            duration(seconds)
        )
    }
}
