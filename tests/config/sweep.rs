//! `[sweep]`: all combinations of some keys' values.

use std::path::Path;

use tunelab::config::{Adapter, Plan, Planned};

const BASE: &str = "model.repo = 'a/m'\ndataset.repo = 'a/d'\nadapter.lora.rank = 2\n";

fn all(text: &str, set: &[&str]) -> tunelab::error::Result<Vec<Planned>> {
    let set: Vec<String> = set.iter().map(ToString::to_string).collect();
    Planned::parse_all(&format!("{BASE}{text}"), Path::new("x.toml"), &set)
}

fn good(text: &str, set: &[&str]) -> Vec<Plan> {
    all(text, set).unwrap_or_else(|e| panic!("{e}")).into_iter().map(|planned| planned.plan).collect()
}

fn names(text: &str) -> Vec<String> {
    good(text, &[]).into_iter().map(|plan| plan.name).collect()
}

fn bad(text: &str, set: &[&str]) -> String {
    match all(text, set) {
        Ok(plans) => panic!("no error, but {} plans", plans.len()),
        Err(error) => {
            assert_eq!(error.exit_code(), 2);
            error.to_string()
        }
    }
}

fn values(plan: &Plan) -> (f64, usize, f64, u64) {
    let Adapter::Lora(lora) = &plan.adapter else { panic!("{:?}", plan.adapter) };
    (plan.train.learning_rate, lora.rank, lora.alpha, plan.seed)
}

#[test]
fn the_product_in_the_order_of_the_file() {
    let text = "[sweep]\ntrain.learning_rate = [1e-5, 0.0001]\nadapter.lora.rank = [4, 16]\nseed = '1..2'\n";
    let plans = good(text, &[]);
    let expected = [
        ("x-lr1e-5-rank4-seed1", (1e-5, 4, 4.0, 1)),
        ("x-lr1e-5-rank4-seed2", (1e-5, 4, 4.0, 2)),
        ("x-lr1e-5-rank16-seed1", (1e-5, 16, 16.0, 1)),
        ("x-lr1e-5-rank16-seed2", (1e-5, 16, 16.0, 2)),
        ("x-lr1e-4-rank4-seed1", (1e-4, 4, 4.0, 1)),
        ("x-lr1e-4-rank4-seed2", (1e-4, 4, 4.0, 2)),
        ("x-lr1e-4-rank16-seed1", (1e-4, 16, 16.0, 1)),
        ("x-lr1e-4-rank16-seed2", (1e-4, 16, 16.0, 2)),
    ];
    let found: Vec<(&str, _)> = plans.iter().map(|plan| (plan.name.as_str(), values(plan))).collect();
    assert_eq!(found, expected);
    // A plan is one experiment: it has no sweep.
    assert_eq!(Plan::parse(&plans[3].to_toml(), Path::new("y.toml"), &[]).unwrap(), plans[3]);
}

#[test]
fn values_that_go_together_and_those_that_are_left_out() {
    let text = "[sweep]\nseed = [7]\n[[sweep.zip]]\ntrain.learning_rate = [1e-3, 2e-3]\ntrain.steps = [100, 50]\n\
                [[sweep.zip]]\nadapter.lora.rank = [1, 2, 4]\nadapter.lora.alpha = [1, 1, 2]\n\
                [[sweep.skip]]\ntrain.steps = 50\nadapter.lora.rank = [2, 4]\n[[sweep.skip]]\nadapter.lora.rank = 1.0\n";
    let expected = ["x-seed7-lr1e-3-steps100-rank2-alpha1", "x-seed7-lr1e-3-steps100-rank4-alpha2"];
    assert_eq!(names(text), expected);
}

#[test]
fn names_stay_when_the_sweep_grows() {
    let few = names("[sweep]\ntrain.learning_rate = [1e-4]\nadapter.lora.rank = [4, 8]\n");
    let more = names("[sweep]\ntrain.learning_rate = [0.00005, 0.0001, 1e-3]\nadapter.lora.rank = [8, 4, 16]\n");
    assert_eq!(few, ["x-lr1e-4-rank4", "x-lr1e-4-rank8"]);
    assert!(more.len() == 9 && few.iter().all(|name| more.contains(name)), "{more:?}");
}

#[test]
fn every_kind_of_value_has_a_name_of_its_own() {
    let text = "[sweep]\ndataset.random_flip = [true, false]\ntrain.lr_scheduler = ['cosine', 'constant']\n";
    assert_eq!(names(text)[0], "x-random_fliptrue-lr_schedulercosine");
    // A list's brackets and commas are no part of a name, so it has a hash.
    let text = "[sweep]\nadapter.lora.targets = [['to_q'], ['to_q', 'to_k'], ['to_q', 'to_v']]\ntrain.learning_rate = [0.25, 1]\n";
    let found = names(text);
    assert_eq!(found.iter().collect::<std::collections::BTreeSet<_>>().len(), 6, "{found:?}");
    assert!(found[0].starts_with("x-targetsto_q_") && found[0].ends_with("-lr0.25"), "{found:?}");
    // Keys of the same last word have the whole path.
    let text = "[sweep]\nseed = [1]\neval.seed = [2, 3]\n";
    assert_eq!(names(text), ["x-seed1-eval.seed2", "x-seed1-eval.seed3"]);
}

