//! Prior preservation, the samplers' loops and whole pictures against what diffusers made of them.

use super::files::{Folder, Tensors, tensors};
use super::networks::{Check, largest_difference, of_gradients};
use super::table::{Seen, Table};
use super::{F32, SHORT};
use candle_core::{DType, Device, Tensor};
use std::collections::BTreeMap;
use tunelab::adapter::file::{self as lora_file, Modules};
use tunelab::config::{Dtype, SampleParams};
use tunelab::device;
use tunelab::diffusion::{LossFunction, Sampler, SamplerRun};
use tunelab::error::{Error, Result};
use tunelab::interrupt::Interrupt;
use tunelab::model::build::Build;
use tunelab::model::unet::Unet;
use tunelab::pipeline::{Pipeline, PipelineLoader, PromptEmbeds, tokenize};
use tunelab::progress::Progress;
use tunelab::random::Generator;
use tunelab::results::ImageMetadata;
use tunelab::sample::ImageGenerator;
use tunelab::train::examples::Batch;
use tunelab::train::objective::{NoiseSample, Predictor};
use tunelab::train::texts::TextConditioning;
use tunelab::weights::PartName;
use tunelab_ops::tape::record;

/// The weight of the class loss that the fixture was made with.
const WEIGHT: f64 = 0.7;
/// Sides of the fixture's pictures: height and width.
const SIZES: [(usize, usize); 2] = [(64, 64), (64, 128)];
/// A pixel may differ by so many of 255.
const PIXEL: u8 = 3;

/// All of them, in f32; if `small`, of one sampler, network and size. And the VAE as it decodes beside a UNet of a short type.
pub fn check(folder: &Folder, device: &Device, small: bool, table: &mut Table) {
    let samplers = if small { &Sampler::ALL[..1] } else { &Sampler::ALL[..] };
    let with = Check { folder, device };
    for (case, snr_gamma) in [("plain", None), ("snr", Some(3.0))].into_iter().take(if small { 1 } else { 2 }) {
        let [losses, gradients] = match prior_preservation(&with, case, snr_gamma) {
            Ok(seen) => seen.map(Ok),
            Err(error) => [Err(error.clone()), Err(error)],
        };
        table.row(&format!("DreamBooth, {case}: losses"), "f32", losses);
        table.row(&format!("DreamBooth, {case}: gradients"), "f32", gradients);
    }
    if device.is_cuda() {
        table.row("VAE, decoding in TF32", "tf32", decoded_in_tf32(&with));
    }
    for sampler in samplers.iter().copied() {
        table.row(&format!("{sampler}: loops of 50, 10 and 7 steps"), "f32", loops(&with, sampler));
    }
    match Fixture::load(&with) {
        Ok(pipeline) => {
            for sampler in samplers.iter().copied() {
                let pictures = if small { 1 } else { 4 };
                table.row(&format!("{sampler}: pictures, {pictures}"), "f32", pipeline.pictures(sampler, pictures));
            }
        }
        Err(error) => table.row("pictures", "f32", Err(error)),
    }
}

fn prior_preservation(with: &Check, case: &str, snr_gamma: Option<f64>) -> Result<[Seen; 2]> {
    let f = tensors("dreambooth.safetensors")?;
    let row = |name: &str, i: usize, n: usize| with.here(&f[name].narrow(0, i, n)?.contiguous()?);
    let (unet, parameters) = with.unet_with_lora("dreambooth.safetensors", 3.0, Dtype::F32)?;
    let captions = ["first", "second", "third", "fourth"].map(str::to_owned);
    let embeds = captions.iter().enumerate().map(|(i, caption)| Ok((caption.clone(), row("text", i, 1)?.into())));
    let texts = TextConditioning::Cached(embeds.collect::<Result<BTreeMap<_, _>>>()?);
    let schedule = with.folder.model()?.noise_schedule()?;
    let predictor = Predictor { unet: &unet, texts: &texts, schedule: &schedule, snr_gamma, loss: LossFunction::L2 };
    let timesteps = f["timesteps"].to_vec1::<i64>()?.into_iter().map(|t| t as usize).collect();
    let sample = NoiseSample::fixed(with.here(&f["noise"])?, timesteps);
    let half = |i: usize| {
        let (latents, captions) = (row("latents", i, 2)?, captions[i..i + 2].to_vec());
        Ok::<_, Error>(Batch::new(latents, captions, Vec::new()))
    };
    let batch = predictor.prepare(&Batch::cat(&half(0)?, &half(2)?)?, &sample)?;
    let ((parts, loss), tape) = record(|| {
        let parts = predictor.prior_preservation_loss(&batch, 2)?;
        let loss = tunelab_ops::add(&parts.instance, &tunelab_ops::scale(&parts.prior, WEIGHT)?)?;
        Ok::<_, Error>((parts, loss))
    })?;
    let mut worst = 0.0f64;
    for (ours, name) in [(&parts.instance, "instance"), (&parts.prior, "prior"), (&loss, "loss")] {
        worst = worst.max(largest_difference(ours, &f[&format!("{case}.{name}")])?);
    }
    let gradients = tape.backward(&loss)?;
    let prefix = format!("{case}.");
    let references = f.iter().filter_map(|(name, t)| Some((name.strip_prefix(&prefix)?.to_owned(), t.clone())));
    let references: Tensors = references.collect();
    let difference = of_gradients(&gradients, &parameters.trained(), &references)?;
    Ok([Seen::Difference(worst, F32), Seen::Difference(difference, F32)])
}

