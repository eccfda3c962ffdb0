//! `[stand_in]` and what is built in, as plans: what is laid over what, what is wrong with it, and what is written down.

use std::path::Path;

use super::plan::beyond_defaults;
use insta::assert_snapshot;
use tunelab::builtin::Builtin;
use tunelab::config::{Adapter, Length, Plan, Planned, Source, files};

const HUB: &str = "model = { repo = 'a/model', revision = 'v2', modelscope = 'b/model' }
dataset = { repo = 'a/set', prompt = 'a dog', resolution = 256 }
train = { epochs = 3, learning_rate = 0.01, batch_size = 2 }
adapter.lora.rank = 8
[stand_in]
model.builtin = 'mini'
dataset.builtin = 'corgi'
dataset.resolution = 64
train.steps = 7
adapter.full.single_file = true
";

fn all(text: &str, set: &[&str]) -> tunelab::error::Result<Vec<Planned>> {
    let set: Vec<String> = set.iter().map(ToString::to_string).collect();
    Planned::parse_all(text, Path::new("x.toml"), &set)
}

fn good(text: &str, set: &[&str]) -> Vec<Planned> {
    all(text, set).unwrap_or_else(|e| panic!("{e}"))
}

fn stand_ins(text: &str, set: &[&str]) -> Vec<Plan> {
    good(text, set).into_iter().map(|planned| planned.stand_in.expect("a stand-in")).collect()
}

fn bad(text: &str, set: &[&str]) -> String {
    let error = all(text, set).expect_err("a mistake");
    assert_eq!(error.exit_code(), 2);
    error.to_string()
}

#[test]
fn a_stand_in_is_the_experiment_with_other_keys_and_changes_nothing_of_it() {
    let planned = good(HUB, &[]).remove(0);
    let (alone, _) = HUB.split_once("[stand_in]").expect("it has one");
    assert_eq!(planned.plan, good(alone, &[]).remove(0).plan);
    assert!(planned.plan.stands_in_for.is_none() && planned.plan.in_place().is_none());

    let plan = planned.stand_in.expect("a stand-in");
    assert_eq!((plan.name.as_str(), plan.train.length), ("x-stand-in", Length::Steps(7)));
    assert_eq!(
        (plan.model.clone(), plan.dataset.source.clone()),
        (Source::Builtin(Builtin::Mini), Source::Builtin(Builtin::Corgi))
    );
    assert_eq!(
        (plan.dataset.resolution, plan.dataset.prompt.as_deref(), plan.train.batch_size),
        (64.into(), Some("a dog"), 2)
    );
    assert!(matches!(&plan.adapter, Adapter::Full(full) if full.single_file), "{:?}", plan.adapter);
    assert_eq!(plan.in_place().as_deref(), Some("builtin:mini with builtin:corgi in place of a/model with a/set"));
    // Its folder holds it whole: the same plan, that stands in for the same, with no table of its own.
    let text = plan.to_toml();
    let again = Planned::parse_all(&text, Path::new("elsewhere/plan.toml"), &[]).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(again, [Planned { plan, stand_in: None }]);
    assert_snapshot!(beyond_defaults(&again[0].plan));
}

#[test]
fn a_stand_in_is_laid_over_its_variant_and_arguments_over_both() {
    let text = format!(
        "{HUB}[[variant]]\nname = 'a'\ntrain.steps = 5\ntrain.batch_size = 3\nstand_in.train.learning_rate = 0.5
        [[variant]]\nname = 'b'\nmodel.path = '.'\nadapter.full.ema_decay = 0.5\ntrain.learning_rate = 0.2"
    );
    let plans = stand_ins(&text, &[]);
    let names: Vec<&str> = plans.iter().map(|plan| plan.name.as_str()).collect();
    assert_eq!(names, ["x-a-stand-in", "x-b-stand-in"]);
    assert!(
        plans.iter().all(|plan| plan.train.length == Length::Steps(7) && plan.model == Source::Builtin(Builtin::Mini))
    );
    let numbers = plans.iter().map(|plan| (plan.train.batch_size, plan.train.learning_rate.to_bits()));
    assert_eq!(numbers.collect::<Vec<_>>(), [(3, 0.5_f64.to_bits()), (2, 0.2_f64.to_bits())]);
    let Adapter::Full(full) = &plans[1].adapter else { panic!("{:?}", plans[1].adapter) };
    assert!(full.single_file && full.ema_decay == Some(0.5));

    let set = ["train.epochs=9", "model.repo=c/other", "dataset.resolution=128", "name=y"];
    let plans = stand_ins(&text, &set);
    assert_eq!(plans[0].name, "y-a-stand-in");
    assert!(plans.iter().all(|plan| plan.train.length == Length::Epochs(9) && plan.dataset.resolution == 128.into()));
    assert!(plans.iter().all(|plan| plan.model.short() == "c/other"), "{:?}", plans[0].model);
    // An argument may speak of the stand-in alone, or make one.
    let planned = good(&text, &["stand_in.train.steps=4"]).remove(0);
    assert_eq!(planned.plan.train.length, Length::Steps(5));
    assert_eq!(planned.stand_in.map(|plan| plan.train.length), Some(Length::Steps(4)));
    let (alone, _) = HUB.split_once("[stand_in]").expect("it has one");
    assert_eq!(good(alone, &[])[0].stand_in, None);
    assert_eq!(stand_ins(alone, &["stand_in.model.builtin=mini"])[0].model, Source::Builtin(Builtin::Mini));
}

