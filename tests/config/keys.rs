//! The statements of the keys: their reference, their schema, and that both know what reading knows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use insta::assert_snapshot;
use serde_json::Value;
use tunelab::config::Plan;
use tunelab::config::keys::reference;
use tunelab::config::keys::schema::schema;

const ADAPTERS: [&str; 4] = ["lora", "full", "dreambooth.lora", "dreambooth.full"];

/// The keys of each table as reading lists them to whoever mistypes one.
fn read() -> BTreeMap<String, BTreeSet<String>> {
    let mut tables = BTreeMap::new();
    for (adapter, optimizer) in ADAPTERS.into_iter().zip(["adamw", "lion", "adamw", "lion"]) {
        let text = format!(
            "wxyz = 1\nmodel = {{ repo = 'a/b', wxyz = 1 }}\ndataset = {{ prompt = 'p', wxyz = 1, captions.wxyz = 1, {} }}
text.wxyz = 1
            [adapter.{adapter}]\nwxyz = 1\n[train]\nwxyz = 1\n[train.optimizer.{optimizer}]\nwxyz = 1\n[eval]\nwxyz = 1
            [metrics]\nwxyz = 1\n[metrics.paths]\nwxyz = 1\n[log]\nwxyz = 1\n[reference]\nwxyz = 1\n[stands_in_for]\nwxyz = 1\n{}",
            if adapter.contains('.') {
                "sources = [{ repo = 'a/b', wxyz = 1, captions.wxyz = 1 }]"
            } else {
                "repo = 'a/b'"
            },
            if adapter.contains('.') {
                "[adapter.dreambooth]\nwxyz = 1\n[[adapter.dreambooth.subjects]]\nwxyz = 1\n"
            } else {
                ""
            }
        );
        let error = Plan::parse(&text, Path::new("x.toml"), &[]).expect_err("unknown keys").to_string();
        for problem in error.split("error: ").filter(|problem| problem.starts_with("unknown key `wxyz`")) {
            let table = problem.split_once(" in [").map_or("", |(_, rest)| rest.split_once(']').expect("a table").0);
            let (_, keys) = problem.split_once("the keys here are ").unwrap_or_else(|| panic!("{problem}"));
            let keys = keys.split('`').skip(1).step_by(2).map(str::to_owned).collect();
            tables.insert(table.to_owned(), keys);
        }
    }
    tables
}

/// Keys by their table.
type Tables = BTreeMap<String, BTreeSet<String>>;

/// The same of a schema, and the older spellings in it.
fn known(schema: &Value) -> (Tables, Vec<(String, Value)>) {
    fn walk(root: &Value, at: &Value, path: &str, tables: &mut Tables, older: &mut Vec<(String, Value)>) {
        assert_eq!(at["additionalProperties"], false, "{path}");
        for (name, property) in at["properties"].as_object().expect("properties") {
            let property =
                property["$ref"].as_str().map_or(property, |to| root.pointer(&to[1..]).expect("a definition"));
            let inner = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            assert!(property["description"].as_str().is_some_and(|text| !text.is_empty()), "{inner}");
            if property["deprecated"] == true {
                older.push((inner, property.clone()));
                continue;
            }
            tables.entry(path.to_owned()).or_default().insert(name.clone());
            let one = if property["type"] == "array" { &property["items"] } else { property };
            if one["type"] == "object" {
                walk(root, one, &inner, tables, older);
            }
        }
    }
    let (mut tables, mut older, mut plain) = (BTreeMap::new(), Vec::new(), schema.clone());
    for around in ["stand_in", "variant", "sweep"] {
        plain["properties"].as_object_mut().expect("properties").remove(around);
    }
    walk(schema, &plain, "", &mut tables, &mut older);
    (tables, older)
}

