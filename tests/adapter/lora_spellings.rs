//! The table of LoRA files: every spelling that is read, with what alpha means in it, and every
//! kind that is refused, as what.
//!
//! The files of the first half hold one adapter; `tests/fixtures/parts/lora_files.py` wrote them,
//! and drew with those that diffusers reads.

use crate::fixture::{Tensors, fixture, loader, model, tensors, values};
use candle_core::{DType, Device, Tensor};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tunelab::adapter::file::{Modules, find, read};
use tunelab::config::SampleParams;
use tunelab::diffusion::Sampler;
use tunelab::error::{Kind, Result};
use tunelab::interrupt::Interrupt;
use tunelab::model::lora::{LoraLayers, folded};
use tunelab::pipeline::original_names::{self, UnetLevels};
use tunelab::pipeline::tokenize;
use tunelab::progress::Progress;
use tunelab::results::ImageMetadata;
use tunelab::sample::ImageGenerator;
use tunelab::weights::{PartName, write_safetensors};

/// Of every fixture: alpha / rank is not 1.
const ALPHA: f64 = 3.0;
const RANK: f64 = 2.0;

/// What says alpha.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Says {
    /// A tensor of each module.
    Tensor,
    /// PEFT's configuration, in the header or beside the file.
    Config,
    /// Nothing: it is the rank, and alpha / rank is in B.
    Nothing,
}
use Says::{Config, Nothing};

/// Spelling, the fixture, how many modules of the UNet and of the text encoder it has, and what
/// says alpha.
const READ: [(&str, &str, usize, usize, Says); 24] = [
    ("diffusers' save_lora_weights", "diffusers.safetensors", 22, 5, Config),
    ("diffusers' save_lora_adapter, no network before names", "diffusers_unet.safetensors", 22, 0, Config),
    ("diffusers before metadata, OneTrainer's DIFFUSERS", "diffusers_without_metadata.safetensors", 22, 5, Nothing),
    ("diffusers' scripts, lora.down and lora_linear_layer", "diffusers_scripts.safetensors", 8, 4, Nothing),
    ("diffusers 0.15 to 0.17, processors and to_q_lora", "diffusers_0_15.safetensors", 8, 4, Nothing),
    ("the first diffusers, no network before names", "diffusers_bare.safetensors", 8, 0, Nothing),
    ("PEFT's folder of the UNet", "peft_unet", 22, 0, Config),
    ("PEFT's folder of the text encoder", "peft_text_encoder", 0, 5, Config),
    ("PEFT's file, its configuration beside it", "peft_unet/adapter_model.safetensors", 22, 0, Config),
    ("kohya", "kohya.safetensors", 18, 5, Says::Tensor),
    ("kohya in f16", "kohya_f16.safetensors", 18, 5, Says::Tensor),
    ("kohya in bf16", "kohya_bf16.safetensors", 18, 5, Says::Tensor),
    ("alpha as a whole number", "kohya_whole_alpha.safetensors", 18, 5, Says::Tensor),
    ("alpha as a list of one whole number", "kohya_whole_alpha_in_a_list.safetensors", 18, 5, Says::Tensor),
    ("kohya's names without alpha", "kohya_without_alpha.safetensors", 18, 5, Nothing),
    ("lora_te1_", "kohya_te1.safetensors", 18, 5, Says::Tensor),
    ("1x1 kernels as matrices", "kohya_matrices.safetensors", 18, 5, Says::Tensor),
    ("matrices as 1x1 kernels", "kohya_kernels.safetensors", 18, 5, Says::Tensor),
    ("kohya's form of the original names", "kohya_original_names.safetensors", 22, 5, Says::Tensor),
    ("OneTrainer for ComfyUI", "onetrainer_comfy.safetensors", 22, 5, Says::Tensor),
    ("ComfyUI's own", "comfyui.safetensors", 22, 5, Says::Tensor),
    ("OneTrainer's open format", "onetrainer_omi.safetensors", 22, 5, Says::Tensor),
    ("OneTrainer inside", "onetrainer_inside.safetensors", 22, 5, Says::Tensor),
    ("LyCORIS under SimpleTuner", "lycoris.safetensors", 22, 0, Says::Tensor),
];

fn modules() -> Modules {
    let (_, unet) = loader(&model()).unet().unwrap();
    let (_, text) = loader(&model()).text_encoder(PartName::TextEncoder).unwrap();
    Modules::new(&BTreeMap::from([(PartName::Unet, unet), (PartName::TextEncoder, text)]))
}

