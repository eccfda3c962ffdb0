//! Stable Diffusion 2 and XL against diffusers, transformers and peft: texts, UNet, gradients, a step's loss and whole
//! pictures.

use crate::fixture::{Tensors, close, fixture, largest, loader, relative, tensors, values, within};
use candle_core::{DType, Device, Tensor, Var};
use std::collections::BTreeMap;
use tunelab::adapter::file::{self as lora_file, Modules};
use tunelab::assets::local;
use tunelab::config::SampleParams;
use tunelab::diffusion::{LossFunction, NoiseSchedule, PredictionType, Sampler};
use tunelab::error::Error;
use tunelab::interrupt::Interrupt;
use tunelab::model::build::{Build, Parameters, Trainable};
use tunelab::model::lora::LoraLayer;
use tunelab::model::unet::{TimeIds, Unet};
use tunelab::pipeline::{
    Conditioning, Family, Ids, ModelFiles, Pipeline, PromptEmbeds, TextEncoders, TokenIds, tokenize,
};
use tunelab::progress::Progress;
use tunelab::results::ImageMetadata;
use tunelab::sample::ImageGenerator;
use tunelab::train::examples::Batch;
use tunelab::train::objective::{NoiseSample, Predictor};
use tunelab::train::texts::TextConditioning;
use tunelab::weights::PartName;
use tunelab_ops::tape::{Gradients, record};
use tunelab_ops::{add, composed, mean_squares};

const PROMPTS: [&str; 3] = ["a dog", "", "a photo of a sks dog on the beach, "];

fn files(family: &str) -> ModelFiles {
    local::find(&fixture(family)).unwrap()
}

#[test]
fn a_folders_family_is_recognized() {
    for (folder, family) in [("model", Family::Sd1), ("sd2", Family::Sd2), ("sdxl", Family::Sdxl)] {
        assert_eq!(files(folder).family, family);
    }
    assert_eq!(files("sdxl").noise_schedule().unwrap().prediction_type(), PredictionType::Epsilon);
    assert_eq!(files("sd2").noise_schedule().unwrap().prediction_type(), PredictionType::VPrediction);
}

fn prompts() -> [String; 3] {
    [PROMPTS[0].to_owned(), PROMPTS[1].to_owned(), PROMPTS[2].repeat(12)]
}

/// The ids of the fixture's prompts, which must be transformers'.
fn ids(files: &ModelFiles, f: &Tensors, parts: &[(PartName, &str)]) -> Ids {
    let tokenizers = loader(files).tokenizers().unwrap();
    let prompts = prompts();
    let ids = tokenize(&tokenizers, prompts.iter().map(String::as_str), &mut |_| {}).unwrap();
    for (part, name) in parts {
        let wanted: Vec<Vec<i64>> = f[*name].to_vec2().unwrap();
        for (prompt, wanted) in prompts.iter().zip(wanted) {
            let ours: Vec<i64> = ids[prompt][part].iter().map(|&id| i64::from(id)).collect();
            assert_eq!(ours, wanted, "{part}: {prompt}");
        }
    }
    ids
}

#[test]
fn texts_of_sd2_equal_transformers() {
    let (files, f) = (files("sd2"), tensors("sd2.safetensors"));
    let ids = ids(&files, &f, &[(PartName::TextEncoder, "ids")]);
    let (encoders, _) = loader(&files).text_encoders().unwrap();
    let prompts = prompts();
    let texts: Vec<&TokenIds> = prompts.iter().map(|prompt| &ids[prompt]).collect();
    let made = encoders.encode(&texts).unwrap();
    close(&made.hidden_states, &f["last_hidden_state"], "hidden states");
    assert!(made.pooled.is_none());
}

/// Both encoders with what the fixture trains of them: a LoRA of the first, all of the second.
fn trained_encoders(files: &ModelFiles, f: &Tensors) -> (TextEncoders, BTreeMap<PartName, Parameters>) {
    let trained = BTreeMap::from([(PartName::TextEncoder2, Trainable::Full)]);
    let (encoders, mut parameters) = loader(files).training(trained).text_encoders().unwrap();
    let var = |t: &Tensor| Var::from_tensor(t).unwrap().into_inner();
    let first = parameters.get_mut(&PartName::TextEncoder).unwrap();
    for (name, down) in f {
        let Some(path) = name.strip_prefix("text_encoder.").and_then(|n| n.strip_suffix(".lora_A.weight")) else {
            continue;
        };
        let up = &f[&format!("text_encoder.{path}.lora_B.weight")];
        let path = format!("text_model.{}", path.trim_start_matches("text_model."));
        first.lora.insert(path, LoraLayer::from_tensors(var(down), var(up), 3.0, 1.0));
    }
    assert_eq!(first.lora.len(), 12);
    (encoders.over(|part| Ok(parameters[&part].clone())).unwrap(), parameters)
}

