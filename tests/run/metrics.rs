//! What a run's images are measured to be: the numbers, when they are measured again, and what stands in the way.

use std::collections::BTreeMap;

use serde_json::Value;

use super::world::{World, fixture};

const BUILTIN: [&str; 4] = ["run", "a.toml", "--set", "metrics.encoders=['builtin']"];

fn record(world: &World, run: &str) -> Value {
    serde_json::from_str(&world.text(&format!("results/{run}/run.json"))).expect("JSON")
}

/// A mean in `run.json`, over all prompts or of one.
fn value(record: &Value, set: &str, metric: &str, prompt: Option<&str>) -> Option<f64> {
    let sets = record["metrics"]["sets"].as_array()?;
    let metrics = sets.iter().find(|of| of["set"] == set)?["metrics"].as_array()?;
    metrics.iter().find(|of| of["metric"] == metric && of["prompt"].as_str() == prompt)?["value"].as_f64()
}

/// The values of `metrics.csv` by set, metric and prompt.
fn rows(world: &World, run: &str) -> BTreeMap<(String, String, String), Vec<f64>> {
    let text = world.text(&format!("results/{run}/metrics.csv"));
    assert_eq!(text.lines().next(), Some("step,set,encoder,metric,prompt,image,value,nearest_to"));
    let mut rows: BTreeMap<_, Vec<f64>> = BTreeMap::new();
    for row in csv::Reader::from_reader(text.as_bytes()).records() {
        let row = row.expect("CSV");
        let key = (row[1].to_owned(), row[3].to_owned(), row[4].to_owned());
        rows.entry(key).or_default().push(row[6].parse().expect("a number"));
    }
    rows
}

fn close(one: f64, other: f64) {
    assert!((one - other).abs() < 1e-9, "{one} and {other}");
}

#[test]
fn every_image_is_measured_and_the_means_are_told() {
    let world = World::new();
    let said = world.done(&[&BUILTIN[..], &["--set", "eval.images=2", "--set", "eval.images_every=4"]].concat());
    said.has(&["fidelity", "builtin", "subject", "diversity", "nearest"]);
    assert!(said.out.contains("subject (builtin)"), "{}", said.out);
    let (run, rows) = (record(&world, "a"), rows(&world, "a"));
    let key = |set: &str, metric: &str, prompt: &str| (set.to_owned(), metric.to_owned(), prompt.to_owned());
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    for set in ["base", "step-000004", "tuned"] {
        for metric in ["subject", "prompt", "diversity"] {
            let of = ["a dog", "a cat"].map(|prompt| rows[&key(set, metric, prompt)].clone());
            assert_eq!(of[0].len(), if metric == "diversity" { 1 } else { 2 });
            for (prompt, of) in ["a dog", "a cat"].iter().zip(&of) {
                close(value(&run, set, metric, Some(prompt)).expect("a mean"), mean(of));
            }
            close(value(&run, set, metric, None).expect("a mean"), mean(&of.concat()));
        }
        let nearest = ["a dog", "a cat"].iter().flat_map(|prompt| rows[&key(set, "nearest", prompt)].clone());
        close(value(&run, set, "nearest", None).expect("the largest"), nearest.fold(f64::MIN, f64::max));
    }
    assert!(value(&run, "tuned", "subject", None) != value(&run, "base", "subject", None));
    assert!(value(&run, "tuned", "pres", None).is_none(), "no class prompt was named");
    let metrics = &run["metrics"];
    assert_eq!(
        (&metrics["references"], &metrics["bootstrap"], &metrics["identifier"]),
        (&3.into(), &1000.into(), &Value::Null)
    );
    assert_eq!(metrics["encoders"]["builtin"]["source"], "builtin");
    assert_eq!(metrics["encoders"]["builtin"]["sha256"].as_str().map(str::len), Some(64));
    let steps: Vec<u64> =
        metrics["sets"].as_array().expect("a list").iter().filter_map(|set| set["step"].as_u64()).collect();
    assert_eq!(steps, [0, 4, 6]);
    let names = ["rgb.png", "progressive.jpg", "lossy.webp"];
    assert!(names.contains(&metrics["sets"][2]["nearest"]["builtin"]["training_image"].as_str().expect("a name")));
    assert!(run["seconds"]["measuring"].as_f64().expect("seconds") > 0.0);
    for name in ["metrics.png", "metrics.svg", "steps.png"] {
        assert!(world.path(&format!("results/a/{name}")).is_file(), "{name}");
    }
    // The command says the same of the folder.
    let dogs = ["measure", "--images", "results/a/samples/tuned/a-dog", "--reference", "dog", "--encoders", "builtin"];
    let said = world.done(&[&dogs[..], &["--prompt", "a dog", "--json"]].concat());
    let json: Value = serde_json::from_str(&said.out).expect("JSON");
    for metric in ["subject", "prompt", "diversity"] {
        let (one, other) =
            (json[metric].as_f64().expect(metric), value(&run, "tuned", metric, Some("a dog")).expect(metric));
        assert!((one - other).abs() < 1e-6, "{metric}: {one} and {other}");
    }
}

