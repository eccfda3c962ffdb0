//! Models in one file: the small model as diffusers' own converter writes it, and everything that such files are or lack in
//! the world.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::fixture::sd15;
use candle_core::{DType, Device};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;
use tunelab::assets::{find_model, single_file};
use tunelab::builtin::Builtin;
use tunelab::config::Source;
use tunelab::diffusion::PredictionType;
use tunelab::hash::sha256;
use tunelab::model::clip::ClipConfig;
use tunelab::model::tokenizer::Tokenizer;
use tunelab::model::unet::UnetConfig;
use tunelab::model::vae::VaeConfig;
use tunelab::pipeline::load::passed_over;
use tunelab::pipeline::{ModelFiles, PipelineLoader};
use tunelab::progress::Progress;
use tunelab::weights::original::{Original, Projection};
use tunelab::weights::{PartName, Weights};

/// One tensor as it lies in a file.
#[derive(Clone)]
pub struct Stored {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

/// Names and shapes.
type Shapes<'s> = &'s [(&'s str, &'s [usize])];

/// The tensors of a file, and the metadata of its header.
#[derive(Clone, Default)]
pub struct Tensors {
    pub tensors: BTreeMap<String, Stored>,
    pub metadata: BTreeMap<String, String>,
}

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn recorded(group: &str) -> Value {
    let text = fs_err::read_to_string(fixture("single_file.json")).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()[group].clone()
}

pub fn read(file: &Path) -> BTreeMap<String, Stored> {
    let bytes = fs_err::read(file).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let stored = |(name, view): (String, TensorView)| {
        (name, Stored { dtype: view.dtype(), shape: view.shape().to_vec(), bytes: view.data().to_vec() })
    };
    file.tensors().into_iter().map(stored).collect()
}

/// The folder's tensors: `unet/conv_in.weight`.
fn folder() -> BTreeMap<String, Stored> {
    let parts = [("unet", "diffusion_pytorch_model"), ("vae", "diffusion_pytorch_model"), ("text_encoder", "model")];
    let of = |(part, stem): (&str, &str)| {
        let named = read(&fixture(&format!("model/{part}/{stem}.safetensors")));
        named.into_iter().map(|(name, stored)| (format!("{part}/{name}"), stored)).collect::<Vec<_>>()
    };
    parts.into_iter().flat_map(of).collect()
}

impl Tensors {
    /// The small model as the converter wrote it.
    pub fn small() -> Self {
        let folder = folder();
        let recorded = recorded("single_file");
        let entries = recorded["tensors"].as_object().unwrap();
        let tensor = |(name, source): (&String, &Value)| {
            let (source, shape) = match source.as_str().unwrap().split_once(' ') {
                Some((source, shape)) => (source, Some(serde_json::from_str(shape).unwrap())),
                None => (source.as_str().unwrap(), None),
            };
            let stored = folder[source].clone();
            (name.clone(), Stored { shape: shape.unwrap_or(stored.shape), ..stored })
        };
        let small = Self { tensors: entries.iter().map(tensor).collect(), ..Self::default() };
        assert_eq!(small.digest(), recorded["sha256"].as_str().unwrap(), "the file that diffusers' script wrote");
        small
    }

    /// Zeros of these shapes.
    fn zeros(shapes: Shapes) -> Self {
        let mut tensors = Self::default();
        for (name, shape) in shapes {
            tensors.add(name, shape, Dtype::F32);
        }
        tensors
    }

    pub fn add(&mut self, name: &str, shape: &[usize], dtype: Dtype) {
        let bytes = vec![0; shape.iter().product::<usize>() * dtype.bitsize() / 8];
        self.tensors.insert(name.to_owned(), Stored { dtype, shape: shape.to_vec(), bytes });
    }

    pub fn rename(&mut self, new: impl Fn(&str) -> String) {
        self.tensors = std::mem::take(&mut self.tensors).into_iter().map(|(name, t)| (new(&name), t)).collect();
    }

    /// As `make.py` does it.
    pub fn digest(&self) -> String {
        let whole = |(name, Stored { shape, bytes, .. }): (&String, &Stored)| {
            [format!("{name} {shape:?} ").as_bytes(), bytes].concat()
        };
        sha256(&self.tensors.iter().flat_map(whole).collect::<Vec<u8>>())
    }

