//! Experiments: what resolves, to what, and what is said about every kind of mistake.
//!
//! The snapshots are the texts that a person reads, whole, so that a change of wording or of a caret's place is seen.

use std::path::Path;

use crate::fixture::sd15;
use insta::assert_snapshot;
use tunelab::config::{Adapter, Dtype, Length, LrScheduler, Objective, Optimizer, Plan, PlanDiff, Planned, Source};
use tunelab::device::CardMemory;
use tunelab::diffusion::{HuberSchedule, LossFunction, Sampler};
use tunelab::model::clip::ClipConfig;
use tunelab::model::describe::plausible_target;
use tunelab::model::unet::UnetConfig;
use tunelab::pipeline::Family;
use tunelab::plan::estimate::{Memory, Trained, estimate};
use tunelab::plan::fit::{HostMemory, fit, fit_host, needed};
use tunelab::plan::networks::Networks;
use tunelab::weights::PartName;

/// The least that an experiment must say.
const LEAST: &str = "model.repo = 'a/model'\ndataset.repo = 'a/set'\nadapter.lora = {}\n";

const FULL: &str = "model.repo = 'a/model'\ndataset.repo = 'a/set'\nadapter.full = {}\n";

const DREAMBOOTH: &str = "model.repo = 'a/model'\ndataset = {repo = 'a/set', prompt = 'a sks dog'}
adapter.dreambooth = {class_prompt = 'a dog', full = {}}\n";

fn with(text: &str, set: &[&str]) -> tunelab::error::Result<Plan> {
    let set: Vec<String> = set.iter().map(ToString::to_string).collect();
    Plan::parse(text, Path::new("lab/x.toml"), &set)
}

fn good(text: &str, set: &[&str]) -> Plan {
    with(text, set).unwrap_or_else(|e| panic!("{e}"))
}

/// The error's text for the least experiment and some more lines.
fn complaint(more: &str) -> String {
    bad(&format!("{LEAST}{more}"), &[])
}

fn bad(text: &str, set: &[&str]) -> String {
    match with(text, set) {
        Ok(plan) => panic!("no error, but {plan:?}"),
        Err(error) => {
            assert_eq!(error.exit_code(), 2);
            error.to_string()
        }
    }
}

#[test]
fn defaults_are_diffusers_own() {
    let plan = good(LEAST, &[]);
    assert_eq!((plan.name.as_str(), plan.seed), ("x", 42));
    assert_eq!(plan.dataset.resolution, 512.into());
    assert_eq!((plan.dataset.center_crop, plan.dataset.random_flip, plan.dataset.skip_broken), (true, true, false));
    let Adapter::Lora(lora) = &plan.adapter else { panic!("{:?}", plan.adapter) };
    assert_eq!((lora.rank, lora.alpha, lora.dropout), (4, 4.0, 0.0));
    assert_eq!(lora.targets, ["to_q", "to_k", "to_v", "to_out.0"]);
    let train = &plan.train;
    assert_eq!((train.length, train.batch_size, train.gradient_accumulation), (Length::Epochs(100), 1, 1));
    assert_eq!((train.learning_rate, train.lr_scheduler, train.warmup_steps), (1e-4, LrScheduler::Constant, 0));
    let Optimizer::AdamW(adamw) = &train.optimizer else { panic!("{:?}", train.optimizer) };
    assert_eq!((adamw.beta1, adamw.beta2, adamw.epsilon, adamw.weight_decay), (0.9, 0.999, 1e-8, 1e-2));
    assert_eq!((train.max_grad_norm, train.snr_gamma), (1.0, None));
    assert_eq!((train.noise_offset, train.dtype, train.checkpoint_every), (0.0, Dtype::F32, 100));
    let eval = &plan.eval;
    let sample = &eval.sample;
    assert_eq!((sample.steps, sample.guidance_scale, sample.sampler, eval.images), (50, 7.5, Sampler::Pndm, 1));
    assert!(eval.prompts.is_empty() && sample.negative_prompt.is_empty() && eval.compare_base);
}

#[test]
fn some_defaults_follow_other_keys() {
    let plan = good(LEAST, &["adapter.lora.rank=16", "dataset.prompt=a sks dog"]);
    let Adapter::Lora(lora) = &plan.adapter else { panic!("{:?}", plan.adapter) };
    assert_eq!((lora.rank, lora.alpha), (16, 16.0));
    assert_eq!(plan.eval.prompts, ["a sks dog"]);
}

#[test]
fn the_committed_experiment_states_the_reports_settings() {
    let plan = Plan::load(Path::new("experiments/lora_dog.toml"), &[]).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((plan.name.as_str(), plan.dataset.resolution), ("lora_dog", 256.into()));
    assert_eq!((plan.train.length, plan.train.batch_size, plan.train.learning_rate), (Length::Epochs(100), 1, 1e-4));
    assert_eq!(plan.train.total_steps(5), 500);
    assert_eq!(plan.eval.prompts, ["a dog", "a cat"]);
    let Source::HuggingFace { modelscope: Some(modelscope), .. } = &plan.model else { panic!("{:?}", plan.model) };
    assert_eq!(modelscope, "AI-ModelScope/stable-diffusion-v1-5");
}

#[test]
fn resolving_the_resolved_plan_changes_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let here = folder.path().to_str().expect("UTF-8");
    let path = format!("dataset.path={here}");
    let variants: [&[&str]; 11] = [
        &[],
        &[&path, "model.modelscope=b/other", "model.revision=0123456"],
        &["name=other", "seed=9223372036854775807", "eval.seed=0", "eval.every=0"],
        &["train.steps=7", "train.snr_gamma=5", "train.checkpoint_every=3", "train.noise_offset=0.1"],
        &["adapter.lora={rank=1024, alpha=1e-300, dropout=0.999}", "adapter.lora.targets=[\"ff.net.2\", 'conv1']"],
        &["train.learning_rate=1", "train.adam_epsilon=1e-16", "train.max_grad_norm=1e300", "train.weight_decay=0"],
        &["eval.prompts=[\"\\\"quotes\\\" \\\\ / \\u0001\\u007f\\ttab\", \"一只狗 🐶\", \"two\\nlines\"]"],
        &["dataset.prompt=  kept as it is  ", "eval.negative_prompt='''it's\n\"odd\"'''", "eval.prompts=[]"],
        &[
            "train.lr_scheduler=polynomial",
            "eval.sampler=dpmpp_2m",
            "dataset.random_flip=false",
            "eval.guidance_scale=0",
        ],
        &["train.gradient_checkpointing=true", "reference={label='a \"b\"', seconds=12, seconds_per_step=2.55}"],
        &["adapter.lora.text_encoder=true", "reference={label='x', trained_parameters=797184, device='RTX 3090'}"],
    ];
    let own = format!("adapter.dreambooth.class_path={here}");
    let dreambooth = good(DREAMBOOTH, &[&own, "adapter.dreambooth.full.ema_decay=0.9999"]);
    let full = good(FULL, &["adapter.full={text_encoder=true,single_file=true}"]);
    for plan in variants.iter().map(|set| good(LEAST, set)).chain([dreambooth, full]) {
        let text = plan.to_toml();
        let again = Plan::parse(&text, Path::new("elsewhere/plan.toml"), &[]).unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert_eq!(again, plan, "{text}");
        assert_eq!(again.to_toml(), text);
    }
}

