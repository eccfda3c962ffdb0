//! The networks and the optimizer against the fixtures: outputs, losses and all gradients.

use super::files::{Folder, Tensors, tensors};
use super::table::{Seen, Table};
use super::{F32, SHORT};
use candle_core::{DType, Device, Tensor, Var};
use std::collections::BTreeMap;
use tunelab::config::{self, AdamW, Dtype};
use tunelab::error::{Error, Result};
use tunelab::model::build::{Build, Parameters, Trainable};
use tunelab::model::clip::{ClipConfig, ClipText};
use tunelab::model::lora::LoraLayer;
use tunelab::model::unet::{Unet, UnetConfig};
use tunelab::model::vae::Vae;
use tunelab::pipeline::{Conditioning, PipelineLoader};
use tunelab::train::optimizer::Optimizer;
use tunelab::weights::{Loader, Part, PartName, Weights};
use tunelab_ops::tape::{Gradients, record};
use tunelab_ops::{composed, mean_squares};

/// All of them; the UNet also in the short types, where the device has them, or if `small` in bf16 alone.
pub fn check(folder: &Folder, device: &Device, small: bool, table: &mut Table) {
    let with = Check { folder, device };
    table.row("text encoder", "f32", with.text_encoder());
    table.row("text encoder, gradients", "f32", with.text_encoder_gradients());
    table.row("VAE, both ways", "f32", with.vae());
    table.row("AdamW and clipping, ten steps", "f32", with.adamw());
    let short: &[Dtype] = match (device.is_cuda(), small) {
        (true, false) => &[Dtype::Bf16, Dtype::F16],
        (true, true) => &[Dtype::Bf16],
        (false, _) => &[],
    };
    for dtype in [Dtype::F32].iter().chain(short).copied() {
        let named = dtype.to_string();
        table.row("UNet, three timesteps", &named, with.forward("", dtype));
        table.row("UNet, odd sizes", &named, with.forward("odd.", dtype));
        let all = [
            ("UNet, all weights", with.full(dtype)),
            ("UNet, LoRA", with.lora("unet_lora.safetensors", 5.0, dtype)),
            ("UNet, LoRA of convolutions", with.lora("unet_lora_conv.safetensors", 3.0, dtype)),
        ];
        for (what, passed) in all {
            let [output, loss, gradients] = match passed {
                Ok(passed) => passed.map(Ok),
                Err(error) => [Err(error.clone()), Err(error.clone()), Err(error)],
            };
            table.row(&format!("{what}: output"), &named, output);
            table.row(&format!("{what}: loss"), &named, loss);
            table.row(&format!("{what}: gradients"), &named, gradients);
        }
    }
}

/// What the checks are made with.
pub struct Check<'a> {
    /// The model's files.
    pub folder: &'a Folder,
    /// What is checked.
    pub device: &'a Device,
}

