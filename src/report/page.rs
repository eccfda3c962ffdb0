//! The write-up of a results tree: `report.md` and `index.html`.
//!
//! In: the tree's finished runs and the files beside them. Out: the page and the document, both with the result first: what
//! was asked and what came of it, images, table, curves, what differs; then everything else. They hold no date and no
//! absolute path of their own, so they can be moved with their tree and come out the same each time.

mod commands;
mod data;
mod environment;
mod fidelity;
mod finding;
mod groups;
mod html;
mod run_view;
mod settings;
mod single_file;

use std::path::Path;

use crate::config::files::Sweep;
use crate::error::Result;
use crate::numbers::{counted, duration_with_tenths};
use crate::results::{sweeps, write_atomic};

use super::document::{Block, Grid, Image, encode, to_markdown};
use super::runs::{Folder, Run, Runs};
use super::sweep::Swept;
use super::table::{Table, to_cells, to_page};
pub use finding::{Finding, findings};
use groups::{captioned, groups, shared_by};
pub use html::{Data, Page};
pub use run_view::RunView;

const TITLE: &str = "Fine-tuning experiments";
/// The page, and the same as one file that needs no others.
pub const INDEX_HTML: &str = "index.html";
const REPORT_HTML: &str = "report.html";
const REPORT_MD: &str = "report.md";
/// A drawing of more bytes is linked, not part of the page.
const LARGEST_DRAWING: usize = 300_000;

/// Writes `report.md` and `index.html` into `results`, and `report.html` if it is to stand alone; returns their names.
pub fn write(results: &Path, runs: &Runs, table: &Table, single_file: bool) -> Result<Vec<&'static str>> {
    write_atomic(&results.join(REPORT_MD), to_markdown(&blocks(results, runs, table)).as_bytes())?;
    let mut page = Page::new(results, runs, table);
    write_atomic(&results.join(INDEX_HTML), page.to_html().as_bytes())?;
    if !single_file {
        return Ok(vec![REPORT_MD, INDEX_HTML]);
    }
    single_file::inline(results, &runs.finished, &mut page)?;
    let folders: Vec<String> = runs.finished.iter().map(|run| encode(&run.folder())).collect();
    page.table = to_page(table, &folders, false);
    write_atomic(&results.join(REPORT_HTML), page.to_html().as_bytes())?;
    Ok(vec![REPORT_MD, INDEX_HTML, REPORT_HTML])
}

impl Page {
    /// Of the finished runs of a tree.
    pub fn new(results: &Path, runs: &Runs, table: &Table) -> Self {
        let finished = &runs.finished;
        let folders: Vec<String> = finished.iter().map(|run| encode(&run.folder())).collect();
        let views = finished.iter().map(|run| RunView::of(run, finished.len())).collect();
        let blocks_of =
            |blocks: fn(&[Run]) -> Vec<Block>| if finished.is_empty() { Vec::new() } else { blocks(finished) };
        let details = [
            ("Fidelity by prompt", blocks_of(fidelity::blocks)),
            ("Warnings", blocks_of(warnings)),
            ("Settings that all share", blocks_of(settings::common)),
            ("Data", blocks_of(data::blocks)),
            ("Environment", blocks_of(environment::blocks)),
            ("To repeat it", blocks_of(commands::blocks)),
        ];
        Self {
            title: TITLE.to_owned(),
            summary: summary(runs),
            stand_ins: stand_ins(finished),
            findings: findings(finished),
            grids: images(finished),
            table: to_page(table, &folders, true),
            sweeps: swept(results, finished),
            curves: drawing(results),
            figures: figures(finished),
            differences: settings::differences(finished),
            details: details.into_iter().filter(|(_, blocks)| !blocks.is_empty()).collect(),
            images: [].into(),
            data: Data { live: false, runs: views, files: [].into() },
        }
    }

    /// The page with the runs that are under way too, for a script that asks for newer data.
    #[must_use]
    pub fn followed(mut self, runs: &Runs) -> Self {
        let all = runs.finished.len() + runs.unfinished.len();
        let folders = runs.unfinished.iter().filter_map(|path| Folder::open(path).ok());
        self.data.runs.extend(folders.map(|folder| RunView::under_way(&folder, all)));
        self.data.live = true;
        // It was drawn before the newest losses.
        self.curves = None;
        self.summary = told(&runs.finished);
        self
    }
}

