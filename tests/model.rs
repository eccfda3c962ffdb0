//! The networks against PyTorch, diffusers and peft: outputs, and the gradient of every trained tensor.

use crate::fixture::{Tensors, close, fixture, largest, loader, model, relative, tensors};
use candle_core::{DType, Device, Tensor, Var};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use tunelab::assets::local;
use tunelab::error::Error;
use tunelab::model::build::{Build, Parameters, Trainable};
use tunelab::model::clip::{ClipConfig, ClipText};
use tunelab::model::lora::{LoraConfig, LoraLayer};
use tunelab::model::unet::{Unet, UnetConfig};
use tunelab::model::vae::{Vae, VaeConfig};
use tunelab::pipeline::{ConditioningKind, ModelFiles, load};
use tunelab::weights::{Loader, Part, PartName, Weights};
use tunelab_ops::tape::{Gradients, record};
use tunelab_ops::{composed, mean_squares};

fn part(files: &ModelFiles, name: PartName) -> &Part {
    files.part(name).unwrap()
}

fn part_loader(part: &Part, dtype: DType) -> Loader {
    Loader::new(Weights::open_part(part).unwrap(), &Device::Cpu, dtype)
}

fn timesteps(t: &Tensor) -> Vec<f64> {
    t.to_vec1::<i64>().unwrap().into_iter().map(|t| t as f64).collect()
}

/// Output, loss and gradients of one pass of the UNet over a fixture, in the network's type.
fn pass(unet: &Unet, f: &Tensors, dtype: DType) -> (Tensor, Tensor, Gradients) {
    let get = |name: &str| f[name].to_dtype(dtype).unwrap();
    let target = get("target");
    let ((output, loss), tape) = record(|| {
        let output = unet.forward(&get("latents"), &timesteps(&f["timesteps"]), &get("text").into())?;
        let loss = mean_squares(&output, &target, 0, &vec![1.0; target.dim(0)?])?;
        Ok::<_, Error>((output, loss))
    })
    .unwrap();
    let gradients = tape.backward(&loss).unwrap();
    (output, loss, gradients)
}

/// Every `grad.*` of the fixture against the gradient of the trained tensor of that name, none left out on either side.
fn check_gradients(gradients: &Gradients, trained: &BTreeMap<String, Tensor>, reference: &Tensors) {
    let wanted: Vec<_> = reference.keys().filter_map(|k| k.strip_prefix("grad.")).collect();
    assert_eq!(wanted.len(), trained.len(), "as many gradients as trained tensors");
    for name in wanted {
        let gradient = gradients.get(&trained[name]).unwrap_or_else(|| panic!("no gradient for {name}"));
        close(gradient, &reference[&format!("grad.{name}")], name);
    }
}

fn unet(trained: Trainable, dtype: DType) -> (Unet, Parameters) {
    let files = model();
    let config = UnetConfig::read(&part(&files, PartName::Unet).config).unwrap();
    Unet::new(&config, Build::from_files(part_loader(part(&files, PartName::Unet), dtype), trained, 11)).unwrap()
}

#[test]
fn text_encoder_equals_transformers() {
    let f = tensors("text_encoder.safetensors");
    let files = model();
    let config = ClipConfig::read(&part(&files, PartName::TextEncoder).config).unwrap();
    let build = Build::from_files(part_loader(part(&files, PartName::TextEncoder), DType::F32), Trainable::None, 0);
    let (clip, _) = ClipText::new(&config, build).unwrap();
    close(&clip.forward(&ids(&f["ids"])).unwrap(), &f["last_hidden_state"], "hidden states");
}

/// A copy of the small model with these keys in one part's config.json.
fn with_config(part: &str, keys: &serde_json::Value) -> (tempfile::TempDir, ModelFiles) {
    let dir = tempfile::tempdir().unwrap();
    for folder in ["unet", "vae", "text_encoder", "tokenizer", "scheduler"] {
        fs_err::create_dir(dir.path().join(folder)).unwrap();
        for file in fs_err::read_dir(fixture("model").join(folder)).unwrap() {
            let file = file.unwrap();
            fs_err::copy(file.path(), dir.path().join(folder).join(file.file_name())).unwrap();
        }
    }
    let file = dir.path().join(part).join("config.json");
    let mut config: serde_json::Value = serde_json::from_str(&fs_err::read_to_string(&file).unwrap()).unwrap();
    config.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    fs_err::write(&file, config.to_string()).unwrap();
    let files = local::find(dir.path()).unwrap();
    (dir, files)
}

