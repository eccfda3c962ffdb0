//! A model in one file, through the binary: the same numbers as the folder that it was made from.

use super::hub::NOBODY;
use super::world::{World, fixture};
use crate::assets::Files;
use crate::assets::server::Server;
use crate::assets::single_file::Tensors;
use serde_json::Value;

/// The experiment on the folder and the one on the file `dream.safetensors`, in two steps.
fn world() -> World {
    let world = World::new();
    Tensors::small().write(&world.path("dream.safetensors"));
    let folder = fixture("model").display().to_string();
    let text = world.text("a.toml").replace("steps = 6", "steps = 2");
    let file = format!("model = {{ path = 'dream.safetensors', config = '{folder}' }}");
    world.write("file.toml", text.replace(&format!("model.path = '{folder}'"), &file));
    world.write("a.toml", text);
    world
}

fn assert_same(world: &World, names: &[&str]) {
    for name in names {
        let (file, folder) = (format!("results/file/{name}"), format!("results/a/{name}"));
        assert!(world.read(&file) == world.read(&folder), "{name}");
    }
}

const LORA: &str = "weights/pytorch_lora_weights.safetensors";
const PICTURES: [&str; 2] = ["samples/base/a-dog/0.png", "samples/tuned/a-cat/0.png"];

fn json(world: &World, name: &str) -> Value {
    serde_json::from_str(&world.text(name)).expect("JSON")
}

#[test]
fn it_trains_and_draws_as_the_folder_does() {
    let world = world();
    world.done(&["run", "a.toml", "file.toml"]);
    assert_same(&world, &["loss.csv", "eval.csv", LORA, PICTURES[0], PICTURES[1]]);

    let hashes = &json(&world, "results/file/run.json")["hashes"]["model"];
    let sha256 = tunelab::hash::sha256_of_file(&world.path("dream.safetensors")).expect("readable");
    for part in ["unet", "vae", "text_encoder"] {
        assert_eq!(hashes[format!("{part}/dream.safetensors")], sha256.as_str(), "{hashes}");
    }
    assert_eq!(hashes, &json(&world, "results/file/inputs.json")["model"]);
    assert!(hashes["tokenizer/merges.txt"].is_string() && hashes["scheduler/scheduler_config.json"].is_string());
    let lora = world.path("results/file/weights/file.safetensors");
    let lora = tunelab::weights::Weights::open(&[lora]).expect("a LoRA file");
    assert_eq!(lora.metadata()["ss_sd_model_name"], "dream.safetensors");
    assert_eq!(lora.metadata()["ss_new_sd_model_hash"], sha256);
    // The stored plan is an experiment of its own.
    let plan = world.text("results/file/plan.toml");
    assert!(plan.contains("dream.safetensors\"") && plan.contains("config = \""), "{plan}");
    world.done(&["check", "results/file/plan.toml"]);
    world.done(&["run", "file.toml"]).has(&["finished"]);

    let config = fixture("model").display().to_string();
    let draw = |model: &str, more: &[&str], to: &str| {
        let args = ["sample", "--model", model, "--prompt", "a dog", "--steps", "2", "-o", to];
        world.done(&[&args[..], more].concat());
        world.read(&format!("{to}/a-dog/0.png"))
    };
    let folder = draw(&config, &[], "folder");
    assert!(draw("dream.safetensors", &["--config", &config], "one") == folder);
    let with_lora =
        draw("dream.safetensors", &["--config", &config, "--lora", "results/file/weights/file.safetensors"], "two");
    assert!(with_lora != folder);
}

/// What was not trained is written from the one file, under diffusers' names.
#[test]
fn all_weights_of_it_are_trained_to_the_same_folder() {
    let world = world();
    for name in ["a.toml", "file.toml"] {
        let lora = "adapter.lora = { rank = 2, alpha = 3 }";
        let text = world.text(name);
        assert!(text.contains(lora));
        world.write(name, text.replace(lora, "adapter.full = { single_file = true }"));
    }
    world.done(&["run", "a.toml", "file.toml", "--set", "eval.prompts=[]"]);
    assert_same(&world, &["weights/unet/diffusion_pytorch_model.safetensors", "weights/vae/config.json"]);
    let files = |name: &str| {
        let source = tunelab::config::Source::Path(world.path(&format!("results/{name}/weights")));
        tunelab::assets::find_model(&source, &tunelab::progress::Progress::hidden()).expect("a whole folder")
    };
    let (file, folder) = (files("file"), files("a"));
    for part in folder.parts.values() {
        let open = |files: &tunelab::pipeline::ModelFiles| {
            tunelab::weights::Weights::open_part(&files.parts[&part.name]).expect("readable")
        };
        let (ours, theirs) = (open(&file), open(&folder));
        for name in theirs.names().filter(|name| !theirs.is_harmless(name)) {
            let load = |weights: &tunelab::weights::Weights| {
                let tensor = weights.load(name, &candle_core::Device::Cpu, candle_core::DType::F32).expect(name);
                tensor.flatten_all().and_then(|tensor| tensor.to_vec1::<f32>()).expect("f32")
            };
            assert!(load(&ours) == load(&theirs), "{}: {name}", part.name);
        }
    }
    // Its own single file goes in again.
    let config = fixture("model").display().to_string();
    let args = ["sample", "--model", "results/file/weights/file.safetensors", "--config", &config];
    world.done(&[&args[..], &["--prompt", "a dog", "--steps", "2", "-o", "again"]].concat());
    assert!(world.path("again/a-dog/0.png").is_file());
}