#[test]
fn a_finished_run_is_measured_again_where_the_measuring_changes() {
    let world = World::new();
    let run = |more: &[&str]| world.done(&[&BUILTIN[..], more].concat());
    run(&[]);
    let (first, picture) = (world.read("results/a/metrics.csv"), "results/a/samples/tuned/a-dog/0.png");
    let drawn = fs_err::metadata(world.path(picture)).and_then(|of| of.modified()).expect("a time");
    run(&[]).has(&["finished already"]);
    run(&["--set", "metrics.bootstrap=10"]).has(&["only [metrics] has changed", "measured again"]);
    assert_eq!(record(&world, "a")["metrics"]["bootstrap"], 10);
    assert!(world.read("results/a/metrics.csv") == first);
    fs_err::remove_file(world.path("results/a/metrics.csv")).expect("it is there");
    run(&["--set", "metrics.bootstrap=10"]).has(&["metrics.csv is missing"]);
    assert!(world.read("results/a/metrics.csv") == first);

    // The class prompt's images are drawn, the others stay.
    run(&["--set", "metrics.class_prompt=a pig", "--set", "metrics.identifier=dog"]);
    assert!(world.path("results/a/samples/base/a-pig/0.png").is_file());
    let run_json = record(&world, "a");
    close(
        value(&run_json, "tuned", "pres", None).expect("pres"),
        value(&run_json, "tuned", "subject", Some("a pig")).expect("the class prompt's"),
    );
    let asked = ["a dog", "a cat"].map(|prompt| value(&run_json, "tuned", "subject", Some(prompt)).expect("a mean"));
    close(value(&run_json, "tuned", "subject", None).expect("a mean"), f64::midpoint(asked[0], asked[1]));
    assert_eq!(run_json["metrics"]["identifier"], "dog");
    assert!(value(&run_json, "tuned", "prompt", Some("a dog")).is_none(), "“a” says nothing");

    world.done(&["run", "a.toml"]).has(&["measured again"]);
    assert!(record(&world, "a").get("metrics").is_none());
    for gone in ["metrics.csv", "metrics.png", "metrics.svg", "samples/base/a-pig"] {
        assert!(!world.path(&format!("results/a/{gone}")).exists(), "{gone}");
    }
    assert_eq!(fs_err::metadata(world.path(picture)).and_then(|of| of.modified()).expect("a time"), drawn);
}

