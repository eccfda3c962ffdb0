//! Images and weights while training: the same training, each step's own picture, and what `sample --step` draws with.

use super::world::{World, tree};

const EVERY: [&str; 4] = ["run", "a.toml", "--set", "eval.images_every=2"];

fn same(world: &World, one: &str, other: &str) {
    assert!(world.read(one) == world.read(other), "{one} and {other} differ");
}

#[test]
fn images_while_training_change_nothing_of_the_training() {
    let world = World::new();
    world.done(&EVERY);
    world.done(&["run", "a.toml", "--set", "name=plain"]);
    for file in ["loss.csv", "eval.csv", "loss.png", "grid.png", "weights/pytorch_lora_weights.safetensors"] {
        same(&world, &format!("results/a/{file}"), &format!("results/plain/{file}"));
    }
    for sample in tree(&world.path("results/plain/samples")) {
        same(&world, &format!("results/a/samples/{sample}"), &format!("results/plain/samples/{sample}"));
    }
    let steps = |folder: &str| {
        let names = tree(&world.path(&format!("results/a/{folder}")));
        names.into_iter().filter(|name| name.starts_with("step-")).collect::<Vec<_>>()
    };
    assert_eq!(
        steps("samples"),
        ["step-000002/a-cat/0.png", "step-000002/a-dog/0.png", "step-000004/a-cat/0.png", "step-000004/a-dog/0.png"]
    );
    let weights = ["a.safetensors", "pytorch_lora_weights.safetensors"];
    let kept: Vec<String> =
        ["000002", "000004"].iter().flat_map(|step| weights.map(|name| format!("step-{step}/{name}"))).collect();
    assert_eq!(steps("weights"), kept);
    assert!(world.path("results/a/steps.png").is_file() && !world.path("results/plain/steps.png").exists());
}

#[test]
fn the_weights_of_a_step_draw_its_picture() {
    let world = World::new();
    world.done(&EVERY);
    let draw =
        |step: &str, out: &str| world.done(&["sample", "results/a", "--step", step, "--prompt", "a dog", "-o", out]);
    for (step, set) in [("0", "base"), ("2", "step-000002"), ("4", "step-000004"), ("6", "tuned")] {
        draw(step, set);
        same(&world, &format!("{set}/a-dog/0.png"), &format!("results/a/samples/{set}/a-dog/0.png"));
    }
    let pictures: Vec<Vec<u8>> = ["base", "step-000002", "step-000004", "tuned"]
        .iter()
        .map(|set| world.read(&format!("{set}/a-dog/0.png")))
        .collect();
    assert!(pictures.windows(2).all(|two| two[0] != two[1]), "every step draws another picture");
    let refused = |step: &str, parts: &[&str]| {
        world.refused(&["sample", "results/a", "--step", step, "--prompt", "a dog", "-o", "no"], parts);
    };
    refused("3", &["no weights of step 3", "those of 2, 4"]);
    refused("best", &["no best step", "metrics.best_by"]);
    refused("first", &["first", "best"]);
    // A kept step is a folder like any other.
    let model = super::world::fixture("model");
    let lora = ["sample", "--model", model.to_str().expect("UTF-8"), "--lora", "results/a/weights/step-000002"];
    let how = ["--seed", "5", "--steps", "4", "--width", "64", "--height", "64", "--prompt", "a dog", "-o", "lora"];
    world.done(&[&lora[..], &how].concat());
    same(&world, "lora/a-dog/0.png", "step-000002/a-dog/0.png");
}

