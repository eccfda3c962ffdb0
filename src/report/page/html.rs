//! The page: one file of HTML that needs nothing else and asks nobody for anything.
//!
//! In: a [`Page`] of what is told. Out: the text of `index.html`. What came from outside (names, prompts, paths) is
//! escaped by the template; what the script reads is JSON in which no tag can end. Without a script the page is read as it is;
//! with one, images are compared and curves zoomed.

use std::collections::BTreeMap;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::finding::Finding;
use super::run_view::RunView;
use crate::report::document::{Block, encode, to_html};

const STYLE: &str =
    concat!(include_str!("../../../assets/page/uplot/uPlot.min.css"), include_str!("../../../assets/page/page.css"));
const CHARTS: &str = include_str!("../../../assets/page/uplot/uPlot.iife.min.js");
/// One function around all parts of the script, so that nothing of it is seen outside.
const SCRIPT: &str = concat!(
    "(() => {\n\"use strict\";\n",
    include_str!("../../../assets/page/state.js"),
    include_str!("../../../assets/page/pictures.js"),
    include_str!("../../../assets/page/charts.js"),
    include_str!("../../../assets/page/table.js"),
    include_str!("../../../assets/page/live.js"),
    include_str!("../../../assets/page/main.js"),
    "})();\n"
);
/// Nothing may be fetched but images that lie beside the page, or are in it.
const POLICY: &str = "default-src 'none'; img-src 'self' file: data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; \
     form-action 'none'";