fn lora_file(name: &str) -> PathBuf {
    find(&fixture("lora_files").join(name)).unwrap()
}

/// A and B with alpha / rank in it, of a module of `adapter.safetensors`.
fn wanted(adapter: &Tensors, part: PartName, path: &str) -> [Tensor; 2] {
    let of = |end: &str| adapter[&format!("{part}.{path}.{end}.weight")].clone();
    [of("lora_A"), (of("lora_B") * (ALPHA / RANK)).unwrap()]
}

#[test]
fn every_spelling_is_the_same_adapter() {
    let (modules, adapter) = (modules(), tensors("lora_files/adapter.safetensors"));
    for (spelling, name, unet, text, says) in READ {
        let adapters =
            read(&lora_file(name), &modules, &Device::Cpu, 1.0).unwrap_or_else(|e| panic!("{spelling}: {e}"));
        let count = |component| adapters.get(&component).map_or(0, LoraLayers::len);
        assert_eq!((count(PartName::Unet), count(PartName::TextEncoder)), (unet, text), "{spelling}");
        for (component, layers) in &adapters {
            let alpha = if says == Nothing { RANK } else { ALPHA };
            assert!(layers.values().all(|layer| layer.alpha.to_bits() == alpha.to_bits()), "{spelling}: alpha");
            for (path, layer) in folded(layers).unwrap() {
                let [down, up] = wanted(&adapter, *component, &path);
                let same =
                    |ours: &Tensor, theirs: &Tensor| ours.dims() == theirs.dims() && values(ours) == values(theirs);
                assert!(same(&layer.lora_a, &down) && same(&layer.lora_b, &up), "{spelling}: {path}");
            }
        }
    }
}

#[test]
fn every_module_has_one_name_of_the_original_code() {
    let (_, unet) = loader(&model()).unet().unwrap();
    let levels = UnetLevels::of_names(unet.dims().map(|(name, _)| name.as_str()));
    let names: BTreeMap<String, String> =
        unet.dims().map(|(name, _)| (original_names::unet(name, &levels).expect(name), name.clone())).collect();
    assert_eq!(names.len(), 686 + 2, "the fixture has two tensors more than Stable Diffusion 1.5");
}

/// The networks with the adapters of these files, as `tunelab sample` draws with them.
fn draw(files_of_adapters: &[&str]) -> Vec<u8> {
    let files = model();
    let mut pipeline = loader(&files).pipeline().unwrap();
    let modules = Modules::new(&pipeline.parameters);
    for name in files_of_adapters {
        let adapters = read(&lora_file(name), &modules, &Device::Cpu, 1.0).unwrap();
        pipeline = pipeline.with_lora(adapters).unwrap();
    }
    let ids = tokenize(&pipeline.tokenizers, ["a dog", "blurry"], &mut |text| panic!("{text}")).unwrap();
    let embeds = pipeline.text_encoders.encode_each(&ids).unwrap();
    let interrupt = Interrupt::default();
    let generator = ImageGenerator::new(&pipeline.unet, &pipeline.vae, &pipeline.schedule, &Device::Cpu, &interrupt);
    let shot = ImageMetadata {
        prompt: "a dog".to_owned(),
        params: SampleParams {
            force_zeros_for_empty_prompt: true,
            negative_prompt: "blurry".to_owned(),
            steps: 5,
            sampler: Sampler::Ddim,
            karras: false,
            guidance_scale: 7.5,
            seed: 7,
            width: 64,
            height: 64,
        },
        stand_in: None,
    };
    let bar = Progress::hidden().bar("", 0);
    generator.generate(&shot, Sampler::Ddim, &embeds["a dog"], &embeds["blurry"], &bar).unwrap().pixels
}

