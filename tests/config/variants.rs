//! Files that state several runs, and the experiments of this repository.

use std::path::{Path, PathBuf};

use super::plan::beyond_defaults;
use insta::assert_snapshot;
use tunelab::config::{Adapter, Length, Objective, Plan, Source};

/// Three variants: two ranks, and everything.
const THREE: &str = "model.repo = 'a/m'
dataset.repo = 'a/d'
train.epochs = 3
[adapter.lora]
targets = ['to_v']
[[variant]]
name = 'rank1'
adapter.lora.rank = 1
[[variant]]
name = 'rank16'
adapter.lora.rank = 16
train.batch_size = 2
[[variant]]
name = 'full'
train.steps = 7
model.path = '.'
adapter.full.single_file = true
";

fn all(text: &str, set: &[&str]) -> tunelab::error::Result<Vec<Plan>> {
    let set: Vec<String> = set.iter().map(ToString::to_string).collect();
    Plan::parse_all(text, Path::new("x.toml"), &set)
}

fn good(text: &str, set: &[&str]) -> Vec<Plan> {
    all(text, set).unwrap_or_else(|e| panic!("{e}"))
}

fn bad(text: &str, set: &[&str]) -> String {
    match all(text, set) {
        Ok(plans) => panic!("no error, but {plans:?}"),
        Err(error) => {
            assert_eq!(error.exit_code(), 2);
            error.to_string()
        }
    }
}

fn rank(plan: &Plan) -> Option<(usize, f64)> {
    if let Adapter::Lora(lora) = &plan.adapter { Some((lora.rank, lora.alpha)) } else { None }
}

#[test]
fn a_variant_says_only_what_differs() {
    let plans = good(THREE, &[]);
    let names: Vec<&str> = plans.iter().map(|plan| plan.name.as_str()).collect();
    assert_eq!(names, ["x-rank1", "x-rank16", "x-full"]);
    assert_eq!(plans.iter().map(rank).collect::<Vec<_>>(), [Some((1, 1.0)), Some((16, 16.0)), None]);
    let Adapter::Lora(lora) = &plans[1].adapter else { panic!("{:?}", plans[1].adapter) };
    assert_eq!(lora.targets, ["to_v"]);
    assert_eq!(plans.iter().map(|plan| plan.train.batch_size).collect::<Vec<_>>(), [1, 2, 1]);
}

#[test]
fn what_a_variant_says_takes_the_place_of_what_it_excludes() {
    let plans = good(THREE, &[]);
    let Adapter::Full(full) = &plans[2].adapter else { panic!("{:?}", plans[2].adapter) };
    assert!(full.single_file);
    assert_eq!(plans[2].train.learning_rate.to_bits(), 1e-5_f64.to_bits());
    assert!(matches!(plans[2].model, Source::Path(_)), "{:?}", plans[2].model);
    let lengths: Vec<Length> = plans.iter().map(|plan| plan.train.length).collect();
    assert_eq!(lengths, [Length::Epochs(3), Length::Epochs(3), Length::Steps(7)]);

    let text = "model.repo = 'a/m'\ndataset = {repo = 'a/d', prompt = 'p'}\ntrain.steps = 9
        adapter.dreambooth = {class_prompt = 'c', full = {}}
        [[variant]]\nname = 'a'\ntrain.epochs = 2\nadapter.dreambooth.lora.rank = 2
        [[variant]]\nname = 'b'\nadapter.lora.rank = 3";
    let plans = good(text, &[]);
    assert_eq!(plans.iter().map(rank).collect::<Vec<_>>(), [Some((2, 2.0)), Some((3, 3.0))]);
    assert_eq!(plans[0].train.length, Length::Epochs(2));
    let Objective::DreamBooth(dreambooth) = &plans[0].objective else { panic!("{:?}", plans[0].objective) };
    assert_eq!((dreambooth.class_prompt.as_str(), &plans[1].objective), ("c", &Objective::Captions));
}