#[test]
fn reading_and_the_schema_know_the_same_keys() {
    let schema = schema(&Plan::keys());
    let (mut tables, older) = known(&schema);
    let mut read = read();
    // The tables of adapters and optimizers have no keys of their own; a wrong one is another complaint.
    for choice in ["adapter", "train.optimizer"] {
        assert!(tables.remove(choice).is_some() && read.remove(choice).is_none());
    }
    assert_eq!(tables, read);
    assert_eq!(older.len(), 4);
    for (path, _) in older {
        let set = format!("{path}=0.5");
        let text = "model.repo = 'a/b'\ndataset.repo = 'a/b'\nadapter.lora = {}";
        assert!(Plan::parse(text, Path::new("x.toml"), &[set]).is_ok(), "{path}");
    }
    // A variant and a stand-in hold the same, but for a variant's name.
    let names = |at: &Value| at["properties"].as_object().expect("properties").keys().cloned().collect::<Vec<_>>();
    let root = names(&schema).into_iter().filter(|name| !["variant", "sweep"].contains(&name.as_str()));
    let root = root.collect::<BTreeSet<_>>();
    assert_eq!(names(&schema["definitions"]["variant"]).into_iter().collect::<BTreeSet<_>>(), root);
    let stand_in = names(&schema["definitions"]["stand_in"]).into_iter().collect::<BTreeSet<_>>();
    assert_eq!(stand_in, root.into_iter().filter(|name| name != "stand_in").collect());
}

#[test]
fn the_reference_says_what_is_asked_for() {
    let text = |prefix: &str, columns| reference::text(&Plan::keys(), prefix, columns);
    let good = |prefix: &str, columns| text(prefix, columns).unwrap_or_else(|e| panic!("{e}"));
    assert_snapshot!(good("train.optimizer", 60), @r#"
    [train.optimizer.adamw]
      Adam with decoupled weight decay (Loshchilov & Hutter
      2019).
    beta1 = 0.9
        Decay of the first moment. Number from 0 below 1; old
        spelling: train.adam_beta1.
    beta2 = 0.999
        Decay of the second moment. Number from 0 below 1; old
        spelling: train.adam_beta2.
    epsilon = 1e-8
        Added to the root of the second moment. Number above 0;
        old spelling: train.adam_epsilon.
    weight_decay = 0.01
        Decoupled weight decay. Number from 0; old spelling:
        train.weight_decay.

    [train.optimizer.lion]
      The sign of an average of the gradients, with decoupled
      weight decay (Chen et al. 2023): a learning rate 3 to 10
      times smaller than AdamW's.
    beta1 = 0.9
        Share of the average in the step's direction. Number
        from 0 below 1.
    beta2 = 0.99
        Decay of the average. Number from 0 below 1.
    weight_decay = 0.01
        Decoupled weight decay. Number from 0.
    "#);
    assert_snapshot!(good("eval.s", 100), @r#"
    [eval]
      How the result is looked at.
    steps = 50
        Denoising steps. Whole number from 1 to 1000.
    sampler
        The denoising method. "pndm", "ddim", "euler_a", "dpmpp_2m", "heun", "euler", "unipc"; default:
        "pndm", for SD 2 "ddim", for SDXL "euler".
    seed = 42
        Seed of the first image; the others count up from it. Whole number from 0.
    "#);
    assert_eq!(good("train.weight_decay", 100), good("train.optimizer.adamw.weight_decay", 100));
    assert!(good("adapter.dreambooth.lora", 100).contains("rank = 4"));
    assert!(good("", 72).lines().all(|line| line.chars().count() <= 72 || !line.starts_with("  ")));
    for known in Plan::keys().keys {
        assert!(good(&known.path, 100).contains(known.key.doc.split(' ').next().expect("a word")), "{}", known.path);
        assert!(!known.key.doc.is_empty() && known.key.doc.ends_with('.'), "{}", known.path);
    }
    let bad = |prefix: &str| text(prefix, 100).expect_err("unknown").to_string();
    assert_snapshot!(bad("train.lr_sheduler"), @r"
    error: no key begins with `train.lr_sheduler`

    hint: did you mean `train.lr_scheduler`?
    ");
    assert_snapshot!(bad("rank"), @r"
    error: no key begins with `rank`

    hint: did you mean `adapter.lora.rank`?
    ");
    assert_snapshot!(bad("trian"), @r"
    error: no key begins with `trian`

    hint: did you mean `train`?
    ");
    assert_eq!(text("xyz", 100).expect_err("unknown").exit_code(), 2);
}
