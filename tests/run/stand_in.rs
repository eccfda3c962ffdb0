//! The stand-in through the binary: when it is run, when it never is, and that everything it leaves says so.

use std::time::{Duration, Instant};

use serde_json::Value;
use tunelab::results::read_text;

use super::hub::{NOBODY, server};
use super::world::{Said, World, fixture};
use crate::assets::server::{Fault, Server};

/// One step on repositories, or on what is built in.
const EXPERIMENT: &str = "\
model = { repo = 'some-one/small', modelscope = 'other/small' }
dataset = { repo = 'some-one/dog', prompt = 'a dog', resolution = 64 }
adapter.lora.rank = 2
train.steps = 1
eval = { steps = 1, seed = 5, every = 1 }
metrics.encoders = []
[stand_in]
model.builtin = 'mini'
metrics.encoders = ['builtin']
dataset.builtin = 'corgi'
";

const WHAT: &str = "builtin:mini with builtin:corgi in place of some-one/small with some-one/dog";

fn world() -> World {
    let world = World::new();
    world.write("x.toml", EXPERIMENT);
    world
}

fn run(world: &World, huggingface: &str, args: &[&str]) -> Said {
    let mut command = world.command(&["run"]);
    command.args(args).env("HF_ENDPOINT", huggingface).env("MODELSCOPE_ENDPOINT", NOBODY);
    command.env("HF_HOME", world.path("hf")).env("MODELSCOPE_CACHE", world.path("ms"));
    command.env("HOME", world.path("home")).env("XDG_CACHE_HOME", world.path("cache"));
    command.output().expect("the binary starts").into()
}

/// Stands in, says so and why before anything else, and does not say it twice.
fn assert_stands_in(said: &Said, why: &str) {
    assert_eq!(said.code, Some(0), "{}", said.err);
    let first = said.err.lines().next().unwrap_or_default();
    assert!(first.starts_with("stand-in: ") && first.contains(WHAT) && first.contains(why), "{}", said.err);
    assert_eq!(said.err.matches(WHAT).count(), 1, "{}", said.err);
    let marked = |line: &str| line == "results in results/x-stand-in (STAND-IN)" || line.contains("finished already");
    assert!(said.err.lines().any(marked), "{}", said.err);
}

fn log(server: &Server) -> usize {
    server.take_log().len()
}

#[test]
fn where_no_hub_answers_the_stand_in_is_run_and_everything_says_so() {
    let world = world();
    let said = run(&world, NOBODY, &["x.toml"]);
    assert_stands_in(&said, "because the model is not on this machine, and neither Hugging Face (http://127.0.0.1:1)");
    assert!(!said.err.contains("float16") && !world.path("results/x").exists(), "{}", said.err);
    assert!(world.path("cache/tunelab").is_dir());

    let record: Value = serde_json::from_str(&world.text("results/x-stand-in/run.json")).expect("JSON");
    assert_eq!((&record["name"], &record["stand_in"]["experiment"]), (&"x-stand-in".into(), &"x".into()));
    assert_eq!(record["stand_in"]["what"], WHAT);
    assert!(said.out.contains("lora, STAND-IN") && said.out.contains(WHAT), "{}", said.out);
    assert!(world.text("results/table.csv").contains("\nstand-in,x-stand-in,"));
    let sample = read_text(&world.path("results/x-stand-in/samples/tuned/a-dog/0.png")).expect("a PNG");
    assert!(sample[0].1.ends_with(&format!(", Stand-in: {WHAT}")), "{sample:?}");

    // Finished as any other run, drawn again as any other, and its plan is an experiment that is the same.
    let again = run(&world, NOBODY, &["x.toml"]);
    assert_stands_in(&again, "can be reached");
    again.has(&["finished already"]);
    let drawn = run(&world, NOBODY, &["x.toml", "--set", "eval.prompts=['a cat']"]);
    assert_stands_in(&drawn, "can be reached");
    drawn.has(&["only the pictures are drawn again"]);
    assert!(
        world.path("results/x-stand-in/samples/tuned/a-cat/0.png").exists()
            && world.path("results/x-stand-in/run.json").exists()
    );
    let itself = run(&world, NOBODY, &["results/x-stand-in/plan.toml"]);
    assert_stands_in(&itself, "because its plan says so");
    itself.has(&["results/x-stand-in: finished already"]);
}

