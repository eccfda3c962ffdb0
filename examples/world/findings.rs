//! `world findings`: the report's findings in miniature, as one table.
//!
//! In: results trees of `tunelab run crates/tunelab-core/assets/mini/findings.toml`, one tree for each seed, and the judge. Out: Markdown with a
//! row for each way of fine-tuning and prompt: mean and standard deviation over the trees of what the run's own
//! samples show. Rows above say what the model drew before, and what drawn pictures of the world and of the subject
//! show: the ends of each scale.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use candle_core::Device;
use clap::Args;
use tunelab::data::{self, Rgb};
use tunelab::error::{Error, Result};
use tunelab::measure::judge::{Judge, SIDE};
use tunelab::report::runs::{Run, Runs};
use tunelab::results::{RunDir, SampleSet};

use crate::looks::{Looks, Measure, drawn, unseen};
use crate::scene::Animal;

/// Between what is trained on and the class prompt, where there is prior preservation.
const PRIOR: &str = ", prior ";

/// The arguments of `world findings`.
#[derive(Args)]
pub struct Findings {
    /// Results trees: one for each seed
    #[arg(required = true)]
    results: Vec<PathBuf>,
    /// The judge's weights
    #[arg(long)]
    judge: PathBuf,
    /// Also write the table to this file
    #[arg(long)]
    out: Option<PathBuf>,
}

/// A row of the table, with what each seed gave.
struct Row {
    trained: String,
    parameters: Option<u64>,
    prompt: String,
    seeds: Vec<Looks>,
}

/// Prints the table.
pub fn findings(args: &Findings) -> Result<()> {
    let measure = Measure::new(Judge::open(&args.judge, &Device::Cpu)?)?;
    let mut runs = Vec::new();
    for results in &args.results {
        runs.extend(Runs::read(results, &mut |text| eprintln!("warning: {text}"))?.finished);
    }
    // LoRA before all weights, and with prior preservation last.
    runs.sort_by_key(|run| {
        let method = method(&run.plan);
        (method.contains(PRIOR), prompt(&run.plan).to_owned(), run.record.counts.trained_parameters)
    });
    let mut rows = Vec::new();
    for set in [SampleSet::Base, SampleSet::Final] {
        for run in &runs {
            add(&mut rows, &measure, run, set)?;
        }
    }
    let count = rows.first().map_or(1, |row: &Row| row.seeds.len());
    let all: Vec<Row> = references(&measure, pictures_each(&runs), count)?.into_iter().chain(rows).collect();
    let text = table(&all);
    print!("{text}");
    match &args.out {
        Some(file) => Ok(fs_err::write(file, text)?),
        None => Ok(()),
    }
}

/// Judges the samples of one set of a run, and puts them into the rows of their kind.
fn add(rows: &mut Vec<Row>, measure: &Measure, run: &Run, set: SampleSet) -> Result<()> {
    let folder = RunDir::existing(&run.path)?;
    let (trained, parameters) = match set {
        SampleSet::Base => ("before".to_owned(), None),
        SampleSet::Step(_) | SampleSet::Final => (method(&run.plan), Some(run.record.counts.trained_parameters)),
    };
    for prompt in prompts(run) {
        let pictures = samples(&folder, set, &prompt)?;
        if pictures.is_empty() {
            continue;
        }
        let looks = measure.looks(&pictures, animal(&prompt))?;
        match rows.iter_mut().find(|row| (&row.trained, &row.prompt) == (&trained, &prompt)) {
            Some(row) => row.seeds.push(looks),
            None => rows.push(Row { trained: trained.clone(), parameters, prompt, seeds: vec![looks] }),
        }
    }
    Ok(())
}

/// Drawn pictures of the world and of the subject, `each` in a set and as many sets as there are seeds.
fn references(measure: &Measure, each: usize, sets: usize) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let seeds = || (0..sets as u64).map(|set| 7000 + set);
    for animal in [Animal::Dog, Animal::Cat] {
        let seeds = seeds().map(|seed| measure.looks(&drawn(animal, each, seed), animal)).collect::<Result<_>>()?;
        let prompt = format!("a {}", animal.word());
        rows.push(Row { trained: "drawn: the world".into(), parameters: None, prompt, seeds });
    }
    let seeds = seeds().map(|seed| measure.looks(&unseen(each, seed), Animal::Dog)).collect::<Result<_>>()?;
    rows.push(Row { trained: "drawn: the subject".into(), parameters: None, prompt: String::new(), seeds });
    Ok(rows)
}

/// "LoRA on “a dog”", "LoRA of all layers on “a dog”", "LoRA on “a sks dog”, prior “a dog”".
fn method(plan: &toml::Table) -> String {
    let adapter = plan.get("adapter");
    let prior = adapter.and_then(|adapter| adapter.get("dreambooth"));
    let lora = prior.or(adapter).and_then(|trained| trained.get("lora"));
    let targets = lora.and_then(|lora| lora.get("targets")?.as_array());
    // The projections of attention are diffusers' default.
    let attention = targets.is_none_or(|all| all.iter().all(|t| t.as_str().is_some_and(|t| t.starts_with("to_"))));
    let trained = match lora {
        Some(_) if attention => "LoRA",
        Some(_) => "LoRA of all layers",
        None => "all weights",
    };
    let what = format!("{trained} on “{}”", prompt(plan));
    match prior.and_then(|prior| prior.get("class_prompt")).and_then(toml::Value::as_str) {
        Some(class) => format!("{what}{PRIOR}“{class}”"),
        None => what,
    }
}

/// What the pictures are called that a run trains on.
fn prompt(plan: &toml::Table) -> &str {
    let prompt = plan.get("dataset").and_then(|dataset| dataset.get("prompt"));
    prompt.and_then(toml::Value::as_str).unwrap_or("their captions")
}

