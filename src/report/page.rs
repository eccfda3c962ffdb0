//! The write-up of a results tree: `report.md` and `index.html`.
//!
//! In: the tree's finished runs and the files beside them. Out: a document in the order of a
//! report: what stands in for what, warnings, environment, settings, data, curves, fidelity,
//! images, table, and the commands that repeat it all. It holds no date and no absolute path of its own, so it can
//! be moved with its tree and comes out the same each time.

mod commands;
mod data;
mod environment;
mod fidelity;
mod groups;
mod settings;

use std::path::Path;

use crate::error::Result;
use crate::numbers::duration_with_tenths;
use crate::results::write_atomic;

use super::document::{Block, Grid, Image, to_html, to_markdown};
use super::runs::{Run, Runs};
use super::table::{Table, to_cells};
use groups::{captioned, groups, shared_by};

const TITLE: &str = "Fine-tuning experiments";

/// Writes `report.md` and `index.html` into `results`.
pub fn write(results: &Path, runs: &Runs, table: &Table) -> Result<()> {
    let blocks = blocks(results, runs, table);
    write_atomic(&results.join("report.md"), to_markdown(&blocks).as_bytes())?;
    write_atomic(&results.join("index.html"), to_html(TITLE, &blocks).as_bytes())
}

/// The whole document.
pub fn blocks(results: &Path, runs: &Runs, table: &Table) -> Vec<Block> {
    let finished = &runs.finished;
    let mut out = vec![Block::Heading(1, TITLE.to_string()), Block::Text(summary(runs))];
    out.extend(stand_ins(finished));
    out.extend(warnings(finished));
    out.extend(environment::blocks(finished));
    out.extend(settings::blocks(finished));
    out.extend(data::blocks(finished));
    out.extend(curves(results, finished));
    out.extend(fidelity::blocks(finished));
    out.extend(images(finished));
    out.extend(table_blocks(table));
    out.extend(commands::blocks(finished));
    out
}

fn summary(runs: &Runs) -> String {
    let names: Vec<&str> = runs.finished.iter().map(Run::name).collect();
    let seconds: f64 = runs.finished.iter().map(|run| run.record.seconds.total).sum();
    let count = names.len();
    let mut text = format!(
        "{count} finished {} ({}), {} in all.",
        if count == 1 { "run" } else { "runs" },
        names.join(", "),
        duration_with_tenths(seconds)
    );
    if !runs.unfinished.is_empty() {
        let folder = |path: &std::path::PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let names: Vec<String> = runs.unfinished.iter().map(folder).collect();
        text.extend([" Not finished and left out: ", &names.join(", "), "."]);
    }
    text
}

/// What stands in for what, and why, each thing once; every run's own mark is in its captions and
/// in the table.
fn stand_ins(runs: &[Run]) -> Vec<Block> {
    let sentence = |run: &Run| run.record.stand_in.as_ref().map(|s| format!("{}, because {}", s.what, s.why));
    let said = groups(runs, sentence).into_iter().filter_map(|(sentence, members)| Some((sentence?, members)));
    said.map(|(sentence, members)| {
        let names: Vec<&str> = members.iter().map(|run| run.name()).collect();
        let are = if names.len() == 1 { "is a STAND-IN" } else { "are STAND-INs" };
        Block::Banner(format!("{} {are}: {sentence}.", names.join(", ")))
    })
    .collect()
}

/// What was passed over, cut or clamped in the runs.
fn warnings(runs: &[Run]) -> Vec<Block> {
    let warned = groups(runs, |run| run.record.warnings.clone());
    let rows = warned.iter().flat_map(|(warnings, members)| {
        let who = shared_by(members, runs.len());
        warnings.iter().map(move |warning| vec![who.clone(), warning.clone()])
    });
    let rows: Vec<Vec<String>> = rows.collect();
    if rows.is_empty() {
        return Vec::new();
    }
    let headings = vec!["run".to_string(), "warning".into()];
    vec![Block::Heading(2, "Warnings".into()), Block::Table(Grid { headings, rows })]
}

/// The overlay of all runs, then each run's own.
fn curves(results: &Path, runs: &[Run]) -> Vec<Block> {
    let mut out = vec![Block::Heading(2, "Curves".into())];
    let mut show = |folder: &Path, prefix: &str, caption: String| {
        let path = |ending: &str| folder.join(ending).is_file().then(|| format!("{prefix}{ending}"));
        out.extend(
            path("loss.png")
                .map(|png| Block::Image(Image { path: png, caption, vector: path("loss.svg"), narrow: true })),
        );
    };
    if runs.len() > 1 {
        show(
            results,
            "",
            "All runs: training losses, averaged over the same number of steps, and evaluation losses".into(),
        );
    }
    for run in runs {
        show(&run.path, &format!("{}/", run.folder()), format!("{}: losses", captioned(run)));
    }
    if out.len() == 1 { Vec::new() } else { out }
}

fn images(runs: &[Run]) -> Vec<Block> {
    let image = |run: &Run, file: &str, what: &str| {
        run.path.join(file).is_file().then(|| {
            Block::Image(Image {
                path: format!("{}/{file}", run.folder()),
                caption: format!("{}: {what}", captioned(run)),
                vector: None,
                narrow: false,
            })
        })
    };
    let of_run = |run| {
        let both = image(run, "grid.png", "the same prompts and seeds before and after training");
        both.into_iter().chain(image(run, "steps.png", "the same seed of each prompt at steps of the training"))
    };
    let images: Vec<Block> = runs.iter().flat_map(of_run).collect();
    if images.is_empty() { images } else { [vec![Block::Heading(2, "Pictures".into())], images].concat() }
}

fn table_blocks(table: &Table) -> Vec<Block> {
    // What stands in for what is said at the page's beginning.
    let (headings, rows, note) = to_cells(&Table { stand_ins: Vec::new(), ..table.clone() });
    let mut out = vec![Block::Heading(2, "Table".into()), Block::Table(Grid { headings, rows })];
    if !note.is_empty() {
        out.push(Block::Text(note));
    }
    out.push(Block::Text("The same as numbers: table.csv, table.md, table.tex.".into()));
    out
}