#[test]
fn texts_of_sdxl_and_their_gradients_equal_transformers_and_peft() {
    let (files, f) = (files("sdxl"), tensors("sdxl.safetensors"));
    let ids = ids(&files, &f, &[(PartName::TextEncoder, "ids"), (PartName::TextEncoder2, "ids_2")]);
    let (encoders, parameters) = trained_encoders(&files, &f);
    let prompts = prompts();
    let texts: Vec<&TokenIds> = prompts.iter().map(|prompt| &ids[prompt]).collect();
    let ((made, loss), tape) = record(|| {
        let made = encoders.encode(&texts)?;
        let pooled = made.pooled.clone().unwrap();
        let one = composed(&[&made.hidden_states], |t| (&t[0] * &f["weight"])?.mean_all())?;
        let two = composed(&[&pooled], |t| (&t[0] * &f["pooled_weight"])?.mean_all())?;
        Ok::<_, Error>((made, add(&one, &two)?))
    })
    .unwrap();
    close(&made.hidden_states, &f["prompt_embeds"], "hidden states");
    close(made.pooled.as_ref().unwrap(), &f["pooled"], "pooled");
    close(&loss, &f["text_loss"], "loss");
    let gradients = tape.backward(&loss).unwrap();
    let mut compared = 0;
    for (part, parameters) in &parameters {
        for (name, tensor) in parameters.trained() {
            let with_prefix = |name: &str| format!("grad.{part}.{name}");
            let short = name.trim_start_matches("text_model.");
            let reference = [name.as_str(), short].into_iter().find_map(|n| f.get(&with_prefix(n)));
            let gradient = gradients.get(&tensor);
            assert_eq!(encoders.reads(*part, &name), gradient.is_some(), "{part} {name}");
            let (Some(reference), Some(gradient)) = (reference, gradient) else {
                let is_table = name == "text_model.embeddings.token_embedding.weight";
                assert!(is_table || !encoders.reads(*part, &name), "{part} {name} has a gradient here or there only");
                if is_table {
                    let rows =
                        gradient.unwrap().index_select(&f["used_ids_2"].to_dtype(DType::U32).unwrap(), 0).unwrap();
                    close(&rows, &f[&format!("{}.rows", with_prefix(&name))], &name);
                    compared += 1;
                }
                continue;
            };
            if name.ends_with("k_proj.bias") {
                // A constant added to all keys cancels in the softmax: this gradient is zero on paper.
                assert!(largest(reference) < 1e-10 && largest(gradient) < 1e-7, "{name}");
            } else {
                close(gradient, reference, &name);
            }
            compared += 1;
        }
    }
    assert_eq!(compared, f.keys().filter(|name| name.starts_with("grad.text_encoder")).count());
}

fn time_ids(t: &Tensor) -> Vec<TimeIds> {
    let rows: Vec<Vec<i64>> = t.to_vec2().unwrap();
    rows.into_iter()
        .map(|row| <[usize; 6]>::try_from(row.into_iter().map(|v| v as usize).collect::<Vec<_>>()).unwrap())
        .collect()
}

fn timesteps(t: &Tensor) -> Vec<f64> {
    t.to_vec1::<i64>().unwrap().into_iter().map(|t| t as f64).collect()
}

/// What the UNet is told in the fixture's tensors whose names begin so.
fn conditioning(unet: &Unet, f: &Tensors, [text, pooled, ids]: [&str; 3]) -> Conditioning {
    let time_ids = f.get(ids).and_then(|ids| unet.time_ids_embedding(&time_ids(ids), &Device::Cpu).unwrap());
    Conditioning { pooled: f.get(pooled).cloned(), time_ids, ..f[text].clone().into() }
}