#[test]
fn a_run_goes_on_only_with_the_same_file() {
    let world = world();
    world.done(&["run", "file.toml"]);
    let mut bytes = world.read("dream.safetensors");
    let last = bytes.len() - 2;
    bytes[last] ^= 1;
    world.write("dream.safetensors", bytes);
    world.refused(&["run", "file.toml"], &["dream.safetensors", "has changed", "since results/file was trained"]);
}

#[test]
fn check_and_plan_know_what_it_is() {
    let world = world();
    world.done(&["check", "file.toml"]);
    let said = world.done(&["plan", "file.toml"]);
    assert!(said.out.contains("of the UNet's 441,724 parameters") && !said.out.contains("downloads"), "{}", said.out);
    let folder = world.done(&["plan", "a.toml"]);
    let line = |text: &str| text.lines().find(|line| line.contains("trains ")).map(str::to_owned);
    assert_eq!(line(&said.out), line(&folder.out));
    // Without its own configurations it is taken for the usual sizes.
    let said = world.done(&["plan", "a.toml", "--set", "model.path=dream.safetensors"]);
    assert!(said.out.contains("859,520,964"), "{}", said.out);
    world.refused(
        &["run", "a.toml", "--set", "model.path=dream.safetensors"],
        &["of another shape", "its own config.json files as `config`"],
    );

    world.write("v1-5.ckpt", b"PK\x03\x04");
    let set = |value: &str| ["check".to_owned(), "a.toml".to_owned(), "--set".to_owned(), value.to_owned()];
    let refused = |value: &str, parts: &[&str]| {
        world.refused(&set(value).each_ref().map(String::as_str), parts);
    };
    refused("model.path=v1-5.ckpt", &["v1-5.ckpt is neither a folder nor a .safetensors file", "from_single_file"]);
    refused(
        "model={repo='some-one/dreams', file='dream.ckpt'}",
        &["dream.ckpt is no .safetensors file", "from_single_file"],
    );
    refused("model={repo='some-one/dreams', file='../dream.safetensors'}", &["`file`"]);
    refused("model.config='.'", &["`config` goes with a model in one file"]);
    refused("dataset.file='a.safetensors'", &["file"]);
    world.write("web.safetensors", "<!doctype html>");
    refused("model.path=web.safetensors", &["`path`", "a saved web page"]);
}

#[test]
fn a_repositorys_file_is_fetched_once() {
    let world = world();
    let mut files = Files::new();
    files.insert("checkpoints/dream.safetensors".to_owned(), world.read("dream.safetensors"));
    let server = Server::start(files);
    let folder = fixture("model").display().to_string();
    let text = world.text("a.toml");
    let hub =
        format!("model = {{ repo = 'some-one/dreams', file = 'checkpoints/dream.safetensors', config = '{folder}' }}");
    world.write("file.toml", text.replace(&format!("model.path = '{folder}'"), &hub));
    let run = |args: &[&str], endpoint: &str| -> super::world::Said {
        let mut command = world.command(args);
        command.env("HF_ENDPOINT", endpoint).env("HF_HOME", world.path("hf")).env("HOME", world.path("home"));
        command.output().expect("the binary starts").into()
    };
    let said = run(&["plan", "file.toml"], NOBODY);
    assert!(
        said.out.contains("downloads the model") && said.out.contains("checkpoints/dream.safetensors"),
        "{}",
        said.out
    );
    let said = run(&["run", "file.toml"], &server.endpoint());
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(!server.take_log().is_empty());
    world.done(&["run", "a.toml"]);
    assert_same(&world, &["loss.csv", LORA, PICTURES[0], PICTURES[1]]);
    let plan = world.text("results/file/plan.toml");
    assert!(plan.contains("file = \"checkpoints/dream.safetensors\""), "{plan}");
    let again = run(&["run", "file.toml", "--force"], &server.endpoint());
    assert_eq!((again.code, server.take_log().len()), (Some(0), 0), "{}", again.err);
    let said = run(&["plan", "file.toml"], NOBODY);
    assert!(!said.out.contains("downloads the model") && said.out.contains("441,724"), "{}", said.out);
    let lacking = world.text("file.toml").replace("checkpoints/dream", "none");
    world.write("file.toml", lacking);
    let said = run(&["run", "file.toml", "--force"], &server.endpoint());
    assert_eq!(said.code, Some(2), "{}", said.err);
    said.has(&["some-one/dreams", "none.safetensors"]);
}
