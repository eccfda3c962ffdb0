//! The page's first words: what each experiment asks, and what came of it.
//!
//! In: finished runs with their plans' opening comments. Out: a [`Finding`] for each experiment.

use crate::numbers::{counted, duration, grouped};
use crate::report::fidelity::{Change, encoders, has, prompt, subject};
use crate::report::runs::Run;

use super::groups::groups;

/// An experiment: the runs whose files begin with the same comment.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// The comment's first paragraph; without one, the run's name.
    pub question: String,
    /// Its other paragraphs.
    pub description: Vec<String>,
    /// The runs' names.
    pub runs: Vec<String>,
    /// What came of it: of one run a line, of several a line for each number that differs.
    pub outcome: Vec<String>,
}

/// A number of a run, for comparison.
struct Number {
    name: String,
    words: String,
    value: f64,
}

/// The findings in the order of their first runs.
pub fn findings(runs: &[Run]) -> Vec<Finding> {
    let asked = groups(runs, |run| run.about.clone());
    asked
        .into_iter()
        .map(|(about, members)| {
            let mut paragraphs = about.iter().flat_map(|text| text.lines()).map(str::to_owned);
            Finding {
                question: paragraphs.next().unwrap_or_else(|| unasked(&members)),
                description: paragraphs.collect(),
                runs: members.iter().map(|run| run.name().to_owned()).collect(),
                outcome: if let [run] = members.as_slice() { vec![of_one(run)] } else { of_several(&members) },
            }
        })
        .collect()
}

/// The heading of runs whose files begin with no comment.
fn unasked(runs: &[&Run]) -> String {
    match runs {
        [run] => run.name().to_owned(),
        _ => format!("{} runs whose experiments ask no question", runs.len()),
    }
}

/// `subject 0.53 → 0.77, prompt 1.00 → 0.88 (builtin); evaluation loss 0.1080 → 0.0781; 600 steps in 39 s`.
fn of_one(run: &Run) -> String {
    let mut parts = Vec::new();
    if let Some(metrics) = &run.record.metrics {
        for encoder in encoders(metrics) {
            let words =
                |metric: &str| Some(format!("{metric} {}", Change::of(metrics, encoder, metric, None).words()?));
            let known: Vec<String> = names(run, encoder).into_iter().filter_map(words).collect();
            if !known.is_empty() {
                parts.push(format!("{} ({encoder})", known.join(", ")));
            }
        }
    }
    let loss = &run.record.loss;
    if let (Some(first), Some(last)) = (loss.eval_first, loss.eval_last) {
        parts.push(format!("evaluation loss {first:.4} → {last:.4}"));
    }
    let (steps, seconds) = (counted(run.record.counts.steps, "step"), duration(run.record.seconds.training));
    parts.push(format!("{steps} in {seconds}"));
    parts.join("; ")
}

/// For each number that differs who has the most of it and who the least.
fn of_several(runs: &[&Run]) -> Vec<String> {
    let short = short_names(runs);
    let all: Vec<Vec<Number>> = runs.iter().map(|run| numbers(run)).collect();
    let mut known: Vec<&str> = Vec::new();
    for number in all.iter().flatten().filter(|number| number.value.is_finite()) {
        if !known.contains(&number.name.as_str()) {
            known.push(&number.name);
        }
    }
    let line = |name: &str| {
        let of = |numbers: &'_ Vec<Number>| numbers.iter().position(|number| number.name == name);
        let mut values: Vec<(&str, &Number)> =
            all.iter().zip(&short).filter_map(|(numbers, run)| Some((run.as_str(), &numbers[of(numbers)?]))).collect();
        values.sort_by(|a, b| b.1.value.total_cmp(&a.1.value));
        let (most, least) = (values.first()?, values.last()?);
        let told = |(run, number): &(&str, &Number)| format!("{run} ({})", number.words);
        (values.len() > 1 && most.1.words != least.1.words)
            .then(|| format!("{name}: highest {}, lowest {}", told(most), told(least)))
    };
    let lines: Vec<String> = known.into_iter().filter_map(line).collect();
    if lines.is_empty() { vec!["These runs do not differ in any number.".to_owned()] } else { lines }
}

/// What runs are compared by.
fn numbers(run: &Run) -> Vec<Number> {
    let mut numbers = Vec::new();
    if let Some(metrics) = &run.record.metrics {
        for encoder in encoders(metrics) {
            for metric in names(run, encoder) {
                let change = Change::of(metrics, encoder, metric, None);
                let known = change.words().zip(change.tuned);
                numbers.extend(known.map(|(words, value)| Number {
                    name: format!("{metric} ({encoder})"),
                    words,
                    value,
                }));
            }
        }
    }
    let mut add = |name: &str, words: String, value: f64| numbers.push(Number { name: name.to_owned(), words, value });
    if let Some(loss) = run.record.loss.eval_last {
        add("evaluation loss", format!("{loss:.4}"), f64::from(loss));
    }
    let trained = run.record.counts.trained_parameters;
    add("trained parameters", grouped(trained), trained as f64);
    add("training time", duration(run.record.seconds.training), run.record.seconds.training);
    numbers
}

/// The metrics of an encoder that a finding is told by.
fn names(run: &Run, encoder: &str) -> Vec<&'static str> {
    let Some(metrics) = &run.record.metrics else { return Vec::new() };
    let measured = |metric: &'static str| has(metrics, encoder, metric).then_some(metric);
    [subject(metrics, encoder), prompt(metrics, encoder), measured("pres"), measured("diversity")]
        .into_iter()
        .flatten()
        .collect()
}

/// Names without the words that all begin and end with.
fn short_names(runs: &[&Run]) -> Vec<String> {
    let names: Vec<Vec<&str>> = runs.iter().map(|run| run.name().split('-').collect()).collect();
    // Something is left of each.
    let most = names.iter().map(Vec::len).min().unwrap_or(1) - 1;
    let is_shared = |word: &dyn Fn(&Vec<&str>) -> String| names.iter().all(|name| word(name) == word(&names[0]));
    let left = (0..most).take_while(|at| is_shared(&|name| name[*at].to_owned())).count();
    let right = (0..most - left).take_while(|at| is_shared(&|name| name[name.len() - 1 - at].to_owned())).count();
    names.iter().map(|name| name[left..name.len() - right].join("-")).collect()
}