#[test]
fn an_argument_goes_to_every_variant() {
    let plans = good(THREE, &["train.epochs=5", "name=y", "train.batch_size=3"]);
    assert!(plans.iter().all(|plan| plan.train.length == Length::Epochs(5) && plan.train.batch_size == 3));
    assert_eq!(plans[2].name, "y-full");
    // It must not turn the variant that trains everything into a LoRA.
    assert_snapshot!(bad(THREE, &["adapter.lora.rank=8"]), @r"
    error: more than one adapter: `full`, `lora`
      --> --set
       |
       | adapter.lora.rank=8
       |         ^^^^ an experiment has exactly one
    ");
}

#[test]
fn mistakes_in_variants_have_their_carets_and_those_outside_are_said_once() {
    let text =
        "sead = 3\n".to_owned() + THREE + "[variant.train]\nepoch = 1\n[[variant]]\nname = 'more'\ntrian.steps = 'a'\n";
    assert_snapshot!(bad(&text.replace("train.steps = 7\n", ""), &["eval.imges=2"]), @r"
    error: unknown key `sead` at the top level
      --> x.toml:1:1
       |
     1 | sead = 3
       | ^^^^ did you mean `seed`?

    error: unknown key `epoch` in [train]
      --> x.toml:19:1
       |
    19 | epoch = 1
       | ^^^^^ did you mean `epochs`?

    error: unknown key `trian` at the top level
      --> x.toml:22:1
       |
    22 | trian.steps = 'a'
       | ^^^^^ did you mean `train`?

    error: unknown key `imges` in [eval]
      --> --set
       |
       | eval.imges=2
       |      ^^^^^ did you mean `images`?

    hint: 4 problems in x.toml
    ");
}

#[test]
fn a_variant_has_a_name_of_its_own() {
    let base = "model.repo = 'a/m'\ndataset.repo = 'a/d'\nadapter.lora = {}\n";
    let text = "[[variant]]\nname = 'a'\n[[variant]]\nseed = 3\n[[variant]]\nname = 'A'\n[[variant]]\nname = 'a/b'\n";
    assert_snapshot!(bad(&format!("{base}{text}"), &["variant.name=c"]), @r#"
    error: this variant has no name
      --> x.toml:6:1
       |
     6 | [[variant]]
       | ^^^^^^^^^^^ add `name`

    error: two variants are called "A"
      --> x.toml:9:8
       |
     9 | name = 'A'
       |        ^^^

    error: a variant's `name` must be letters, digits, `_`, `-` and `.`
      --> x.toml:11:8
       |
    11 | name = 'a/b'
       |        ^^^^^ it becomes the end of a folder's name

    error: `variant` cannot be set
      --> --set
       |
       | variant.name=c
       | ^^^^^^^ --set goes to every variant

    hint: 4 problems in x.toml
    "#);
    assert_snapshot!(bad(&format!("variant = []\n{base}"), &[]), @r"
    error: `variant` is empty: there is nothing to run
      --> x.toml:1:1
       |
     1 | variant = []
       | ^^^^^^^ leave it out
    ");
    assert_snapshot!(bad(&format!("{base}[variant]\nname = 'a'"), &[]), @r"
    error: `variant` must be a list of tables
      --> x.toml:4:2
       |
     4 | [variant]
       |  ^^^^^^^ write [[variant]]
    ");
    assert_snapshot!(bad(&format!("variant = [1]\n{base}"), &[]), @r"
    error: a variant must be a table
      --> x.toml:1:12
       |
     1 | variant = [1]
       |            ^ write [[variant]]
    ");
}

#[test]
fn one_experiment_is_wanted_where_a_folder_of_results_is_read() {
    let error = Plan::parse(THREE, Path::new("x.toml"), &[]).expect_err("three variants");
    assert_eq!(error.message(), "x.toml states 3 variants, and one experiment is wanted");
}

/// Every experiment of this repository, in the order of the names.
fn committed() -> Vec<PathBuf> {
    let entries = fs_err::read_dir("experiments").expect("it is there");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    files.sort();
    files
}

#[test]
fn every_committed_experiment_resolves_to_what_its_snapshot_says() {
    for file in committed() {
        let plans = Plan::load_all(&file, &[]).unwrap_or_else(|e| panic!("{e}"));
        for plan in plans {
            let text = plan.to_toml();
            let again = Plan::parse(&text, Path::new("elsewhere/plan.toml"), &[]).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(again, plan);
            insta::with_settings!({ description => file.display().to_string(), omit_expression => true }, {
                assert_snapshot!(format!("experiment_{}", plan.name), beyond_defaults(&plan));
            });
        }
    }
}

#[test]
fn every_committed_experiment_begins_with_its_question() {
    for file in committed() {
        let text = fs_err::read_to_string(&file).expect("readable");
        let question: String = text.lines().take_while(|line| line.starts_with("# ")).collect();
        assert!(question.contains('?'), "{}", file.display());
    }
}

#[test]
fn the_reports_figures_stand_beside_its_comparison() {
    let plans = Plan::load_all(Path::new("experiments/lora_vs_sft.toml"), &[]).unwrap_or_else(|e| panic!("{e}"));
    let figures = plans.iter().map(|plan| {
        let reference = plan.reference.as_ref().expect("the report's figures");
        (plan.name.as_str(), reference.trained_parameters, reference.seconds, reference.seconds_per_step)
    });
    let expected = [
        ("lora_vs_sft-lora", Some(797_184), Some(12.0), Some(2.55)),
        ("lora_vs_sft-sft", Some(859_520_964), Some(35.0), Some(7.01)),
    ];
    assert_eq!(figures.collect::<Vec<_>>(), expected);
    assert!(plans.iter().all(|plan| plan.train.length == Length::Epochs(1)));
}
