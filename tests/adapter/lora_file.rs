//! LoRA files: both that are written, what is read of other people's, and what is refused.

use crate::fixture::{fixture, loader, model, randn, tensors, values};
use candle_core::{DType, Device, Tensor};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tunelab::adapter::file::{Modules, Written, read, write_diffusers, write_kohya};
use tunelab::error::{Error, Kind};
use tunelab::model::lora::{LoraLayer, LoraLayers, folded};
use tunelab::pipeline::Family;
use tunelab::pipeline::original_names::UnetLevels;
use tunelab::weights::{PartName, Weights, write_safetensors};

const QUERY: &str = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q";
const CONVOLUTION: &str = "mid_block.resnets.0.conv1";
const TEXT_QUERY: &str = "text_model.encoder.layers.0.self_attn.q_proj";
const RANK: usize = 3;

fn levels() -> UnetLevels {
    UnetLevels { layers: vec![2; 4], up_attention: vec![false, true, true, true] }
}

fn modules() -> Modules {
    let (_, unet) = loader(&model()).unet().unwrap();
    let (_, text) = loader(&model()).text_encoder(PartName::TextEncoder).unwrap();
    Modules::new(&BTreeMap::from([(PartName::Unet, unet), (PartName::TextEncoder, text)]))
}

/// A linear module, one with a dot at its end, a convolution and a 1x1 convolution; alpha is not
/// the rank.
fn layers() -> LoraLayers {
    let of = |path: &str, down: &[usize], up: &[usize], seed| {
        (path.to_owned(), LoraLayer::from_tensors(randn(down, seed), randn(up, seed + 1), 5.5, 1.0))
    };
    let out = QUERY.replace("to_q", "to_out.0");
    BTreeMap::from([
        of(QUERY, &[RANK, 8], &[8, RANK], 1),
        of(&out, &[RANK, 8], &[8, RANK], 3),
        of(CONVOLUTION, &[RANK, 32, 3, 3], &[32, RANK, 1, 1], 5),
        of("down_blocks.0.attentions.0.proj_in", &[RANK, 8, 1, 1], &[8, RANK, 1, 1], 7),
    ])
}

fn of_unet<'a>(layers: &'a LoraLayers, targets: &'a [String]) -> Written<'a> {
    Written { part: PartName::Unet, layers, targets }
}

/// Both networks in one file, as a run with `text_encoder = true` writes it.
#[test]
fn adapters_of_the_text_encoder_are_written_and_read_in_both_namings() {
    let folder = TempDir::new().unwrap();
    let text = LoraLayer::from_tensors(randn(&[2, 24], 11), randn(&[24, 2], 12), 7.0, 1.0);
    let text = BTreeMap::from([(TEXT_QUERY.to_owned(), text)]);
    let (unet, targets) = (layers(), ["q_proj".to_owned()]);
    let networks = || [of_unet(&unet, &[]), Written { part: PartName::TextEncoder, layers: &text, targets: &targets }];
    let [diffusers, kohya] = ["d", "k"].map(|name| folder.path().join(format!("{name}.safetensors")));
    write_diffusers(&diffusers, Family::Sd1, &networks(), 0.0).unwrap();
    write_kohya(&kohya, Family::Sd1, &levels(), &networks(), &BTreeMap::new()).unwrap();
    let read = |file| read(file, &modules(), &Device::Cpu, 1.0).unwrap();
    let (of_diffusers, of_kohya) = (read(&diffusers), read(&kohya));
    for (component, layers) in [(PartName::Unet, &unet), (PartName::TextEncoder, &text)] {
        equal(&of_diffusers[&component], &folded(layers).unwrap());
        equal(&of_kohya[&component], layers);
        // So both draw the same bytes.
        equal(&folded(&of_kohya[&component]).unwrap(), &of_diffusers[&component]);
    }
}