#[test]
fn variants_and_a_sweep_multiply_and_the_stand_in_is_swept_too() {
    let text = "[stand_in]\nmodel.builtin = 'mini'\ndataset.builtin = 'corgi'\ndataset.resolution = 64\ntrain.learning_rate = 1.0\n\
                [[variant]]\nname = 'few'\ntrain.steps = 10\n[[variant]]\nname = 'many'\ntrain.steps = 20\n\
                [sweep]\ntrain.learning_rate = [1e-3, 2e-3]\n";
    let planned = all(text, &[]).unwrap_or_else(|e| panic!("{e}"));
    let found: Vec<(&str, f64)> = planned
        .iter()
        .filter_map(|one| one.stand_in.as_ref())
        .map(|plan| (plan.name.as_str(), plan.train.learning_rate))
        .collect();
    let expected = [
        ("x-few-lr1e-3-stand-in", 1e-3),
        ("x-few-lr2e-3-stand-in", 2e-3),
        ("x-many-lr1e-3-stand-in", 1e-3),
        ("x-many-lr2e-3-stand-in", 2e-3),
    ];
    assert_eq!(found, expected);
}

#[test]
fn an_argument_sweeps_but_sets_no_swept_key() {
    let text = "[sweep]\ntrain.learning_rate = [1e-3, 2e-3]\n";
    let found: Vec<String> = good(text, &["sweep.train.learning_rate=[0.5]", "sweep.seed='1..3'", "train.steps=3"])
        .into_iter()
        .map(|plan| plan.name)
        .collect();
    assert_eq!(found, ["x-lr0.5-seed1", "x-lr0.5-seed2", "x-lr0.5-seed3"]);
    assert_eq!(good("", &["sweep.seed=[4, 5]"]).len(), 2);
    // A key stays where the file has it, so the names of the runs that were there stay.
    let two = format!("{text}adapter.lora.rank = [1, 2]\n");
    let more: Vec<String> =
        good(&two, &["sweep.train.learning_rate=[1e-3, 5e-3]"]).into_iter().map(|plan| plan.name).collect();
    assert_eq!(more, ["x-lr1e-3-rank1", "x-lr1e-3-rank2", "x-lr5e-3-rank1", "x-lr5e-3-rank2"]);
    let error = bad(text, &["train.learning_rate=1.0"]);
    assert!(
        error.contains("`train.learning_rate` is swept") && error.contains("sweep.train.learning_rate="),
        "{error}"
    );
}

#[test]
fn what_is_wrong_is_said_where_it_stands() {
    let error = bad("[sweep]\ntrain.learning_rat = [1, 2]\n", &[]);
    assert!(error.contains("learning_rat = [1, 2]") && error.contains('^'), "{error}");
    assert_eq!(error.matches("learning_rat = [1, 2]").count(), 1, "{error}");
    let error = bad("[sweep]\nadapter.lora.rank = [4, 'many']\n", &[]);
    assert!(error.contains("rank") && error.contains("'many'"), "{error}");
    for (text, words) in [
        ("sweep = 3\n[x]\n", "`sweep` must be a table"),
        ("[sweep]\n", "`sweep` has no values"),
        ("[sweep]\nseed = 3\n", "must be a list of values"),
        ("[sweep]\nseed = 'a..b'\n", "must be a list of values"),
        ("[sweep]\nseed = '3..1'\n", "is empty"),
        ("[sweep]\nseed = []\n", "has no values"),
        ("[sweep]\nseed = [1, 1]\n", "this value twice"),
        ("[sweep]\ntrain.learning_rate = [1e-4, 0.0001]\n", "this value twice"),
        ("[sweep]\nname = ['a', 'b']\n", "`name` cannot be swept"),
        ("[sweep]\nadapter = [{lora = {rank = 1}}]\n", "cannot be swept"),
        ("[sweep]\nseed = [1, 2]\n[[sweep.zip]]\nseed = [3]\ntrain.steps = [4]\n", "`seed` is swept twice"),
        ("[[sweep.zip]]\nseed = [1, 2]\ntrain.steps = [4]\n", "lists of one length"),
        ("[sweep]\nseed = [1]\nzip = 3\n", "must be a list of tables"),
        ("[sweep]\nseed = [1, 2]\n[[sweep.skip]]\ntrain.steps = 4\n", "is not swept"),
        ("[sweep]\nseed = [1, 2]\n[[sweep.skip]]\nseed = 3\n", "leaves nothing out"),
        ("[sweep]\nseed = [1, 2]\n[[sweep.skip]]\nseed = [1, 2]\n", "leaves no run"),
        ("[sweep]\nseed = '1..100000'\n", "100,000"),
        ("[sweep]\nseed = '-9223372036854775808..9223372036854775807'\n", "18,446,744,073,709,551,616"),
        ("[sweep]\nseed = '-170141183460469231731687303715884105728..1'\n", "must be a list of values"),
        (
            "[sweep]\nseed = '1..100'\neval.seed = '1..100'\ntrain.steps = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]\n",
            "100,000 runs, and at most 10,000",
        ),
    ] {
        let error = bad(text, &[]);
        assert!(error.contains(words), "{text}: {error}");
        assert!(!error.contains("problems in"), "one mistake is one problem: {text}: {error}");
    }
}