#[test]
fn dreambooth_knows_its_identifier_and_measures_its_class() {
    let world = World::new();
    let dreambooth = "dataset = { path = 'dog', prompt = 'a sks dog', resolution = 64 }\n\
                      adapter.dreambooth = { class_prompt = 'a dog', class_images = 2, class_steps = 2, lora.rank = 2 }\n\
                      train = { steps = 2, learning_rate = 1e-3 }\nmetrics = { encoders = ['builtin'], best_by = 'subject' }\n\
                      eval = { prompts = ['a sks dog', 'a sks dog running'], images = 2, steps = 3, seed = 5, images_every = 1 }\n";
    world.write("db.toml", format!("seed = 7\nmodel.path = '{}'\n{dreambooth}", fixture("model").display()));
    let said = world.done(&["run", "db.toml"]);
    said.has(&["pres", "lower is better", "best step"]);
    let run = record(&world, "db");
    assert_eq!((&run["metrics"]["identifier"], &run["metrics"]["class_prompt"]), (&"sks".into(), &"a dog".into()));
    for set in ["base", "step-000001", "tuned"] {
        assert!(value(&run, set, "pres", None).is_some(), "{set}");
        assert!(world.path(&format!("results/db/samples/{set}/a-dog/1.png")).is_file());
    }
    let rows = rows(&world, "db");
    let of = |metric: &str| &rows[&("tuned".to_owned(), metric.to_owned(), "a dog".to_owned())];
    assert!(of("pres") == of("subject") && of("pres").len() == 2);
    let best = &run["metrics"]["best"];
    let step = best["step"].as_u64().expect("a step");
    let of = |set| value(&run, set, "subject", None).expect("a mean");
    assert_eq!(step, if of("step-000001") >= of("tuned") { 1 } else { 2 });
    close(best["value"].as_f64().expect("a number"), of("step-000001").max(of("tuned")));
    world.done(&["sample", "results/db", "--step", "best", "--prompt", "a sks dog", "-o", "best"]);
    let set = if step == 1 { "step-000001" } else { "tuned" };
    assert!(world.read("best/a-sks-dog/0.png") == world.read(&format!("results/db/samples/{set}/a-sks-dog/0.png")));
}

/// As the binary is run where nobody answers.
fn alone(world: &World, args: &[&str]) -> super::world::Said {
    let mut command = world.command(args);
    command.env("HF_ENDPOINT", "http://127.0.0.1:1").env("HF_HOME", world.path("hf"));
    command.output().expect("the binary starts").into()
}

#[test]
fn an_encoder_that_cannot_be_had_is_told_before_training_and_measures_later() {
    let world = World::new();
    // The small tokenizer knows no cats.
    let dogs = "eval.prompts=['a dog', 'a sks dog']";
    let both = ["run", "a.toml", "--set", "metrics.encoders=['dino_vits16', 'clip_vit_b32']", "--set", dogs];
    let said = alone(&world, &both);
    assert_eq!(said.code, Some(0), "{}", said.err);
    said.has(&["will not be measured by dino_vits16", "facebook/dino-vits16", "metrics.paths.clip_vit_b32"]);
    let place = |word: &str| said.err.find(word).unwrap_or_else(|| panic!("no {word} in {}", said.err));
    assert!(place("will not be measured by clip_vit_b32") < place("training 9,152 parameters"));
    let run = record(&world, "a");
    assert!(run.get("metrics").is_none() && run["warnings"].as_array().is_some_and(|warnings| warnings.len() == 2));
    // Nobody answers still.
    let said = alone(&world, &both);
    said.has(&["finished already"]);
    assert!(!said.err.contains("measuring"), "{}", said.err);

    let clip = crate::measure::clip_with_tokenizer();
    let paths = [
        format!("metrics.paths.dino_vits16={}", fixture("metrics").join("dino_eps12").display()),
        format!("metrics.paths.clip_vit_b32={}", clip.path().display()),
    ];
    let here = [&both[..], &["--set", &paths[0], "--set", &paths[1]]].concat();
    let said = alone(&world, &here);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let run = record(&world, "a");
    for metric in ["dino", "clip_i", "clip_t"] {
        assert!(value(&run, "tuned", metric, None).is_some_and(|value| (-1.0..=1.0).contains(&value)), "{metric}");
    }
    assert_eq!(run["metrics"]["encoders"]["dino_vits16"]["source"], "dino_eps12");
}