/// Every meaning of alpha, against the picture of the network that diffusers or PEFT had.
#[test]
fn pictures_are_those_of_diffusers_and_peft() {
    let pictures = tensors("lora_files/pictures.safetensors");
    let rows: [(&str, &[&str]); 8] = [
        ("base", &[]),
        ("all", &["diffusers.safetensors"]),
        ("all", &["diffusers_without_metadata.safetensors"]),
        ("all", &["onetrainer_comfy.safetensors"]),
        ("all", &["kohya_original_names.safetensors"]),
        ("peft", &["peft_unet", "peft_text_encoder"]),
        ("peft_patterns", &["peft_patterns_unet", "peft_patterns_text_encoder"]),
        ("peft_rslora", &["peft_rslora_unet", "peft_rslora_text_encoder"]),
    ];
    for (picture, files) in rows {
        let theirs: Vec<u8> = pictures[picture].flatten_all().unwrap().to_vec1().unwrap();
        let worst = draw(files).iter().zip(&theirs).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        println!("{picture} {files:?}: within {worst} of 255");
        assert!(worst <= 2, "{picture} {files:?}: differs by {worst} of 255");
    }
}

/// alpha of each module that has another than the rest, and the ranks, as PEFT's own
/// `get_pattern_key` finds them.
#[test]
fn patterns_are_regular_expressions_as_in_peft() {
    let modules = modules();
    let of = |name: &str, component| {
        let layers = read(&lora_file(name), &modules, &Device::Cpu, 1.0).unwrap().remove(&component).unwrap();
        layers.into_iter().map(|(path, layer)| (path, (layer.rank(), layer.alpha))).collect::<BTreeMap<_, _>>()
    };
    let unet = of("peft_patterns_unet", PartName::Unet);
    let block = "down_blocks.0.attentions.0.transformer_blocks.0";
    let at = |path: &str| unet[&format!("{block}.{path}")];
    // `o_q` is no whole end of a name, and of two patterns that fit the first counts.
    assert_eq!(at("attn1.to_q"), (3, 3.0));
    assert_eq!(at("attn2.to_q"), (2, 3.0));
    assert_eq!([at("attn1.to_k"), at("attn2.to_k")], [(2, 1.0), (2, 9.0)]);
    assert_eq!([at("attn1.to_v"), at("attn2.to_v")], [(3, 1.0), (2, 1.0)]);
    assert_eq!(unet["down_blocks.0.resnets.0.conv1"], (2, 7.0));
    assert_eq!(unet["down_blocks.0.attentions.0.proj_in"], (2, 7.0));
    assert_eq!(unet["conv_in"], (2, 3.0));
    let text = of("peft_patterns_text_encoder", PartName::TextEncoder);
    assert_eq!(text["text_model.encoder.layers.0.self_attn.q_proj"], (2, 5.0));
    assert_eq!(text["text_model.encoder.layers.1.mlp.fc1"], (1, 3.0));
}

const QUERY: &str = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q";
const TEXT_KEY: &str = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k";
const KOHYA: &str = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q";

fn ones(dims: &[usize]) -> Tensor {
    Tensor::ones(dims, DType::F32, &Device::Cpu).unwrap()
}

/// A file with these tensors in a folder.
fn file_with(folder: &Path, tensors: &[(&str, &[usize])], metadata: &[(&str, &str)]) -> PathBuf {
    let file = folder.join("lora.safetensors");
    let tensors = tensors.iter().map(|(name, dims)| ((*name).to_owned(), ones(dims))).collect();
    let metadata = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    write_safetensors(&file, &tensors, &metadata).unwrap();
    file
}

/// The message of the error: it names the file, is the user's to mend, and says what can be done.
#[track_caller]
fn message<T>(result: Result<T>, row: &str) -> String {
    let Err(error) = result else { panic!("{row}: no error") };
    let text = error.to_string();
    assert_eq!(error.kind(), Kind::Input, "{row}: {text}");
    assert!(text.contains("hint: "), "{row}: {text}");
    text
}

/// What a file is, as the error says it; its tensors (a plain pair is added where the third says
/// so), and the shape of each.
type Refused = (&'static str, bool, &'static [(&'static str, &'static [usize])]);