impl Check<'_> {
    fn build(&self, part: &Part, trained: Trainable) -> Result<Build> {
        Ok(Build::from_files(Loader::new(Weights::open_part(part)?, self.device, DType::F32), trained, 11))
    }

    /// The UNet of the fixtures.
    pub fn unet(&self, trained: Trainable, dtype: Dtype) -> Result<(Unet, Parameters)> {
        let files = self.folder.model()?;
        let part = files.part(PartName::Unet)?;
        Unet::new(&UnetConfig::read(&part.config)?, self.build(part, trained)?.of_type(dtype))
    }

    fn clip(&self, trained: Trainable) -> Result<(ClipText, Parameters)> {
        let files = self.folder.model()?;
        let part = files.part(PartName::TextEncoder)?;
        ClipText::new(&ClipConfig::read(&part.config)?, self.build(part, trained)?)
    }

    /// A tensor on the device.
    pub fn here(&self, t: &Tensor) -> Result<Tensor> {
        Ok(t.to_device(self.device)?)
    }

    fn text_encoder(&self) -> Result<Seen> {
        let f = tensors("text_encoder.safetensors")?;
        let states = self.clip(Trainable::None)?.0.forward(&ids(&f["ids"])?)?;
        Ok(Seen::Difference(largest_difference(&states, &f["last_hidden_state"])?, F32))
    }

    fn text_encoder_gradients(&self) -> Result<Seen> {
        let f = tensors("text_encoder_full.safetensors")?;
        let (clip, parameters) = self.clip(Trainable::Full)?;
        let weight = self.here(&f["weight"])?;
        let (loss, tape) = record(|| {
            let output = clip.forward(&ids(&f["ids"])?)?;
            Ok::<_, Error>(composed(&[&output], |t| (&t[0] * &weight)?.mean_all())?)
        })?;
        let gradients = tape.backward(&loss)?;
        // The fixture has of the tokens' embeddings the rows that are used, and a bias of all keys has no gradient on paper.
        let trained = parameters.trained().into_iter();
        let compared =
            trained.filter(|(name, _)| !name.ends_with("k_proj.bias") && !name.ends_with("token_embedding.weight"));
        Ok(Seen::Difference(of_gradients(&gradients, &compared.collect(), &f)?, F32))
    }

    /// The VAE of the fixtures.
    pub fn autoencoder(&self) -> Result<Vae> {
        PipelineLoader::of_files(&self.folder.model()?, self.device).vae()
    }

    fn vae(&self) -> Result<Seen> {
        let f = tensors("vae.safetensors")?;
        let vae = self.autoencoder()?;
        let latents = vae.encode(&self.here(&f["pictures"])?)?;
        let decoded = vae.decode(&self.here(&f["latents"])?)?;
        let pairs = [(&latents.mean, &f["mean"]), (&latents.std, &f["std"]), (&decoded, &f["decoded"])];
        let mut worst = 0.0f64;
        for (ours, reference) in pairs {
            worst = worst.max(largest_difference(ours, reference)?);
        }
        Ok(Seen::Difference(worst, F32))
    }

    fn forward(&self, prefix: &str, dtype: Dtype) -> Result<Seen> {
        let f = tensors("unet_forward.safetensors")?;
        let get = |name: &str| &f[&format!("{prefix}{name}")];
        let (unet, _) = self.unet(Trainable::None, dtype)?;
        let (latents, text) = (self.here(get("latents"))?, Conditioning::from(self.here(get("text"))?));
        let output = unet.forward(&latents, &timesteps(get("timesteps"))?, &text)?;
        Ok(Seen::Difference(largest_difference(&output, get("output"))?, limit(dtype)))
    }

    fn full(&self, dtype: Dtype) -> Result<[Seen; 3]> {
        let (unet, parameters) = self.unet(Trainable::Full, dtype)?;
        self.pass(&unet, &parameters, &tensors("unet_full.safetensors")?, dtype)
    }

    fn lora(&self, file: &str, alpha: f64, dtype: Dtype) -> Result<[Seen; 3]> {
        let (unet, parameters) = self.unet_with_lora(file, alpha, dtype)?;
        self.pass(&unet, &parameters, &tensors(file)?, dtype)
    }

    /// With the LoRA of a fixture, which is trained.
    pub fn unet_with_lora(&self, file: &str, alpha: f64, dtype: Dtype) -> Result<(Unet, Parameters)> {
        let f = tensors(file)?;
        let (base, mut parameters) = self.unet(Trainable::None, dtype)?;
        for (name, down) in &f {
            let path = name.strip_suffix(".lora_A.weight").filter(|name| !name.contains("grad."));
            let Some(path) = path else { continue };
            let var = |t: &Tensor| Ok::<_, Error>(Var::from_tensor(&self.here(t)?)?.into_inner());
            let up = &f[&format!("{path}.lora_B.weight")];
            parameters.lora.insert(path.to_owned(), LoraLayer::from_tensors(var(down)?, var(up)?, alpha, 1.0));
        }
        Unet::new(base.config(), Build::from_parameters(parameters))
    }

    /// Output, loss and gradients of one pass over a fixture.
    fn pass(&self, unet: &Unet, parameters: &Parameters, f: &Tensors, dtype: Dtype) -> Result<[Seen; 3]> {
        let [latents, text, target] = [self.here(&f["latents"])?, self.here(&f["text"])?, self.here(&f["target"])?];
        let (timesteps, text) = (timesteps(&f["timesteps"])?, Conditioning::from(text));
        // As the trainer does; without it the gradients of f16 would be too small for it.
        let scale = if dtype == Dtype::F16 { 1024.0 } else { 1.0 };
        let ((output, loss), tape) = record(|| {
            let output = unet.forward(&latents, &timesteps, &text)?;
            let loss = mean_squares(&output, &target, 0, &vec![scale; target.dim(0)?])?;
            Ok::<_, Error>((output, loss))
        })?;
        let gradients = tape.backward(&loss)?;
        let trained = parameters.trained();
        let loss = (loss.detach().to_device(&Device::Cpu)?.to_dtype(DType::F64)? / scale)?;
        let mut scaled = Tensors::new();
        for (name, t) in f.iter().filter(|(name, _)| name.starts_with("grad.")) {
            scaled.insert(name.clone(), (t * scale)?);
        }
        Ok([
            Seen::Difference(largest_difference(&output, &f["output"])?, limit(dtype)),
            Seen::Difference(largest_difference(&loss, &f["loss"])?, limit(dtype)),
            Seen::Difference(of_gradients(&gradients, &trained, &scaled)?, limit(dtype)),
        ])
    }

    fn adamw(&self) -> Result<Seen> {
        const CLIP: f64 = 0.7;
        let f = tensors("adamw.safetensors")?;
        let row = |name: &str, i: usize| self.here(&f[name].get(i)?.contiguous()?);
        let mut trained = BTreeMap::new();
        for n in ["0", "1"] {
            trained.insert(n.to_owned(), Var::from_tensor(&row(&format!("parameters.{n}"), 0)?)?.into_inner());
        }
        let adamw = config::Optimizer::AdamW(AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 1e-2 });
        let mut optimizer = Optimizer::new(trained.clone(), &adamw, CLIP)?;
        let steps = f["norms"].elem_count();
        for step in 0..steps {
            let mut gradients = BTreeMap::new();
            for n in ["0", "1"] {
                gradients.insert(n.to_owned(), row(&format!("gradients.{n}"), step)?);
            }
            optimizer.step(&gradients, LEARNING_RATE, 1.0)?;
        }
        let mut worst = 0.0f64;
        for n in ["0", "1"] {
            worst = worst.max(largest_difference(&trained[n], &row(&format!("parameters.{n}"), steps)?)?);
        }
        Ok(Seen::Difference(worst, F32))
    }
}