#[track_caller]
fn equal(ours: &LoraLayers, wanted: &LoraLayers) {
    assert_eq!(ours.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>());
    for (path, layer) in wanted {
        let other = &ours[path];
        assert_eq!(other.alpha.to_bits(), layer.alpha.to_bits(), "{path}: alpha");
        for (a, b) in [(&other.lora_a, &layer.lora_a), (&other.lora_b, &layer.lora_b)] {
            assert_eq!(a.dims(), b.dims(), "{path}");
            assert!(values(a) == values(b), "{path}: other values");
        }
    }
}

#[test]
fn the_file_for_diffusers_is_read_again_bit_for_bit() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("pytorch_lora_weights.safetensors");
    let targets = ["to_q", "to_out.0", "conv1", "proj_in"].map(str::to_owned);
    write_diffusers(&file, Family::Sd1, &[of_unet(&layers(), &targets)], 0.25).unwrap();
    let adapters = read(&file, &modules(), &Device::Cpu, 1.0).unwrap();
    equal(&adapters[&PartName::Unet], &folded(&layers()).unwrap());
    assert_eq!(adapters.len(), 1);
    let (up, query) = (values(&layers()[QUERY].lora_b), &adapters[&PartName::Unet][QUERY]);
    let scale = (5.5 / RANK as f64) as f32;
    assert_eq!(values(&query.lora_b), up.iter().map(|v| v * scale).collect::<Vec<_>>(), "alpha / rank is in B");

    let written = Weights::open(std::slice::from_ref(&file)).unwrap();
    assert_eq!(written.names().count(), 8);
    assert_eq!(written.shape(&format!("unet.{QUERY}.lora_A.weight")), Some(&[RANK, 8][..]));
    assert_eq!(written.shape(&format!("unet.{QUERY}.lora_B.weight")), Some(&[8, RANK][..]));
    assert_eq!(written.shape(&format!("unet.{CONVOLUTION}.lora_A.weight")), Some(&[RANK, 32, 3, 3][..]));
    assert_eq!(written.shape(&format!("unet.{CONVOLUTION}.lora_B.weight")), Some(&[32, RANK, 1, 1][..]));
    assert_eq!(written.metadata()["format"], "pt");
    let config: Value = serde_json::from_str(&written.metadata()["lora_adapter_metadata"]).unwrap();
    assert_eq!(config["unet.r"], 3);
    assert_eq!(config["unet.lora_alpha"], 3, "for programs that read alpha, and as others take it");
    assert_eq!(config["unet.lora_dropout"], 0.25);
    assert_eq!(config["unet.target_modules"], serde_json::json!(["conv1", "proj_in", "to_out.0", "to_q"]));
}

/// Every name and key that peft wrote of the same LoRA is what we would write, as far as we write
/// it.
#[test]
fn names_and_metadata_are_those_of_a_file_that_diffusers_saved() {
    let folder = TempDir::new().unwrap();
    let theirs = Weights::open(&[fixture("lora/pytorch_lora_weights.safetensors")]).unwrap();
    let file = fixture("lora/pytorch_lora_weights.safetensors");
    let layers = read(&file, &modules(), &Device::Cpu, 1.0).unwrap().remove(&PartName::Unet).unwrap();
    let ours = folder.path().join("ours.safetensors");
    let targets = ["to_q", "to_k", "to_v", "to_out.0"].map(str::to_owned);
    write_diffusers(&ours, Family::Sd1, &[of_unet(&layers, &targets)], 0.0).unwrap();
    let ours = Weights::open(&[ours]).unwrap();
    assert_eq!(ours.names().collect::<Vec<_>>(), theirs.names().collect::<Vec<_>>());
    let config = |w: &Weights| serde_json::from_str::<Value>(&w.metadata()["lora_adapter_metadata"]).unwrap();
    let (ours, theirs) = (config(&ours), config(&theirs));
    for (key, value) in ours.as_object().unwrap() {
        // How A and B began says nothing about how they are used; alpha / rank is in B.
        if !["unet.init_lora_weights", "unet.lora_alpha"].contains(&key.as_str()) {
            assert_eq!(Some(value), theirs.get(key), "{key}");
        }
    }
    assert_eq!((&ours["unet.lora_alpha"], &theirs["unet.lora_alpha"]), (&Value::from(3), &Value::from(5)));
}