/// At once, without a question, and with the variable as the reason.
#[test]
fn offline_the_stand_in_is_run_because_the_variable_says_so() {
    let world = world();
    let server = server(&world);
    let offline = |args: &[&str]| -> Said {
        let mut command = world.command(&["run", "x.toml"]);
        command.args(args).env("HF_ENDPOINT", server.endpoint()).env("MODELSCOPE_ENDPOINT", server.endpoint());
        command.env("HF_HUB_OFFLINE", "1").env("HF_HOME", world.path("hf")).env("MODELSCOPE_CACHE", world.path("ms"));
        command.env("HOME", world.path("home")).env("XDG_CACHE_HOME", world.path("cache"));
        command.output().expect("the binary starts").into()
    };
    let said = offline(&["--no-stand-in"]);
    assert_eq!(said.code, Some(2), "{}", said.err);
    said.has(&["HF_HUB_OFFLINE is set", "some-one/dog", "without HF_HUB_OFFLINE"]);
    let said = offline(&[]);
    assert_stands_in(&said, "because the model is not on this machine, and HF_HUB_OFFLINE is set");
    assert_eq!(log(&server), 0);
}

#[test]
fn what_a_hub_refuses_or_what_is_asked_not_to_stand_in_is_an_error() {
    let world = world();
    let server = server(&world);
    for (status, reason) in [(401, ""), (404, "RepoNotFound")] {
        server.set(Fault::Refuse(status, reason));
        let said = run(&world, &server.endpoint(), &["x.toml"]);
        assert_eq!(said.code, Some(2), "{status}: {}", said.err);
        said.has(&["some-one/dog", "hint:"]);
        assert!(!said.err.contains("stand-in"), "{}", said.err);
    }
    let said = run(&world, NOBODY, &["x.toml", "--no-stand-in"]);
    assert_eq!(said.code, Some(1), "{}", said.err);
    said.has(&["cannot be reached", "127.0.0.1:1", "hint:"]);
    // Its own model is here: the pictures alone are no reason.
    let said =
        run(&world, NOBODY, &["x.toml", "--force", "--set", &format!("model.path={}", fixture("model").display())]);
    assert_eq!(said.code, Some(1), "{}", said.err);
    // A stand-in that needs the hub too is of no help.
    let said = run(&world, NOBODY, &["x.toml", "--force", "--set", "dataset.repo=some-one/cat"]);
    assert_eq!(said.code, Some(1), "{}", said.err);
    said.has(&["cannot be reached"]);
    assert!(!world.path("results/x-stand-in").exists());
}

#[test]
fn a_stand_in_can_be_asked_for() {
    let world = world();
    let server = server(&world);
    let said = run(&world, &server.endpoint(), &["x.toml", "--stand-in"]);
    assert_stands_in(&said, "because --stand-in was given");
    assert_eq!(log(&server), 0, "nobody is asked");
    assert!(world.path("results/x-stand-in/run.json").exists() && !world.path("results/x").exists());

    world.write("plain.toml", EXPERIMENT.split_once("[stand_in]").expect("it has one").0);
    for command in ["run", "plan"] {
        world.refused(&[command, "--stand-in", "plain.toml"], &["plain.toml has no [stand_in]", "hint:"]);
    }
    world.refused(&["run", "x.toml", "--stand-in", "--no-stand-in"], &["cannot be used with"]);
    let plan = world.done(&["plan", "--stand-in", "x.toml"]).out;
    assert!(plan.starts_with(&format!("\n# a stand-in: {WHAT}\n# model: Stable Diffusion 1.x, ")), "{plan}");
    assert!(plan.contains("\n# 1 step of 1 picture\n"), "{plan}");
    assert!(plan.ends_with(&world.text("results/x-stand-in/plan.toml")) && !plan.contains("downloads"), "{plan}");
    let plan = world.done(&["plan", "x.toml"]).out;
    assert!(plan.contains(&format!("\n# where no hub can be reached: {WHAT} (tunelab plan --stand-in)\n")), "{plan}");
}