    pub fn write(&self, path: &Path) {
        let view = |(name, stored): (&String, &'_ Stored)| {
            (name.clone(), TensorView::new(stored.dtype, stored.shape.clone(), &stored.bytes).unwrap().data().to_vec())
        };
        let bytes: BTreeMap<String, Vec<u8>> = self.tensors.iter().map(view).collect();
        let views = self
            .tensors
            .iter()
            .map(|(name, t)| (name.clone(), TensorView::new(t.dtype, t.shape.clone(), &bytes[name]).unwrap()));
        let metadata = (!self.metadata.is_empty()).then(|| self.metadata.clone().into_iter().collect());
        fs_err::write(path, safetensors::serialize(views, metadata).unwrap()).unwrap();
    }

    /// Written, found with the small model's configurations.
    fn found(&self) -> (tempfile::TempDir, ModelFiles) {
        let dir = tempfile::tempdir().unwrap();
        self.write(&dir.path().join("dream.safetensors"));
        let files = single_file::find(&dir.path().join("dream.safetensors"), Some(&fixture("model")));
        (dir, files.unwrap_or_else(|e| panic!("{e}")))
    }

    /// What is said where it is refused.
    fn refused(&self) -> String {
        let dir = tempfile::tempdir().unwrap();
        self.write(&dir.path().join("dream.safetensors"));
        let error = single_file::find(&dir.path().join("dream.safetensors"), None).unwrap_err();
        let text = error.to_string();
        assert!(error.exit_code() == 2 && text.contains("dream.safetensors") && text.contains("hint:"), "{text}");
        text
    }
}

/// All tensors that a network asks for of these files are those of the folder, and whole networks come of them.
fn assert_equal(files: &ModelFiles) {
    let folder = find_model(&Source::Path(fixture("model")), &Progress::hidden()).unwrap();
    for (name, part) in &folder.parts {
        let (ours, theirs) = (Weights::open_part(&files.parts[name]).unwrap(), Weights::open_part(part).unwrap());
        let wanted: Vec<&str> = theirs.names().filter(|name| !theirs.is_harmless(name)).collect();
        let found: Vec<&str> = ours.names().filter(|name| !ours.is_harmless(name)).collect();
        assert_eq!(found, wanted, "{name}");
        for tensor in wanted {
            let load = |weights: &Weights| {
                let tensor = weights.load(tensor, &Device::Cpu, DType::F32).unwrap();
                (tensor.dims().to_vec(), super::values(&tensor))
            };
            assert!(load(&ours) == load(&theirs), "{name}: {tensor}");
        }
    }
    PipelineLoader::of_files(files, &Device::Cpu).pipeline().unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn what_diffusers_converter_writes_loads_to_the_folders_tensors() {
    let (dir, files) = Tensors::small().found();
    assert_equal(&files);
    assert_eq!(passed_over(&files).unwrap(), [""; 0]);
    assert_eq!(files.root, dir.path().join("dream.safetensors"));
    let halves: Vec<PartName> = files.parts.values().filter(|part| part.half).map(|part| part.name).collect();
    assert_eq!(halves, [PartName::TextEncoder], "the one that is stored so");
    let names: Vec<String> = files.hashes().unwrap().into_keys().collect();
    assert!(
        ["unet", "vae", "text_encoder"].iter().all(|part| names.contains(&format!("{part}/dream.safetensors"))),
        "{names:?}"
    );
}

/// What merges, pruning and other programs make of such files.
#[test]
fn files_as_they_are_in_the_world() {
    let mut file = Tensors::small();
    let unet: Vec<(String, Stored)> =
        file.tensors.clone().into_iter().filter(|(name, _)| name.starts_with("model.")).collect();
    for (name, tensor) in unet {
        file.tensors.insert(format!("model_ema.{}", name["model.".len()..].replace('.', "")), tensor);
    }
    for name in ["betas", "alphas_cumprod", "sqrt_recipm1_alphas_cumprod"] {
        file.add(name, &[1000], Dtype::F32);
    }
    file.add("model_ema.decay", &[], Dtype::F32);
    file.add("cond_stage_model.transformer.text_projection.weight", &[24, 24], Dtype::F16);
    file.add("cond_stage_model.transformer.text_model.embeddings.position_ids", &[1, 77], Dtype::F16);
    file.add("first_stage_model.loss.logvar", &[], Dtype::F32);
    let (_dir, files) = file.found();
    assert_equal(&files);
    let notes = passed_over(&files).unwrap();
    assert!(
        notes[0].contains("dream.safetensors: passed over: model_ema (689 tensors, the average (EMA)"),
        "{notes:?}"
    );
    assert!(!notes[0].contains("betas"), "the usual ones are not worth a word: {notes:?}");

    // A level that merges leave out, and projections as matrices.
    let mut file = Tensors::small();
    file.rename(|name| name.replace("cond_stage_model.transformer.text_model.", "cond_stage_model.transformer."));
    for (name, tensor) in &mut file.tensors {
        if name.contains(".proj_in.weight") && name.starts_with("model.") || name.contains(".attn_1.q.weight") {
            tensor.shape.truncate(2);
        }
    }
    assert_equal(&file.found().1);
}

#[test]
fn markers_and_metadata_say_what_is_predicted() {
    let of = |markers: &[&str], metadata: Option<&str>| {
        let mut file = Tensors::small();
        for name in markers {
            file.add(name, &[0], Dtype::F32);
        }
        file.metadata.extend(metadata.map(|said| ("modelspec.prediction_type".to_owned(), said.to_owned())));
        let dir = tempfile::tempdir().unwrap();
        file.write(&dir.path().join("dream.safetensors"));
        let files = single_file::find(&dir.path().join("dream.safetensors"), None).unwrap();
        let schedule = files.noise_schedule().unwrap();
        (schedule.prediction_type(), schedule.alphas_cumprod()[999] < 1e-6)
    };
    assert_eq!(of(&[], None), (PredictionType::Epsilon, false));
    assert_eq!(of(&[], Some("epsilon")), (PredictionType::Epsilon, false));
    assert_eq!(of(&["v_pred"], None), (PredictionType::VPrediction, false));
    assert_eq!(of(&[], Some("v")), (PredictionType::VPrediction, false));
    assert_eq!(of(&["v_pred", "ztsnr"], None), (PredictionType::VPrediction, true));

    let mut file = Tensors::small();
    file.add("v_pred", &[0], Dtype::F32);
    let dir = tempfile::tempdir().unwrap();
    file.write(&dir.path().join("dream.safetensors"));
    let error = single_file::find(&dir.path().join("dream.safetensors"), Some(&fixture("model"))).unwrap_err();
    let text = error.to_string();
    assert!(error.exit_code() == 2 && text.contains("says that it predicts v"), "{text}");
}

/// Queries, keys and values in one matrix, the projection the other way round: Stable Diffusion 2's text encoder.
#[test]
fn open_clip_is_read_under_transformers_names() {
    let prefix = "cond_stage_model.model.";
    let recorded = recorded("open_clip");
    let folder = folder();
    let mut file = Tensors::default();
    for (name, sources) in recorded["tensors"].as_object().unwrap() {
        let sources: Vec<&Stored> =
            sources.as_str().unwrap().split(" + ").map(|source| &folder[&format!("text_encoder/{source}")]).collect();
        let mut shape = sources[0].shape.clone();
        shape[0] *= sources.len();
        let bytes = sources.iter().flat_map(|source| source.bytes.clone()).collect();
        file.tensors.insert(name.clone(), Stored { dtype: sources[0].dtype, shape, bytes });
    }
    assert_eq!(file.digest(), recorded["sha256"].as_str().unwrap());
    // The script calls them after its own class.
    file.rename(|name| {
        format!("{prefix}{}", name.replace("transformer.transformer.", "").replace("transformer.text_model.", ""))
    });
    let projection: Vec<u8> = [0f32, 1., 2., 3., 4., 5.].iter().flat_map(|value| value.to_le_bytes()).collect();
    let stored = Stored { dtype: Dtype::F32, shape: vec![2, 3], bytes: projection };
    file.tensors.insert(format!("{prefix}text_projection"), stored);
    file.add(&format!("{prefix}logit_scale"), &[], Dtype::F32);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("two.safetensors");
    file.write(&path);
    let ours = Weights::open(&[path])
        .unwrap()
        .with_new_names(Original::OpenClip { prefix, projection: Projection::Transposed })
        .unwrap();
    let theirs = Weights::open(&[fixture("model/text_encoder/model.safetensors")]).unwrap();
    let names: Vec<&str> = ours.names().filter(|name| *name != "text_projection.weight").collect();
    let wanted: Vec<&str> = theirs.names().filter(|name| !theirs.is_harmless(name)).collect();
    assert_eq!(names, wanted);
    for name in names {
        let load = |weights: &Weights| super::values(&weights.load(name, &Device::Cpu, DType::F32).unwrap());
        assert!(load(&ours) == load(&theirs) && ours.shape(name) == theirs.shape(name), "{name}");
    }
    let projection = ours.load("text_projection.weight", &Device::Cpu, DType::F32).unwrap();
    assert_eq!((projection.dims(), super::values(&projection)), (&[3, 2][..], vec![0., 3., 1., 4., 2., 5.]));
}

#[test]
fn missing_parts_are_named() {
    let without = |starts: &[&str]| {
        let mut file = Tensors::small();
        file.tensors.retain(|name, _| !starts.iter().any(|start| name.starts_with(start)));
        file.refused()
    };
    let text = without(&["first_stage_model."]);
    assert!(text.contains("vae (first_stage_model.…)") && !text.contains("text_encoder ("), "{text}");
    assert!(text.contains("a full checkpoint is needed"), "{text}");
    let text = without(&["first_stage_model.", "cond_stage_model."]);
    assert!(text.contains("vae (first_stage_model.…), text_encoder (cond_stage_model.transformer.…)"), "{text}");
    assert!(without(&["model.", "cond_stage_model."]).contains("a VAE alone"));
    assert!(without(&["model.", "first_stage_model."]).contains("a text encoder alone"));

    // One tensor too few or too many is not passed over.
    let mut file = Tensors::small();
    file.tensors.remove("model.diffusion_model.middle_block.1.norm.weight");
    file.add("first_stage_model.decoder.more.weight", &[2], Dtype::F32);
    let (_dir, files) = file.found();
    let loader = |part| Weights::open_part(&files.parts[&part]).unwrap();
    assert!(loader(PartName::Unet).shape("mid_block.attentions.0.norm.weight").is_none());
    let text = PipelineLoader::of_files(&files, &Device::Cpu).unet().err().unwrap().to_string();
    assert!(text.contains("missing (1)") && text.contains("mid_block.attentions.0.norm.weight"), "{text}");
    let text = PipelineLoader::of_files(&files, &Device::Cpu).vae().err().unwrap().to_string();
    assert!(text.contains("not expected (1)") && text.contains("first_stage_model.decoder.more.weight"), "{text}");

    // Two tensors for one place.
    let mut file = Tensors::small();
    file.add("cond_stage_model.transformer.final_layer_norm.bias", &[24], Dtype::F32);
    let text = Weights::open_part(&file.found().1.parts[&PartName::TextEncoder]).unwrap_err().to_string();
    assert!(text.contains("two tensors stand for `text_model.final_layer_norm.bias`"), "{text}");
}

/// A model of the small sizes has no place among those that are compiled in, and is not forced into it.
#[test]
fn other_sizes_need_their_own_configurations() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dream.safetensors");
    Tensors::small().write(&path);
    let files = single_file::find(&path, None).unwrap();
    let error = PipelineLoader::of_files(&files, &Device::Cpu).pipeline().err().unwrap();
    let text = error.to_string();
    assert!(error.exit_code() == 2 && text.contains("of another shape"), "{text}");
    assert!(text.contains("a folder with its own config.json files as `config`"), "{text}");

    let empty = dir.path().join("empty");
    fs_err::create_dir(&empty).unwrap();
    let text = single_file::find(&path, Some(&empty)).unwrap_err().to_string();
    for name in ["unet/config.json", "vae/config.json", "scheduler/scheduler_config.json", "tokenizer/tokenizer.json"] {
        assert!(text.contains(name), "{name}: {text}");
    }
}

#[test]
fn everything_else_is_refused_by_its_name() {
    let unet = "model.diffusion_model.input_blocks.0.0.weight";
    let to_k = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight";
    let deeper = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight";
    let label = "model.diffusion_model.label_emb.0.0.weight";
    let clip = "cond_stage_model.transformer.text_model.final_layer_norm.bias";
    let cases: &[(&str, Shapes)] = &[
        ("a smaller model made of", &[(unet, &[320, 4, 3, 3]), (deeper, &[640, 2048]), (label, &[1280, 2816])]),
        ("an unCLIP model", &[(unet, &[320, 4, 3, 3]), (to_k, &[320, 1024]), (label, &[1280, 1536])]),
        (
            "the refiner of Stable Diffusion XL",
            &[
                (unet, &[8, 4, 3, 3]),
                (deeper, &[8, 32]),
                (label, &[32, 64]),
                ("conditioner.embedders.0.model.ln_final.bias", &[32]),
            ],
        ),
        (
            "the refiner of Stable Diffusion XL",
            &[(unet, &[384, 4, 3, 3]), (deeper, &[768, 1280]), (label, &[1536, 2560])],
        ),
        (
            "conditioned on more than text",
            &[(unet, &[320, 4, 3, 3]), (to_k, &[320, 768]), (label, &[1280, 64]), (clip, &[768])],
        ),
        ("an inpainting model", &[(unet, &[320, 9, 3, 3]), (to_k, &[320, 768]), (clip, &[768])]),
        ("InstructPix2Pix", &[(unet, &[320, 8, 3, 3]), (to_k, &[320, 768])]),
        ("an upscaler", &[(unet, &[256, 7, 3, 3]), (to_k, &[256, 1024])]),
        ("a depth-to-image model", &[(unet, &[320, 5, 3, 3]), (to_k, &[320, 1024])]),
        ("a UNet without text", &[(unet, &[320, 4, 3, 3])]),
        ("CosXL", &[(unet, &[320, 4, 3, 3]), (deeper, &[640, 2048]), ("edm_vpred.sigma_max", &[])]),
        ("Playground", &[(unet, &[320, 4, 3, 3]), (deeper, &[640, 2048]), ("edm_mean", &[1, 4, 1, 1])]),
        ("Stable Diffusion 3", &[("model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight", &[6, 2])]),
        ("Stable Diffusion 3", &[("joint_blocks.0.x_block.attn.qkv.weight", &[6, 2])]),
        ("Flux", &[("double_blocks.0.img_attn.qkv.weight", &[6, 2])]),
        ("Flux", &[("model.diffusion_model.double_blocks.0.img_attn.qkv.weight", &[6, 2])]),
        ("a LoRA file", &[("lora_unet_mid_block_attentions_0_proj_in.lora_down.weight", &[4, 8])]),
        ("a LoRA file", &[("unet.mid_block.attentions.0.proj_in.lora_A.weight", &[4, 8])]),
        ("a LoRA file", &[("lora_unet_mid_block_attentions_0_proj_in.hada_w1_a", &[4, 8])]),
        (
            "a VAE alone",
            &[("encoder.down.0.block.0.conv1.weight", &[8, 8, 3, 3]), ("decoder.conv_in.weight", &[8, 4, 3, 3])],
        ),
        (
            "a VAE alone",
            &[("encoder.down_blocks.0.resnets.0.conv1.weight", &[8]), ("decoder.conv_in.weight", &[8, 4, 3, 3])],
        ),
        ("an embedding (textual inversion)", &[("emb_params", &[2, 768])]),
        ("an embedding (textual inversion)", &[("clip_g", &[2, 1280]), ("clip_l", &[2, 768])]),
        ("an embedding (textual inversion)", &[("<cat-toy>", &[768])]),
        ("a ControlNet", &[("control_model.input_hint_block.0.weight", &[16, 3, 3, 3]), (unet, &[320, 4, 3, 3])]),
        (
            "a ControlNet",
            &[("controlnet_cond_embedding.conv_in.weight", &[16, 3, 3, 3]), ("conv_in.weight", &[320, 4, 3, 3])],
        ),
        ("a UNet alone", &[("conv_in.weight", &[320, 4, 3, 3]), ("down_blocks.0.resnets.0.conv1.weight", &[8])]),
        ("a UNet alone", &[("input_blocks.0.0.weight", &[320, 4, 3, 3])]),
        ("a text encoder alone", &[("text_model.encoder.layers.0.mlp.fc1.bias", &[8])]),
        ("the average of a training (EMA)", &[("model_ema.diffusion_modelinput_blocks00weight", &[320, 4, 3, 3])]),
        ("no model that is known here", &[("conv_first.weight", &[64, 3, 3, 3])]),
    ];
    for (what, shapes) in cases {
        let text = Tensors::zeros(shapes).refused();
        assert!(text.contains(what) && text.contains("not supported as a model"), "{what}: {text}");
    }
    let tenth = "model.diffusion_model.input_blocks.7.1.transformer_blocks.9.attn2.to_k.weight";
    let parts: &[(&str, Shapes)] = &[
        (
            "vae (first_stage_model.…), text_encoder (cond_stage_model.model.…)",
            &[(unet, &[320, 4, 3, 3]), (to_k, &[320, 1024])],
        ),
        (
            "vae (first_stage_model.…), text_encoder (conditioner.embedders.0.transformer.…), text_encoder_2 \
             (conditioner.embedders.1.model.…)",
            &[(unet, &[320, 4, 3, 3]), (deeper, &[640, 2048]), (tenth, &[1280, 2048]), (label, &[1280, 2816])],
        ),
        (
            "vae (first_stage_model.…), text_encoder (conditioner.embedders.0.transformer.…)",
            &[(unet, &[8, 4, 3, 3]), (deeper, &[8, 32]), ("conditioner.embedders.1.model.ln_final.bias", &[32])],
        ),
    ];
    for (what, shapes) in parts {
        let text = Tensors::zeros(shapes).refused();
        assert!(text.contains(what) && text.contains("parts of the model are not in this file"), "{what}: {text}");
    }
}

#[test]
fn damaged_and_pickled_files_are_named_as_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dream.safetensors");
    Tensors::small().write(&path);
    let bytes = fs_err::read(&path).unwrap();
    fs_err::write(&path, &bytes[..bytes.len() - 100]).unwrap();
    let error = single_file::find(&path, None).unwrap_err();
    assert!(error.exit_code() == 2 && error.to_string().contains("the file is cut off"), "{error}");
    let pickle = dir.path().join("v1-5.ckpt");
    fs_err::write(&pickle, b"PK\x03\x04zip of a pickle").unwrap();
    let error = single_file::find(&pickle, None).unwrap_err();
    let text = error.to_string();
    assert!(error.exit_code() == 2 && text.contains("pickled") && text.contains("from_single_file"), "{text}");
}

