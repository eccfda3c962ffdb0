//! What the images were measured to be: its figure, its lines, its columns and its part of the page.

use super::tables::{finished, runs};
use super::*;
use std::collections::BTreeMap;
use tunelab::metrics::Interval;
use tunelab::report::document::to_markdown;
use tunelab::report::fidelity;
use tunelab::report::page;
use tunelab::report::runs::Runs;
use tunelab::report::table::{Table, View};
use tunelab::results::{BestStep, EncoderRecord, MetricRecord, MetricsRecord, NearestRecord, SetMetrics};

const PROMPTS: [&str; 8] = [
    "a photo of a sks dog in the jungle",
    "a photo of a sks dog in the snow",
    "a photo of a sks dog on the beach",
    "a photo of a sks dog on a cobblestone street",
    "a photo of a sks dog on top of pink fabric",
    "a photo of a sks dog wearing a red hat with a mountain in the background",
    "a photo of a sks dog",
    "a photo of a purple sks dog",
];

/// Steps from the base model to the last, as folders; the last is the tuned model's.
fn folders(steps: &[usize]) -> Vec<(String, usize)> {
    let name = |(at, &step): (usize, &usize)| match (at, step) {
        (0, 0) => ("base".to_owned(), 0),
        (at, step) if at + 1 == steps.len() => ("tuned".to_owned(), step),
        (_, step) => (format!("step-{step:06}"), step),
    };
    steps.iter().enumerate().map(name).collect()
}

/// As a run would record it: with training the subject comes and the prompt goes.
pub(super) fn measured(encoders: &[&str], steps: &[usize], prompts: usize, intervals: bool) -> MetricsRecord {
    let last = *steps.last().unwrap() as f64;
    let sets = folders(steps).into_iter().map(|(set, step)| {
        let share = step as f64 / last;
        let mut metrics = Vec::new();
        for encoder in encoders {
            let names: &[(&str, f64, f64)] = match *encoder {
                "dino_vits16" => &[("dino", 0.33, 0.71), ("diversity", 0.52, 0.37)],
                "builtin" => &[("subject", 0.25, 0.67), ("prompt", 0.91, 0.78), ("diversity", 0.31, 0.22)],
                _ => &[("clip_i", 0.68, 0.84), ("clip_t", 0.32, 0.27), ("diversity", 0.2, 0.14)],
            };
            for (metric, from, to) in names {
                // Prompts begin apart, and no metric follows another's way.
                let value = |of: usize| {
                    let apart = (of as f64 * 2.4 + metric.len() as f64).sin();
                    let grown = share.powf(0.5 + 0.2 * of as f64 + 0.1 * metric.len() as f64);
                    from + (to - from) * (grown * (1.0 - 0.2 * apart) + 0.15 * apart)
                };
                let values: Vec<f64> = (0..prompts).map(value).collect();
                let mean = values.iter().sum::<f64>() / prompts as f64;
                let interval = Interval { low: mean - 0.03, high: mean + 0.03 };
                let record = |prompt: Option<&str>, value, interval| MetricRecord {
                    encoder: (*encoder).to_owned(),
                    metric: (*metric).to_owned(),
                    prompt: prompt.map(str::to_owned),
                    value,
                    interval,
                };
                metrics.push(record(None, mean, (intervals && prompts > 1).then_some(interval)));
                metrics.extend(PROMPTS.iter().zip(values).map(|(prompt, value)| record(Some(prompt), value, None)));
            }
            for (metric, value) in [("pres", 0.4 + 0.05 * share), ("nearest", 0.6 + 0.31 * share)] {
                metrics.push(MetricRecord {
                    encoder: (*encoder).to_owned(),
                    metric: metric.to_owned(),
                    prompt: None,
                    value,
                    interval: None,
                });
            }
        }
        let nearest = |encoder: &&str| {
            let image = format!("samples/{set}/{}/0.png", slug(PROMPTS[0]));
            let nearest =
                NearestRecord { image, training_image: "alvan-nee-1.jpeg".into(), cosine: 0.6 + 0.31 * share };
            ((*encoder).to_owned(), nearest)
        };
        SetMetrics { nearest: encoders.iter().map(nearest).collect(), set, step, metrics }
    });
    let from = |encoder: &&str| {
        let source = if *encoder == "builtin" { "builtin" } else { "an/encoder@main" };
        let sha256 = "0123456789abcdef0123".to_owned();
        ((*encoder).to_owned(), EncoderRecord { source: source.into(), sha256 })
    };
    MetricsRecord {
        sets: sets.collect(),
        encoders: encoders.iter().map(from).collect::<BTreeMap<_, _>>(),
        identifier: Some("sks".into()),
        class_prompt: Some("a photo of a dog".into()),
        references: 5,
        bootstrap: if intervals { 10_000 } else { 0 },
        best: None,
    }
}

const ALL: [&str; 4] = ["builtin", "clip_vit_b32", "clip_vit_l14", "dino_vits16"];
const STEPS: [usize; 6] = [0, 100, 200, 300, 400, 500];

