//! Runs in groups of equal settings: mean and deviation over what differs within a group, seeds most of the time.
//!
//! In: runs, and the keys that tell groups apart. Out: [`Grouped`], a row for each group, in the order of the keys' values, numbers by
//! their size; as text, CSV and JSON. A stand-in and a run of the experiment's own model are never in one group.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::measure::Measure;
use super::spread::Spread;
use crate::cli::terminal::{left, right, width};
use crate::config::experiment::similar;
use crate::error::{Error, Result};
use crate::report::runs::Run;
use crate::report::settings::{flat, sorted, value_of};

/// What differs between runs by chance alone.
pub const SEED: &str = "seed";
/// What stands where nothing is known.
const NONE: &str = "–";

/// Groups of runs.
#[derive(Debug)]
pub struct Grouped<'a> {
    /// The keys that tell groups apart.
    pub keys: Vec<String>,
    /// What is measured.
    pub measures: Vec<Measure>,
    /// The groups, in the order of their values.
    pub groups: Vec<Group<'a>>,
}

/// Runs of equal settings.
#[derive(Debug)]
pub struct Group<'a> {
    /// The value of each key, as readers see it.
    pub values: Vec<String>,
    /// Its runs.
    pub runs: Vec<&'a Run>,
    /// Of each measure, what the runs have of it.
    pub spreads: Vec<Option<Spread>>,
    /// Whether its runs are stand-ins.
    pub stand_in: bool,
    /// Whether they differ in the seed alone.
    by_seed: bool,
}

impl<'a> Grouped<'a> {
    /// Groups that differ in `keys`; `measures` are all that there are, if none is named.
    ///
    /// # Errors
    /// Wrong input: no run has one of the keys.
    pub fn new(runs: &[&'a Run], keys: &[String], measures: &[Measure]) -> Result<Self> {
        let plans: Vec<BTreeMap<String, String>> = runs.iter().map(|run| flat(&run.plan)).collect();
        for key in keys {
            if !plans.iter().any(|plan| plan.contains_key(key)) {
                return Err(unknown(key, &plans));
            }
        }
        let mut found: Vec<(bool, Vec<String>, Vec<usize>)> = Vec::new();
        for (at, plan) in plans.iter().enumerate() {
            let value = |key: &String| value_of(plan, key).unwrap_or_else(|| NONE.to_owned());
            let values: Vec<String> = keys.iter().map(value).collect();
            let stand_in = runs[at].record.stand_in.is_some();
            match found.iter_mut().find(|(kind, known, _)| *kind == stand_in && *known == values) {
                Some((.., members)) => members.push(at),
                None => found.push((stand_in, values, vec![at])),
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| compare_all(&a.1, &b.1)));
        let measures = if measures.is_empty() { Measure::of(runs) } else { measures.to_vec() };
        let group = |(stand_in, values, members): (bool, Vec<String>, Vec<usize>)| {
            // Whatever the groups are told apart by.
            let by_seed = members.iter().all(|at| {
                let others = |plan: &BTreeMap<String, String>| {
                    plan.iter()
                        .filter(|(key, _)| is_setting(key))
                        .map(|(k, v)| (k.clone(), v.clone()))
                        .collect::<Vec<_>>()
                };
                others(&plans[*at]) == others(&plans[members[0]])
            });
            let runs: Vec<&Run> = members.into_iter().map(|at| runs[at]).collect();
            let spread =
                |measure: &Measure| Spread::of(&runs.iter().filter_map(|run| measure.number(run)).collect::<Vec<_>>());
            let spreads = measures.iter().map(spread).collect();
            Group { values, runs, spreads, stand_in, by_seed }
        };
        Ok(Self { keys: keys.to_vec(), groups: found.into_iter().map(group).collect(), measures })
    }

    /// The group that is best by a measure's mean.
    pub fn best(&self, measure: Measure) -> Option<(&Group<'a>, Spread)> {
        let at = self.measures.iter().position(|own| *own == measure)?;
        let means = self.groups.iter().filter_map(|group| Some((group, group.spreads[at]?)));
        let (group, _) = measure.best(means.map(|(group, spread)| (group, spread.mean)))?;
        Some((group, group.spreads[at]?))
    }

    /// Headings and rows for readers; a heading that begins with `>` is of numbers.
    pub fn cells(&self) -> (Vec<String>, Vec<Vec<String>>) {
        let numeric = |at: usize| self.groups.iter().all(|group| group.values[at].parse::<f64>().is_ok());
        let keys = self.keys.iter().enumerate().map(|(at, key)| format!("{}{key}", if numeric(at) { ">" } else { "" }));
        let measures = self.measures.iter().map(|measure| format!(">{}", measure.heading()));
        let headings = keys.chain(["mean of".to_owned()]).chain(measures).collect();
        let row = |group: &Group| {
            let spreads = self.measures.iter().zip(&group.spreads);
            let spreads = spreads.map(|(measure, spread)| {
                spread.as_ref().map_or_else(|| NONE.to_owned(), |spread| spread.words(measure.decimals()))
            });
            group.values.iter().map(|value| short(value)).chain([group.over()]).chain(spreads).collect()
        };
        (headings, self.groups.iter().map(row).collect())
    }

    /// For a terminal.
    pub fn to_text(&self) -> String {
        let (headings, rows) = self.cells();
        let plain = |heading: &String| heading.trim_start_matches('>').to_owned();
        let mut lines: Vec<Vec<String>> = vec![headings.iter().map(plain).collect()];
        lines.extend(rows);
        let widths: Vec<usize> =
            (0..headings.len()).map(|at| lines.iter().map(|line| width(&line[at])).max().unwrap_or(0)).collect();
        let cell = |(at, text): (usize, &String)| {
            if headings[at].starts_with('>') { right(text, widths[at]) } else { left(text, widths[at]) }
        };
        let line = |line: &Vec<String>| {
            let cells: Vec<String> = line.iter().enumerate().map(cell).collect();
            format!("{}\n", cells.join("  ").trim_end())
        };
        let notes = self.notes().into_iter().map(|note| format!("{note}\n"));
        lines.iter().map(line).chain(notes).collect()
    }

    /// What the numbers are.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = vec!["mean ± standard deviation (n − 1) over the runs of a group".to_owned()];
        if self.groups.iter().any(|group| group.runs.len() == 1) {
            notes.push("of 1 seed or run there is no deviation".to_owned());
        }
        notes
    }