/// The rate that the fixture of AdamW was made with.
const LEARNING_RATE: f64 = 1e-2;

/// bf16 rounds eight times as coarsely as f16, and a whole network adds up what every operation rounds.
fn limit(dtype: Dtype) -> f64 {
    match dtype {
        Dtype::F32 => F32,
        Dtype::F16 => SHORT,
        Dtype::Bf16 => 2.0 * SHORT,
    }
}

fn timesteps(t: &Tensor) -> Result<Vec<f64>> {
    Ok(t.to_vec1::<i64>()?.into_iter().map(|t| t as f64).collect())
}

fn ids(t: &Tensor) -> Result<Vec<Vec<u32>>> {
    Ok(t.to_dtype(DType::U32)?.to_vec2()?)
}

fn values(t: &Tensor) -> Result<Vec<f64>> {
    Ok(t.detach().to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

/// The largest difference, relative to the reference's largest value.
pub fn largest_difference(ours: &Tensor, reference: &Tensor) -> Result<f64> {
    if ours.dims() != reference.dims() {
        return Err(Error::run(format!("the result is {:?}, not {:?}", ours.dims(), reference.dims())));
    }
    let (ours, reference) = (values(ours)?, values(reference)?);
    let largest = reference.iter().fold(1e-30f64, |all, v| all.max(v.abs()));
    // What is not a number stays one.
    let worst = ours.iter().zip(&reference).map(|(a, b)| (a - b).abs());
    Ok(worst.fold(0.0, |all: f64, v| if v > all || v.is_nan() { v } else { all }) / largest)
}

/// The length of the difference of all gradients together, relative to the reference's length.
pub fn of_gradients(gradients: &Gradients, trained: &BTreeMap<String, Tensor>, reference: &Tensors) -> Result<f64> {
    let (mut difference, mut length) = (0.0, 0.0);
    for (name, tensor) in trained {
        let wanted = reference.get(&format!("grad.{name}"));
        let (Some(ours), Some(wanted)) = (gradients.get(tensor), wanted) else {
            return Err(Error::run(format!("no gradient for {name}")));
        };
        for (ours, wanted) in values(ours)?.into_iter().zip(values(wanted)?) {
            difference += (ours - wanted).powi(2);
            length += wanted.powi(2);
        }
    }
    Ok((difference / length).sqrt())
}