fn words(metrics: &MetricsRecord) -> Vec<String> {
    let svg = fidelity::to_svg(metrics).unwrap().unwrap();
    texts(&svg).into_iter().map(str::to_owned).collect()
}

fn has(words: &[String], word: &str) -> bool {
    words.iter().any(|other| other == word)
}

#[test]
fn the_trade_off_has_a_line_for_each_prompt_and_its_words() {
    let metrics = measured(&["builtin"], &STEPS, 4, true);
    let words = words(&metrics);
    for word in ["prompt (builtin), nearer the prompt →", "subject (builtin)", "nearer the subject →", PROMPTS[1]] {
        assert!(has(&words, word), "{word} is not in {words:?}");
    }
    for word in ["all prompts", "base", "steps", "tuned"] {
        assert_eq!(words.iter().filter(|other| *other == word).count(), 1, "{word}");
    }
    let image = fidelity::to_image(&metrics).unwrap().unwrap();
    assert!(image.width == 2040 && image.height > 1400);
    for [r, g, b] in [[0, 114, 178], [213, 94, 0], [0, 158, 115], [204, 121, 167], [38, 38, 38]] {
        assert!(image.pixels.chunks_exact(3).filter(|pixel| **pixel == [r, g, b]).count() > 300);
    }
}

#[test]
fn of_one_or_many_prompts_there_is_one_line() {
    let many = words(&measured(&["builtin"], &STEPS, 8, true));
    assert!(has(&many, "all 8 prompts") && !many.iter().any(|word| word.contains("sks")), "{many:?}");
    let one = words(&measured(&["builtin"], &[0, 500], 1, true));
    assert!(has(&one, PROMPTS[0]) && !has(&one, "all prompts") && !has(&one, "steps"), "{one:?}");
    let without = words(&measured(&["builtin"], &[100, 200], 2, true));
    assert!(!has(&without, "base") && has(&without, "tuned"), "{without:?}");
}

#[test]
fn dino_is_paired_with_clip_and_alone_shown_over_the_steps() {
    let paired = words(&measured(&["clip_vit_b32", "dino_vits16"], &STEPS, 2, true));
    assert!(has(&paired, "dino (dino_vits16)") && has(&paired, "clip_i (clip_vit_b32)"), "{paired:?}");
    let axis = "clip_t (clip_vit_b32), nearer the prompt →";
    assert_eq!(paired.iter().filter(|word| *word == axis).count(), 1, "the panels share their axis");
    let all = words(&measured(&ALL, &STEPS, 2, true));
    assert!(
        has(&all, "prompt (builtin), nearer the prompt →") && has(&all, "clip_t (clip_vit_l14), nearer the prompt →")
    );
    let alone = words(&measured(&["dino_vits16"], &STEPS, 2, true));
    assert!(has(&alone, "step") && has(&alone, "500") && !has(&alone, axis), "{alone:?}");
}

#[test]
fn files_are_written_where_there_is_something_to_draw() {
    let folder = tempfile::tempdir().unwrap();
    let files = ["metrics.png", "metrics.svg"].map(|name| folder.path().join(name));
    let metrics = measured(&["builtin"], &STEPS, 2, true);
    let mut bytes = Vec::new();
    for _ in 0..2 {
        fidelity::write(folder.path(), &metrics).unwrap();
        bytes.push(files.clone().map(|file| fs::read(file).unwrap()));
    }
    assert_eq!(bytes[0], bytes[1]);
    let unknown = |mut of: MetricsRecord| {
        of.sets.iter_mut().flat_map(|set| &mut set.metrics).for_each(|metric| metric.value = f64::NAN);
        of
    };
    for nothing in [MetricsRecord::default(), unknown(metrics)] {
        fs::write(&files[0], "old").unwrap();
        fidelity::write(folder.path(), &nothing).unwrap();
        assert!(files.iter().all(|file| !file.exists()));
        fidelity::write(folder.path(), &nothing).unwrap();
    }
}

#[test]
fn the_terminal_s_lines_are_aligned_and_narrow() {
    let mut metrics = measured(&ALL, &STEPS, 6, true);
    metrics.best = Some(BestStep { by: "clip_i".into(), encoder: "clip_vit_b32".into(), step: 400, value: 0.8349 });
    insta::assert_snapshot!("fidelity_lines", fidelity::lines(&metrics).join("\n"));
    for metric in metrics.sets.iter_mut().flat_map(|set| &mut set.metrics) {
        metric.value -= 1.2;
        metric.interval = metric.interval.map(|of| Interval { low: of.low - 1.2, high: of.high - 1.2 });
    }
    let lines = fidelity::lines(&metrics);
    assert!(lines.iter().all(|line| line.chars().count() <= 100), "{lines:#?}");
    assert!(fidelity::lines(&MetricsRecord::default()).is_empty());
}