fn decoded_in_tf32(with: &Check) -> Result<Seen> {
    let f = tensors("vae.safetensors")?;
    let (vae, latents) = (with.autoencoder()?, with.here(&f["latents"])?);
    let decoded = device::with_tf32(true, || vae.decode(&latents))?;
    Ok(Seen::Difference(largest_difference(&decoded, &f["decoded"])?, SHORT))
}

/// Every loop of the fixture with this sampler and SD 1.5's spacing of timesteps; the model that it was made with is computed on the host.
fn loops(with: &Check, sampler: Sampler) -> Result<Seen> {
    let f = tensors("samplers.safetensors")?;
    let config = fs_err::read_to_string(with.folder.model()?.scheduler_config)?;
    let mut worst = 0.0f64;
    for prediction in ["epsilon", "v_prediction"] {
        let config = config.replace("\"epsilon\"", &format!("\"{prediction}\""));
        let schedule = tunelab::diffusion::NoiseSchedule::from_config(&config, "scheduler_config.json".as_ref())?;
        for steps in [50, 10, 7] {
            let mut run = SamplerRun::new(sampler, &schedule, steps)?;
            let mut generators = [11, 12].map(Generator::manual_seed);
            let noise: Vec<f32> = generators.iter_mut().flat_map(|g| g.randn(4 * 4 * 6)).collect();
            let mut x = (Tensor::from_vec(noise, (2, 4, 4, 6), with.device)? * run.init_noise_sigma())?;
            for call in 0..run.timesteps().len() {
                let input = run.scale_model_input(&x, call)?.to_device(&Device::Cpu)?;
                // 0.6 cos(t / 1000) x + 0.1 sin(3 x)
                let straight = (&input * (0.6 * (run.timesteps()[call] / 1000.0).cos()))?;
                let output = (straight + ((&input * 3.0)?.sin()? * 0.1)?)?;
                x = run.step(&with.here(&output)?, call, &x, &mut generators)?;
            }
            let all = f.get(&format!("{sampler}.{prediction}.{steps}.x"));
            let all = all.ok_or_else(|| Error::run(format!("no loop of {sampler}, {prediction}, {steps} steps")))?;
            worst = worst.max(largest_difference(&x, &all.get(all.dim(0)? - 1)?)?);
        }
    }
    Ok(Seen::Difference(worst, F32))
}

/// The fixture's pipeline, its UNet with a LoRA, and the conditioning of both prompts.
struct Fixture<'a> {
    with: &'a Check<'a>,
    base: Pipeline,
    tuned: Unet,
    embeds: PromptEmbeds,
}

impl<'a> Fixture<'a> {
    fn load(with: &'a Check<'a>) -> Result<Self> {
        let base = PipelineLoader::of_files(&with.folder.model()?, with.device).pipeline()?;
        let parameters = base.parameters(PartName::Unet)?;
        let file = with.folder.path().join("lora/pytorch_lora_weights.safetensors");
        let modules = Modules::new(&base.parameters);
        let mut adapters = lora_file::read(&file, &modules, with.device, 1.0)?;
        let lora = adapters.remove(&PartName::Unet).ok_or_else(|| Error::run("the LoRA has nothing for the UNet"))?;
        let tuned = Build::from_parameters(parameters.clone().with_lora(lora));
        let (tuned, _) = Unet::new(base.unet.config(), tuned)?;
        let ids = tokenize(&base.tokenizers, ["a dog", "blurry"], &mut |_| {})?;
        let embeds = base.text_encoders.encode_each(&ids)?;
        Ok(Self { with, base, tuned, embeds })
    }

    /// Latents and pixels of so many pictures: the first network's in both sizes, then the other's.
    fn pictures(&self, sampler: Sampler, pictures: usize) -> Result<Seen> {
        let f = tensors("pipeline.safetensors")?;
        let Pipeline { unet, vae, schedule, .. } = &self.base;
        let (prompt, negative) = (&self.embeds["a dog"], &self.embeds["blurry"]);
        let (interrupt, bar) = (Interrupt::default(), Progress::hidden().bar("", 0));
        let (mut worst, mut pixel) = (0.0f64, 0);
        for (i, (which, unet)) in [("base", unet), ("lora", &self.tuned)].into_iter().enumerate() {
            let generator = ImageGenerator::new(unet, vae, schedule, self.with.device, &interrupt);
            for (height, width) in SIZES.into_iter().take(pictures.saturating_sub(i * SIZES.len())) {
                let shot = ImageMetadata {
                    prompt: "a dog".to_owned(),
                    params: SampleParams {
                        force_zeros_for_empty_prompt: true,
                        negative_prompt: "blurry".to_owned(),
                        steps: 10,
                        sampler,
                        karras: false,
                        guidance_scale: 7.5,
                        seed: 7,
                        width,
                        height,
                    },
                    stand_in: None,
                };
                let name = format!("{which}.{sampler}.{height}x{width}");
                let latents = generator.latents(&shot, 1, sampler, prompt, negative, &bar)?;
                worst = worst.max(largest_difference(&latents, &f[&format!("{name}.final_latents")])?);
                let image = generator.generate(&shot, sampler, prompt, negative, &bar)?;
                let pixels: Vec<u8> = f[&format!("{name}.pixels")].to_dtype(DType::U8)?.flatten_all()?.to_vec1()?;
                let pairs = image.pixels.iter().zip(&pixels);
                pixel = pairs.map(|(a, b)| a.abs_diff(*b)).fold(pixel, u8::max);
            }
        }
        let text = format!("latents differ by {worst:.1e} of {F32:.0e}, pixels by {pixel} of 255");
        Ok(Seen::Outcome(worst < F32 && pixel <= PIXEL, text))
    }
}