/// What goes with a file that says nothing of itself.
#[test]
fn what_is_compiled_in_is_stable_diffusion_1_and_clip() {
    let root = tempfile::tempdir().unwrap();
    let folder = tunelab::assets::builtin::unpack_into(Builtin::Sd1, &[root.path().to_owned()]).unwrap();
    assert_eq!(UnetConfig::read(&folder.join("unet/config.json")).unwrap(), sd15::unet());
    assert_eq!(VaeConfig::read(&folder.join("vae/config.json")).unwrap(), sd15::vae());
    assert_eq!(ClipConfig::read(&folder.join("text_encoder/config.json")).unwrap(), sd15::text_encoder());
    for name in ["vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json", "LICENSE"] {
        let (ours, theirs) = (folder.join("tokenizer").join(name), fixture("model/tokenizer").join(name));
        assert!(fs_err::read(ours).unwrap() == fs_err::read(theirs).unwrap(), "{name}");
    }
    let ids = Tokenizer::from_dir(&folder.join("tokenizer")).unwrap().encode("a sks dog").unwrap().ids;
    assert_eq!(ids[..6], [49406, 320, 48136, 1929, 49407, 49407]);
}

/// The other families' compiled-in configurations have the sizes that are known of them.
#[test]
fn what_is_compiled_in_of_other_families_has_their_sizes() {
    use tunelab::pipeline::{Configs, Family};
    let numbers = |family| {
        let configs = Configs::of(family).unwrap();
        let texts: Vec<usize> =
            configs.text_encoders.values().map(|config| config.describe().unwrap().parameters()).collect();
        (configs.unet.describe().unwrap().parameters(), configs.vae.describe().unwrap().parameters(), texts)
    };
    assert_eq!(numbers(Family::Sd2), (865_910_724, 83_653_863, vec![340_387_840]));
    assert_eq!(numbers(Family::Sdxl), (2_567_463_684, 83_653_863, vec![123_060_480, 694_659_840]));
    let root = tempfile::tempdir().unwrap();
    for (family, folders) in [(Family::Sd2, &["tokenizer"][..]), (Family::Sdxl, &["tokenizer", "tokenizer_2"])] {
        let folder = tunelab::assets::builtin::unpack_into(family.compiled_in(), &[root.path().to_owned()]).unwrap();
        for name in folders {
            let tokenizer = tunelab::model::tokenizer::Tokenizer::from_dir(&folder.join(name)).unwrap();
            let pad = if family == Family::Sdxl && *name == "tokenizer" { 49407 } else { 0 };
            assert_eq!(
                tokenizer.encode("a dog").unwrap().ids[..5],
                [49406, 320, 1929, 49407, pad],
                "{family:?} {name}"
            );
        }
    }
}