#[test]
fn the_file_in_kohyas_naming_is_read_again_bit_for_bit() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("kohya.safetensors");
    let metadata = BTreeMap::from([("ss_network_alpha".to_owned(), "5.5".to_owned())]);
    write_kohya(&file, Family::Sd1, &levels(), &[of_unet(&layers(), &[])], &metadata).unwrap();
    equal(&read(&file, &modules(), &Device::Cpu, 1.0).unwrap()[&PartName::Unet], &layers());

    let written = Weights::open(std::slice::from_ref(&file)).unwrap();
    assert_eq!(written.metadata(), &metadata);
    assert_eq!(written.names().count(), 12);
    let module = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0";
    assert_eq!(written.shape(&format!("{module}.lora_down.weight")), Some(&[RANK, 8][..]));
    assert_eq!(written.shape(&format!("{module}.lora_up.weight")), Some(&[8, RANK][..]));
    assert_eq!(written.shape(&format!("{module}.alpha")), Some(&[][..]), "a scalar, as kohya's scripts write it");
    let alpha = written.load(&format!("{module}.alpha"), &Device::Cpu, DType::F32).unwrap();
    assert_eq!(values(&alpha), [5.5]);

    let theirs = Weights::open(&[fixture("lora/kohya.safetensors")]).unwrap();
    assert!(written.names().filter(|name| name.contains("attn1")).all(|name| theirs.shape(name).is_some()));
}

#[test]
fn five_spellings_hold_one_lora() {
    let modules = modules();
    let of = |name: &str| {
        let file = fixture("lora").join(format!("{name}.safetensors"));
        read(&file, &modules, &Device::Cpu, 1.0).unwrap().remove(&PartName::Unet).unwrap()
    };
    let first = of("pytorch_lora_weights");
    equal(&of("kohya"), &first);
    assert!(first.values().all(|l| l.alpha.to_bits() == 5.0_f64.to_bits() && l.rank() == 3));
    for name in ["no_metadata", "old_down_up", "old_processor"] {
        for (path, layer) in of(name) {
            assert_eq!(layer.alpha.to_bits(), 3.0_f64.to_bits(), "{name}: alpha is the rank where nothing says it");
            assert!(values(&layer.lora_a) == values(&first[&path].lora_a));
            let folded = (&first[&path].lora_b * (5.0 / 3.0)).unwrap();
            crate::fixture::within(&layer.lora_b, &folded, 1e-6, name);
        }
    }
}

/// A file with these tensors.
fn file_with(folder: &Path, tensors: &[(&str, Tensor)], metadata: &[(&str, &str)]) -> PathBuf {
    let file = folder.join("lora.safetensors");
    let tensors = tensors.iter().map(|(name, t)| ((*name).to_owned(), t.clone())).collect();
    let metadata = metadata.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    write_safetensors(&file, &tensors, &metadata).unwrap();
    file
}

fn ones(dims: &[usize]) -> Tensor {
    Tensor::ones(dims, DType::F32, &Device::Cpu).unwrap()
}