#[test]
fn other_prompts_are_drawn_again_for_the_steps_whose_weights_were_kept() {
    let world = World::new();
    let cats = ["--set", "eval.prompts=['a cat']"];
    world.done(&EVERY);
    let before = world.read("results/a/samples/step-000004/a-cat/0.png");
    world.done(&[&EVERY[..], &cats].concat());
    assert!(world.read("results/a/samples/step-000004/a-cat/0.png") == before);
    assert!(!world.path("results/a/samples/step-000004/a-dog").exists());

    let forgetful = ["--set", "name=b", "--set", "eval.keep_weights=false"];
    world.done(&[&EVERY[..], &forgetful].concat());
    assert!(!world.path("results/b/weights/step-000002").exists());
    let said = world.done(&[&EVERY[..], &forgetful, &cats].concat());
    said.has(&["the pictures of steps 2, 4 are not drawn where they are missing", "eval.keep_weights"]);
    assert!(!world.path("results/b/samples/step-000002").exists() && !world.path("results/b/steps.png").exists());
    // And that is how the run is finished.
    world.done(&[&EVERY[..], &forgetful, &cats].concat()).has(&["finished already"]);
    world.refused(
        &["sample", "results/b", "--step", "2", "--prompt", "a dog", "-o", "no"],
        &["no weights of step 2", "eval.keep_weights"],
    );
}

#[test]
fn all_weights_and_their_moving_average_are_kept_where_it_is_asked_for() {
    let world = World::new();
    let model = super::world::fixture("model");
    let full = "dataset = { path = 'dog', prompt = 'a dog', resolution = 64 }\n\
                adapter.full = { text_encoder = true, ema_decay = 0.5 }\n\
                train = { steps = 3, learning_rate = 1e-3 }\nmetrics.encoders = []\n\
                eval = { prompts = ['a dog'], steps = 3, seed = 5, images_every = 2 }\n";
    world.write("full.toml", format!("seed = 7\nmodel.path = '{}'\n{full}", model.display()));
    world.done(&["run", "full.toml"]);
    assert!(
        !world.path("results/full/weights/step-000002").exists(),
        "a whole model is kept only if somebody asks for it"
    );
    world.done(&["run", "full.toml", "--set", "name=kept", "--set", "eval.keep_weights=true"]);
    same(&world, "results/full/loss.csv", "results/kept/loss.csv");
    assert!(world.path("results/kept/weights/step-000002/model_index.json").is_file());
    // The average of then, as a training that ends there leaves it.
    world.done(&["run", "full.toml", "--set", "name=short", "--set", "train.steps=2"]);
    for file in ["unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"] {
        same(&world, &format!("results/kept/weights/step-000002/{file}"), &format!("results/short/weights/{file}"));
    }
    same(&world, "results/kept/samples/step-000002/a-dog/0.png", "results/short/samples/tuned/a-dog/0.png");
    world.done(&["sample", "results/kept", "--step", "2", "--prompt", "a dog", "-o", "drawn"]);
    same(&world, "drawn/a-dog/0.png", "results/kept/samples/step-000002/a-dog/0.png");
    same(&world, "results/full/samples/step-000002/a-dog/0.png", "results/kept/samples/step-000002/a-dog/0.png");
}

#[test]
fn pictures_of_a_step_that_cannot_be_drawn_again_stay_where_another_is_missing() {
    let world = World::new();
    let run = [&EVERY[..], &["--set", "eval.keep_weights=false", "--set", "metrics.encoders=['builtin']"]].concat();
    world.done(&run);
    let cat = "results/a/samples/step-000002/a-cat/0.png";
    let before = world.read(cat);
    fs_err::remove_file(world.path("results/a/samples/step-000002/a-dog/0.png")).expect("it is there");
    world.done(&run).has(&["samples/step-000002/a-dog/0.png is missing", "the pictures of step 2 are not drawn where"]);
    assert!(world.read(cat) == before && world.path("results/a/steps.png").is_file());
    let rows = world.text("results/a/metrics.csv");
    assert!(rows.contains("step-000002/a-cat/0.png") && !rows.contains("step-000002/a-dog/0.png"));
    world.done(&run).has(&["finished already"]);
    // Nor does a class prompt, which has none of that step, take any away.
    world.done(&[&run[..], &["--set", "metrics.class_prompt=a pig"]].concat());
    assert!(world.read(cat) == before && world.path("results/a/samples/tuned/a-pig/0.png").is_file());
}