const REFUSED: [Refused; 44] = [
    ("a DoRA", true, &[("lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.dora_scale", &[8, 1])]),
    ("a DoRA", true, &[("lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.dora_scale", &[1, 8])]),
    ("a DoRA", true, &[("unet.mid_block.attentions.0.proj_in.lora_magnitude_vector", &[32])]),
    ("a DoRA", false, &[("base_model.model.mid_block.attentions.0.proj_in.lora_magnitude_vector.weight", &[32])]),
    ("a LoHa", false, &[("lora_unet_mid_block_attentions_0_proj_in.hada_w1_a", &[32, 2])]),
    ("a LoHa", false, &[("lora_unet_mid_block_attentions_0_proj_in.hada_t1", &[2, 2, 3, 3])]),
    ("a LoHa", false, &[("base_model.model.mid_block.attentions.0.proj_in.hada_w2_b", &[2, 32])]),
    ("a LoKr", true, &[("lora_unet_mid_block_attentions_0_proj_in.lokr_w1", &[4, 4])]),
    ("a LoKr", false, &[("lora_unet_mid_block_attentions_0_proj_in.lokr_w2_a", &[8, 2])]),
    ("a LoKr", false, &[("lycoris_mid_block_attentions_0_proj_in.lokr_t2", &[2, 2, 3, 3])]),
    ("a LoCon with a Tucker core", true, &[("lora_unet_mid_block_resnets_0_conv1.lora_mid.weight", &[2, 2, 3, 3])]),
    ("an OFT or BOFT", false, &[("lora_unet_mid_block_attentions_0_proj_in.oft_blocks", &[4, 8, 8])]),
    ("an OFT or BOFT", false, &[("lora_unet_mid_block_attentions_0_proj_in.oft_diag", &[4, 8, 8])]),
    ("an OFT or BOFT", false, &[("base_model.model.mid_block.attentions.0.proj_in.oft_R.weight", &[4, 28])]),
    ("an OFT or BOFT", false, &[("base_model.model.mid_block.attentions.0.proj_in.boft_R", &[1, 4, 8, 8])]),
    ("a GLoRA", false, &[("lora_unet_mid_block_attentions_0_proj_in.a1.weight", &[2, 32])]),
    ("an (IA)³", false, &[("lora_unet_mid_block_attentions_0_proj_in.on_input", &[1])]),
    ("an (IA)³", false, &[("base_model.model.mid_block.attentions.0.proj_in.ia3_l", &[32, 1])]),
    ("an AdaLoRA", false, &[("base_model.model.mid_block.attentions.0.proj_in.lora_E", &[2, 1])]),
    ("a VeRA", false, &[("base_model.model.mid_block.attentions.0.proj_in.vera_lambda_b", &[32])]),
    (
        "a LoRA of the token embeddings",
        false,
        &[("base_model.model.embeddings.token_embedding.lora_embedding_A", &[2, 64])],
    ),
    ("a LoRA with biases", true, &[("unet.mid_block.attentions.0.proj_in.lora_B.bias", &[32])]),
    (
        "differences of whole weights, biases or norms",
        true,
        &[("lora_unet_mid_block_attentions_0_proj_in.diff", &[32, 32, 1, 1])],
    ),
    (
        "differences of whole weights, biases or norms",
        true,
        &[("lora_unet_mid_block_attentions_0_proj_in.diff_b", &[32])],
    ),
    ("differences of whole weights, biases or norms", true, &[("lora_unet_mid_block_attentions_0_norm.w_norm", &[32])]),
    ("an embedding inside", true, &[("bundle_emb.corgi.string_to_param.*", &[2, 24])]),
    ("a textual inversion", false, &[("emb_params", &[2, 768])]),
    ("a textual inversion", false, &[("clip_g", &[2, 1280]), ("clip_l", &[2, 768])]),
    ("a textual inversion", false, &[("<corgi>", &[768])]),
    (
        "a motion LoRA of AnimateDiff",
        false,
        &[("unet.down_blocks.0.motion_modules.0.proj_in.lora.down.weight", &[2, 8])],
    ),
    ("a ControlNet", false, &[("lora_controlnet", &[1]), ("input_blocks.1.1.proj_in.down", &[2, 8])]),
    ("an IP-Adapter", false, &[("image_proj.proj.weight", &[8, 8]), ("ip_adapter.1.to_k_ip.weight", &[8, 8])]),
    (
        "a Custom Diffusion",
        false,
        &[("down_blocks.0.attentions.0.transformer_blocks.0.attn2.processor.to_k_custom_diffusion.weight", &[8, 24])],
    ),
    ("Stable Diffusion 3, Flux", false, &[("transformer.transformer_blocks.1.attn.to_q.lora_A.weight", &[2, 8])]),
    ("Stable Diffusion 3, Flux", false, &[("lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight", &[2, 8])]),
    ("Stable Diffusion 3, Flux", false, &[("lora_prior_unet_down_blocks_0_0_channelwise_0.lora_down.weight", &[2, 8])]),
    ("a LoRA of SDXL", true, &[("lora_te2_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight", &[2, 1280])]),
    (
        "a LoRA of SDXL",
        false,
        &[("lora_unet_input_blocks_4_1_transformer_blocks_1_attn1_to_q.lora_down.weight", &[2, 640])],
    ),
    (
        "a LoRA of SDXL",
        false,
        &[("text_encoder_2.text_model.encoder.layers.0.self_attn.q_proj.lora_A.weight", &[2, 1280])],
    ),
    (
        "a whole model",
        false,
        &[("first_stage_model.quant_conv.bias", &[8]), ("model.diffusion_model.out.2.bias", &[4])],
    ),
    ("the weights of a whole network", false, &[("conv_in.weight", &[8, 4, 3, 3])]),
    ("the weights of a whole network", false, &[("text_model.encoder.layers.0.self_attn.q_proj.weight", &[24, 24])]),
    ("a VAE", false, &[("encoder.down.0.block.0.conv1.weight", &[8, 8, 3, 3])]),
    ("a checkpoint of `tunelab run`", false, &[("moment1.unet.conv_in.lora_A.weight", &[2, 4, 3, 3])]),
];