#[test]
fn adapters_of_the_text_encoder_are_read() {
    let folder = TempDir::new().unwrap();
    let modules = modules();
    let (down, up) = (randn(&[2, 24], 1), randn(&[24, 2], 2));
    let spellings = [
        ("text_encoder.text_model.encoder.layers.0.self_attn.q_proj", ".lora_A.weight", ".lora_B.weight"),
        ("text_encoder.encoder.layers.0.self_attn.q_proj", ".lora_A.weight", ".lora_B.weight"),
        (
            "text_encoder.text_model.encoder.layers.0.self_attn.q_proj",
            ".lora_linear_layer.down.weight",
            ".lora_linear_layer.up.weight",
        ),
        ("lora_te_text_model_encoder_layers_0_self_attn_q_proj", ".lora_down.weight", ".lora_up.weight"),
        ("lora_te1_text_model_encoder_layers_0_self_attn_q_proj", ".lora_down.weight", ".lora_up.weight"),
    ];
    for (module, a, b) in spellings {
        let (a, b) = (format!("{module}{a}"), format!("{module}{b}"));
        let query = format!("unet.{QUERY}");
        let (query_a, query_b) = (format!("{query}.lora_A.weight"), format!("{query}.lora_B.weight"));
        let both = [(&*a, down.clone()), (&*b, up.clone()), (&*query_a, ones(&[2, 8])), (&*query_b, ones(&[8, 2]))];
        let config = r#"{"text_encoder.lora_alpha": 7, "text_encoder.r": 2, "unet.lora_alpha": 3, "unet.r": 2}"#;
        let file = file_with(folder.path(), &both, &[("lora_adapter_metadata", config)]);
        let adapters = read(&file, &modules, &Device::Cpu, 1.0).unwrap();
        let text = &adapters[&PartName::TextEncoder];
        assert_eq!(text.keys().collect::<Vec<_>>(), [TEXT_QUERY], "{module}");
        assert!(values(&text[TEXT_QUERY].lora_a) == values(&down) && values(&text[TEXT_QUERY].lora_b) == values(&up));
        let alphas = [text[TEXT_QUERY].alpha, adapters[&PartName::Unet][QUERY].alpha];
        assert_eq!(alphas.map(f64::to_bits), [7.0_f64, 3.0].map(f64::to_bits), "each network has its own");
    }
}

