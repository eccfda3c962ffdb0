//! What came of sweeps: groups with mean and deviation, the best run, figures, and the page's section.

use std::process::{Command, Output};

use super::tables::runs;
use super::*;
use tunelab::config::files::{Sweep, SweptRun};
use tunelab::report::runs::Run;
use tunelab::report::sweep::Swept;
use tunelab::report::sweep::grouped::{Group, Grouped, differing};
use tunelab::report::sweep::measure::{Better, Measure};
use tunelab::results::write_sweep;

/// Evaluation losses of a learning rate, a rank and seeds from 1 on.
const RUNS: [(&str, usize, &[f32]); 4] = [
    ("1e-5", 4, &[0.081_372, 0.075_348]),
    ("1e-5", 16, &[0.085_403]),
    ("0.0001", 4, &[0.079_252, 0.078_642, 0.079_089]),
    ("0.0001", 16, &[0.091, 0.092, 0.0935]),
];

fn name(lr: &str, rank: usize, seed: usize) -> String {
    format!("s-lr{}-rank{rank}-seed{seed}", if lr == "0.0001" { "1e-4" } else { lr })
}

/// A tree of their runs, with what the sweep stated.
fn tree() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut stated = Vec::new();
    for (lr, rank, losses) in RUNS {
        for (at, loss) in losses.iter().enumerate() {
            let mut record = record(&name(lr, rank, at + 1));
            record.loss.eval_last = Some(*loss);
            let plan = format!(
                "name = '{}'\nseed = {}\n[adapter.lora]\nrank = {rank}\nalpha = {rank}.0\n[train]\nlearning_rate = {lr}\n",
                record.name,
                at + 1
            );
            match RunDir::open(folder.path(), &record.name, &plan, false).unwrap() {
                Opened::Fresh(run) => run.finish(&record).unwrap(),
                other => panic!("{other:?}"),
            }
        }
        // Of every combination there are to be three seeds.
        let run = |seed| SweptRun { name: name(lr, rank, seed), stand_in: None, variant: None };
        stated.extend((1..=3).map(run));
    }
    let keys = ["train.learning_rate", "adapter.lora.rank", "seed"].map(str::to_owned).to_vec();
    write_sweep(folder.path(), &Sweep { name: "s".into(), keys, runs: stated, outdated: Vec::new() }).unwrap();
    folder
}

fn keys(keys: &[&str]) -> Vec<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

const BOTH: [&str; 2] = ["train.learning_rate", "adapter.lora.rank"];