fn prompts(run: &Run) -> Vec<String> {
    let prompts = run.plan.get("eval").and_then(|eval| eval.get("prompts")).and_then(toml::Value::as_array);
    prompts.into_iter().flatten().filter_map(|prompt| prompt.as_str().map(str::to_owned)).collect()
}

/// The animal that a prompt names; a dog if none.
fn animal(prompt: &str) -> Animal {
    let named = prompt.split(' ').find_map(|word| Animal::ALL.iter().find(|animal| animal.word() == word));
    named.copied().unwrap_or(Animal::Dog)
}

/// The pictures 0, 1, … of one prompt, as many as there are.
fn samples(run: &RunDir, set: SampleSet, prompt: &str) -> Result<Vec<Rgb>> {
    let paths = (0..).map(|index| run.sample_path(set, prompt, index)).take_while(|path| path.is_file());
    paths.map(|path| sample(&path)).collect()
}

fn sample(path: &Path) -> Result<Rgb> {
    let picture = data::load_image(path)?;
    if (picture.width, picture.height) != (SIDE, SIDE) {
        return Err(Error::input(format!("{} is not {SIDE} x {SIDE}: the judge knows no other", path.display())));
    }
    Ok(picture)
}

/// How many pictures the runs have of each prompt.
fn pictures_each(runs: &[Run]) -> usize {
    let images = |run: &Run| run.plan.get("eval")?.get("images")?.as_integer();
    runs.iter().find_map(images).map_or(1, |images| images.max(2) as usize)
}

/// The table as Markdown.
fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| trained | parameters | prompt | right animal | orange fur | tongue out | the subject | distance | coats | \
         variety |\n| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    let mut said = BTreeSet::new();
    for Row { trained, parameters, prompt, seeds } in rows {
        // Once for each way of fine-tuning.
        let count = parameters.filter(|_| said.insert(trained)).map_or(String::new(), grouped);
        let percent = |of: fn(&Looks) -> f64| spread(seeds, of, 100.0, 0);
        let number = |of: fn(&Looks) -> f64| spread(seeds, of, 1.0, 2);
        let cells = [
            trained.clone(),
            count,
            prompt.clone(),
            percent(|l| l.animal),
            percent(|l| l.orange),
            percent(|l| l.tongue),
            percent(|l| l.subject),
            number(|l| l.distance),
            spread(seeds, |l| l.coats, 1.0, 1),
            number(|l| l.variety),
        ];
        // Writing into a text does not fail.
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text + "\nMean ± standard deviation over the seeds; shares in percent. *Distance*: from pictures of the subject that nothing \
            was trained on, in the judge's features (energy distance; 0: cannot be told apart). *Coats*: how many there \
            are (the exponential of their entropy). *Variety*: mean distance between two pictures. Distances are in \
            units of that between two drawn dogs.\n"
}

/// "83 ± 5"; without the second number if there is one seed.
fn spread(seeds: &[Looks], of: fn(&Looks) -> f64, scale: f64, digits: usize) -> String {
    let values: Vec<f64> = seeds.iter().map(|looks| scale * of(looks)).collect();
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    if values.len() < 2 {
        return format!("{mean:.digits$}");
    }
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    format!("{mean:.digits$} ± {:.digits$}", (squares / (values.len() - 1) as f64).sqrt())
}

/// 1,234,567.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let parts: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|part| std::str::from_utf8(part).ok()).collect();
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(orange: f64) -> Looks {
        Looks { animal: 1.0, orange, tongue: 0.0, subject: 0.5, distance: 0.25, coats: 2.0, variety: 0.75 }
    }

    #[test]
    fn a_row_holds_mean_and_spread_over_the_seeds() {
        let row = |prompt: &str| Row {
            trained: "LoRA".into(),
            parameters: Some(12_345),
            prompt: prompt.into(),
            seeds: vec![looks(0.25), looks(0.75), looks(0.5)],
        };
        let text = table(&[row("a dog"), row("a cat")]);
        let dog =
            "| LoRA | 12,345 | a dog | 100 ± 0 | 50 ± 25 | 0 ± 0 | 50 ± 0 | 0.25 ± 0.00 | 2.0 ± 0.0 | 0.75 ± 0.00 |";
        assert!(text.contains(dog), "{text}");
        assert!(text.contains("| LoRA |  | a cat |"), "{text}");
        assert_eq!(spread(&[looks(0.25)], |l| l.orange, 100.0, 0), "25");
    }

    #[test]
    fn prompts_name_their_animal() {
        assert_eq!(animal("a sks dog"), Animal::Dog);
        assert_eq!(animal("a brown elephant at night"), Animal::Elephant);
    }

    #[test]
    fn a_plan_says_how_it_trained() -> std::result::Result<(), Box<dyn std::error::Error>> {
        let plan = |adapter: &str| format!("[dataset]\nprompt = \"a sks dog\"\n{adapter}");
        let lora: toml::Table = toml::from_str(&plan("[adapter.lora]\nrank = 4"))?;
        let prior: toml::Table =
            toml::from_str(&plan("[adapter.dreambooth]\nclass_prompt = \"a dog\"\n[adapter.dreambooth.full]"))?;
        let wide: toml::Table = toml::from_str(&plan("[adapter.lora]\ntargets = [\"to_q\", \"conv1\"]"))?;
        assert_eq!(method(&lora), "LoRA on “a sks dog”");
        assert_eq!(method(&wide), "LoRA of all layers on “a sks dog”");
        assert_eq!(method(&prior), "all weights on “a sks dog”, prior “a dog”");
        Ok(())
    }
}