#[test]
fn every_other_kind_is_refused_as_what_it_is() {
    let modules = modules();
    for (what, has_lora, tensors) in REFUSED {
        let folder = TempDir::new().unwrap();
        let pair = [(format!("{KOHYA}.lora_down.weight"), [2, 8]), (format!("{KOHYA}.lora_up.weight"), [8, 2])];
        let plain = pair.iter().filter(|_| has_lora).map(|(name, dims)| (name.as_str(), &dims[..]));
        let all: Vec<_> = tensors.iter().copied().chain(plain).collect();
        let file = file_with(folder.path(), &all, &[]);
        let text = message(read(&file, &modules, &Device::Cpu, 1.0), what);
        let first = text.lines().next().unwrap();
        assert!(first.contains("lora.safetensors") && first.contains(what), "{what}: {text}");
        assert!(first.contains(tensors[0].0), "{what}: names a tensor: {text}");
        assert!(!text.contains("lora_down.weight`, "), "{what}: only what does not fit: {text}");
    }
}

#[test]
fn a_lora_for_another_width_of_text_says_for_which_model() {
    let modules = modules();
    let text_query = "text_model.encoder.layers.0.self_attn.q_proj";
    for (module, inputs, outputs, family) in [
        (format!("unet.{TEXT_KEY}"), 1024, 8, "Stable Diffusion 2"),
        (format!("unet.{TEXT_KEY}"), 2048, 8, "SDXL"),
        (format!("unet.{TEXT_KEY}"), 768, 8, "Stable Diffusion 1"),
        (format!("text_encoder.{text_query}"), 1024, 1024, "Stable Diffusion 2"),
        (format!("unet.{QUERY}"), 1024, 8, "another base model"),
    ] {
        let folder = TempDir::new().unwrap();
        let (a, b) = (format!("{module}.lora_A.weight"), format!("{module}.lora_B.weight"));
        let file = file_with(folder.path(), &[(&a, &[2, inputs]), (&b, &[outputs, 2])], &[]);
        let text = message(read(&file, &modules, &Device::Cpu, 1.0), family);
        assert!(text.ends_with(&format!("trained for {family}")), "{text}");
    }
    // More layers than there are, and a header that knows why.
    let folder = TempDir::new().unwrap();
    let layer = "lora_te_text_model_encoder_layers_22_self_attn_q_proj.lora_down.weight";
    let file = file_with(folder.path(), &[(layer, &[2, 1024])], &[("ss_base_model_version", "sd_v2_v")]);
    let text = message(read(&file, &modules, &Device::Cpu, 1.0), "SD 2");
    assert!(text.contains(layer) && text.contains("trained for `sd_v2_v`"), "{text}");
}

#[test]
fn files_of_another_form_are_named() {
    let (modules, folder) = (modules(), TempDir::new().unwrap());
    let rows: [(&str, &[u8], &str, &str); 6] = [
        ("lora.pt", b"PK\x03\x04 and so on", "pickled LoRA", "torch.load"),
        ("lora.bin", b"\x80\x02}q\x00", "pickled LoRA", "torch.load"),
        ("renamed.safetensors", b"PK\x03\x04 and so on", "pickled LoRA", "torch.load"),
        (
            "lora.safetensors",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "Git LFS pointer",
            "git lfs pull",
        ),
        ("page.safetensors", b"<!DOCTYPE html><html></html>", "saved web page", "resolve/main"),
        ("empty.safetensors", b"", "empty", "download"),
    ];
    for (name, bytes, what, hint) in rows {
        let file = folder.path().join(name);
        fs_err::write(&file, bytes).unwrap();
        let text = message(read(&file, &modules, &Device::Cpu, 1.0), name);
        assert!(text.contains(name) && text.contains(what) && text.contains(hint), "{text}");
    }
}