/// "Clip skip": a configuration with fewer layers than the weights have.
#[test]
fn layers_above_those_of_the_configuration_are_passed_over_as_in_transformers() {
    let f = tensors("text_encoder_clip_skip.safetensors");
    let (_dir, files) = with_config("text_encoder", &json!({ "num_hidden_layers": 1 }));
    let (clip, parameters) = loader(&files).text_encoder(PartName::TextEncoder).unwrap();
    close(&clip.forward(&ids(&f["ids"])).unwrap(), &f["last_hidden_state"], "hidden states");
    assert!(parameters.weights.keys().all(|name| !name.contains("layers.1.")));
    assert_eq!(load::passed_over(&files).unwrap(), ["text_encoder: 2 layers, of which config.json takes the first 1"]);
    assert_eq!(load::passed_over(&model()).unwrap(), [""; 0]);

    let (_dir, files) = with_config("text_encoder", &json!({ "num_hidden_layers": 3 }));
    let error = loader(&files).text_encoder(PartName::TextEncoder).err().unwrap().to_string();
    assert!(error.contains("missing (16)") && error.contains("text_model.encoder.layers.2.mlp.fc1.bias"), "{error}");
}

/// Values that diffusers writes or takes in place of the usual ones.
#[test]
fn lists_in_the_place_of_one_value_are_read() {
    let lists = json!({ "sample_size": [8, 12], "only_cross_attention": [false, false, false, false],
        "attention_head_dim": [4, 4, 4, 4], "unknown_key": {"a": 1},
        "mid_block_only_cross_attention": null });
    let (_dir, files) = with_config("unet", &lists);
    let config = UnetConfig::read(&part(&files, PartName::Unet).config).unwrap();
    assert_eq!(
        config,
        UnetConfig { sample_size: [8, 12], ..UnetConfig::read(&part(&model(), PartName::Unet).config).unwrap() }
    );
    loader(&files).unet().unwrap();
    let (_dir, files) = with_config("unet", &json!({ "sample_size": null }));
    assert_eq!(UnetConfig::read(&part(&files, PartName::Unet).config).unwrap().sample_size, [64, 64]);
    for (key, value) in [
        ("only_cross_attention", json!([false, true, false, false])),
        ("sample_size", json!([8, 8, 8])),
        ("addition_embed_type", json!("image")),
    ] {
        let mut keys = json!({});
        keys[key] = value;
        let (_dir, files) = with_config("unet", &keys);
        let error = UnetConfig::read(&part(&files, PartName::Unet).config).unwrap_err().to_string();
        assert!(error.contains("unet/config.json") && error.contains(key), "{error}");
    }
}

#[test]
fn an_inpainting_models_unet_is_named() {
    let files = model();
    let mut unet = UnetConfig::read(&part(&files, PartName::Unet).config).unwrap();
    let (vae, text) = (
        VaeConfig::read(&part(&files, PartName::Vae).config).unwrap(),
        [ClipConfig::read(&part(&files, PartName::TextEncoder).config).unwrap()],
    );
    load::check_sizes(&unet, &vae, ConditioningKind::HiddenStates, &text).unwrap();
    for (channels, name) in [(9, "an inpainting model"), (8, "edits or enlarges"), (5, "same repository")] {
        unet.in_channels = channels;
        let error = load::check_sizes(&unet, &vae, ConditioningKind::HiddenStates, &text).unwrap_err().to_string();
        assert!(error.contains(&format!("unet in_channels is {channels}")) && error.contains(name), "{error}");
    }
}

fn ids(t: &Tensor) -> Vec<Vec<u32>> {
    t.to_dtype(DType::U32).unwrap().to_vec2().unwrap()
}