#[test]
fn the_miniature_and_a_stand_ins_result_can_be_drawn_with() {
    let world = world();
    assert_stands_in(&run(&world, NOBODY, &["x.toml", "--stand-in", "--set", "eval.prompts=[]"]), "--stand-in");
    let sample = |what: &[&str], to: &str| {
        let mut command = world.command(&["sample"]);
        command.args(what).args(["--prompt", "a cat", "--steps", "1", "-o", to]);
        let said: Said = command.env("XDG_CACHE_HOME", world.path("cache")).output().expect("the binary starts").into();
        assert_eq!(said.code, Some(0), "{}", said.err);
        read_text(&world.path(&format!("{to}/a-cat/0.png"))).expect("a PNG")[0].1.clone()
    };
    assert!(!sample(&["--model", "builtin:mini"], "mini").contains("Stand-in"));
    assert!(sample(&["results/x-stand-in"], "tuned").ends_with(&format!(", Stand-in: {WHAT}")));
    let wrong = ["sample", "--model", "builtin:minni", "--prompt", "a cat", "-o", "wrong"];
    world.refused(&wrong, &["\"minni\"", "there is builtin:mini"]);
}

#[test]
fn stand_ins_for_the_same_reason_say_only_what_differs() {
    let world = world();
    let other = EXPERIMENT.replace("'some-one/dog'", "'some-one/cat'");
    for (name, text) in [("y", &other), ("z", &EXPERIMENT.to_owned())] {
        world.write(&format!("{name}.toml"), text);
    }
    let said = run(&world, NOBODY, &["x.toml", "y.toml", "z.toml", "--stand-in", "--set", "eval.prompts=[]"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let lines: Vec<&str> = said.err.lines().filter(|line| line.starts_with("stand-in: ")).collect();
    let cat = WHAT.replace("some-one/dog", "some-one/cat");
    let why = "because --stand-in was given";
    assert_eq!(lines, [format!("stand-in: {WHAT}, {why}"), format!("stand-in: {cat}, for the same reason")]);
}

#[test]
fn what_is_done_or_cached_needs_neither_hub_nor_stand_in() {
    let world = world();
    let server = server(&world);
    let said = run(&world, &server.endpoint(), &["x.toml"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(!said.err.contains("stand-in") && log(&server) > 0, "{}", said.err);
    let record = world.read("results/x/run.json");

    // The cache is whole: the experiment itself, again.
    let cached = run(&world, NOBODY, &["x.toml", "--force"]);
    assert!(cached.code == Some(0) && !cached.err.contains("stand-in"), "{}", cached.err);
    assert_ne!(world.read("results/x/run.json"), record);
    let record = world.read("results/x/run.json");

    // The cache is gone: what is finished stays, and nobody is asked.
    fs_err::remove_dir_all(world.path("hf")).expect("writable");
    let done = run(&world, &server.endpoint(), &["x.toml"]);
    done.has(&["finished already"]);
    assert_eq!((done.code, log(&server)), (Some(0), 0), "{}", done.err);
    assert!(world.read("results/x/run.json") == record && !world.path("results/x-stand-in").exists());
}

#[test]
fn a_hub_that_never_answers_is_given_up_soon_and_once() {
    let world = world();
    world.write("y.toml", EXPERIMENT);
    let server = server(&world);
    server.set(Fault::Silent);
    let begun = Instant::now();
    let said = run(&world, &server.endpoint(), &["x.toml", "y.toml", "--set", "eval.prompts=[]"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(log(&server), 1, "asked once for both");
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
    // Said once for both, and every one is marked.
    assert_eq!((said.err.matches("\nstand-in: ").count(), said.err.matches(WHAT).count()), (1, 1), "{}", said.err);
    said.has(&["\n  done          results/x-stand-in (STAND-IN)\n  done          results/y-stand-in (STAND-IN)\n"]);
}