#[test]
fn what_is_wrong_with_the_measuring_is_told_before_the_training() {
    let world = World::new();
    let refused = |set: &[&str], parts: &[&str]| {
        let mut args = vec!["run", "a.toml"];
        for set in set {
            args.extend(["--set", *set]);
        }
        world.refused(&args, parts);
        assert!(!world.path("results/a/loss.csv").exists());
    };
    fs_err::create_dir(world.path("empty")).expect("writable");
    let dino = "metrics.encoders=['dino_vits16']";
    refused(&[dino, "metrics.paths.dino_vits16=empty"], &["model.safetensors", "metrics.encoders=[]"]);
    refused(&[dino, "metrics.paths.dino_vits16=none"], &["dino_vits16", "does not exist"]);
    refused(&["metrics.encoders=['builtin']", "metrics.reference=empty"], &["metrics.reference", "no pictures"]);
    fs_err::create_dir(world.path("broken")).expect("writable");
    world.write("broken/a.png", &world.read("dog/rgb.png")[..99]);
    refused(
        &["metrics.encoders=['builtin']", "metrics.reference=broken"],
        &["broken/a.png", "move it out of metrics.reference"],
    );
    let clip = crate::measure::clip_with_tokenizer();
    let vocab = clip.path().join("vocab.json");
    let text = fs_err::read_to_string(&vocab).expect("it is there");
    fs_err::write(&vocab, text.replace("\"dog</w>\":10", "\"dog</w>\":1000")).expect("writable");
    let path = format!("metrics.paths.clip_vit_b32={}", clip.path().display());
    refused(
        &["metrics.encoders=['clip_vit_b32']", "eval.prompts=['a dog']", &path],
        &["its tokenizer does not fit", "metrics.encoders=[]"],
    );
    refused(&["metrics.encoders=['dyno_vits16']"], &["dyno_vits16", "did you mean \"dino_vits16\"?"]);
    refused(
        &["metrics.encoders=['clip_vit_b32']", "metrics.best_by=dino"],
        &["no encoder gives dino", "\"dino_vits16\""],
    );
    refused(&["metrics.encoders=['builtin']", "metrics.best_by=pres"], &["pres needs `class_prompt`"]);
    refused(&["metrics.encoders=['builtin', 'builtin']"], &["builtin"]);
    // None of it matters where nothing is measured.
    let none = ["metrics.encoders=[]", "metrics.best_by=dino", "metrics.reference=empty", "train.steps=1"];
    let mut args = vec!["run", "a.toml"];
    for set in none {
        args.extend(["--set", set]);
    }
    world.done(&args);
}

#[test]
fn a_reference_of_its_own_is_compared_with_and_the_nearest_is_of_the_training() {
    let world = World::new();
    fs_err::create_dir(world.path("held")).expect("writable");
    for name in ["0.png", "1.png"] {
        let corgi = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/tunelab-core/assets/corgi");
        fs_err::copy(corgi.join(name.replace('0', "2")), world.path("held").join(name)).expect("writable");
    }
    let own = [&BUILTIN[..], &["--set", "train.steps=2", "--set", "metrics.reference=held"]].concat();
    let said = world.done(&own);
    assert!(!said.err.contains("trained on too"), "{}", said.err);
    let held = record(&world, "a");
    assert_eq!(held["metrics"]["references"], 2);
    world.done(&[&BUILTIN[..], &["--set", "train.steps=2"]].concat());
    let own = record(&world, "a");
    assert_ne!(value(&held, "tuned", "subject", None), value(&own, "tuned", "subject", None));
    assert_eq!(held["metrics"]["sets"][1]["nearest"], own["metrics"]["sets"][1]["nearest"]);
    fs_err::copy(world.path("dog/rgb.png"), world.path("held/rgb.png")).expect("writable");
    let said = world.done(&[&BUILTIN[..], &["--set", "train.steps=2", "--set", "metrics.reference=held"]].concat());
    said.has(&["1 photograph of metrics.reference", "trained on too", "rgb.png"]);
}