/// What is written in `adapter_config.json`, and what of it is refused.
#[test]
fn what_a_configuration_asks_for_and_is_not_read_is_refused_by_name() {
    let modules = modules();
    let names = [format!("base_model.model.{QUERY}.lora_A.weight"), format!("base_model.model.{QUERY}.lora_B.weight")];
    let pair: [(&str, &[usize]); 2] = [(&names[0], &[4, 8]), (&names[1], &[8, 4])];
    let with = |config: Option<&str>| {
        let folder = TempDir::new().unwrap();
        if let Some(config) = config {
            fs_err::write(folder.path().join("adapter_config.json"), config).unwrap();
        }
        read(&file_with(folder.path(), &pair, &[]), &modules, &Device::Cpu, 1.0)
    };
    let alpha = |config: &str| with(Some(config)).unwrap()[&PartName::Unet][QUERY].alpha;
    let is = |got: f64, wanted: f64| assert!((got - wanted).abs() < 1e-12, "{got} instead of {wanted}");
    is(alpha(r#"{"peft_type": "LORA", "r": 4, "lora_alpha": 32, "bias": "none", "modules_to_save": null}"#), 32.0);
    is(alpha(r#"{"r": 4, "lora_alpha": 32, "use_rslora": true, "init_lora_weights": "gaussian"}"#), 64.0);
    is(alpha(r#"{"r": 8, "rank_pattern": {"to_[qk]": 4}, "alpha_pattern": {"attn1.to_q": 5.5}}"#), 5.5);
    // PEFT's own default.
    is(alpha(r#"{"r": 4}"#), 8.0);
    for (config, parts) in [
        (r#"{"peft_type": "LOHA", "r": 4}"#, &["LOHA", "peft_type"][..]),
        (r#"{"r": 4, "use_dora": true}"#, &["DoRA", "use_dora"]),
        (r#"{"r": 4, "bias": "lora_only"}"#, &["`bias`", "lora_only"]),
        (r#"{"r": 4, "fan_in_fan_out": true}"#, &["`fan_in_fan_out`"]),
        (r#"{"r": 4, "modules_to_save": ["conv_in"]}"#, &["`modules_to_save`", "conv_in"]),
        (r#"{"r": 4, "lora_bias": true}"#, &["`lora_bias`"]),
        (r#"{"r": 4, "layer_replication": [[0, 4]]}"#, &["`layer_replication`"]),
        (r#"{"r": 4, "trainable_token_indices": [1]}"#, &["`trainable_token_indices`"]),
        (r#"{"r": 4, "target_parameters": ["x"]}"#, &["`target_parameters`"]),
        (r#"{"r": 4, "use_qalora": true}"#, &["`use_qalora`"]),
        (r#"{"r": 4, "what_comes_next_year": 1}"#, &["`what_comes_next_year`"]),
        (r#"{"r": 4, "init_lora_weights": "pissa_niter_4"}"#, &["`init_lora_weights`", "pissa_niter_4"]),
        (r#"{"r": 4, "init_lora_weights": "olora"}"#, &["`init_lora_weights`", "olora"]),
        (r#"{"r": 8, "lora_alpha": 8}"#, &["rank 8", "4 in its tensors", QUERY]),
        (r#"{"r": 4, "rank_pattern": {"to_q": 2}}"#, &["rank 2", "4 in its tensors"]),
        (r#"{"r": 4, "alpha_pattern": {"to_(q": 2}}"#, &["`alpha_pattern`", "to_(q", "no regular expression"]),
        (r#"{"r": 4, "alpha_pattern": {"to_q": "2"}}"#, &["`alpha_pattern`", "to_q", "no such number"]),
        (r#"{"r": 4, "alpha_pattern": [2]}"#, &["`alpha_pattern`", "object"]),
        (r#"{"r": 0}"#, &["`r`", "1 or more"]),
        (r#"{"r": 4, "lora_alpha": "4"}"#, &["`lora_alpha`", "a number"]),
        (r#"{"r": 4, "use_rslora": 1}"#, &["`use_rslora`", "true or false"]),
        ("{", &["broken"]),
    ] {
        let Err(error) = with(Some(config)) else { panic!("{config}: no error") };
        let text = error.to_string();
        assert!(
            text.contains("adapter_config.json") && parts.iter().all(|part| text.contains(part)),
            "{config}: {text}"
        );
        assert_eq!(error.kind(), Kind::Input);
    }
    let text = message(with(None), "no adapter_config.json");
    assert!(text.contains("lora.safetensors") && text.contains("nothing says alpha"), "{text}");
    assert!(text.contains("adapter_config.json"), "{text}");
}

#[test]
fn a_folder_stands_for_the_lora_in_it() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let write = |name: &str| fs_err::write(path(name), "x").unwrap();
    let refused = |parts: &[&str]| {
        let text = message(find(folder.path()), "a folder");
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    };
    refused(&["no .safetensors file", "the folder that it lies in"]);
    fs_err::create_dir(path("unet")).unwrap();
    write("unet/adapter_model.safetensors");
    refused(&["no .safetensors file", "a folder of its own: give one of unet"]);
    write("adapter_model.bin");
    refused(&["adapter_model.bin", "pickled LoRA"]);
    write("plan.toml");
    refused(&["folder of a run", "weights", "tunelab sample"]);
    fs_err::remove_file(path("plan.toml")).unwrap();
    write("model_index.json");
    refused(&["whole model", "--model"]);
    write("one.safetensors");
    write("._one.safetensors");
    assert_eq!(find(folder.path()).unwrap(), path("one.safetensors"));
    write("two.safetensors");
    refused(&["several files", "one.safetensors", "two.safetensors"]);
    // As in a run's weights/, where both files are one adapter.
    write("pytorch_lora_weights.safetensors");
    assert_eq!(find(folder.path()).unwrap(), path("pytorch_lora_weights.safetensors"));
    write("adapter_model.safetensors");
    refused(&["several files", "adapter_model.safetensors", "pytorch_lora_weights.safetensors"]);
    assert_eq!(find(&path("two.safetensors")).unwrap(), path("two.safetensors"), "a file is itself");
    let text = message(find(&path("nowhere")), "nowhere");
    assert!(text.contains("no LoRA file") && text.contains("nowhere"), "{text}");
}

#[test]
fn one_tensor_in_two_spellings_and_odd_alphas_are_refused() {
    let modules = modules();
    let at = |dims: &[usize]| (format!("{KOHYA}.alpha"), ones(dims));
    let pair =
        || [(format!("{KOHYA}.lora_down.weight"), ones(&[2, 8])), (format!("{KOHYA}.lora_up.weight"), ones(&[8, 2]))];
    let refused = |more: (String, Tensor), parts: &[&str]| {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("lora.safetensors");
        write_safetensors(&file, &pair().into_iter().chain([more]).collect(), &BTreeMap::new()).unwrap();
        let Err(error) = read(&file, &modules, &Device::Cpu, 1.0) else { panic!("{parts:?}: no error") };
        let text = error.to_string();
        assert!(text.contains("lora.safetensors") && parts.iter().all(|part| text.contains(part)), "{text}");
    };
    refused(at(&[2]), &[".alpha", "one number", "[2]"]);
    refused(at(&[0]), &[".alpha", "one number", "[0]"]);
    let nan = Tensor::new(f32::NAN, &Device::Cpu).unwrap();
    refused((format!("{KOHYA}.alpha"), nan), &[".alpha", "NaN"]);
    refused((format!("unet.{QUERY}.lora_A.weight"), ones(&[2, 8])), &[KOHYA, QUERY, "two spellings"]);
    // A of no rank.
    let folder = TempDir::new().unwrap();
    let (a, b) = (format!("unet.{QUERY}.lora_A.weight"), format!("unet.{QUERY}.lora_B.weight"));
    for (down, up) in [(&[][..], &[8, 2][..]), (&[0, 8], &[8, 0]), (&[2], &[8, 2])] {
        let file = file_with(folder.path(), &[(&a, down), (&b, up)], &[]);
        let text = message(read(&file, &modules, &Device::Cpu, 1.0), "A of no rank");
        assert!(text.contains(QUERY), "{text}");
    }
}