#[test]
fn groups_have_numpys_means_and_deviations_and_say_where_there_is_one_seed() {
    let folder = tree();
    let runs = runs(folder.path()).finished;
    let all: Vec<&Run> = runs.iter().collect();
    let loss = Measure::named("eval_loss_last").unwrap();
    let grouped = Grouped::new(&all, &keys(&BOTH), &[loss]).unwrap();
    insta::assert_snapshot!(grouped.to_text(), @r"
    train.learning_rate  adapter.lora.rank  mean of        eval loss
                   1e-5                  4  2 seeds  0.0784 ± 0.0043
                   1e-5                 16  1 seed            0.0854
                   1e-4                  4  3 seeds  0.0790 ± 0.0003
                   1e-4                 16  3 seeds  0.0922 ± 0.0013
    mean ± standard deviation (n − 1) over the runs of a group
    of 1 seed or run there is no deviation
    ");
    // numpy 2.4.6, of the numbers as they are written.
    let numpys = [
        (0.078_36, Some(0.004_259_611_249_867_774)),
        (0.085_403, None),
        (0.078_994_333_333_333_33, Some(0.000_315_826_429_124_182_1)),
        (0.092_166_666_666_666_67, Some(0.001_258_305_739_211_790_8)),
    ];
    for (group, (mean, deviation)) in grouped.groups.iter().zip(numpys) {
        let spread = group.spreads[0].unwrap();
        assert!((spread.mean - mean).abs() < 1e-12, "{spread:?}");
        match (spread.deviation, deviation) {
            (Some(own), Some(numpys)) => assert!((own - numpys).abs() < 1e-12, "{own} {numpys}"),
            (own, numpys) => assert_eq!(own, numpys),
        }
    }
    let (best, spread) = grouped.best(loss).unwrap();
    assert_eq!(
        (best.words(&grouped.keys).as_str(), spread.count),
        ("train.learning_rate 1e-5, adapter.lora.rank 4", 2)
    );
    // Over ranks too it is no more a matter of seeds.
    let by_rate = Grouped::new(&all, &keys(&BOTH[..1]), &[loss]).unwrap();
    assert_eq!(by_rate.groups.iter().map(Group::over).collect::<Vec<_>>(), ["3 runs", "6 runs"]);
    assert_eq!(differing(&all), ["adapter.lora.alpha", "adapter.lora.rank", "train.learning_rate"]);
    let error = Grouped::new(&all, &keys(&["rank"]), &[]).unwrap_err();
    assert!(error.exit_code() == 2 && error.to_string().contains("did you mean adapter.lora.rank?"), "{error}");
}

#[test]
fn every_measure_has_its_direction() {
    for (key, better) in [
        ("final_loss", Better::Lower),
        ("eval_loss_last", Better::Lower),
        ("builtin_subject", Better::Higher),
        ("dino_vits16_pres", Better::Lower),
        ("clip_vit_b32_nearest", Better::Lower),
        ("clip_vit_b32_clip_t", Better::Higher),
        ("builtin_diversity", Better::Higher),
    ] {
        assert_eq!(Measure::named(key).unwrap().better(), better, "{key}");
    }
    let error = Measure::named("eval_los").err().unwrap().to_string();
    assert!(error.contains("did you mean eval_loss_"), "{error}");
    assert!(Measure::named("seconds_per_step").is_err());
}

#[test]
fn a_sweeps_files_are_written_and_are_on_the_page() {
    let folder = tree();
    let sweep = tunelab::results::sweeps(folder.path()).remove(0);
    let finished = runs(folder.path()).finished;
    let swept = Swept::of(&sweep, &finished).unwrap();
    let written = swept.write(folder.path()).unwrap();
    assert_eq!(
        written,
        ["s.sweep/sweep.csv", "s.sweep/groups.csv", "s.sweep/eval_loss_last.png", "s.sweep/eval_loss_last.svg"]
    );
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    assert_eq!(
        read("s.sweep/sweep.csv").lines().take(4).collect::<Vec<_>>(),
        [
            "run,train.learning_rate,adapter.lora.rank,seed,final_loss,eval_loss_last",
            "s-lr1e-5-rank4-seed1,0.00001,4,1,0.125372,0.081372",
            "s-lr1e-5-rank4-seed2,0.00001,4,2,0.125372,0.075348",
            "s-lr1e-5-rank16-seed1,0.00001,16,1,0.125372,0.085403",
        ]
    );
    let groups = read("s.sweep/groups.csv");
    assert!(
        groups.starts_with(
            "train.learning_rate,adapter.lora.rank,runs,stand_in,final_loss_mean,final_loss_sd,eval_loss_last_mean,eval_loss_last_sd\n\
             0.00001,4,2,false,0.125372,0,0.07836,0.00425961"
        ) && groups.contains("\n0.00001,16,1,false,0.125372,,0.085403,\n"),
        "{groups}"
    );
    let svg = read("s.sweep/eval_loss_last.svg");
    for words in ["0.0784", "± 0.0043", "0.0854", "n = 1", "1e-5", "1e-4", "train.learning_rate", "lower is better"] {
        assert!(svg.contains(words), "{words}");
    }
    let image = image::open(folder.path().join("s.sweep/eval_loss_last.png")).unwrap();
    assert_eq!(image.width(), 2040, "3.4 inches");
    assert_eq!(
        swept.best().unwrap(),
        [
            "best run by eval loss (lower is better): s-lr1e-5-rank4-seed2, 0.0753",
            "best mean by eval loss: train.learning_rate 1e-5, adapter.lora.rank 4, 0.0784 ± 0.0043, 2 seeds"
        ]
    );
    // The same bytes again.
    let before = fs::read(folder.path().join("s.sweep/eval_loss_last.png")).unwrap();
    swept.write(folder.path()).unwrap();
    assert!(before == fs::read(folder.path().join("s.sweep/eval_loss_last.png")).unwrap());

    fs::remove_file(folder.path().join("s.sweep/eval_loss_last.png")).unwrap();
    let said = tunelab(&["report", "--results", folder.path().to_str().unwrap(), "--single-file"]);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let (page, markdown) = (read("index.html"), read("report.md"));
    for words in ["Sweeps", "9 of 12 runs, 3 not finished", "s.sweep/eval_loss_last.svg", "1 seed", "0.0790 ± 0.0003"]
    {
        assert!(page.contains(words), "{words}");
    }
    assert!(
        markdown.contains("## Sweeps") && markdown.contains("s.sweep/eval\\_loss\\_last.png")
            || markdown.contains("s.sweep/eval_loss_last.png")
    );
    assert!(!read("report.html").contains("s.sweep/eval_loss_last.svg"), "the figure is in the file");
}

fn tunelab(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tunelab")).args(args).output().unwrap()
}

#[test]
fn tables_and_figures_as_they_are_typed() {
    let folder = tree();
    let here = folder.path().to_str().unwrap();
    let said = |args: &[&str]| {
        let output = tunelab(&[args, &["--results", here]].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), text, String::from_utf8(output.stderr).unwrap())
    };
    let by = BOTH.join(",");
    let (code, text, _) = said(&["table", "--group-by", &by, "--best", "eval_loss_last"]);
    assert_eq!(code, Some(0));
    for words in ["0.0784 ± 0.0043", "1 seed", "3 seeds", "best run by eval loss", "best mean by eval loss"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!folder.path().join("table.csv").exists(), "it writes nothing");
    let (_, json, _) = said(&["table", "--group-by", "auto", "--columns", "eval_loss_last", "--json"]);
    let groups: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
    let alone = groups.iter().find(|group| group["runs"] == 1).unwrap();
    assert_eq!((groups.len(), &alone["eval_loss_last"]["sd"]), (4, &serde_json::Value::Null));
    assert_eq!((&alone["train.learning_rate"], &alone["adapter.lora.rank"]), (&1e-5.into(), &16.0.into()));
    let (_, text, _) = said(&["table", "--best", "final_loss"]);
    assert!(text.contains("best run by final loss (lower is better): s-lr1e-4-rank16-seed1"), "{text}");
    let (code, _, error) = said(&["table", "--best", "builtin_subject"]);
    assert!(code == Some(2) && error.contains("none of these runs has builtin_subject"), "{error}");

    let svg = folder.path().join("line.svg");
    let file = svg.to_str().unwrap();
    let (code, _, error) = said(&["plot", "--metric", "eval_loss_last", "--by", "train.learning_rate", "-o", file]);
    assert_eq!(code, Some(0), "{error}");
    let line = fs::read_to_string(&svg).unwrap();
    assert!(line.contains("train.learning_rate") && line.contains("eval loss"), "{line}");
    let (code, _, _) = said(&["plot", "--metric", "eval_loss_last", "--by", &by]);
    assert_eq!(code, Some(0));
    let stem = format!("eval_loss_last-by-{}", BOTH.join("-"));
    assert!(["png", "svg"].iter().all(|ending| folder.path().join(format!("{stem}.{ending}")).is_file()));
    let (code, _, error) = said(&["plot", "--metric", "eval_loss_last", "--by", "seed,a,b"]);
    assert!(code == Some(2) && error.contains("no run has a key `a`"), "{error}");
    assert_eq!(said(&["plot", "--metric", "eval_loss_last"]).0, Some(2), "keys are needed");
}

