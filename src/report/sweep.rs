//! What came of a sweep: `results/NAME.sweep/`.
//!
//! In: what a `[sweep]` stated, and the finished runs of the tree. Out: `sweep.csv` with a row for each run, `groups.csv` with mean and
//! deviation over its seeds, a figure of each main number over its keys, and blocks for the page. All of it can be made again from
//! `sweep.json` and the runs.

pub mod drawing;
pub mod grouped;
pub mod measure;
pub mod spread;

use std::path::Path;

use super::document::{Block, Grid, Image, encode};
use super::figure::{Drawing, PIXELS_PER_INCH};
use super::runs::Run;
use super::settings::{flat, value_of};
use crate::config::files::Sweep;
use crate::error::Result;
use crate::numbers::counted;
use crate::results::{sweep_folder, write_atomic, write_figure};
use grouped::{Grouped, SEED, csv};
use measure::Measure;

/// Figures of so many numbers are drawn.
const MOST_FIGURES: usize = 4;

/// A sweep with its finished runs.
pub struct Swept<'a> {
    sweep: &'a Sweep,
    /// Each with the `[[variant]]` that it belongs to.
    runs: Vec<(&'a Run, Option<&'a str>)>,
}

impl<'a> Swept<'a> {
    /// Those of the tree's runs that are of the sweep as it is stated now; stand-ins only where none of its own runs is
    /// finished. `None` where none is.
    pub fn of(sweep: &'a Sweep, finished: &'a [Run]) -> Option<Self> {
        let is_current = |name: &str| !sweep.outdated.iter().any(|outdated| outdated == name);
        let find = |name: &str| finished.iter().find(|run| run.name() == name && is_current(name));
        let own = sweep.runs.iter().filter_map(|run| Some((find(&run.name)?, run.variant.as_deref())));
        let mut runs: Vec<_> = own.collect();
        if runs.is_empty() {
            let stand_ins = sweep.runs.iter();
            runs =
                stand_ins.filter_map(|run| Some((find(run.stand_in.as_deref()?)?, run.variant.as_deref()))).collect();
        }
        (!runs.is_empty()).then_some(Self { sweep, runs })
    }

    /// How many of its runs are finished.
    pub fn count(&self) -> usize {
        self.runs.len()
    }