/// What the page tells, in its order.
#[derive(Debug)]
pub struct Page {
    /// The window's and the page's title.
    pub title: String,
    /// What is in the tree, in a line.
    pub summary: String,
    /// What stands in for what: a sentence, and the single cases.
    pub stand_ins: Option<(String, Vec<String>)>,
    /// What each experiment asked and what came of it.
    pub findings: Vec<Finding>,
    /// Each run's grids of images.
    pub grids: Vec<Block>,
    /// The table.
    pub table: Markup,
    /// What came of each sweep.
    pub sweeps: Vec<Block>,
    /// The curves of all runs as SVG, and each run's own.
    pub curves: Option<String>,
    /// Each run's own figures.
    pub figures: Vec<Block>,
    /// Settings that differ.
    pub differences: Vec<Block>,
    /// What else is known, each part with its heading.
    pub details: Vec<(&'static str, Vec<Block>)>,
    /// Files of the blocks' images by their path, as `data:` links, where the page is to stand alone.
    pub images: BTreeMap<String, String>,
    /// What the script reads.
    pub data: Data,
}

/// What the script reads.
#[derive(Debug, serde::Serialize)]
pub struct Data {
    /// Whether it may ask for newer data.
    pub live: bool,
    /// The runs.
    pub runs: Vec<RunView>,
    /// Files by their link, as `data:` links, where the page is to stand alone.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
}

impl Data {
    /// JSON in which no tag begins or ends.
    fn embedded(&self) -> String {
        // Values of plain structs are always JSON.
        let text = serde_json::to_string(self).unwrap_or_default();
        text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
    }
}

impl Page {
    /// The whole file.
    pub fn to_html(&self) -> String {
        let policy = if self.data.live { format!("{POLICY}; connect-src 'self'") } else { POLICY.to_owned() };
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta http-equiv="Content-Security-Policy" content=(policy);
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (self.title) }
                    // A browser would ask a server for one.
                    link rel="icon" href="data:,";
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    (self.header())
                    main {
                        (self.live())
                        (self.answers())
                        (self.pictures())
                        @if !self.findings.is_empty() { section #table { h2 { "Table" } (self.table) } }
                        @if !self.sweeps.is_empty() {
                            section #sweeps { h2 { "Sweeps" } @for block in &self.sweeps { (self.block(block)) } }
                        }
                        (self.curves())
                        @if !self.differences.is_empty() {
                            section #differences { h2 { "What differs" } @for block in &self.differences { (self.block(block)) } }
                        }
                        (self.details())
                    }
                    (full_screen())
                    script type="application/json" id="data" { (PreEscaped(self.data.embedded())) }
                    script { (PreEscaped(CHARTS)) }
                    script { (PreEscaped(SCRIPT)) }
                }
            }
        };
        page.into_string() + "\n"
    }

    fn block(&self, block: &Block) -> Markup {
        to_html(block, &|path| self.images.get(path).cloned().unwrap_or_else(|| encode(path)))
    }

    fn header(&self) -> Markup {
        html! {
            header {
                .bar {
                    h1 { (self.title) }
                    button #theme .scripted type="button" title="light, dark, or as the system has it" { "Theme" }
                }
                p.summary { (self.summary) }
                @if let Some((sentence, cases)) = &self.stand_ins {
                    .banner {
                        p { strong { "Stand-ins. " } (sentence) }
                        @match cases.as_slice() {
                            [case] => p { (case) },
                            cases => details { summary { "What stands in for what" } ul { @for case in cases { li { (case) } } } },
                        }
                    }
                }
                nav.contents {
                    a href="#pictures" { "Pictures" }
                    @if !self.findings.is_empty() { a href="#table" { "Table" } }
                    @if !self.sweeps.is_empty() { a href="#sweeps" { "Sweeps" } }
                    a href="#curves" { "Curves" }
                    @if !self.differences.is_empty() { a href="#differences" { "What differs" } }
                    @if !self.details.is_empty() { a href="#details" { "Details" } }
                }
            }
            div #runs .scripted {}
        }
    }

    /// Runs under way; the script fills it.
    fn live(&self) -> Markup {
        html! { @if self.data.live { section #live .scripted {} } }
    }

    fn answers(&self) -> Markup {
        html! {
            @if !self.findings.is_empty() {
                section #answers { @for finding in &self.findings { (answer(finding)) } }
            }
        }
    }

    fn pictures(&self) -> Markup {
        html! {
            section #pictures {
                h2 { "Pictures" }
                .scripted {
                    .controls #picture-controls {
                        label { "Across " select #across {
                            option value="run" { "runs" } option value="prompt" { "prompts" }
                            option value="image" { "seeds" } option value="step" { "steps" }
                        } }
                        label for="run" { "Run " select #run {} }
                        label for="prompt" { "Prompt " select #prompt {} }
                        label for="image" { "Image " select #image {} }
                        label.wide for="step" { "Step " input #step type="range" min="0" max="0" value="0"; output #step-label for="step" {} }
                        label.wide for="split" { "Base | tuned " input #split type="range" min="0" max="100" value="50"; }
                    }
                    div #cards {}
                    p.note { "Drag over a picture: left of the line is the base model, right of it the tuned one. Click for full screen; there the keys "
                        kbd { "←" } " " kbd { "→" } " change the prompt, " kbd { "↑" } " " kbd { "↓" } " the step, "
                        kbd { "[" } " " kbd { "]" } " the run, " kbd { "," } " " kbd { "." } " the seed." }
                }
                @if !self.grids.is_empty() {
                    details #grids { summary { "Each run's grid, base beside tuned" } @for block in &self.grids { (self.block(block)) } }
                }
            }
        }
    }

    fn curves(&self) -> Markup {
        html! {
            section #curves {
                h2 { "Curves" }
                .scripted {
                    .controls {
                        label.wide for="smoothing" { "Averaged over " input #smoothing type="range" min="0" max="100" value="0";
                            output #smoothing-label for="smoothing" {} }
                        label { input #log-axis type="checkbox"; " logarithmic" }
                        button #reset-zoom type="button" { "Reset zoom" }
                    }
                    div #charts {}
                    p.note { "Drag to zoom, double click to see all. Values under the pointer are those of the log." }
                }
                @if let Some(svg) = &self.curves {
                    figure.drawn { (PreEscaped(svg)) figcaption { "All runs: training losses, averaged over the same number of steps, and evaluation losses." } }
                }
                @if !self.figures.is_empty() {
                    details #figures { summary { "Each run's own figures" } @for block in &self.figures { (self.block(block)) } }
                }
            }
        }
    }

    fn details(&self) -> Markup {
        html! {
            @if !self.details.is_empty() {
                section #details {
                    h2 { "Details" }
                    @for (heading, blocks) in &self.details {
                        details { summary { (heading) } @for block in blocks { (self.block(block)) } }
                    }
                }
            }
        }
    }
}

fn answer(finding: &Finding) -> Markup {
    html! {
        article {
            h2 { (finding.question) }
            @match finding.outcome.as_slice() {
                [line] => p.outcome { (line) },
                lines => ul.outcome { @for line in lines { li { (line) } } },
            }
            @if !finding.description.is_empty() {
                details {
                    summary { "About this experiment" }
                    @for paragraph in &finding.description { p { (paragraph) } }
                    p { "Runs: " (finding.runs.join(", ")) "." }
                }
            }
        }
    }
}

/// One picture as large as the window; the script fills it.
fn full_screen() -> Markup {
    html! {
        dialog #full-screen aria-label="One picture, full screen" {
            .stage {}
            .caption { output #full-caption {} button type="button" #full-close { "Close" } }
        }
    }
}