fn pass(unet: &Unet, f: &Tensors) -> (Tensor, Tensor, Gradients) {
    let conditioning = conditioning(unet, f, ["text", "pooled_text", "time_ids"]);
    let ((output, loss), tape) = record(|| {
        let output = unet.forward(&f["latents"], &timesteps(&f["timesteps"]), &conditioning)?;
        let loss = mean_squares(&output, &f["target"], 0, &[1.0; 3])?;
        Ok::<_, Error>((output, loss))
    })
    .unwrap();
    let gradients = tape.backward(&loss).unwrap();
    (output, loss, gradients)
}

fn check_gradients(gradients: &Gradients, trained: &BTreeMap<String, Tensor>, f: &Tensors, prefix: &str) {
    let wanted: Vec<&str> = f.keys().filter_map(|name| name.strip_prefix(prefix)).collect();
    assert_eq!(wanted.len(), trained.len(), "as many gradients as trained tensors");
    for name in wanted {
        let gradient = gradients.get(&trained[name]).unwrap_or_else(|| panic!("no gradient for {name}"));
        close(gradient, &f[&format!("{prefix}{name}")], name);
    }
}

#[test]
fn unets_and_all_gradients_equal_diffusers() {
    for family in ["sd2", "sdxl"] {
        let (files, f) = (files(family), tensors(&format!("{family}.safetensors")));
        let trained = BTreeMap::from([(PartName::Unet, Trainable::Full)]);
        let (mut unet, parameters) = loader(&files).training(trained).unet().unwrap();
        for recompute in [false, true] {
            if recompute {
                unet.recompute();
            }
            let (output, loss, gradients) = pass(&unet, &f);
            close(&output, &f["full.output"], "output");
            close(&loss, &f["full.loss"], "loss");
            check_gradients(&gradients, &parameters.trained(), &f, "full.grad.");
        }
    }
}

#[test]
fn lora_of_both_families_equals_peft() {
    for family in ["sd2", "sdxl"] {
        let (files, f) = (files(family), tensors(&format!("{family}.safetensors")));
        let (base, mut parameters) = loader(&files).unet().unwrap();
        for (name, down) in &f {
            let Some(path) = name
                .strip_prefix("lora.")
                .filter(|n| !n.starts_with("grad."))
                .and_then(|n| n.strip_suffix(".lora_A.weight"))
            else {
                continue;
            };
            let var = |t: &Tensor| Var::from_tensor(t).unwrap().into_inner();
            let up = &f[&format!("lora.{path}.lora_B.weight")];
            parameters.lora.insert(path.to_owned(), LoraLayer::from_tensors(var(down), var(up), 5.0, 1.0));
        }
        assert!(family == "sd2" || parameters.lora.contains_key("add_embedding.linear_1"));
        let (unet, parameters) = Unet::new(base.config(), Build::from_parameters(parameters)).unwrap();
        let (output, loss, gradients) = pass(&unet, &f);
        close(&output, &f["lora.output"], "output");
        close(&loss, &f["lora.loss"], "loss");
        assert!(relative(&f["full.output"], &f["lora.output"]) > 0.01, "the adapter changes the output");
        check_gradients(&gradients, &parameters.trained(), &f, "lora.grad.");
    }
}

/// The losses that diffusers' scripts compute for a batch of four, of which two are class images.
#[test]
fn a_steps_losses_equal_those_of_diffusers_scripts() {
    for family in ["sd2", "sdxl"] {
        let (files, all) = (files(family), tensors(&format!("{family}.safetensors")));
        let f: Tensors = all.into_iter().filter_map(|(n, t)| Some((n.strip_prefix("step.")?.to_owned(), t))).collect();
        let (unet, _) = loader(&files).unet().unwrap();
        let row = |name: &str, i: usize| f[name].narrow(0, i, 1).unwrap().contiguous().unwrap();
        let captions: Vec<String> = (0..4).map(|i| i.to_string()).collect();
        let one = |i: usize| {
            let pooled = f.contains_key("pooled").then(|| row("pooled", i));
            Conditioning { pooled, ..row("text", i).into() }
        };
        let texts = TextConditioning::Cached(captions.iter().cloned().zip((0..4).map(one)).collect());
        let time_ids = f.get("time_ids").map_or_else(|| vec![[1; 6]; 4], time_ids);
        let batch = Batch { latents: f["latents"].clone(), captions, time_ids, loss_mask: None };
        let sample = NoiseSample::fixed(
            f["noise"].clone(),
            timesteps(&f["timesteps"]).into_iter().map(|t| t as usize).collect(),
        );
        let schedule: NoiseSchedule = files.noise_schedule().unwrap();
        let predictor = |snr_gamma| Predictor {
            unet: &unet,
            texts: &texts,
            schedule: &schedule,
            snr_gamma,
            loss: LossFunction::L2,
        };
        let loss = |snr_gamma| {
            let predictor: Predictor = predictor(snr_gamma);
            predictor.loss(&predictor.prepare(&batch, &sample).unwrap()).unwrap()
        };
        close(&loss(None), &f["loss"], family);
        close(&loss(Some(3.0)), &f["snr_loss"], family);
        let plain = predictor(None);
        let parts = plain.prior_preservation_loss(&plain.prepare(&batch, &sample).unwrap(), 2).unwrap();
        close(&(parts.instance + (parts.prior * 0.7).unwrap()).unwrap(), &f["prior_loss"], family);
    }
}