/// The whole document.
pub fn blocks(results: &Path, runs: &Runs, table: &Table) -> Vec<Block> {
    let finished = &runs.finished;
    let mut out = vec![Block::Heading(1, TITLE.to_string()), Block::Text(summary(runs))];
    if let Some((sentence, cases)) = stand_ins(finished) {
        out.push(Block::Banner(format!("Stand-ins. {sentence}")));
        out.extend(cases.into_iter().map(Block::Text));
    }
    out.extend(findings(finished).into_iter().flat_map(answer));
    let part = |heading: &str, blocks: Vec<Block>| {
        if blocks.is_empty() { blocks } else { [vec![Block::Heading(2, heading.to_owned())], blocks].concat() }
    };
    out.extend(part("Pictures", images(finished)));
    out.extend(table_blocks(table));
    out.extend(part("Sweeps", swept(results, finished)));
    out.extend(part("Curves", curves(results, finished)));
    out.extend(part("What differs", settings::differences(finished)));
    out.extend(part("Fidelity by prompt", fidelity::blocks(finished)));
    out.extend(part("Warnings", warnings(finished)));
    out.extend(part("Settings that all share", settings::common(finished)));
    out.extend(part("Data", data::blocks(finished)));
    out.extend(part("Environment", environment::blocks(finished)));
    out.extend(part("To repeat it", commands::blocks(finished)));
    out
}

/// What came of each sweep; one that cannot be told is left out.
fn swept(results: &Path, finished: &[Run]) -> Vec<Block> {
    let told = |sweep: &Sweep| Swept::of(sweep, finished)?.blocks(results).ok();
    sweeps(results).iter().filter_map(told).flatten().collect()
}

fn answer(finding: Finding) -> Vec<Block> {
    let texts = finding.outcome.into_iter().chain(finding.description);
    [Block::Heading(2, finding.question)].into_iter().chain(texts.map(Block::Text)).collect()
}

fn told(finished: &[Run]) -> String {
    let seconds: f64 = finished.iter().map(|run| run.record.seconds.total).sum();
    match finished.len() {
        0 => "No finished run yet.".to_owned(),
        count => format!("{} finished, {} in all.", counted(count, "run"), duration_with_tenths(seconds)),
    }
}

fn summary(runs: &Runs) -> String {
    let mut text = told(&runs.finished);
    if !runs.unfinished.is_empty() {
        let folder = |path: &std::path::PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let names: Vec<String> = runs.unfinished.iter().map(folder).collect();
        text.extend([" Not finished and left out: ", &names.join(", "), "."]);
    }
    text
}

/// What stands in for what, and why, once for all runs, and the single cases; every run's own mark is in its captions and in
/// the table.
fn stand_ins(runs: &[Run]) -> Option<(String, Vec<String>)> {
    let known: Vec<Run> = runs.iter().filter(|run| run.record.stand_in.is_some()).cloned().collect();
    let whys = groups(&known, |run| run.record.stand_in.as_ref().map(|stand_in| stand_in.why.clone()));
    let reasons: Vec<String> = whys.into_iter().filter_map(|(why, _)| why).collect();
    let who = if known.len() == runs.len() { "All runs are".to_owned() } else { "Marked runs are".to_owned() };
    let cases = groups(&known, |run| run.record.stand_in.as_ref().map(|stand_in| stand_in.what.clone()));
    let cases: Vec<String> = cases
        .into_iter()
        .filter_map(|(what, members)| Some(format!("{}: {}.", data::capital(&shared_by(&members, runs.len())), what?)))
        .collect();
    (!known.is_empty()).then(|| {
        let sentence = format!(
            "{who} of another model and other pictures than their experiments name, because {}: what they show is not what the \
             experiments' own models would.",
            reasons.join("; and because ")
        );
        (sentence, cases)
    })
}

/// The curves of all runs as SVG, if that is small enough to be read in a page.
fn drawing(results: &Path) -> Option<String> {
    let text = fs_err::read_to_string(results.join("loss.svg")).ok()?;
    let start = text.find("<svg")?;
    (text.len() <= LARGEST_DRAWING).then(|| text[start..].to_owned())
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
    vec![Block::Table(Grid { headings: vec!["run".to_string(), "warning".into()], rows })]
}

/// The overlay of all runs, then each run's own.
fn curves(results: &Path, runs: &[Run]) -> Vec<Block> {
    let mut out = Vec::new();
    if runs.len() > 1 {
        let caption = "All runs: training losses, averaged over the same number of steps, and evaluation losses";
        out.extend(figure(results, "", "loss", caption.to_owned()));
    }
    out.extend(figures(runs));
    out
}

/// Each run's curves of losses and of metrics.
fn figures(runs: &[Run]) -> Vec<Block> {
    let of_run = |run: &Run| {
        let prefix = format!("{}/", run.folder());
        let losses = figure(&run.path, &prefix, "loss", format!("{}: losses", captioned(run)));
        let caption = format!("{}: fidelity to subject and prompts", captioned(run));
        losses.into_iter().chain(figure(&run.path, &prefix, "metrics", caption)).collect::<Vec<_>>()
    };
    runs.iter().flat_map(of_run).collect()
}

/// A figure that lies in `folder` as PNG, and perhaps as SVG.
fn figure(folder: &Path, prefix: &str, stem: &str, caption: String) -> Option<Block> {
    let path = |ending: &str| {
        let name = format!("{stem}.{ending}");
        folder.join(&name).is_file().then(|| format!("{prefix}{name}"))
    };
    Some(Block::Image(Image { path: path("png")?, caption, vector: path("svg"), narrow: true }))
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
    runs.iter().flat_map(of_run).collect()
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
