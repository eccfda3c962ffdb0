//! The numbers of a run that sweeps are judged by.
//!
//! In: a name as `table.csv` has it. Out: a [`Measure`], its number of a run, and whether more or less of it is better.

use crate::config::experiment::similar;
use crate::error::{Error, Result};
use crate::metrics::{NEAREST, PRES};
use crate::report::runs::Run;
use crate::report::table::{Field, Row};

/// Losses, by their names in the table.
const LOSSES: [&str; 3] = ["final_loss", "eval_loss_last", "eval_loss_first"];

/// Which of two is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// Losses, and what says how much of the subject is where it should not be.
    Lower,
    /// Fidelity and diversity.
    Higher,
}

/// A number that runs are compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measure(Field);

impl Measure {
    /// All that there are, in the table's order.
    fn all() -> impl Iterator<Item = Self> {
        Field::all().filter(|field| field.is_metric() || LOSSES.contains(&field.key())).map(Self)
    }

    /// Those that any of the runs has.
    pub fn of(runs: &[&Run]) -> Vec<Self> {
        let told =
            |measure: &Self| measure.key() != "eval_loss_first" && runs.iter().any(|run| measure.number(run).is_some());
        Self::all().filter(told).collect()
    }

    /// By its name.
    ///
    /// # Errors
    /// Wrong input: there is none; the hint has the nearest name, and all of them.
    pub fn named(key: &str) -> Result<Self> {
        Self::all().find(|measure| measure.key() == key).ok_or_else(|| {
            let keys: Vec<&str> = Self::all().map(Self::key).collect();
            let near = similar(key, &keys).map_or_else(String::new, |near| format!("did you mean {near}? "));
            Error::input(format!("runs are not compared by `{key}`"))
                .hint(format!("{near}there are {}", keys.join(", ")))
        })
    }

    /// Its name in `table.csv`.
    pub fn key(self) -> &'static str {
        self.0.key()
    }

    /// Its name for readers.
    pub fn heading(self) -> &'static str {
        self.0.heading()
    }

    /// Whether the table shows it to readers.
    pub fn is_shown(self) -> bool {
        self.0.is_shown()
    }

    /// How many decimals readers see.
    pub fn decimals(self) -> usize {
        if LOSSES.contains(&self.key()) { 4 } else { 3 }
    }

    /// What the run has of it.
    pub fn number(self, run: &Run) -> Option<f64> {
        self.0.exact(&Row::of_run(run)).parse().ok().filter(|number: &f64| number.is_finite())
    }

    /// Which direction is better.
    pub fn better(self) -> Better {
        let is = |metric: &str| self.key().ends_with(&format!("_{metric}"));
        if LOSSES.contains(&self.key()) || is(PRES) || is(NEAREST) { Better::Lower } else { Better::Higher }
    }

    /// Whether `a` is better than `b`.
    pub fn is_better(self, a: f64, b: f64) -> bool {
        match self.better() {
            Better::Lower => a < b,
            Better::Higher => a > b,
        }
    }

    /// `lower is better`.
    pub fn direction(self) -> &'static str {
        match self.better() {
            Better::Lower => "lower is better",
            Better::Higher => "higher is better",
        }
    }

    /// The best of these by their numbers; of equal ones the first.
    pub fn best<T>(self, of: impl IntoIterator<Item = (T, f64)>) -> Option<(T, f64)> {
        of.into_iter().reduce(|best, next| if self.is_better(next.1, best.1) { next } else { best })
    }
}