#[test]
fn mistakes_in_a_stand_in_are_mistakes_of_the_file() {
    assert_snapshot!(bad(&HUB.replace("steps = 7", "stpes = 7").replace("'mini'", "'minni'"), &[]), @r#"
    error: `builtin` must be one of "mini"
      --> x.toml:6:17
       |
     6 | model.builtin = 'minni'
       |                 ^^^^^^^ did you mean "mini"?

    error: unknown key `stpes` in [train]
      --> x.toml:9:7
       |
     9 | train.stpes = 7
       |       ^^^^^ did you mean `steps`?

    hint: 2 problems in x.toml
    "#);
    let (alone, _) = HUB.split_once("[stand_in]").expect("it has one");
    assert_snapshot!(bad(&format!("stand_in = 3\n{alone}"), &[]), @r"
    error: `stand_in` must be a table
      --> x.toml:1:1
       |
     1 | stand_in = 3
       | ^^^^^^^^ write [stand_in]
    ");
    // Said once, though it is wrong in both.
    assert_eq!(bad(&format!("sead = 1\n{HUB}"), &[]).matches("unknown key `sead`").count(), 1);
}

#[test]
fn what_is_built_in_stands_alone() {
    let rest = "dataset.builtin = 'corgi'\nadapter.lora = {}\n";
    assert_snapshot!(bad(&format!("model = {{ builtin = 'mini', repo = 'a/b' }}\n{rest}"), &[]), @r"
    error: `repo` beside `builtin`: only one of them can count
      --> x.toml:1:36
       |
     1 | model = { builtin = 'mini', repo = 'a/b' }
       |                                    ^^^^^ leave one out
    ");
    assert!(bad(&format!("model.builtin = 'corgi'\n{rest}"), &[]).contains("must be one of \"mini\""));
    let plan = good(&format!("model.builtin = 'mini'\n{rest}"), &["dataset.path=tests"]).remove(0).plan;
    assert!(plan.dataset.source.short() == "tests" && plan.model.short() == "builtin:mini");
    let named = |text| Source::from_argument(text).map_err(|e| e.to_string());
    assert_eq!(named("builtin:mini"), Ok(Source::Builtin(Builtin::Mini)));
    assert!(named("builtin:corgi").is_err_and(|e| e.contains("corgi") && e.contains("builtin:mini")));
}

#[test]
fn stand_ins_count_where_folders_clash() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, text: &str| {
        let file = folder.path().join(name);
        fs_err::write(&file, text).expect("writable");
        file
    };
    let (alone, _) = HUB.split_once("[stand_in]").expect("it has one");
    let paths = [write("a.toml", HUB), write("a-stand-in.toml", alone)];
    let clashes =
        files::clashes(&files::load(&paths, &[], &mut |note| panic!("{note}")).unwrap_or_else(|e| panic!("{e}")));
    assert!(clashes.len() == 1 && clashes[0].message().ends_with("a.toml: a-stand-in"), "{clashes:?}");
}

#[test]
fn every_committed_experiment_has_a_stand_in_that_needs_no_hub() {
    let mut entries: Vec<_> =
        fs_err::read_dir("experiments").expect("it is there").map(|e| e.expect("readable").path()).collect();
    entries.sort();
    let mut rates = Vec::new();
    for file in entries {
        for planned in Planned::load_all(&file, &[]).unwrap_or_else(|e| panic!("{e}")) {
            let stand_in = planned.stand_in.unwrap_or_else(|| panic!("{}", file.display()));
            assert!(stand_in.model.is_here() && stand_in.dataset.source.is_here(), "{}", file.display());
            let again = Plan::parse(&stand_in.to_toml(), Path::new("plan.toml"), &[]).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(again, stand_in);
            rates.push((matches!(stand_in.adapter, Adapter::Lora(_)), stand_in.train.learning_rate));
        }
    }
    assert!(rates.len() > 7 && rates.iter().all(|(lora, rate)| (*rate > 5e-4) == *lora), "{rates:?}");
}