#[test]
fn everything_that_is_written_reaches_the_plan() {
    // No value is a default, so a key that is read into the wrong field, or not at all, shows.
    let plan = good(
        "seed = 1\nmodel = {repo = 'a/m', revision = 'v1', modelscope = 'b/m'}\ndataset = {modelscope = 'b/d', prompt = 'p',
            resolution = 448, center_crop = false, random_flip = false, caption_dropout = 0.25, skip_broken = true}
        adapter.lora = {rank = 3, alpha = 6, targets = ['to_v'], dropout = 0.5}
        train = {steps = 11, batch_size = 2, gradient_accumulation = 5, learning_rate = 0.02, lr_scheduler = 'cosine',
            warmup_steps = 7, adam_beta1 = 0.8, adam_beta2 = 0.95, adam_epsilon = 1e-6, weight_decay = 0.3,
            max_grad_norm = 0.7, snr_gamma = 5, noise_offset = 0.05, dtype = 'f32', checkpoint_every = 13, keep_checkpoints = 2}
        eval = {prompts = ['q'], negative_prompt = 'n', compare_base = false, images = 17, steps = 19,
            guidance_scale = 2, sampler = 'euler_a', seed = 23, every = 29, images_every = 31, keep_weights = false}
        metrics = {encoders = ['clip_vit_l14', 'builtin'], identifier = 'i', class_prompt = 'c', bootstrap = 37, best_by = 'clip_i'}",
        &[
            "metrics.reference=tests",
            "metrics.paths.dino_vits16=src",
            "metrics.paths.clip_vit_b32=tests/model",
            "metrics.paths.clip_vit_l14=tests/data",
        ],
    );
    let here = std::env::current_dir().expect("a working folder").canonicalize().expect("it exists");
    let text = beyond_defaults(&plan).replace(here.to_str().expect("UTF-8"), "HERE");
    assert_snapshot!(text, @r#"
    seed = 1

    [model]
    repo = "a/m"
    revision = "v1"
    modelscope = "b/m"

    [dataset]
    modelscope = "b/d"
    revision = "master"
    prompt = "p"
    resolution = 448
    center_crop = false
    random_flip = false
    caption_dropout = 0.25
    skip_broken = true

    [adapter.lora]
    rank = 3
    alpha = 6.0
    targets = ["to_v"]
    dropout = 0.5

    [train]
    steps = 11
    batch_size = 2
    gradient_accumulation = 5
    learning_rate = 0.02
    lr_scheduler = "cosine"
    warmup_steps = 7
    max_grad_norm = 0.7
    snr_gamma = 5.0
    noise_offset = 0.05
    checkpoint_every = 13
    keep_checkpoints = 2

    [train.optimizer.adamw]
    beta1 = 0.8
    beta2 = 0.95
    epsilon = 1e-6
    weight_decay = 0.3

    [eval]
    prompts = ["q"]
    negative_prompt = "n"
    compare_base = false
    images = 17
    steps = 19
    guidance_scale = 2.0
    sampler = "euler_a"
    seed = 23
    every = 29
    images_every = 31
    keep_weights = false

    [metrics]
    encoders = ["clip_vit_l14", "builtin"]
    identifier = "i"
    class_prompt = "c"
    reference = "HERE/tests"
    bootstrap = 37
    best_by = "clip_i"

    [metrics.paths]
    dino_vits16 = "HERE/src"
    clip_vit_b32 = "HERE/tests/model"
    clip_vit_l14 = "HERE/tests/data"
    "#);
}

/// What a plan says beyond the defaults: the lines of its text that the least experiment's with the same adapter lacks, each table
/// with its heading.
pub fn beyond_defaults(plan: &Plan) -> String {
    let least = match (&plan.objective, &plan.adapter) {
        (Objective::Captions, Adapter::Lora(_)) => good(LEAST, &[]),
        (Objective::Captions, Adapter::Full(_)) => good(FULL, &[]),
        (Objective::DreamBooth(_), Adapter::Full(_)) => good(DREAMBOOTH, &[]),
        (Objective::DreamBooth(_), Adapter::Lora(_)) => good(&DREAMBOOTH.replace("full", "lora"), &[]),
    };
    let lines = |text: &str| -> Vec<(String, String)> {
        let mut table = String::new();
        let mut lines = Vec::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if line.starts_with('[') {
                line.clone_into(&mut table);
            } else {
                lines.push((table.clone(), line.to_owned()));
            }
        }
        lines
    };
    let usual = lines(&least.to_toml());
    let (mut out, mut last) = (String::new(), String::new());
    for (table, line) in lines(&plan.to_toml()).into_iter().filter(|line| !usual.contains(line)) {
        if table != last {
            out.extend(["\n", &table, "\n"]);
            last = table;
        }
        out.extend([&line, "\n"]);
    }
    out
}

/// The one snapshot that every new key is in.
#[test]
fn every_default_is_written() {
    let adapters = [LEAST, FULL, DREAMBOOTH].map(|text| good(text, &[]).to_toml());
    assert_snapshot!("defaults", adapters.join("\n# ---\n\n"));
}