    /// A row for each group; no deviation where there is one run.
    ///
    /// # Errors
    /// None that is known of.
    pub fn to_csv(&self) -> Result<String> {
        let both = |measure: &Measure| ["mean", "sd"].map(|what| format!("{}_{what}", measure.key()));
        let headings = self.keys.iter().cloned().chain(["runs".to_owned(), "stand_in".to_owned()]);
        let headings = headings.chain(self.measures.iter().flat_map(both)).collect();
        let digits = |number: Option<f64>| number.map_or_else(String::new, |number| number.to_string());
        let row = |group: &Group| -> Vec<String> {
            let spread = |spread: &Option<Spread>| {
                [digits(spread.map(|spread| spread.mean)), digits(spread.and_then(|spread| spread.deviation))]
            };
            let head = group.values.iter().cloned().chain([group.runs.len().to_string(), group.stand_in.to_string()]);
            head.chain(group.spreads.iter().flat_map(spread)).collect()
        };
        csv([headings].into_iter().chain(self.groups.iter().map(row)))
    }

    /// A list with an object for each group.
    pub fn to_json(&self) -> String {
        let object = |group: &Group| {
            let keys = self.keys.iter().zip(&group.values).map(|(key, value)| {
                let number = value.parse::<f64>().ok().map_or_else(|| json!(value), |number| json!(number));
                (key.clone(), number)
            });
            let spread = |spread: &Spread| json!({"mean": spread.mean, "sd": spread.deviation, "runs": spread.count});
            let measures = self.measures.iter().zip(&group.spreads);
            let measures =
                measures.map(|(measure, of)| (measure.key().to_owned(), of.as_ref().map_or(Value::Null, spread)));
            let head = [("runs".to_owned(), json!(group.runs.len())), ("stand_in".to_owned(), json!(group.stand_in))];
            Value::Object(keys.chain(head).chain(measures).collect::<Map<_, _>>()).to_string()
        };
        format!("[\n{}\n]\n", self.groups.iter().map(object).collect::<Vec<_>>().join(",\n"))
    }
}

impl Group<'_> {
    /// What the mean is over: `3 seeds`, `1 seed`, `6 runs`.
    pub fn over(&self) -> String {
        let (count, noun) = (self.runs.len(), if self.by_seed { "seed" } else { "run" });
        let mark = if self.stand_in { " (STAND-IN)" } else { "" };
        format!("{}{mark}", crate::numbers::counted(count, noun))
    }

    /// `train.learning_rate 0.001, adapter.lora.rank 8`.
    pub fn words(&self, keys: &[String]) -> String {
        keys.iter()
            .zip(&self.values)
            .map(|(key, value)| format!("{key} {}", short(value)))
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// Every key in which the runs differ but the seed.
pub fn differing(runs: &[&Run]) -> Vec<String> {
    let plans: Vec<BTreeMap<String, String>> = runs.iter().map(|run| flat(&run.plan)).collect();
    let differs = |key: &&str| is_setting(key) && plans.iter().any(|plan| plan.get(*key) != plans[0].get(*key));
    sorted(plans.iter().flat_map(BTreeMap::keys)).into_iter().filter(differs).map(str::to_owned).collect()
}

/// Not the seed, and nothing that only says what the run is.
fn is_setting(key: &str) -> bool {
    key != SEED && !key.starts_with("stands_in_for.") && !key.starts_with("reference.")
}

fn unknown(key: &str, plans: &[BTreeMap<String, String>]) -> Error {
    let keys = sorted(plans.iter().flat_map(BTreeMap::keys));
    let ending: Vec<&str> = keys.iter().copied().filter(|known| known.rsplit('.').next() == Some(key)).collect();
    let near = ending.first().copied().or_else(|| similar(key, &keys));
    let near = near.map_or_else(String::new, |near| format!("did you mean {near}? "));
    Error::input(format!("no run has a key `{key}`")).hint(format!("{near}`tunelab keys` explains every key"))
}

/// `0.0001` → `1e-4`, as a sweep's names have it.
pub fn short(value: &str) -> String {
    match value.parse::<f64>() {
        Ok(number) if number != 0.0 && (number.abs() < 1e-2 || number.abs() >= 1e6) => format!("{number:e}"),
        _ => value.to_owned(),
    }
}

/// Numbers by their size, other values by their letters.
pub fn compare(a: &str, b: &str) -> Ordering {
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => a.total_cmp(&b),
        _ => a.cmp(b),
    }
}

fn compare_all(a: &[String], b: &[String]) -> Ordering {
    a.iter().zip(b).map(|(a, b)| compare(a, b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

/// Rows as CSV.
pub fn csv(rows: impl Iterator<Item = Vec<String>>) -> Result<String> {
    let failed = |e: &dyn std::fmt::Display| Error::run("a table cannot be made").cause(e);
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.write_record(row).map_err(|e| failed(&e))?;
    }
    let bytes = writer.into_inner().map_err(|e| failed(&e))?;
    String::from_utf8(bytes).map_err(|e| failed(&e))
}