#[test]
fn pictures_of_a_class_prompt_that_was_dropped_do_not_come_back() {
    let world = World::new();
    let class = [&BUILTIN[..], &["--set", "train.steps=2", "--set", "metrics.class_prompt=a pig"]].concat();
    let none = [&BUILTIN[..], &["--set", "train.steps=2", "--set", "metrics.class_prompt="]].concat();
    world.done(&class);
    let pig = "results/a/samples/base/a-pig/0.png";
    let first = world.read(pig);
    // A person's own, where no step of this run has its place.
    fs_err::create_dir_all(world.path("results/a/samples/step-000003/a-pig")).expect("writable");
    world.write("results/a/samples/step-000003/a-pig/0.png", "mine");
    // As if it had been cut off before its end.
    fs_err::remove_file(world.path("results/a/run.json")).expect("it is there");
    world.done(&none);
    assert!(!world.path(pig).exists());
    let short = ["--set", "eval.steps=3"];
    world.done(&[&none[..], &short].concat());
    world.done(&[&class[..], &short].concat());
    assert!(world.path(pig).is_file() && world.read(pig) != first);
    assert_eq!(world.text("results/a/samples/step-000003/a-pig/0.png"), "mine");
    assert!(!world.path("results/a/steps.png").exists());
}

#[test]
fn numbers_stay_where_their_encoder_cannot_be_had_again() {
    let world = World::new();
    let dino = world.path("dino");
    super::world::copy(&fixture("metrics/dino_eps12"), &dino);
    let path = format!("metrics.paths.dino_vits16={}", dino.display());
    let run = ["run", "a.toml", "--set", "train.steps=2", "--set", "metrics.encoders=['dino_vits16']"];
    let here = [&run[..], &["--set", &path]].concat();
    world.done(&here);
    let (before, csv) = (record(&world, "a")["metrics"].clone(), world.read("results/a/metrics.csv"));
    // Without the path it would be fetched.
    let said = alone(&world, &run);
    assert_eq!(said.code, Some(0), "{}", said.err);
    said.has(&["dino_vits16 measured these pictures and cannot be had now", "nothing is measured again"]);
    assert_eq!(record(&world, "a")["metrics"], before);
    assert!(world.read("results/a/metrics.csv") == csv && world.path("results/a/metrics.png").is_file());
}

#[test]
fn a_warning_that_nobody_measures_goes_when_somebody_does() {
    let world = World::new();
    let run = ["run", "a.toml", "--set", "train.steps=2", "--set", "metrics.encoders=['dino_vits16']"];
    alone(&world, &run).has(&["will not be measured by dino_vits16"]);
    assert_eq!(record(&world, "a")["warnings"].as_array().map(Vec::len), Some(1));
    let path = format!("metrics.paths.dino_vits16={}", fixture("metrics/dino_eps12").display());
    world.done(&[&run[..], &["--set", &path]].concat());
    let run = record(&world, "a");
    assert!(value(&run, "tuned", "dino", None).is_some());
    assert_eq!(run["warnings"].as_array().map(Vec::len), Some(0));
}

#[test]
fn the_best_step_may_be_asked_for_in_the_published_encoders_words() {
    let world = World::new();
    let asked = ["metrics.best_by=clip_i", "train.steps=3", "eval.images_every=1"];
    let mut args = BUILTIN.to_vec();
    for set in asked {
        args.extend(["--set", set]);
    }
    world.done(&args);
    assert_eq!(record(&world, "a")["metrics"]["best"]["by"], "subject");
    let none = ["run", "a.toml", "--set", "train.steps=2", "--set", "name=b", "--set", "metrics.encoders=['builtin']"];
    world
        .done(&[&none[..], &["--set", "metrics.best_by=diversity"]].concat())
        .has(&["there is no diversity of these pictures"]);
    world.refused(
        &["sample", "results/b", "--step", "best", "--prompt", "a dog", "-o", "no"],
        &["knows no best step", "metrics.best_by is diversity"],
    );
}
