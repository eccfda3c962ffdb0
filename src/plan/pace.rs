//! How long a plan will take on this machine, by runs that are finished here.
//!
//! In: a results folder, plans. Out: seconds, or nothing where no finished run is like a plan. A run is like one whose step is
//! the same work: the same model, resolution, batch, adapter and types; of several the one with the most equal keys is taken.

use std::collections::HashMap;
use std::path::Path;

use toml::{Table, Value};

use crate::config::Plan;
use crate::report::runs::{Run, Runs};
use crate::results::Machine;

/// What makes a step the same work, whatever its numbers are.
const WORK: [&str; 7] = [
    "model",
    "dataset.resolution",
    "train.batch_size",
    "train.gradient_accumulation",
    "train.gradient_checkpointing",
    "train.dtype",
    "train.tf32",
];

/// What a finished run took.
#[derive(Debug, Clone, PartialEq)]
pub struct Pace {
    /// The run's name.
    pub run: String,
    /// Of one optimizer step.
    pub per_step: f64,
    /// Of all beside the steps: loading, drawing, measuring.
    pub beside: f64,
}

impl Pace {
    /// Of a run of so many steps.
    pub fn seconds(&self, steps: usize) -> f64 {
        self.per_step * steps as f64 + self.beside
    }
}

/// Finished runs of this machine.
pub struct Paces {
    runs: Vec<Run>,
    /// By the work of a step.
    known: HashMap<String, Option<Pace>>,
}

impl Paces {
    /// Those in a results folder; none, where there is no such folder.
    pub fn read(results: &Path) -> Self {
        let mut runs = Runs::read(results, &mut |_| {}).map(|runs| runs.finished).unwrap_or_default();
        if !runs.is_empty() {
            let here = Machine::detect();
            let same =
                |machine: &Machine| (&machine.cpu, machine.cores, &machine.gpus) == (&here.cpu, here.cores, &here.gpus);
            runs.retain(|run| same(&run.record.machine) && run.record.counts.steps > 0);
        }
        Self { runs, known: HashMap::new() }
    }

    /// The pace of the finished run that is nearest to a plan.
    pub fn of(&mut self, plan: &Plan) -> Option<Pace> {
        let plan: Table = plan.to_toml().parse().ok()?;
        let work = work(&plan);
        let runs = &self.runs;
        let find = || {
            let like = runs.iter().filter(|run| self::work(&run.plan) == work);
            let run = like.max_by_key(|run| equal_keys(&plan, &run.plan))?;
            let seconds = &run.record.seconds;
            let beside = (seconds.total - seconds.training).max(0.0);
            Some(Pace { run: run.name().to_owned(), per_step: seconds.per_step, beside })
        };
        self.known.entry(work.clone()).or_insert_with(find).clone()
    }
}

/// What a step computes, in words that are equal where it is the same.
fn work(plan: &Table) -> String {
    let adapter = plan.get("adapter").and_then(Value::as_table);
    let adapter = adapter.and_then(|table| {
        let (name, inner) = table.iter().next()?;
        let inside = inner.as_table().filter(|_| name == "dreambooth");
        let inside = inside.and_then(|table| ["lora", "full"].into_iter().find(|name| table.contains_key(*name)));
        Some(format!("{name} {}", inside.unwrap_or_default()))
    });
    let keys = WORK.iter().map(|path| format!("{:?}", value(plan, path)));
    keys.chain(adapter).collect::<Vec<_>>().join("|")
}

/// The value at a path such as `train.learning_rate`.
fn value<'a>(table: &'a Table, path: &str) -> Option<&'a Value> {
    match path.split_once('.') {
        Some((first, rest)) => value(table.get(first)?.as_table()?, rest),
        None => table.get(path),
    }
}

fn equal_keys(a: &Table, b: &Table) -> usize {
    let one = |(name, value): (&String, &Value)| match (value, b.get(name)) {
        (Value::Table(a), Some(Value::Table(b))) => equal_keys(a, b),
        (a, Some(b)) => usize::from(a == b),
        _ => 0,
    };
    a.iter().map(one).sum()
}