#[test]
fn text_encoder_gradients_equal_pytorch() {
    let f = tensors("text_encoder_full.safetensors");
    let files = model();
    let config = ClipConfig::read(&part(&files, PartName::TextEncoder).config).unwrap();
    let build = Build::from_files(part_loader(part(&files, PartName::TextEncoder), DType::F32), Trainable::Full, 0);
    let (clip, parameters) = ClipText::new(&config, build).unwrap();
    let (loss, tape) = record(|| {
        let output = clip.forward(&ids(&f["ids"]))?;
        Ok::<_, Error>(composed(&[&output], |t| (&t[0] * &f["weight"])?.mean_all())?)
    })
    .unwrap();
    let gradients = tape.backward(&loss).unwrap();
    let embedding = "text_model.embeddings.token_embedding.weight";
    for (name, tensor) in parameters.trained() {
        let gradient = gradients.get(&tensor).unwrap_or_else(|| panic!("no gradient for {name}"));
        if name == embedding {
            let rows = gradient.index_select(&f["used_ids"].to_dtype(DType::U32).unwrap(), 0).unwrap();
            close(&rows, &f[&format!("grad.{name}.rows")], &name);
        } else {
            let reference = &f[&format!("grad.{name}")];
            if name.ends_with("k_proj.bias") {
                // A constant added to all keys cancels in the softmax: this gradient is zero on paper.
                assert!(largest(reference) < 1e-12 && largest(gradient) < 1e-9, "{name}");
            } else {
                close(gradient, reference, &name);
            }
        }
    }
    assert_eq!(parameters.trained().len(), f.keys().filter(|k| k.starts_with("grad.")).count());
}

fn vae(folder: &Path) -> Vae {
    let files = model();
    let weights = vec![folder.join("diffusion_pytorch_model.safetensors")];
    let part = Part { weights, ..part(&files, PartName::Vae).clone() };
    let config = VaeConfig::read(&part.config).unwrap();
    Vae::new(&config, Build::from_files(part_loader(&part, DType::F32), Trainable::None, 0)).unwrap().0
}

#[test]
fn vae_equals_diffusers_on_pictures_that_are_not_square() {
    let f = tensors("vae.safetensors");
    for folder in ["model/vae", "vae_old_names", "vae_old_names_conv"] {
        let vae = vae(&fixture(folder));
        let latents = vae.encode(&f["pictures"]).unwrap();
        close(&latents.mean, &f["mean"], "mean");
        close(&latents.std, &f["std"], "deviation");
        close(&vae.decode(&f["latents"]).unwrap(), &f["decoded"], "decoded");
    }
}

#[test]
fn unet_equals_diffusers_with_three_timesteps_in_a_batch() {
    let f = tensors("unet_forward.safetensors");
    let (unet, _) = unet(Trainable::None, DType::F32);
    for prefix in ["", "odd."] {
        let get = |name: &str| &f[&format!("{prefix}{name}")];
        let output = unet.forward(get("latents"), &timesteps(get("timesteps")), &get("text").clone().into()).unwrap();
        close(&output, get("output"), "output");
    }
}

/// The same network in f64 is composed of candle's own operations: a second opinion on every kernel of `ops`.
#[test]
fn unet_of_portable_operations_equals_diffusers() {
    let f = tensors("unet_full.safetensors");
    let (unet, parameters) = unet(Trainable::Full, DType::F64);
    let (output, _, gradients) = pass(&unet, &f, DType::F64);
    close(&output, &f["output"], "output");
    check_gradients(&gradients, &parameters.trained(), &f);
}

#[test]
fn full_gradients_equal_pytorch() {
    let f = tensors("unet_full.safetensors");
    let (unet, parameters) = unet(Trainable::Full, DType::F32);
    let (output, loss, gradients) = pass(&unet, &f, DType::F32);
    close(&output, &f["output"], "output");
    close(&loss, &f["loss"], "loss");
    assert_eq!(parameters.trained().len(), parameters.weights.len());
    check_gradients(&gradients, &parameters.trained(), &f);
}

/// The UNet with the fixture's A and B as trained adapters.
fn with_lora(f: &Tensors, alpha: f64) -> (Unet, Parameters) {
    let (base, mut parameters) = unet(Trainable::None, DType::F32);
    for (name, down) in f {
        let Some(path) = name.strip_suffix(".lora_A.weight").filter(|n| !n.starts_with("grad.")) else { continue };
        let var = |t: &Tensor| Var::from_tensor(t).unwrap().into_inner();
        let up = &f[&format!("{path}.lora_B.weight")];
        parameters.lora.insert(path.to_owned(), LoraLayer::from_tensors(var(down), var(up), alpha, 1.0));
    }
    Unet::new(base.config(), Build::from_parameters(parameters)).unwrap()
}