/// A plan says `buckets = true`, and nothing where it is false.
#[test]
fn a_flag_that_plans_leave_out_is_false_in_a_sweep() {
    let folder = tempfile::tempdir().unwrap();
    for flag in [false, true] {
        let record = record(&format!("s-buckets{flag}"));
        let said = if flag { "[dataset]\nbuckets = true\n" } else { "" };
        match RunDir::open(folder.path(), &record.name, &format!("name = '{}'\n{said}", record.name), false).unwrap() {
            Opened::Fresh(run) => run.finish(&record).unwrap(),
            other => panic!("{other:?}"),
        }
    }
    let runs_of =
        [false, true].map(|flag| SweptRun { name: format!("s-buckets{flag}"), stand_in: None, variant: None });
    let sweep =
        Sweep { name: "s".into(), keys: keys(&["dataset.buckets"]), runs: runs_of.to_vec(), outdated: Vec::new() };
    write_sweep(folder.path(), &sweep).unwrap();
    let finished = runs(folder.path()).finished;
    let swept = Swept::of(&sweep, &finished).unwrap();
    let csv = swept.to_csv().unwrap();
    assert!(csv.contains("\ns-bucketsfalse,false,") && csv.contains("\ns-bucketstrue,true,"), "{csv}");
    let groups = Grouped::new(&finished.iter().collect::<Vec<_>>(), &sweep.keys, &[]).unwrap();
    assert_eq!(groups.groups.iter().map(|group| group.values[0].as_str()).collect::<Vec<_>>(), ["false", "true"]);
}