/// alpha for one module alone, and rank-stabilised LoRA, which divides by the root of the rank.
#[test]
fn alpha_pattern_and_rslora_are_honoured() {
    let folder = TempDir::new().unwrap();
    let modules = modules();
    let (a, b) = (format!("unet.{QUERY}.lora_A.weight"), format!("unet.{QUERY}.lora_B.weight"));
    let alpha = |config: &str| {
        let tensors = [(&*a, ones(&[4, 8])), (&*b, ones(&[8, 4]))];
        let file = file_with(folder.path(), &tensors, &[("lora_adapter_metadata", config)]);
        read(&file, &modules, &Device::Cpu, 1.0).unwrap()[&PartName::Unet][QUERY].alpha
    };
    let is = |got: f64, wanted: f64| assert!((got - wanted).abs() < 1e-12, "{got} instead of {wanted}");
    is(alpha(r#"{"unet.lora_alpha": 3}"#), 3.0);
    is(alpha(r#"{"unet.lora_alpha": 3, "unet.alpha_pattern": {"attn1.to_q": 9, "attn1.to_k": 1}}"#), 9.0);
    is(alpha(r#"{"unet.lora_alpha": 3, "unet.use_rslora": true}"#), 6.0);
    is(alpha("{}"), 4.0);
}

/// The one error of a file with these tensors; it names the file, and is the user's to mend.
fn refused(tensors: &[(&str, Tensor)], metadata: &[(&str, &str)]) -> String {
    let folder = TempDir::new().unwrap();
    let file = file_with(folder.path(), tensors, metadata);
    message(&read(&file, &modules(), &Device::Cpu, 1.0).err().expect("an error"))
}

fn message(error: &Error) -> String {
    let text = error.to_string();
    assert_eq!(error.kind(), Kind::Input, "{text}");
    assert!(text.contains("lora.safetensors"), "names the file: {text}");
    text
}

#[test]
fn other_kinds_of_adapters_are_named() {
    let kohya = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q";
    let pair =
        [(format!("{kohya}.lora_down.weight"), ones(&[2, 8])), (format!("{kohya}.lora_up.weight"), ones(&[8, 2]))];
    for (what, suffix) in [("LoHa", "hada_w1_a"), ("LoKr", "lokr_w1"), ("DoRA", "dora_scale")] {
        let strange = format!("{kohya}.{suffix}");
        let tensors = [(&*pair[0].0, pair[0].1.clone()), (&*pair[1].0, pair[1].1.clone()), (&*strange, ones(&[8, 2]))];
        let text = refused(&tensors, &[]);
        assert!(text.contains(&strange) && text.contains(what), "{text}");
        assert!(!text.contains("lora_down"), "only what does not fit: {text}");
    }
    let config = r#"{"unet.use_dora": true, "unet.r": 2}"#;
    let (a, b) = (format!("unet.{QUERY}.lora_A.weight"), format!("unet.{QUERY}.lora_B.weight"));
    let text = refused(&[(&*a, ones(&[2, 8])), (&*b, ones(&[8, 2]))], &[("lora_adapter_metadata", config)]);
    assert!(text.contains("DoRA"), "{text}");
}

#[test]
fn what_fits_no_module_is_named() {
    let unknown = "unet.down_blocks.7.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight";
    let text = refused(&[(unknown, ones(&[2, 8]))], &[]);
    assert!(text.contains(unknown), "{text}");

    let second = "lora_te2_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight";
    assert!(refused(&[(second, ones(&[2, 24]))], &[]).contains(second));

    let names: Vec<String> = (0..14).map(|i| format!("unet.strange.{i:02}.lora_A.weight")).collect();
    let tensors: Vec<_> = names.iter().map(|name| (&**name, ones(&[2, 2]))).collect();
    let text = refused(&tensors, &[]);
    assert!(text.contains(&names[9]) && !text.contains(&names[10]) && text.contains("4 more"), "{text}");
}

#[test]
fn a_pair_with_one_half_missing_is_named() {
    let (a, b) = (format!("unet.{QUERY}.lora_A.weight"), format!("unet.{QUERY}.lora_B.weight"));
    for (name, shape) in [(&a, [2, 8]), (&b, [8, 2])] {
        let text = refused(&[(name, ones(&shape))], &[]);
        assert!(text.contains(QUERY) && text.contains("incomplete"), "{text}");
    }
}

#[test]
fn a_lora_for_another_model_is_named() {
    let (a, b) = (format!("unet.{QUERY}.lora_A.weight"), format!("unet.{QUERY}.lora_B.weight"));
    for (down, up) in [([2, 320], [320, 2]), ([2, 8], [8, 3]), ([2, 8], [16, 2])] {
        let text = refused(&[(&*a, ones(&down)), (&*b, ones(&up))], &[]);
        assert!(text.contains(QUERY) && text.contains("another base model"), "{text}");
        assert!(text.contains(&format!("{down:?}")) && text.contains("[8, 8]"), "both shapes: {text}");
    }
}

#[test]
fn files_that_are_no_lora_are_refused() {
    assert!(refused(&[], &[]).contains("holds no LoRA"));
    let nan = Tensor::from_vec(vec![f32::NAN; 16], (2, 8), &Device::Cpu).unwrap();
    let (a, b) = (format!("unet.{QUERY}.lora_A.weight"), format!("unet.{QUERY}.lora_B.weight"));
    let text = refused(&[(&*a, nan), (&*b, ones(&[8, 2]))], &[]);
    assert!(text.contains(&a), "{text}");
    let text = refused(&[(&*a, ones(&[2, 8])), (&*b, ones(&[8, 2]))], &[("lora_adapter_metadata", "{broken")]);
    assert!(text.contains("lora_adapter_metadata"), "{text}");

    let folder = TempDir::new().unwrap();
    let file = folder.path().join("lora.safetensors");
    let whole = fs_err::read(fixture("lora/kohya.safetensors")).unwrap();
    for cut in [0, 5, 300, whole.len() - 1] {
        fs_err::write(&file, &whole[..cut]).unwrap();
        message(&read(&file, &modules(), &Device::Cpu, 1.0).err().expect("an error"));
    }
    fs_err::remove_file(&file).unwrap();
    message(&read(&file, &modules(), &Device::Cpu, 1.0).err().expect("an error"));
    assert_eq!(tensors("lora/kohya.safetensors").len(), 3 * 128);
}