/// A pipeline, with or without the fixture's LoRA, and its texts.
fn drawing(family: &str, with_lora: bool) -> (Pipeline, PromptEmbeds) {
    let pipeline = loader(&files(family)).pipeline().unwrap();
    let ids = tokenize(&pipeline.tokenizers, ["a dog", "blurry", ""], &mut |text| panic!("{text}")).unwrap();
    let embeds = pipeline.text_encoders.encode_each(&ids).unwrap();
    if !with_lora {
        return (pipeline, embeds);
    }
    let file = fixture(&format!("{family}_lora/pytorch_lora_weights.safetensors"));
    let lora = lora_file::read(&file, &Modules::new(&pipeline.parameters), &Device::Cpu, 1.0).unwrap();
    (pipeline.with_lora(lora).unwrap(), embeds)
}

#[test]
fn pictures_of_both_families_equal_diffusers() {
    let cases: [(&str, Sampler, &[&str]); 2] =
        [("sd2", Sampler::Ddim, &[""]), ("sdxl", Sampler::Euler, &["", "zeros", "encoded"])];
    let mut compared = 0;
    for (family, own, negatives) in cases {
        let f = tensors(&format!("{family}.safetensors"));
        for prefix in ["base", "lora"] {
            let (pipeline, embeds) = drawing(family, prefix == "lora");
            for sampler in [own, Sampler::Dpmpp2m] {
                for which in negatives {
                    let sizes: &[(usize, usize)] = if which.is_empty() { &[(64, 64), (64, 128)] } else { &[(64, 64)] };
                    for &(height, width) in sizes {
                        let dot = if which.is_empty() { "" } else { "." };
                        let key = format!("picture.{prefix}.{}.{which}{dot}{height}x{width}", sampler.name());
                        let negative_prompt = if which.is_empty() { "blurry" } else { "" };
                        let shot = ImageMetadata {
                            prompt: "a dog".to_owned(),
                            params: SampleParams {
                                steps: 10,
                                guidance_scale: 5.0,
                                sampler,
                                negative_prompt: negative_prompt.to_owned(),
                                force_zeros_for_empty_prompt: *which != "encoded",
                                width,
                                height,
                                seed: 7,
                                ..SampleParams::default()
                            },
                            stand_in: None,
                        };
                        check_picture(&pipeline, &embeds, &shot, &f, &key);
                        compared += 1;
                    }
                }
            }
        }
    }
    assert_eq!(compared, 8 + 16);
}

fn check_picture(pipeline: &Pipeline, embeds: &PromptEmbeds, shot: &ImageMetadata, f: &Tensors, key: &str) {
    let interrupt = Interrupt::default();
    let generator = ImageGenerator::new(&pipeline.unet, &pipeline.vae, &pipeline.schedule, &Device::Cpu, &interrupt);
    let bar = Progress::hidden().bar("", 0);
    let (prompt, negative) = (&embeds["a dog"], &embeds[&shot.params.negative_prompt]);
    let sampler = shot.params.sampler;
    let latents = generator.latents(shot, 1, sampler, prompt, negative, &bar).unwrap();
    within(&latents, &f[&format!("{key}.final_latents")], 1e-3, key);
    let image = generator.generate(shot, sampler, prompt, negative, &bar).unwrap();
    let pixels: Vec<u8> = f[&format!("{key}.pixels")].flatten_all().unwrap().to_vec1().unwrap();
    let worst = image.pixels.iter().zip(&pixels).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    assert_eq!(image.pixels.len(), pixels.len());
    assert!(worst <= 2, "{key}: {worst} of 255");
    assert!(!values(&latents).is_empty());
}