#[test]
fn what_is_not_known_is_a_dash_and_zero_has_no_sign() {
    let mut metrics = measured(&["builtin"], &[0, 500], 2, false);
    let tuned = &mut metrics.sets[1];
    tuned.nearest.clear();
    tuned.metrics.retain(|of| of.metric != "diversity");
    tuned.metrics.iter_mut().filter(|of| of.metric == "subject").for_each(|of| of.value = -0.001);
    metrics.sets[0].nearest.clear();
    metrics.sets[0].metrics.retain(|of| of.metric != "prompt");
    let lines = fidelity::lines(&metrics);
    let all = lines.iter().find(|line| line.contains("all prompts")).unwrap();
    assert!(all.contains("0.27 → 0.00") && all.contains("0.31 → –") && all.ends_with('–'), "{all}");
    assert!(!lines.iter().any(|line| line.contains("-0.00") || line.contains("nearest") || line.contains("95 %")));
    metrics.sets.remove(0);
    let lines = fidelity::lines(&metrics);
    assert!(lines[0] == "fidelity, raw cosines (builtin)" && !lines.concat().contains('→'), "{lines:#?}");
}

/// Two runs with metrics, one without; a report's numbers.
fn tree() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut best = measured(&["clip_vit_b32", "dino_vits16"], &STEPS, 2, true);
    best.best = Some(BestStep { by: "dino".into(), encoder: "dino_vits16".into(), step: 400, value: 0.68 });
    let of = |name: &str, metrics| RunRecord { metrics, ..record(name) };
    let report = "[reference]\nlabel = 'the paper'\ndino = 0.668\nclip_i = 0.803\nclip_t = 0.305\npres = 0\n";
    finished(folder.path(), &of("a", Some(best)), report);
    finished(folder.path(), &of("b", Some(measured(&["builtin"], &[100, 200], 1, true))), "");
    finished(folder.path(), &record("c"), "");
    folder
}

#[test]
fn the_table_has_metrics_before_and_after() {
    let folder = tree();
    let table = Table::new(&runs(folder.path()).finished, None).unwrap();
    insta::assert_snapshot!("fidelity_table_md", table::to_markdown(&table));
    insta::assert_snapshot!("fidelity_table_csv", table::to_csv(&table).unwrap());
    let latex = table::to_latex(&table);
    assert!(latex.contains(r"dino (dino\_vits16)") && latex.contains(r" $\to$ 0."), "{latex}");
    let note = "of pres lower is better.";
    assert_eq!(table::to_text(&table, &View::Fitting, 100).replace('\n', " ").matches(note).count(), 1);
    let without = Table::new(&runs(folder.path()).finished[2..], None).unwrap();
    assert!(
        !table::to_text(&without, &View::All, 100).contains(note)
            && !table::to_text(&without, &View::All, 100).contains("dino")
    );
    let columns = |table: &Table| table::to_csv(table).unwrap().lines().next().unwrap().to_owned();
    assert_eq!(columns(&table), columns(&without));
}

#[test]
fn the_page_shows_each_measured_run() {
    let folder = tree();
    let runs = runs(folder.path());
    for name in ["metrics.png", "metrics.svg", "grid.png", "steps.png"] {
        fs::write(runs.finished[0].path.join(name), "").unwrap();
    }
    let blocks = page::blocks(folder.path(), &runs, &Table::new(&runs.finished, None).unwrap());
    let markdown = to_markdown(&blocks);
    let section = markdown.split("## ").find(|section| section.starts_with("Fidelity")).unwrap();
    insta::assert_snapshot!("fidelity_page", section);
    let order = [
        "## Pictures",
        "a/grid.png",
        "a/steps.png",
        "## Table",
        "## Curves",
        "a/metrics.png",
        "## Fidelity",
        "## Data",
    ];
    assert!(order.map(|part| markdown.find(part).expect(part)).is_sorted());
    let html = page::Page::new(folder.path(), &runs, &Table::new(&runs.finished, None).unwrap()).to_html();
    assert!(html.contains("<figure class=\"narrow\"><a href=\"a/metrics.png\"><img src=\"a/metrics.svg\""), "{html}");
    let none = page::blocks(
        folder.path(),
        &Runs { finished: runs.finished[2..].to_vec(), ..Runs::default() },
        &Table::default(),
    );
    assert!(!to_markdown(&none).contains("Fidelity"));
}

#[test]
fn a_record_without_metrics_is_read() {
    let text = serde_json::to_string(&record("a")).unwrap();
    assert!(!text.contains("clip") && !text.contains("\"metrics\""), "{text}");
    assert_eq!(serde_json::from_str::<RunRecord>(&text).unwrap().metrics, None);
    let with = RunRecord { metrics: Some(measured(&ALL, &STEPS, 2, true)), ..record("a") };
    let read = serde_json::from_str::<RunRecord>(&serde_json::to_string(&with).unwrap()).unwrap();
    // The last digit of a number may be read as its neighbor.
    let shape = |of: &RunRecord| {
        let metrics = of.metrics.clone().unwrap();
        let names = metrics.sets.iter().flat_map(|set| &set.metrics);
        let names: Vec<_> = names.map(|of| (of.encoder.clone(), of.metric.clone(), of.prompt.clone())).collect();
        (names, metrics.encoders, metrics.identifier, metrics.class_prompt, metrics.references)
    };
    assert_eq!(shape(&read), shape(&with));
}