    fn all(&self) -> Vec<&'a Run> {
        self.runs.iter().map(|(run, _)| *run).collect()
    }

    /// The keys that tell groups apart; not one that plans have under another name by now.
    fn keys(&self) -> Vec<String> {
        let plans: Vec<_> = self.runs.iter().map(|(run, _)| flat(&run.plan)).collect();
        let is_known = |key: &&String| *key != SEED && plans.iter().any(|plan| plan.contains_key(*key));
        self.sweep.keys.iter().filter(is_known).cloned().collect()
    }

    /// The runs of each `[[variant]]`, or all.
    fn parts(&self) -> Vec<(Option<&'a str>, Vec<&'a Run>)> {
        let mut parts: Vec<(Option<&str>, Vec<&Run>)> = Vec::new();
        for (run, variant) in &self.runs {
            match parts.iter_mut().find(|(known, _)| known == variant) {
                Some((_, members)) => members.push(run),
                None => parts.push((*variant, vec![run])),
            }
        }
        parts
    }

    /// A row for each run: its values of the swept keys, and its numbers in all digits.
    ///
    /// # Errors
    /// None that is known of.
    pub fn to_csv(&self) -> Result<String> {
        let measures = Measure::of(&self.all());
        let has_variants = self.runs.iter().any(|(_, variant)| variant.is_some());
        let variant = has_variants.then(|| "variant".to_owned());
        let head = ["run".to_owned()].into_iter().chain(variant).chain(self.sweep.keys.iter().cloned());
        let head = head.chain(measures.iter().map(|measure| measure.key().to_owned())).collect();
        let row = |(run, variant): &(&Run, Option<&str>)| -> Vec<String> {
            let plan = flat(&run.plan);
            let values = self.sweep.keys.iter().map(|key| value_of(&plan, key).unwrap_or_default());
            let numbers =
                measures.iter().map(|measure| measure.number(run).map_or_else(String::new, |n| n.to_string()));
            let variant = has_variants.then(|| variant.unwrap_or_default().to_owned());
            [run.name().to_owned()].into_iter().chain(variant).chain(values).chain(numbers).collect()
        };
        csv([head].into_iter().chain(self.runs.iter().map(row)))
    }

    /// Groups, of each `[[variant]]` apart.
    fn grouped(&self) -> Result<Vec<(Option<&'a str>, Grouped<'a>)>> {
        let keys = self.keys();
        self.parts().into_iter().map(|(variant, runs)| Ok((variant, Grouped::new(&runs, &keys, &[])?))).collect()
    }

    /// The numbers that figures are drawn of: those that the table shows.
    fn drawn(&self) -> Vec<Measure> {
        let mut measures = Measure::of(&self.all());
        measures.retain(|measure| measure.is_shown());
        let has_evaluation = measures.iter().any(|measure| measure.key() == "eval_loss_last");
        measures.retain(|measure| !has_evaluation || measure.key() != "final_loss");
        measures.truncate(MOST_FIGURES);
        measures
    }

    /// Each figure with the stem of its files and its caption. Over more than two keys it is drawn over the first two.
    fn figures(&self) -> Result<Vec<(String, String, Drawing)>> {
        let keys = self.keys();
        let shown = &keys[..keys.len().min(2)];
        let mut figures = Vec::new();
        if shown.is_empty() {
            return Ok(figures);
        }
        for (variant, runs) in self.parts() {
            for measure in
                self.drawn().into_iter().filter(|measure| runs.iter().any(|run| measure.number(run).is_some()))
            {
                let stem = [Some(measure.key()), variant].into_iter().flatten().collect::<Vec<_>>().join("-");
                let of = variant.map_or_else(String::new, |variant| format!("{variant}: "));
                let caption = format!("{of}{} over {}, mean of all else", measure.heading(), shown.join(" and "));
                figures.push((stem, caption, drawing::draw(&runs, measure, shown)?));
            }
        }
        Ok(figures)
    }

    /// Writes everything but `sweep.json`; returns the names of the files, from the results folder on.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write(&self, results: &Path) -> Result<Vec<String>> {
        let folder = sweep_folder(&self.sweep.name);
        let mut names = vec![format!("{folder}/sweep.csv")];
        write_atomic(&results.join(&names[0]), self.to_csv()?.as_bytes())?;
        for (variant, grouped) in self.grouped()? {
            let name = variant.map_or_else(|| "groups.csv".to_owned(), |variant| format!("groups-{variant}.csv"));
            let name = format!("{folder}/{name}");
            write_atomic(&results.join(&name), grouped.to_csv()?.as_bytes())?;
            names.push(name);
        }
        for (stem, _, drawing) in self.figures()? {
            let [png, svg] = ["png", "svg"].map(|ending| format!("{folder}/{stem}.{ending}"));
            write_figure(&results.join(&png), &drawing.to_image()?, PIXELS_PER_INCH)?;
            write_atomic(&results.join(&svg), drawing.to_svg()?.as_bytes())?;
            names.extend([png, svg]);
        }
        Ok(names)
    }

    /// `best by eval loss (lower is better): sweep-lr1e-3-rank8-seed2, 0.0836`, and of means.
    pub fn best(&self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        for (variant, grouped) in self.grouped()? {
            let of = variant.map_or_else(String::new, |variant| format!("{variant}: "));
            let runs: Vec<&Run> = grouped.groups.iter().flat_map(|group| group.runs.iter().copied()).collect();
            for measure in self.drawn() {
                lines.extend(best_run(&runs, measure).map(|line| format!("{of}{line}")));
                lines.extend(best_group(&grouped, measure).map(|line| format!("{of}{line}")));
            }
        }
        Ok(lines)
    }

    /// For the page and the write-up: what the runs are, the best ones, the means and the figures that lie in the tree.
    ///
    /// # Errors
    /// None that is known of.
    pub fn blocks(&self, results: &Path) -> Result<Vec<Block>> {
        let keys = self.sweep.keys.join(" × ");
        let of = match self.sweep.runs.len() - self.runs.len() {
            0 => counted(self.runs.len(), "run"),
            missing => {
                format!("{} of {}, {missing} not finished", self.runs.len(), counted(self.sweep.runs.len(), "run"))
            }
        };
        let mark = if self.all().iter().any(|run| run.record.stand_in.is_some()) { " (STAND-IN)" } else { "" };
        let mut out =
            vec![Block::Heading(3, format!("{}{mark}", self.sweep.name)), Block::Text(format!("{keys}: {of}."))];
        out.extend(self.best()?.into_iter().map(|line| Block::Text(capital(&line) + ".")));
        for (variant, grouped) in self.grouped()? {
            out.extend(variant.map(|variant| Block::Text(format!("Variant {variant}:"))));
            let (headings, rows) = grouped.cells();
            out.push(Block::Table(Grid { headings, rows }));
            out.push(Block::Text(capital(&grouped.notes().join("; ")) + "."));
        }
        let folder = sweep_folder(&self.sweep.name);
        for (stem, caption, _) in self.figures()? {
            let [png, svg] = ["png", "svg"].map(|ending| format!("{folder}/{stem}.{ending}"));
            if results.join(&png).is_file() {
                let vector = results.join(&svg).is_file().then_some(svg);
                out.push(Block::Image(Image { path: png, caption: capital(&caption), vector, narrow: true }));
            }
        }
        let link = format!("All numbers: {}/sweep.csv, {}/groups.csv", encode(&folder), encode(&folder));
        out.push(Block::Text(link));
        Ok(out)
    }
}

/// The best run, in words.
pub fn best_run(runs: &[&Run], measure: Measure) -> Option<String> {
    let (run, number) = measure.best(runs.iter().filter_map(|run| Some((*run, measure.number(run)?))))?;
    let decimals = measure.decimals();
    Some(format!("best run by {} ({}): {}, {number:.decimals$}", measure.heading(), measure.direction(), run.name()))
}

/// The best group by its mean, in words; nothing where no group has more than one run.
pub fn best_group(grouped: &Grouped, measure: Measure) -> Option<String> {
    if grouped.groups.iter().all(|group| group.runs.len() < 2) {
        return None;
    }
    let (group, spread) = grouped.best(measure)?;
    let words = spread.words(measure.decimals());
    if grouped.keys.is_empty() {
        return Some(format!("mean of {}: {words}, {}", measure.heading(), group.over()));
    }
    Some(format!("best mean by {}: {}, {words}, {}", measure.heading(), group.words(&grouped.keys), group.over()))
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().collect::<String>() + letters.as_str())
}