#[test]
fn lora_equals_peft_in_output_and_every_gradient() {
    for (file, alpha) in [("unet_lora.safetensors", 5.0), ("unet_lora_conv.safetensors", 3.0)] {
        let f = tensors(file);
        let (unet, parameters) = with_lora(&f, alpha);
        let (output, loss, gradients) = pass(&unet, &f, DType::F32);
        close(&output, &f["output"], "output");
        assert!(relative(&f["base_output"], &f["output"]) > 0.01, "the adapter changes the output");
        close(&loss, &f["loss"], "loss");
        check_gradients(&gradients, &parameters.trained(), &f);
        assert!(parameters.weights.values().all(|w| gradients.get(w).is_none()), "frozen weights have no gradient");

        let (base, _) = Unet::new(unet.config(), Build::from_parameters(parameters.without_lora())).unwrap();
        let output = base.forward(&f["latents"], &timesteps(&f["timesteps"]), &f["text"].clone().into()).unwrap();
        close(&output, &f["base_output"], "base output");
    }
}

fn lora_config(targets: &[&str]) -> LoraConfig {
    LoraConfig { rank: 3, alpha: 5.0, targets: targets.iter().map(|&t| t.to_owned()).collect(), dropout: 0.0 }
}

#[test]
fn a_new_adapter_changes_nothing_and_its_a_is_drawn_per_module() {
    let f = tensors("unet_forward.safetensors");
    let (unet, parameters) = unet(Trainable::Lora(lora_config(&["to_q", "to_k", "to_v", "to_out.0"])), DType::F32);
    let output = unet.forward(&f["latents"], &timesteps(&f["timesteps"]), &f["text"].clone().into()).unwrap();
    close(&output, &f["output"], "output");
    let values: Vec<f32> =
        parameters.lora.values().flat_map(|l| l.lora_a.flatten_all().unwrap().to_vec1::<f32>().unwrap()).collect();
    let n = values.len() as f64;
    let std = (values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / n).sqrt();
    assert!((std - 1.0 / 3.0).abs() < 0.02, "A has deviation 1/rank, not {std}");
    let firsts: std::collections::BTreeSet<String> = parameters
        .lora
        .values()
        .map(|l| format!("{:?}", l.lora_a.flatten_all().unwrap().to_vec1::<f32>().unwrap()[0]))
        .collect();
    assert_eq!(firsts.len(), parameters.lora.len());
}

#[test]
fn an_unmatched_target_is_named() {
    let files = model();
    let config = UnetConfig::read(&part(&files, PartName::Unet).config).unwrap();
    let build = Build::from_files(
        part_loader(part(&files, PartName::Unet), DType::F32),
        Trainable::Lora(lora_config(&["to_q", "to_z"])),
        1,
    );
    let error = Unet::new(&config, build).err().unwrap();
    assert!(error.to_string().contains("`to_z`"), "{error}");
    assert_eq!(error.exit_code(), 2);
}

#[test]
fn lora_for_another_shape_is_named() {
    let f = tensors("unet_lora.safetensors");
    let (base, mut parameters) = unet(Trainable::None, DType::F32);
    let path = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q";
    let (a, b) = (
        &f["down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight"],
        &f[&format!("{path}.lora_B.weight")],
    );
    parameters.lora.insert(path.to_owned(), LoraLayer::from_tensors(a.clone(), b.clone(), 4.0, 1.0));
    let error = Unet::new(base.config(), Build::from_parameters(parameters)).err().unwrap();
    assert!(error.to_string().contains(path), "{error}");
}

/// A network and its type.
type Case<'a> = (&'a dyn Fn() -> (Unet, Parameters), DType);

/// Gradient checkpointing computes the stages again; nothing may change, not even the order of a sum, for full training
/// and for an adapter.
#[test]
fn recomputed_gradients_equal_plain_ones() {
    let f = tensors("unet_full.safetensors");
    let lora = tensors("unet_lora.safetensors");
    let cases: [Case; 3] = [
        (&|| unet(Trainable::Full, DType::F64), DType::F64),
        (&|| unet(Trainable::Full, DType::F32), DType::F32),
        (&|| with_lora(&lora, 5.0), DType::F32),
    ];
    for (build, dtype) in cases {
        let gradients = |recompute: bool| {
            let (mut unet, parameters) = build();
            if recompute {
                unet.recompute();
            }
            let (_, _, mut found) = pass(&unet, &f, dtype);
            let of = parameters.trained().into_iter();
            of.map(|(name, t)| (name, found.remove(&t).unwrap())).collect::<BTreeMap<String, Tensor>>()
        };
        let (plain, recomputed) = (gradients(false), gradients(true));
        assert_eq!(plain.len(), recomputed.len());
        for (name, gradient) in &plain {
            let difference = relative(&recomputed[name], gradient);
            assert!(difference == 0.0, "{dtype:?} {name}: {difference:.1e}");
        }
    }
}