#[test]
fn older_spellings_are_read_for_ever() {
    let adamw = |text: &str, set: &[&str]| {
        let Optimizer::AdamW(adamw) = good(text, set).train.optimizer else { panic!("another optimizer") };
        format!("{:?}", [adamw.beta1, adamw.beta2, adamw.epsilon, adamw.weight_decay])
    };
    let old =
        format!("{LEAST}train = {{ adam_beta1 = 0.8, adam_beta2 = 0.95, adam_epsilon = 1e-6, weight_decay = 0.3 }}");
    assert_eq!(adamw(&old, &[]), "[0.8, 0.95, 1e-6, 0.3]");
    assert_eq!(adamw(&old, &["train.weight_decay=0"]), "[0.8, 0.95, 1e-6, 0.0]");
    assert_eq!(adamw(&old, &["train.optimizer.adamw.beta1=0.5", "train.adam_beta2=0.6"]), "[0.5, 0.6, 1e-6, 0.3]");
    let new = format!("{LEAST}[train.optimizer.adamw]\nbeta1 = 0.8\nweight_decay = 0.2\n");
    assert_eq!(adamw(&new, &["train.adam_beta1=0.7"]), "[0.7, 0.999, 1e-8, 0.2]");
    let variants =
        format!("{LEAST}[[variant]]\nname = 'a'\ntrain.weight_decay = 0.4\n[stand_in]\ntrain.weight_decay = 0.5\n");
    let planned = Planned::parse_all(&variants, Path::new("x.toml"), &[]).unwrap_or_else(|e| panic!("{e}")).remove(0);
    let decay = |plan: Plan| {
        let Optimizer::AdamW(adamw) = plan.train.optimizer else { panic!("another optimizer") };
        adamw.weight_decay
    };
    assert_eq!((decay(planned.plan), planned.stand_in.map(decay)), (0.4, Some(0.5)));

    let both = "[train]\nadam_beta1 = 1\nweight_decay = 0.1\n[train.optimizer.adamw]\nweight_decay = 0.2\n";
    assert_snapshot!(complaint(both), @r#"
    error: `weight_decay` is the older spelling of `train.optimizer.adamw.weight_decay`, which is there too
      --> lab/x.toml:6:1
       |
     6 | weight_decay = 0.1
       | ^^^^^^^^^^^^ leave one of them out
    "#);
    assert_snapshot!(complaint("[train]\nadam_beta1 = 1\n[train.optimizer.adam]\nbeta3 = 1\n"), @r#"
    error: `adam_beta1` must be a number, 0 or more and below 1, not 1
      --> lab/x.toml:5:14
       |
     5 | adam_beta1 = 1
       |              ^

    error: unknown optimizer `adam`
      --> lab/x.toml:6:18
       |
     6 | [train.optimizer.adam]
       |                  ^^^^ did you mean `adamw`?

    error: more than one optimizer: `adam`, `adamw`
      --> lab/x.toml:6:18
       |
     6 | [train.optimizer.adam]
       |                  ^^^^ an experiment has one, and the flat `train.weight_decay` and `train.adam_…` are those of `adamw`

    hint: 3 problems in lab/x.toml
    "#);
    assert_snapshot!(complaint("[train.optimizer.adamw]\nbeta3 = 1\n"), @r#"
    error: unknown key `beta3` in [train.optimizer.adamw]
      --> lab/x.toml:5:1
       |
     5 | beta3 = 1
       | ^^^^^ did you mean `beta1`?
    "#);
    assert_snapshot!(complaint("[train]\noptimizer = 'adamw'\nweight_decay = 1\n"), @r#"
    error: `optimizer` must be a table
      --> lab/x.toml:5:1
       |
     5 | optimizer = 'adamw'
       | ^^^^^^^^^ write [train.optimizer]
    "#);
}

#[test]
fn what_differs_says_what_is_done_again() {
    let plan = |set: &[&str]| good(&format!("{LEAST}reference.label = 'r'"), set).to_toml();
    let stored = plan(&[]);
    let diff = |set: &[&str]| PlanDiff::of(&stored, &plan(set));
    assert_eq!(diff(&[]), PlanDiff::Equal);
    assert_eq!(PlanDiff::of(&stored.replace('\n', "\r\n"), &stored), PlanDiff::Equal);
    assert_eq!(PlanDiff::of(&format!("# mine\n{stored}"), &stored), PlanDiff::MetadataOnly);
    assert_eq!(diff(&["reference.seconds=3"]), PlanDiff::MetadataOnly);
    assert_eq!(PlanDiff::of(&stored, &good(LEAST, &[]).to_toml()), PlanDiff::MetadataOnly);
    for key in ["prompts=['a']", "negative_prompt=n", "compare_base=false", "images=2", "steps=3", "guidance_scale=1"] {
        assert_eq!(diff(&[&format!("eval.{key}"), "reference.label=s"]), PlanDiff::SamplingOnly, "{key}");
    }
    assert_eq!(diff(&["eval.sampler=ddim", "eval.seed=1"]), PlanDiff::SamplingOnly);
    for key in ["eval.every=1", "seed=1", "train.tf32=true", "train.weight_decay=0", "dataset.prompt=p", "name=other"] {
        assert_eq!(diff(&[key, "eval.seed=1"]), PlanDiff::Training, "{key}");
    }
    assert_eq!(PlanDiff::of("no plan", &stored), PlanDiff::Training);
    // A plan that an earlier version stored.
    let (before, after) = stored.split_once("[train.optimizer.adamw]").expect("it is there");
    let adamw = "adam_beta1 = 0.9\nadam_beta2 = 0.999\nadam_epsilon = 1e-8\nweight_decay = 0.01\n";
    let (_, after) = after.split_once("\n\n").expect("more tables");
    let old = format!("{}\n{after}", before.replace("max_grad_norm", &format!("{adamw}max_grad_norm")));
    assert!(!old.contains("adamw") && good(&old, &[]) == good(&stored, &[]), "{old}");
    assert_eq!(PlanDiff::of(&old, &stored), PlanDiff::Equal);
    assert_eq!(PlanDiff::of(&old, &plan(&["eval.seed=1"])), PlanDiff::SamplingOnly);
    assert_eq!(PlanDiff::of(&old, &plan(&["train.weight_decay=0"])), PlanDiff::Training);
}

/// A plan as version 0.1 stored it, before there were `[train.optimizer]` and `input_perturbation`: its runs stay finished, and go
/// on.
#[test]
fn a_plan_of_an_earlier_version_is_the_same_plan() {
    let stored = fs_err::read_to_string("tests/config/plan_of_an_earlier_version.toml").expect("it is there");
    assert!(stored.contains("adam_beta1") && !stored.contains("input_perturbation"), "{stored}");
    let wanted = |set: &[&str]| good(&format!("{LEAST}reference.label = 'r'\nmetrics.encoders = []"), set).to_toml();
    // It was never measured, whatever else is the same.
    assert_eq!(PlanDiff::of(&stored, &wanted(&[])), PlanDiff::MeasuringOnly);
    let stored = format!("{stored}\n[metrics]\nencoders = []\nidentifier = ''\nclass_prompt = ''\n");
    assert_eq!(PlanDiff::of(&stored, &wanted(&["metrics.encoders=['builtin']"])), PlanDiff::MeasuringOnly);
    assert_eq!(PlanDiff::of(&stored, &wanted(&["eval.keep_weights=false"])), PlanDiff::MetadataOnly);
    // Whose default depends on other keys.
    assert_eq!(PlanDiff::of(&stored, &wanted(&[])), PlanDiff::MetadataOnly);
    let stored = stored.replace("every = 50\n", "every = 50\nkeep_weights = true\n");
    assert_eq!(PlanDiff::of(&stored, &wanted(&[])), PlanDiff::Equal);
    assert_eq!(PlanDiff::of(&stored, &wanted(&["reference.label=s"])), PlanDiff::MetadataOnly);
    assert_eq!(PlanDiff::of(&stored, &wanted(&["eval.seed=7"])), PlanDiff::SamplingOnly);
    for key in ["train.input_perturbation=0.1", "train.adam_beta1=0.8", "train.optimizer.lion={}", "train.tf32=true"] {
        assert_eq!(PlanDiff::of(&stored, &wanted(&[key])), PlanDiff::Training, "{key}");
    }
    for adapter in ["adapter.full = {}", "adapter.dreambooth = { class_prompt = 'a', lora = {} }"] {
        let other = LEAST.replace("adapter.lora = {}", adapter).replace("'a/set'", "'a/set'\ndataset.prompt = 'p'");
        assert_eq!(PlanDiff::of(&stored, &good(&other, &[]).to_toml()), PlanDiff::Training, "{adapter}");
    }
}

/// The flat keys are AdamW's, wherever they stand.
#[test]
fn a_flat_key_beside_another_optimizer_is_a_mistake() {
    let lion = format!("{LEAST}[train.optimizer.lion]\nbeta1 = 0.7\n");
    let variant = format!("{lion}[[variant]]\nname = 'a'\ntrain.weight_decay = 0.3\n");
    let stand_in = format!("{lion}[stand_in]\ntrain.weight_decay = 0.3\n");
    for (text, set) in [(&lion, &["train.weight_decay=0.3"][..]), (&variant, &[]), (&stand_in, &[])] {
        let set: Vec<String> = set.iter().map(|arg| (*arg).to_owned()).collect();
        let error = Planned::parse_all(text, Path::new("x.toml"), &set).expect_err("two optimizers").to_string();
        assert!(error.contains("more than one optimizer") && error.contains("`train.weight_decay`"), "{error}");
    }
}

#[test]
fn a_set_argument_replaces_the_files_value_and_its_mistakes() {
    let text = format!("{LEAST}[train]\nepochs = 'many'\nbatch_size = 2\n");
    let plan = good(&text, &["train.epochs=2", "train.epochs=3"]);
    assert_eq!((plan.train.length, plan.train.batch_size), (Length::Epochs(3), 2));
}

#[test]
fn a_path_beside_a_repository_wins_and_steps_beside_epochs() {
    let here = std::env::current_dir().expect("a working folder").canonicalize().expect("it exists");
    let plan = good(&format!("{LEAST}[train]\nepochs = 3\nsteps = 5\n"), &["model.path=."]);
    assert_eq!(plan.model, Source::Path(here));
    assert_eq!(plan.train.length, Length::Steps(5));
}

#[test]
fn of_two_keys_that_exclude_each_other_the_argument_beats_the_file() {
    let text = "model.path = '/no/such/folder'\ndataset.repo = 'a/set'\nadapter.lora = {}\ntrain.steps = 5\n";
    let plan = good(text, &["model.repo=b/model", "train.epochs=2"]);
    let expected = Source::HuggingFace { repo: "b/model".into(), revision: "main".into(), modelscope: None };
    assert_eq!(plan.model, expected);
    assert_eq!(plan.train.length, Length::Epochs(2));
}

#[test]
fn paths_in_the_file_start_at_the_file_and_in_an_argument_at_the_working_folder() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let root = folder.path().canonicalize().expect("it exists");
    fs_err::create_dir_all(root.join("pictures")).expect("writable");
    let text = "model.repo = 'a/m'\ndataset.path = 'pictures'\nadapter.lora = {}";
    let plan = Plan::parse(text, &root.join("x.toml"), &["model.path=tests".into()]).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(plan.dataset.source, Source::Path(root.join("pictures")));
    assert_eq!(plan.model, Source::Path(Path::new("tests").canonicalize().expect("it exists")));
}

#[test]
fn steps_count_the_last_smaller_batch() {
    let plan = good(LEAST, &["train.epochs=3", "train.batch_size=2", "train.gradient_accumulation=2"]);
    assert_eq!(plan.train.steps_per_epoch(5), 2);
    assert_eq!(plan.train.total_steps(5), 6);
}

#[test]
fn a_text_that_is_listed_twice_gets_a_caret() {
    assert_snapshot!(complaint("[eval]\nprompts = ['a dog', 'a cat', 'a dog']\n"), @r#"
    error: `prompts` names "a dog" twice
      --> lab/x.toml:5:30
       |
     5 | prompts = ['a dog', 'a cat', 'a dog']
       |                              ^^^^^^^ leave one of them out
    "#);
}

#[test]
fn a_mistyped_key_gets_a_caret_and_a_suggestion() {
    assert_snapshot!(complaint("[adapter.lora2]\n"), @r"
    error: unknown adapter `lora2`
      --> lab/x.toml:4:10
       |
     4 | [adapter.lora2]
       |          ^^^^^ did you mean `lora`?

    error: more than one adapter: `lora`, `lora2`
      --> lab/x.toml:4:10
       |
     4 | [adapter.lora2]
       |          ^^^^^ an experiment has exactly one

    hint: 2 problems in lab/x.toml
    ");
    assert_snapshot!(bad("model.repo = 'a/m'\ndataset.repo = 'a/d'\n[adapter.lora]\nrnak = 4\n", &[]), @r"
    error: unknown key `rnak` in [adapter.lora]
      --> lab/x.toml:4:1
       |
     4 | rnak = 4
       | ^^^^ did you mean `rank`?
    ");
    assert_snapshot!(complaint("[train]\nlr = 1e-4\nnum_train_epochs = 3\nfrobnicate = 1\nprompts = ['x']\n"), @r"
    error: unknown key `lr` in [train]
      --> lab/x.toml:5:1
       |
     5 | lr = 1e-4
       | ^^ did you mean `learning_rate`?

    error: unknown key `num_train_epochs` in [train]
      --> lab/x.toml:6:1
       |
     6 | num_train_epochs = 3
       | ^^^^^^^^^^^^^^^^ did you mean `epochs`?

    error: unknown key `frobnicate` in [train]
      --> lab/x.toml:7:1
       |
     7 | frobnicate = 1
       | ^^^^^^^^^^ the keys here are `epochs`, `steps`, `batch_size`, `gradient_accumulation`, `learning_rate`, `lr_scheduler`, `warmup_steps`, `max_grad_norm`, `loss`, `huber_schedule`, `huber_c`, `zero_terminal_snr`, `snr_gamma`, `noise_offset`, `input_perturbation`, `dtype`, `tf32`, `gradient_checkpointing`, `checkpoint_every`, `keep_checkpoints`, `optimizer`

    error: unknown key `prompts` in [train]
      --> lab/x.toml:8:1
       |
     8 | prompts = ['x']
       | ^^^^^^^ it belongs in [eval]

    hint: 4 problems in lab/x.toml
    ");
}

#[test]
fn every_problem_of_a_file_is_said_at_once_in_the_files_order() {
    let text = "sed = 3

[modle]
repo = \"a/b\"

[dataset]
path = \"../nope\"
resolution = 500
random_flip = 1

[adapter.lora]
rank = 0
alpha = 0
dropout = 1.0
targets = [\"to_qq\", \"\"]

[train]
steps = 99999999999999999999
learning_rate = \"fast\"
lr_scheduler = \"cosin\"
dtype = \"f8\"
snr_gamma = nan
warmup_steps = 1.5

[eval]
prompts = [\"狗 🐶\", \" \", 3, \"x\\u0000\"]
sampler = \"eulr\"
steps = 1001
guidance_scale = -1
images = 1979-05-27
";
    let root = std::env::current_dir().expect("a working folder");
    let text = bad(text, &["eval.every=-1", "eval.evry=1"]).replace(root.to_str().expect("UTF-8"), "ROOT");
    assert_snapshot!("every_problem", text);
}

#[test]
fn one_text_in_place_of_a_list_is_shown_as_a_list() {
    let text = "model.repo = 'a/m'\ndataset.repo = 'a/d'\n[adapter.lora]\ntargets = \"to_q\"\n";
    assert_snapshot!(bad(text, &["eval.prompts=a dog"]), @r#"
    error: `targets` must be a list of texts, not one text
      --> lab/x.toml:4:11
       |
     4 | targets = "to_q"
       |           ^^^^^^ write targets = ["to_q"]

    error: `prompts` must be a list of texts, not one text
      --> --set
       |
       | eval.prompts=a dog
       |              ^^^^^ write prompts = ["a dog"]

    hint: 2 problems in lab/x.toml
    "#);
}

#[test]
fn an_adapter_is_needed_and_only_one() {
    let sources = "model.repo = 'a/m'\ndataset.repo = 'a/d'\n";
    assert_snapshot!(bad(sources, &[]), @r"
    error: no adapter
      --> lab/x.toml
       = add [adapter.lora], [adapter.full] or [adapter.dreambooth]
    ");
    assert_snapshot!(bad(&format!("{sources}[adapter]\n"), &[]), @r"
    error: no adapter
      --> lab/x.toml:3:2
       |
     3 | [adapter]
       |  ^^^^^^^ add [adapter.lora], [adapter.full] or [adapter.dreambooth]
    ");
    assert_snapshot!(bad(&format!("{sources}[adapter.lora]\n[adapter.full]\n"), &[]), @r"
    error: more than one adapter: `full`, `lora`
      --> lab/x.toml:4:10
       |
     4 | [adapter.full]
       |          ^^^^ an experiment has exactly one
    ");
    assert_snapshot!(bad(&format!("{sources}[adapter]\nlora = 4\n"), &[]), @r"
    error: `lora` must be a table
      --> lab/x.toml:4:1
       |
     4 | lora = 4
       | ^^^^ write [adapter.lora]
    ");
    assert_snapshot!(bad(&format!("{sources}[adapter.fulll]\nema_decay = 1\n"), &[]), @r"
    error: unknown adapter `fulll`
      --> lab/x.toml:3:10
       |
     3 | [adapter.fulll]
       |          ^^^^^ did you mean `full`?
    ");
}

#[test]
fn full_fine_tuning_says_which_key_is_wrong() {
    let sources = "model.repo = 'a/m'\ndataset.repo = 'a/d'\n";
    let text = format!("{sources}[adapter.full]\nrank = 4\nema_decay = 1\nsingle_flie = true\n");
    assert_snapshot!(bad(&text, &[]), @r"
    error: unknown key `rank` in [adapter.full]
      --> lab/x.toml:4:1
       |
     4 | rank = 4
       | ^^^^ the keys here are `text_encoder`, `ema_decay`, `single_file`

    error: `ema_decay` must be a number above 0 and below 1, not 1
      --> lab/x.toml:5:13
       |
     5 | ema_decay = 1
       |             ^

    error: unknown key `single_flie` in [adapter.full]
      --> lab/x.toml:6:1
       |
     6 | single_flie = true
       | ^^^^^^^^^^^ did you mean `single_file`?

    hint: 3 problems in lab/x.toml
    ");
}

#[test]
fn dreambooth_needs_two_prompts_and_one_adapter() {
    let sources = "model.repo = 'a/m'\ndataset.repo = 'a/d'\n";
    assert_snapshot!(bad(&format!("{sources}[adapter.dreambooth]\nclas_images = 45\n"), &[]), @r#"
    error: nothing says what DreamBooth calls its subject
      --> lab/x.toml:2:1
       |
     2 | dataset.repo = 'a/d'
       | ^^^^^^^ add `prompt`, such as "a sks dog"

    error: no adapter in DreamBooth
      --> lab/x.toml:3:10
       |
     3 | [adapter.dreambooth]
       |          ^^^^^^^^^^ add [adapter.dreambooth.lora] or [adapter.dreambooth.full]

    error: nothing says what the class images show
      --> lab/x.toml:3:10
       |
     3 | [adapter.dreambooth]
       |          ^^^^^^^^^^ add `class_prompt`, such as "a dog"

    error: unknown key `clas_images` in [adapter.dreambooth]
      --> lab/x.toml:4:1
       |
     4 | clas_images = 45
       | ^^^^^^^^^^^ did you mean `class_images`?

    hint: 4 problems in lab/x.toml
    "#);
    let both = "[adapter.dreambooth.lora]\nrnak = 4\n[adapter.dreambooth.full]\n";
    let text = format!("{sources}dataset.prompt = 'a sks dog'\nadapter.dreambooth.class_prompt = 'a dog'\n{both}");
    assert_snapshot!(bad(&text.replace("adapter.dreambooth.class_prompt = 'a dog'\n", ""), &["adapter.dreambooth.class_prompt=a dog"]), @r"
    error: unknown key `rnak` in [adapter.dreambooth.lora]
      --> lab/x.toml:5:1
       |
     5 | rnak = 4
       | ^^^^ did you mean `rank`?

    error: more than one adapter in DreamBooth: `full`, `lora`
      --> lab/x.toml:6:21
       |
     6 | [adapter.dreambooth.full]
       |                     ^^^^ an experiment has exactly one

    hint: 2 problems in lab/x.toml
    ");
    let ranges = [
        "class_images=0",
        "class_prompt=",
        "prior_loss_weight=-0.1",
        "class_steps=1001",
        "class_seed=-1",
        "class_guidance_scale=-1",
        "class_sampler=eulr",
        "class_batch_size=0",
        "class_path=/no/such/folder",
        "lora={}",
    ];
    for key in ranges {
        assert!(with(DREAMBOOTH, &[&format!("adapter.dreambooth.{key}")]).is_err(), "{key}");
    }
}

#[test]
fn everything_of_dreambooth_reaches_the_plan() {
    let plan = good(
        DREAMBOOTH,
        &[
            "adapter.dreambooth={class_images=45, prior_loss_weight=0.5, class_seed=7, class_steps=25}",
            "adapter.dreambooth={class_guidance_scale=5, class_sampler='ddim', class_batch_size=2}",
            "adapter.dreambooth.full={text_encoder=true, ema_decay=0.99, single_file=true}",
        ],
    );
    let text = plan.to_toml();
    let (_, text) = text.split_once("[adapter").expect("an adapter");
    let (text, _) = text.split_once("\n[train]").expect("a training");
    assert_snapshot!(text, @r#"
    .dreambooth]
    class_prompt = "a dog"
    class_images = 45
    prior_loss_weight = 0.5
    class_seed = 7
    class_steps = 25
    class_guidance_scale = 5.0
    class_sampler = "ddim"
    class_batch_size = 2

    [adapter.dreambooth.full]
    text_encoder = true
    ema_decay = 0.99
    single_file = true
    "#);
    let Objective::DreamBooth(dreambooth) = good(DREAMBOOTH, &[]).objective else { panic!("{:?}", plan.objective) };
    assert_eq!((dreambooth.class_images, dreambooth.prior_loss_weight, dreambooth.class_sample.seed), (100, 1.0, 42));
    let sample = &dreambooth.class_sample;
    let eval = (sample.steps, sample.guidance_scale, sample.sampler);
    assert_eq!((eval, dreambooth.class_batch_size), ((50, 7.5, Sampler::Pndm), 4));
}

#[test]
fn a_folder_of_class_images_takes_the_place_of_their_number() {
    let set = ["adapter.dreambooth.class_images=45", "adapter.dreambooth.class_path=tests"];
    let plan = good(DREAMBOOTH, &set);
    let Objective::DreamBooth(dreambooth) = &plan.objective else { panic!("{:?}", plan.objective) };
    assert_eq!(dreambooth.class_path, Some(Path::new("tests").canonicalize().expect("it exists")));
    assert!(!plan.to_toml().contains("class_images"));
    let text = DREAMBOOTH.replace("class_prompt", "class_images = 45, class_path = '/', class_prompt");
    assert!(bad(&text, &[]).contains("`class_images` says how many pictures are made"), "both in one file");
}

#[test]
fn the_usual_learning_rate_depends_on_what_is_trained_and_how() {
    let rate = |text: &str| good(text, &[]).train.learning_rate;
    assert_eq!((rate(LEAST), rate(FULL), rate(DREAMBOOTH)), (1e-4, 1e-5, 5e-6));
    assert_eq!(rate(&DREAMBOOTH.replace("full", "lora")).to_bits(), 1e-4_f64.to_bits());
}

#[test]
fn a_reference_needs_its_label() {
    assert_snapshot!(complaint("[reference]\nseconds = -1\ns_per_it = 2\n"), @r#"
    error: nothing says what the reference row is called
      --> lab/x.toml:4:2
       |
     4 | [reference]
       |  ^^^^^^^^^ add `label`, such as "report, LoRA"

    error: `seconds` must be a number, 0 or more, not -1
      --> lab/x.toml:5:11
       |
     5 | seconds = -1
       |           ^^

    error: unknown key `s_per_it` in [reference]
      --> lab/x.toml:6:1
       |
     6 | s_per_it = 2
       | ^^^^^^^^ the keys here are `label`, `trained_parameters`, `seconds`, `seconds_per_step`, `device`, `dino`, `clip_i`, `clip_t`, `pres`

    hint: 3 problems in lab/x.toml
    "#);
}

#[test]
fn a_source_is_needed() {
    assert_snapshot!(bad("[model]\nrevision = 'main'\n[adapter.lora]\n", &[]), @r"
    error: nothing says which pictures to train on
      --> lab/x.toml
       = add [dataset] with `path`, `repo`, `modelscope` or `builtin`

    error: nothing says which model to train
      --> lab/x.toml:1:2
       |
     1 | [model]
       |  ^^^^^ add `path`, `repo`, `modelscope` or `builtin`

    hint: 2 problems in lab/x.toml
    ");
    assert_snapshot!(bad("model.repo = '../models/sd15'\ndataset.repo = 'dog'\nadapter.lora = {}", &[]), @r"
    error: `repo` must be a repository's `owner/name`
      --> lab/x.toml:1:14
       |
     1 | model.repo = '../models/sd15'
       |              ^^^^^^^^^^^^^^^^ for a folder say `path`

    error: `repo` must be a repository's `owner/name`
      --> lab/x.toml:2:16
       |
     2 | dataset.repo = 'dog'
       |                ^^^^^ for a folder say `path`

    hint: 2 problems in lab/x.toml
    ");
}

#[test]
fn broken_toml_is_shown_in_the_same_way() {
    assert_snapshot!(bad("[model\nrepo = \nseed = 1\nseed = 2\n", &[]), @r"
    error: not valid TOML: unclosed table, expected `]`
      --> lab/x.toml:1:7
       |
     1 | [model
       |       ^
    ");
    assert_snapshot!(bad(&format!("{LEAST}seed = 1\nseed = 2\n"), &[]), @r"
    error: not valid TOML: duplicate key
      --> lab/x.toml:5:1
       |
     5 | seed = 2
       | ^^^^
    ");
    assert_snapshot!(bad("", &["noequals", "a b=3", "=4", "train.epochs=two words", "seed.x=1"]), @r"
    error: --set needs key.path=value
      --> --set
       |
       | noequals
       | ^^^^^^^^ there is no `=`

    error: --set needs key.path=value: key with no value, expected `=`
      --> --set
       |
       | a b=3
       |   ^

    error: --set needs key.path=value: unquoted keys cannot be empty, expected letters, numbers, `-`, `_`
      --> --set
       |
       | =4
       | ^

    hint: 3 problems in lab/x.toml
    ");
}

#[test]
fn a_table_where_a_value_belongs_and_the_other_way_round() {
    assert_snapshot!(bad("model = 'a/m'\ndataset.repo = 'a/d'\nadapter.lora = {}\n[[train]]\nepochs = 1\n[seed]\n", &[]), @r"
    error: `model` must be a table
      --> lab/x.toml:1:1
       |
     1 | model = 'a/m'
       | ^^^^^ write [model]

    error: `train` must be a table
      --> lab/x.toml:4:3
       |
     4 | [[train]]
       |   ^^^^^ write [train]

    error: `seed` must be a whole number, 0 or more, not a table
      --> lab/x.toml:6:1
       |
     6 | [seed]
       | ^^^^^^

    hint: 3 problems in lab/x.toml
    ");
}

#[test]
fn a_name_must_be_a_folders_name() {
    for name in ["../up", "a/b", "a\\b", ".", "..", "x:y", "dot.", "new\nline"] {
        let text = bad(&format!("name = {name:?}\n{LEAST}"), &[]);
        assert!(text.contains("`name` must be usable as a folder's name"), "{text}");
    }
    assert_eq!(good(&format!("name = '狗 1'\n{LEAST}"), &[]).name, "狗 1");
}

#[test]
fn karras_sigmas_go_with_some_samplers() {
    let plan = good(LEAST, &["eval.karras=true", "eval.sampler=euler"]);
    assert!(plan.eval.sample.karras && plan.to_toml().contains("karras = true"), "{}", plan.to_toml());
    assert_eq!(good(&plan.to_toml(), &[]), plan);
    let told = bad(&format!("{LEAST}[eval]\nkarras = true\n"), &[]);
    for part in ["pndm has no Karras sigmas", "\"dpmpp_2m\", \"heun\", \"euler\", \"unipc\"", "5 | karras = true"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert_eq!(PlanDiff::of(&good(LEAST, &["eval.sampler=euler"]).to_toml(), &plan.to_toml()), PlanDiff::SamplingOnly);
}

#[test]
fn losses_reach_the_plan() {
    let set = ["train.loss=smooth_l1", "train.huber_schedule=exponential", "train.huber_c=0.02"];
    let plan = good(LEAST, &set);
    assert_eq!(plan.train.loss_function(), LossFunction::SmoothL1(HuberSchedule::Exponential, 0.02));
    assert_eq!(good(&plan.to_toml(), &[]), plan);
    assert_eq!(good(LEAST, &[]).train.loss_function(), LossFunction::L2);
    let huber = good(LEAST, &["train.loss=huber"]).train.loss_function();
    assert_eq!(huber, LossFunction::Huber(HuberSchedule::Snr, 0.1), "sd-scripts' defaults");
    assert!(with(LEAST, &["train.huber_c=0"]).is_err() && with(LEAST, &["train.loss=l1"]).is_err());
}

/// Told before anything is fetched, where the model is on this machine.
#[test]
fn zero_terminal_snr_is_for_models_that_predict_v() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs_err::create_dir(folder.path().join("scheduler")).expect("writable");
    let of = |prediction: &str, set: &[&str]| {
        let config = format!(r#"{{"_class_name": "DDIMScheduler", "prediction_type": "{prediction}"}}"#);
        fs_err::write(folder.path().join("scheduler/scheduler_config.json"), config).expect("writable");
        let here = folder.path().to_str().expect("UTF-8");
        let text = format!(
            "model.path = '{here}'\ndataset = {{ builtin = 'corgi' }}\nadapter.lora = {{}}
            train.zero_terminal_snr = true\neval.prompts = ['a dog']\n"
        );
        with(&text, set)
    };
    let told = of("epsilon", &[]).expect_err("epsilon").to_string();
    for part in ["`zero_terminal_snr`", "needs a model that predicts v", "epsilon", "4 |"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let plan = of("v_prediction", &[]).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(plan.eval.sample.sampler, Sampler::Ddim, "PNDM has no such schedule");
    let euler = of("v_prediction", &["eval.sampler=euler", "eval.karras=true"]).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(euler.eval.sample.sampler, Sampler::Euler);
    let told = of("v_prediction", &["eval.sampler=pndm"]).expect_err("pndm").to_string();
    assert!(told.contains("rescale_betas_zero_snr") && told.contains("another sampler"), "{told}");
}

/// What a model's schedule has not is told before anything is drawn, where the schedule is on this machine.
#[test]
fn denoising_steps_fit_the_models_schedule() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs_err::create_dir(folder.path().join("scheduler")).expect("writable");
    let config = r#"{"_class_name": "DDIMScheduler", "num_train_timesteps": 100}"#;
    fs_err::write(folder.path().join("scheduler/scheduler_config.json"), config).expect("writable");
    let here = folder.path().to_str().expect("UTF-8");
    let text = format!(
        "model.path = '{here}'\ndataset = {{ builtin = 'corgi', prompt = 'a sks dog' }}\n
        adapter.dreambooth = {{ class_prompt = 'a dog', lora = {{}} }}\n"
    );
    let with = |set: &[&str]| with(&text, set);
    assert!(with(&["eval.steps=100", "eval.sampler=ddim", "adapter.dreambooth.class_steps=99"]).is_ok());
    let more = with(&["eval.steps=101", "adapter.dreambooth.class_steps=200"]).expect_err("too many").to_string();
    assert!(more.contains("`steps`: 101 sampling steps: there must be between 1 and 100"), "{more}");
    assert!(more.contains("`class_steps`: 200 sampling steps: there must be between 1 and 100"), "{more}");
    // Where nothing is drawn, nothing need fit.
    let own = format!("adapter.dreambooth.class_path={here}");
    assert!(with(&["eval.steps=101", "eval.prompts=[]", &own]).is_ok());
}

#[test]
fn paths_of_windows_in_double_quotes_get_advice() {
    let path =
        |written: &str| bad(&format!("model.path = {written}\ndataset.repo = 'a/d'\nadapter.lora = {{}}\n"), &[]);
    // `\U` and `\D` are no escapes; `\n`, `\t` and `\b` are, of characters that nobody sees.
    for written in [r#""C:\Users\me""#, r#""D:\Data\sd15""#, r#""C:\models\sd15""#, r#""\\server\share""#] {
        let text = path(written);
        assert!(text.contains("not valid TOML") && text.contains("write a path in single quotes"), "{text}");
    }
    let text = path(r#""C:\new\train\bed""#);
    assert!(text.contains(r"C:\new\train\bed does not exist"), "{text}");
    assert!(
        text.contains("in double quotes `\\` begins an escape: write a path in single quotes, 'C:\\...'"),
        "{text}"
    );
    let text = path(r"'C:\new\train'");
    assert!(text.contains(r"C:\new\train does not exist") && !text.contains("quotes"), "{text}");
}

#[test]
fn ranges_end_where_they_say() {
    let set = |arg: &str| with(LEAST, &[arg]).is_ok();
    for inside in [
        "adapter.lora.rank=1024",
        "adapter.lora.dropout=0",
        "train.learning_rate=1",
        "eval.steps=1000",
        "dataset.resolution=2048",
        "dataset.resolution=64",
        "eval.guidance_scale=0",
        "train.warmup_steps=0",
        "adapter.lora.targets=['transformer_blocks.0.attn1.to_q', 'up_blocks.7.attentions.0.proj_in']",
    ] {
        assert!(set(inside), "{inside}");
    }
    for outside in [
        "adapter.lora.rank=1025",
        "adapter.lora.dropout=1",
        "train.learning_rate=1.01",
        "eval.steps=1001",
        "dataset.resolution=2112",
        "dataset.resolution=0",
        "train.learning_rate=0",
        "train.max_grad_norm=inf",
        "train.epochs=0",
        "train.steps=0",
        "train.batch_size=0",
        "train.gradient_accumulation=0",
        "seed=-1",
        "train.keep_checkpoints=0",
        "eval.images=0",
        "train.noise_offset=-0.1",
        "train.snr_gamma=0",
        "train.adam_beta1=1",
        "adapter.lora.targets=[]",
        "adapter.lora.targets=to_q",
        "dataset.prompt=",
        "model.repo=a/b/c",
        "train.dtype=f8",
        "eval.compare_base=yes",
    ] {
        assert!(!set(outside), "{outside}");
    }
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_are_no_problem() {
    let text = LEAST.replace('\n', "\r\n");
    assert_eq!(good(&format!("\u{feff}{text}"), &[]), good(LEAST, &[]));
    let shown = complaint("\r\n[train]\r\n\tepoch = 1\r\n");
    assert!(
        shown.ends_with("  --> lab/x.toml:6:2\n   |\n 6 |  epoch = 1\n   |  ^^^^^ did you mean `epochs`?"),
        "{shown}"
    );
}

#[test]
fn parameters_of_stable_diffusion_are_counted_from_its_config() {
    let unet = sd15().unet;
    assert_eq!(unet.parameters(), 859_520_964);
    let Adapter::Lora(mut lora) = good(LEAST, &[]).adapter else { panic!("not a LoRA") };
    assert_eq!(unet.targeted(&lora.targets).count(), 128);
    for rank in [1, 4, 16] {
        lora.rank = rank;
        assert_eq!(lora.rank * unet.lora_parameters(&lora.targets), 199_296 * rank);
    }
    // A name's end counts only from a point on: `q` is the end of `to_q`, but no module's name.
    assert_eq!(unet.targeted(&["q"]).count(), 0);
    // 3 × 3 kernels stay in A, as PEFT has it.
    lora = tunelab::config::Lora { rank: 2, targets: vec!["conv_in".into()], ..lora };
    assert_eq!(lora.rank * unet.lora_parameters(&lora.targets), 2 * (4 * 9 + 320));
}

#[test]
fn a_target_that_no_module_can_have_is_told_from_one_of_another_model() {
    for target in ["to_out.0", "attn2.to_k", "down_blocks.9.attentions.0.transformer_blocks.3.attn2.to_k"] {
        assert_eq!(plausible_target(target), Ok(()));
    }
    for (target, label) in [("to_w", "^^^^^^ did you mean \"to_k\"?"), ("query", "^^^^^^^")] {
        let ends = plausible_target(target).expect_err("no module has it");
        assert!(ends.contains("to_k") && ends.contains("to_out.0"), "{ends:?}");
        let shown = bad(&LEAST.replace("{}", &format!("{{targets = ['{target}']}}")), &[]);
        assert!(shown.ends_with(label), "{shown}");
    }
}

#[test]
fn memory_is_near_what_a_run_takes() {
    let bytes = |set: &[&str]| memory(LEAST, set).total() as f64;
    let small = bytes(&["dataset.resolution=256"]);
    // The UNet's step takes 3.8e9 (`tunelab bench lora`), the VAE and the text encoder 0.8e9 beside it.
    assert!((4.4e9..4.8e9).contains(&small), "{small}");
    let one = bytes(&[]);
    let more = bytes(&["train.batch_size=3"]) - one;
    assert!(one > small && (more / 2.0 - (bytes(&["train.batch_size=2"]) - one)).abs() < 1.0);
}

fn sd15() -> Networks {
    Networks::usual(Family::Sd1).unwrap_or_else(|e| panic!("{e}"))
}

fn memory(text: &str, set: &[&str]) -> Memory {
    estimate(&good(text, set), &sd15(), false)
}

#[test]
fn on_a_card_short_types_halve_the_unets_activations() {
    let networks = sd15();
    let on = |text: &str, set: &[&str], card| estimate(&good(text, set), &networks, card);
    let bf16 = ["train.dtype='bf16'"];
    assert_eq!(on(FULL, &[], true), on(FULL, &[], false));
    for text in [LEAST, FULL] {
        let (here, card) = (on(text, &bf16, false), on(text, &bf16, true));
        // Trained weights are kept in both types.
        let rounded = if text == FULL { 2 * 859_520_964 } else { 0 };
        assert_eq!(
            here,
            Memory {
                weights: card.weights - rounded,
                activations: 2 * card.activations,
                checkpointing_saves: here.checkpointing_saves,
                ..card
            }
        );
        assert_eq!(here.checkpointing_saves, 2 * card.checkpointing_saves);
    }
    // A trained text encoder stays in 32 bits.
    let with_text = ["train.dtype='bf16'", "adapter.full.text_encoder=true"];
    let of_text = on(FULL, &with_text, true).activations - on(FULL, &bf16, true).activations;
    assert_eq!(of_text, on(FULL, &with_text[1..], false).activations - on(FULL, &[], false).activations);
}

#[test]
fn a_run_beyond_the_card_is_refused_and_one_beyond_what_is_free_is_warned_of() {
    let plan = good(FULL, &["adapter.full.ema_decay=0.99", "train.batch_size=4"]);
    let memory = Memory {
        weights: 4_000_000_000,
        gradients: 3_000_000_000,
        moments: 6_000_000_000,
        average: 3_000_000_000,
        activations: 4_500_000_000,
        checkpointing_saves: 2_500_000_000,
    };
    let total = memory.total();
    let fits = |total, free| fit(&plan, &memory, CardMemory { total, free });
    assert_eq!(fits(total, total).map_err(|e| e.to_string()), Ok(None));
    let warning = fits(total + 5_500_000_000, total - 1).unwrap_or_else(|e| panic!("{e}")).expect("a warning");
    let remedies = "set train.gradient_checkpointing = true (saves about 2.5 GB), set train.dtype = \"bf16\", take a smaller \
                    train.batch_size and as much more train.gradient_accumulation, leave out ema_decay (saves 3.0 GB), \
                    train a LoRA in place of all weights, take a smaller dataset.resolution";
    assert_eq!(
        warning,
        format!(
            "the run needs about 20.5 GB of the GPU's memory, as estimated, and 20.5 GB of its 26.0 GB are free: other programs \
             have the rest (see `nvidia-smi`); should it run out, {remedies}"
        )
    );
    let error = fits(total - 1, total - 1).expect_err("it is too large");
    assert_eq!(error.exit_code(), 2);
    assert_eq!(
        error.to_string(),
        format!(
            "error: the run needs about 20.5 GB of the GPU's memory, as estimated, and the GPU has 20.5 GB\n\nhint: {remedies}, \
             or use a larger GPU or --device cpu"
        )
    );

    // What is done already is no remedy.
    let plan = good(LEAST, &["train.dtype='bf16'", "train.gradient_checkpointing=true", "train.batch_size=1"]);
    let error = fit(&plan, &memory, CardMemory { total: 1, free: 1 }).expect_err("it is too large").to_string();
    assert!(error.ends_with("hint: take a smaller dataset.resolution, or use a larger GPU or --device cpu"), "{error}");
}

#[test]
fn what_a_card_needs_is_counted_from_the_models_folder() {
    let plan = good(LEAST, &["model={path='tests/fixtures/model'}", "dataset.resolution=64"]);
    let memory = needed(&plan, Path::new("tests/fixtures/model"), true).unwrap_or_else(|e| panic!("{e}"));
    let file = |part: &str| {
        let folder = Path::new("tests/fixtures/model").join(part);
        let names = ["diffusion_pytorch_model.safetensors", "model.safetensors"];
        names.iter().find_map(|name| Some(fs_err::metadata(folder.join(name)).ok()?.len())).expect("weights")
    };
    let files: u64 = ["unet", "vae", "text_encoder"].into_iter().map(file).sum();
    // The headers of the files and the LoRA's own weights are the difference.
    assert!(memory.weights.abs_diff(files) < files / 5, "{} {files}", memory.weights);
}

/// Of Stable Diffusion 1.5, in 32 bits.
const VAE_BYTES: u64 = 4 * 83_653_863;
const TEXT_ENCODER_BYTES: u64 = 4 * 123_060_480;

#[test]
fn full_fine_tuning_holds_every_weight_four_times() {
    let unet = 4 * 859_520_964_u64;
    let full = memory(FULL, &["dataset.resolution=256"]);
    assert_eq!(full.weights, unet + VAE_BYTES + TEXT_ENCODER_BYTES);
    assert_eq!((full.gradients, full.moments, full.average), (unet, 2 * unet, 0));
    let both = memory(FULL, &["adapter.full.text_encoder=true", "adapter.full.ema_decay=0.999"]);
    assert_eq!((both.gradients, both.average), (unet + TEXT_ENCODER_BYTES, unet + TEXT_ENCODER_BYTES));
    assert_eq!(both.weights, full.weights);
}

#[test]
fn checkpointing_keeps_the_stages_inputs_and_the_largest_stage() {
    let plain = memory(LEAST, &["dataset.resolution=256"]);
    let less = memory(LEAST, &["dataset.resolution=256", "train.gradient_checkpointing=true"]);
    assert_eq!(plain.activations - less.activations, less.checkpointing_saves);
    assert_eq!(plain.checkpointing_saves, less.checkpointing_saves);
    // By hand, in numbers of a 32 × 32 latent: what goes into the 22 stages, level by level, downwards, middle, upwards.
    let inputs = 1024 * (320 + 320)
        + 256 * (320 + 640)
        + 64 * (640 + 1280)
        + 16 * (1280 + 1280)
        + 16 * (1280 + 1280)
        + 16 * 3 * 2560
        + 64 * (2560 + 2560 + 1920)
        + 256 * (1920 + 1280 + 960)
        + 1024 * (960 + 640 + 640);
    // The largest is the first of the uppermost level on the way up.
    let rows = 960 + 320 + 320 + 320 + 320 // norms, convolutions and shortcut of the resnet
        + 4 * 320 + 320 // norms, projection in
        + 4 * 320 + 2 * 320 // attentions on the picture: q, k, v, out; q, out
        + 8 * 320 + 320 + 320; // feed-forward, projection out
    let of_text = 77 * 2 * 320;
    let largest = 1024 * rows + 320 + of_text;
    // conv_in, time embedding, two of three resamplers upwards and downwards at each level, conv_norm_out, conv_out.
    let outside = (1024 * 320 + 2 * 1280)
        + (256 * 320 + 64 * 640 + 16 * 1280)
        + (64 * 1280 + 256 * 1280 + 1024 * 640)
        + 1024 * (320 + 4);
    assert_eq!(less.activations, 4 * (inputs + largest + outside));
}

#[test]
fn dreambooth_passes_two_samples_for_each_photograph() {
    let captions = memory(FULL, &["dataset.resolution=256"]);
    let dreambooth = memory(DREAMBOOTH, &["dataset.resolution=256"]);
    assert_eq!(dreambooth.activations, 2 * captions.activations);
}

#[test]
fn the_text_encoder_is_counted_from_its_config() {
    let networks = sd15();
    let text = &networks.text_encoders[&PartName::TextEncoder].network;
    assert_eq!(
        (text.parameters(), text.targeted(&["q_proj", "k_proj", "v_proj", "out_proj"]).count()),
        (123_060_480, 48)
    );
    let trained = |plan: &Plan| Trained::new(&plan.adapter, &networks).total();
    assert_eq!(trained(&good(LEAST, &["adapter.lora.rank=4"])), 797_184);
    assert_eq!(trained(&good(LEAST, &["adapter.lora={rank=4,text_encoder=true}"])), 797_184 + 4 * 48 * 2 * 768);
    assert_eq!(trained(&good(FULL, &[])), 859_520_964);
    assert_eq!(trained(&good(FULL, &["adapter.full.text_encoder=true"])), 859_520_964 + 123_060_480);
    // A missing size is transformers' default, as where the network is loaded.
    let parse = |json| ClipConfig::parse(json, Path::new("text_encoder/config.json"));
    assert_eq!(parse("{}").map(|config| config.hidden_size).map_err(|e| e.to_string()), Ok(512));
    assert!(parse("[]").is_err() && parse(r#"{"hidden_size": -1}"#).is_err());
}

/// What is at hand of a model counts, whatever its configuration: here two blocks in each transformer.
#[test]
fn a_plan_counts_the_transformer_blocks_of_its_model() {
    let dir = tempfile::tempdir().unwrap();
    fs_err::create_dir(dir.path().join("unet")).unwrap();
    let json = r#"{"block_out_channels": [320, 640, 1280, 1280], "cross_attention_dim": 768,
        "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
        "transformer_layers_per_block": 2}"#;
    fs_err::write(dir.path().join("unet/config.json"), json).unwrap();
    let wanted = UnetConfig { transformer_layers_per_block: vec![2; 4], ..sd15::unet() };
    let file = dir.path().join("unet/config.json");
    assert_eq!(UnetConfig::read(&file).map_err(|e| e.to_string()), Ok(wanted.clone()));
    let unet = Networks::of(&Source::Path(dir.path().to_owned())).unwrap_or_else(|e| panic!("{e}")).unet;
    assert_eq!(unet.targeted(&["to_q"]).count(), 2 * sd15().unet.targeted(&["to_q"]).count());
    assert_eq!(unet, wanted.describe().unwrap_or_else(|e| panic!("{e}")));
}

/// Full fine-tuning of Stable Diffusion XL is 41 GB of weights, gradients and moments: said before it begins.
#[test]
fn a_run_that_this_machine_cannot_hold_is_refused_before_it_begins() {
    let networks = Networks::usual(Family::Sdxl).unwrap_or_else(|e| panic!("{e}"));
    let plan = good(FULL, &["dataset.resolution=512"]);
    let memory = estimate(&plan, &networks, false);
    let gib = |n: u64| n << 30;
    let error = fit_host(&plan, &memory, &HostMemory { total: gib(24), free: gib(20) }).unwrap_err();
    let text = error.to_string();
    assert!(
        error.exit_code() == 2 && text.contains("need about") && text.contains("this machine has 25.8 GB"),
        "{text}"
    );
    assert!(text.contains("train a LoRA in place of all weights"), "{text}");
    let told = |host| fit_host(&plan, &memory, &host).unwrap_or_else(|e| panic!("{e}"));
    let short = told(HostMemory { total: gib(64), free: gib(20) }).unwrap_or_default();
    assert!(short.contains("are free: should it run out"), "{short}");
    assert_eq!(told(HostMemory { total: gib(128), free: gib(100) }), None);
    // Beside frozen weights of half the size it fits.
    let lora = good(LEAST, &["dataset.resolution=512", "train.dtype='bf16'", "train.gradient_checkpointing=true"]);
    let memory = estimate(&lora, &networks, false);
    assert!(memory.total() < gib(9), "{}", memory.total());
}
