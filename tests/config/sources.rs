//! Captions, several sources and several subjects: what they resolve to, and what is said of mistakes.

use std::path::Path;

use insta::assert_snapshot;
use tunelab::config::{CaptionFrom, ClassPart, Group, Objective, Plan, PlanDiff};

const MODEL: &str = "model.repo = 'a/model'\n";

fn parse(text: &str) -> tunelab::error::Result<Plan> {
    Plan::parse(&format!("{MODEL}{text}"), Path::new("x.toml"), &[])
}

fn good(text: &str) -> Plan {
    let plan = parse(text).unwrap_or_else(|e| panic!("{e}"));
    let written = plan.to_toml();
    let again = Plan::parse(&written, Path::new("other.toml"), &[]).unwrap_or_else(|e| panic!("{e}:\n{written}"));
    assert_eq!(again, plan, "{written}");
    plan
}

fn bad(text: &str) -> String {
    parse(text).expect_err("a mistake").to_string()
}

const SUBJECTS: &str = "
[dataset]
random_flip = false
captions.trigger = 'ohwx'
[[dataset.sources]]
repo = 'a/dogs'
repeats = 3
random_flip = true
[[dataset.sources]]
name = 'cats'
repo = 'a/cats'
prompt = 'a [trigger] cat'
center_crop = false
[[dataset.sources]]
name = 'class cats'
builtin = 'corgi'
prior = true
prompt = 'a cat'
[adapter.dreambooth.lora]
[[adapter.dreambooth.subjects]]
source = 'a/dogs'
prompt = 'a sks dog'
class_prompt = 'a dog'
[[adapter.dreambooth.subjects]]
source = 'cats'
class_source = 'class cats'
";

#[test]
fn sources_and_subjects_resolve_with_nothing_left_open() {
    let plan = good(SUBJECTS);
    let parts = plan.dataset.parts();
    let told: Vec<_> = parts.iter().map(|p| (p.name.as_deref().unwrap(), p.prompt.as_deref(), p.repeats)).collect();
    assert_eq!(
        told,
        [("a/dogs", Some("a sks dog"), 3), ("cats", Some("a ohwx cat"), 1), ("class cats", Some("a cat"), 1)]
    );
    assert_eq!(
        parts.iter().map(|p| (p.random_flip, p.center_crop)).collect::<Vec<_>>(),
        [(true, true), (false, false), (false, true)]
    );
    assert_eq!(plan.eval.prompts, ["a sks dog", "a ohwx cat"]);
    assert_eq!(
        plan.groups(),
        [
            Group { parts: vec![0], class: vec![ClassPart::Drawn("a dog".into())] },
            Group { parts: vec![1], class: vec![ClassPart::Part(2)] },
        ]
    );
    assert_eq!(plan.drawn_class_prompts(), ["a dog"]);
    // 4 dogs three times against 100 class images; 7 cats against 5.
    let len = plan.epoch_len(
        |part| {
            Some(match part.name.as_deref() {
                Some("a/dogs") => 4,
                Some("cats") => 7,
                _ => 5,
            })
        },
        |_| Some(100),
    );
    assert_eq!(len, Some(107));
    let Objective::DreamBooth(prior) = &plan.objective else { panic!("DreamBooth") };
    assert_eq!(prior.subjects[1].prompt.as_deref(), Some("a ohwx cat"), "its source's");
    assert!(plan.to_toml().contains("[[adapter.dreambooth.subjects]]\nsource = \"cats\"\n"), "{}", plan.to_toml());
}

#[test]
fn captions_resolve_and_a_plan_of_before_is_the_same() {
    let plan = good(
        "dataset = { repo = 'a/set', captions = { from = 'file_name', trigger = 'ohwx' } }\nadapter.lora = {}\neval.prompts = ['[trigger]']",
    );
    assert_eq!((plan.dataset.captions.from, &*plan.eval.prompts), (CaptionFrom::FileName, &["ohwx".to_owned()][..]));
    let plan =
        good("dataset = { repo = 'a/set', prompt = 'a [trigger] dog', captions.trigger = 'sks' }\nadapter.lora = {}");
    assert_eq!(
        (plan.dataset.prompt.as_deref(), &*plan.eval.prompts),
        (Some("a sks dog"), &["a sks dog".to_owned()][..])
    );
    // What an earlier version wrote has no table of captions.
    let written = good("dataset.repo = 'a/set'\nadapter.lora = {}").to_toml();
    let (before, rest) = written.split_once("\n[dataset.captions]").unwrap();
    let (_, behind) = rest.split_once("\n\n").unwrap();
    let before = format!("{before}\n{behind}");
    assert!(!before.contains("shuffle_tags"));
    assert_eq!(PlanDiff::of(&before, &written), PlanDiff::Equal);
}

#[test]
fn a_stand_ins_source_takes_the_place_of_several() {
    let text = format!("{MODEL}{SUBJECTS}")
        .replace("[adapter.dreambooth.lora]", "")
        .split("[[adapter")
        .next()
        .unwrap()
        .to_owned();
    let text = format!("{text}\n[adapter.lora]\n[stand_in]\ndataset.builtin = 'corgi'\ndataset.prompt = 'a dog'\n")
        .replace("prior = true\n", "");
    let planned =
        tunelab::config::Planned::parse_all(&text, Path::new("x.toml"), &[]).unwrap_or_else(|e| panic!("{e}"));
    let stand_in = planned[0].stand_in.as_ref().unwrap();
    assert_eq!((stand_in.dataset.sources.len(), stand_in.dataset.short()), (0, "builtin:corgi".to_owned()));
    assert_eq!(planned[0].plan.dataset.short(), "a/dogs + a/cats + builtin:corgi");
}

#[test]
fn mistakes_are_told_where_they_stand() {
    assert_snapshot!(bad("
[dataset]
repo = 'a/set'
[[dataset.sources]]
repo = 'a/dogs'
repeat = 2
prior = true
[[dataset.sources]]
repo = 'a/dogs'
weight = 0
captions.shufle_tags = true
[adapter.lora]
"));
    assert_snapshot!(bad("
[dataset]
repo = 'a/set'
prompt = 'a dog'
captions = { shuffle_tags = true, trigger = 'sks' }
[adapter.lora]
"));
    assert_snapshot!(bad(&SUBJECTS
        .replace("source = 'cats'\n", "source = 'cts'\n")
        .replace("class_source = 'class cats'", "class_source = 'cats'\nprompt = 'x'")
        .replace("[adapter.dreambooth.lora]", "[adapter.dreambooth]\nclass_prompt = 'a pet'\nlora = {}")));
    let text = bad("dataset.sources = 3\nadapter.lora = {}");
    assert!(text.contains("`sources` must be a list of tables"), "{text}");
}
