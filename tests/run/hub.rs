//! Model and pictures from hubs on loopback, through the binary.

use super::world::{Said, World, fixture, tree};
use crate::assets::Files;
use crate::assets::server::{Fault, Server};

/// Nothing listens on the lowest port.
pub const NOBODY: &str = "http://127.0.0.1:1";

/// The small model and the pictures; the server gives the same files for every repository.
pub fn server(world: &World) -> Server {
    let mut files = Files::new();
    for root in [fixture("model"), world.path("dog")] {
        files.extend(tree(&root).into_iter().map(|name| {
            let bytes = fs_err::read(root.join(&name)).expect("readable");
            (name, bytes)
        }));
    }
    Server::start(files)
}

/// The experiment with both from repositories.
fn experiment(world: &World) {
    let model = format!("model.path = '{}'", fixture("model").display());
    let text = world.text("a.toml").replace("steps = 6", "steps = 2");
    let hub = text
        .replace(&model, "model = { repo = 'some-one/small', modelscope = 'other/small' }")
        .replace("path = 'dog'", "repo = 'some-one/dog', modelscope = 'other/dog'");
    assert!(hub.contains("other/small") && hub.contains("other/dog"));
    world.write("hub.toml", hub);
}

fn run(world: &World, huggingface: &str, modelscope: &str, more: &[&str]) -> Said {
    let mut command = world.command(&["run", "hub.toml"]);
    command.args(more).env("HF_ENDPOINT", huggingface).env("MODELSCOPE_ENDPOINT", modelscope);
    command.env("HF_HOME", world.path("hf")).env("MODELSCOPE_CACHE", world.path("ms")).env("HOME", world.path("home"));
    command.output().expect("the binary starts").into()
}

#[test]
fn an_experiment_on_hugging_face_downloads_once_and_runs() {
    let world = World::new();
    experiment(&world);
    let server = server(&world);
    let said = run(&world, &server.endpoint(), NOBODY, &[]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    said.has(&["unet/diffusion_pytorch_model.safetensors", "training"]);
    assert!(world.path("hf/hub/models--some-one--small").exists() && world.path("results/hub/run.json").exists());

    assert!(!server.take_log().is_empty());
    let again = run(&world, &server.endpoint(), NOBODY, &["--force"]);
    assert_eq!((again.code, server.take_log().len()), (Some(0), 0), "{}", again.err);

    // The same files in folders: where a model comes from changes nothing.
    world.done(&["run", "a.toml", "--set", "train.steps=2"]);
    for name in ["loss.csv", "samples/tuned/a-dog/0.png", "weights/pytorch_lora_weights.safetensors"] {
        assert!(world.read(&format!("results/hub/{name}")) == world.read(&format!("results/a/{name}")), "{name}");
    }
}

#[test]
fn modelscope_serves_when_hugging_face_cannot_be_reached() {
    let world = World::new();
    experiment(&world);
    let server = server(&world);
    let said = run(&world, NOBODY, &server.endpoint(), &[]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    said.has(&["cannot be reached", "ModelScope", "other/small"]);
    assert!(world.path("results/hub/run.json").exists());
    server.take_log();
    let again = run(&world, NOBODY, &server.endpoint(), &["--force"]);
    assert_eq!((again.code, server.take_log().len()), (Some(0), 0), "{}", again.err);
}

#[test]
fn refusals_name_the_repository() {
    let world = World::new();
    experiment(&world);
    let server = server(&world);
    for (status, reason, remedy) in [(401, "", "HF_TOKEN"), (404, "RepoNotFound", "hint:")] {
        server.set(Fault::Refuse(status, reason));
        let said = run(&world, &server.endpoint(), NOBODY, &[]);
        assert_eq!(said.code, Some(2), "{status}: {}", said.err);
        said.has(&["some-one/dog", remedy]);
    }
    let said = run(&world, NOBODY, NOBODY, &[]);
    assert_eq!(said.code, Some(1), "{}", said.err);
    said.has(&["other/dog", "127.0.0.1:1", "hint:"]);
    assert!(!world.path("results/hub/run.json").exists());
}
