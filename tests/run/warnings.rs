//! What was passed over, cut or clamped: told when it happens, listed at the run's end, and kept in its record.

use serde_json::Value;

use super::world::{Said, World, fixture};

const QUICK: [&str; 4] = ["--set", "train.steps=1", "--set", "eval.steps=1"];

/// A world with a file that is no picture, which is to be left out.
fn world() -> World {
    let world = World::new();
    fs_err::copy(fixture("resize/broken/text.jpg"), world.path("dog/text.jpg")).expect("writable");
    let text = world.text("a.toml").replace("resolution = 64", "resolution = 64, skip_broken = true");
    world.write("a.toml", &text);
    let long = format!("prompt = '{}dog'", "very ".repeat(100));
    world.write("long.toml", text.replacen("prompt = 'a dog'", &long, 1));
    world
}

fn warnings(world: &World, run: &str) -> Vec<String> {
    let record: Value = serde_json::from_str(&world.text(&format!("results/{run}/run.json"))).expect("JSON");
    serde_json::from_value(record["warnings"].clone()).expect("texts")
}

/// Every one of these words is in a warning of its own.
fn assert_each(warnings: &[String], words: &[&str]) {
    assert_eq!(warnings.len(), words.len(), "{warnings:?}");
    for word in words {
        assert_eq!(warnings.iter().filter(|warning| warning.contains(word)).count(), 1, "{word}: {warnings:?}");
    }
}

/// The closing list of a run.
fn listed(said: &Said) -> Vec<String> {
    let mut lines = said.err.lines().skip_while(|line| !line.ends_with("in this run (see also run.json):"));
    let head = lines.next().unwrap_or_default().to_owned();
    let items: Vec<String> = lines.map_while(|line| line.strip_prefix("  - ")).map(str::to_owned).collect();
    let noun = if items.len() == 1 { "1 warning ".to_owned() } else { format!("{} warnings ", items.len()) };
    assert!(head.starts_with(&noun), "{head}: {items:?}");
    items
}

#[test]
fn what_was_cut_left_out_and_clamped_is_in_the_record_and_at_the_end() {
    let world = world();
    let run = [&["run", "long.toml"][..], &QUICK].concat();
    let begin = |args: &[&str]| -> Said {
        let mut command = world.command(args);
        let said: Said = command.env("RAYON_NUM_THREADS", "100000").output().expect("the binary starts").into();
        assert_eq!(said.code, Some(0), "{}", said.err);
        said
    };
    let said = begin(&run);
    let found = warnings(&world, "long");
    assert_each(&found, &["RAYON_NUM_THREADS=100000 is more than", "very very", "text.jpg"]);
    assert_eq!(listed(&said), found);
    for warning in &found {
        assert_eq!(
            said.err.matches(&format!("warning: {warning}\n")).count(),
            1,
            "told when it happened: {}",
            said.err
        );
    }

    // A second run has nothing to do, and loses nothing.
    let record = world.read("results/long/run.json");
    let again = begin(&run);
    again.has(&["finished already"]);
    assert!(world.read("results/long/run.json") == record);

    // Pictures that are drawn again add theirs.
    let prompt = format!("eval.prompts=['{}cat']", "many ".repeat(100));
    begin(&[&run[..], &["--set", &prompt]].concat());
    let more = warnings(&world, "long");
    assert_eq!(more[..found.len()], found);
    assert_each(&more[found.len()..], &["many many"]);
    // So do weights that are made again.
    fs_err::remove_file(world.path("results/long/weights/long.safetensors")).expect("it is there");
    begin(&[&run[..], &["--set", &prompt]].concat()).has(&["weights/long.safetensors is missing"]);
    assert_eq!(warnings(&world, "long"), more);

    begin(&["report"]);
    let page = world.text("results/report.md");
    assert!(page.contains("## Warnings") && page.contains("text.jpg") && page.contains("many many"), "{page}");
}

#[test]
fn each_run_has_its_own() {
    let world = world();
    fs_err::rename(world.path("a.toml"), world.path("b.toml")).expect("writable");
    world.write("c.toml", world.text("b.toml").replace(", skip_broken = true", "").replace("'dog'", "'whole'"));
    fs_err::create_dir(world.path("whole")).expect("writable");
    fs_err::copy(world.path("dog/rgb.png"), world.path("whole/rgb.png")).expect("writable");
    let said = world.done(&[&["run", "long.toml", "b.toml", "c.toml"][..], &QUICK].concat());
    assert_each(&warnings(&world, "long"), &["very very", "text.jpg"]);
    assert_each(&warnings(&world, "b"), &["text.jpg"]);
    assert_each(&warnings(&world, "c"), &[]);
    assert_eq!(said.err.matches("in this run (see also run.json)").count(), 2, "{}", said.err);
    world.done(&["report"]);
    let page = world.text("results/report.md");
    assert!(page.contains("\n| b | ") && page.contains("\n| long | ") && !page.contains("\n| c | text"), "{page}");
}
