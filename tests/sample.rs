//! Whole pictures against diffusers' pipeline: every sampler, two sizes, without a LoRA and with one in five spellings.

use crate::fixture::{Tensors, fixture, loader, model, relative, tensors, values, within};
use candle_core::{Device, Tensor};
use tunelab::adapter::file::{self as lora_file, Modules};
use tunelab::config::SampleParams;
use tunelab::data::Rgb;
use tunelab::diffusion::Sampler;
use tunelab::interrupt::Interrupt;
use tunelab::model::build::Build;
use tunelab::model::unet::Unet;
use tunelab::pipeline::{Pipeline, PromptEmbeds, tokenize};
use tunelab::progress::Progress;
use tunelab::random::Generator;
use tunelab::results::ImageMetadata;
use tunelab::sample::ImageGenerator;
use tunelab::weights::PartName;

const SPELLINGS: [&str; 5] = ["pytorch_lora_weights", "no_metadata", "old_down_up", "old_processor", "kohya"];
const SIZES: [(usize, usize); 2] = [(64, 64), (64, 128)];

/// The fixture's pipeline, and the conditioning of both prompts.
struct Fixture {
    base: Pipeline,
    embeds: PromptEmbeds,
}

impl Fixture {
    fn load() -> Self {
        let base = loader(&model()).pipeline().unwrap();
        let ids = tokenize(&base.tokenizers, ["a dog", "blurry"], &mut |text| panic!("{text}")).unwrap();
        let embeds = base.text_encoders.encode_each(&ids).unwrap();
        Self { base, embeds }
    }

    /// The UNet with one of the fixture's LoRA files.
    fn with_lora(&self, spelling: &str, strength: f64) -> Unet {
        let modules = Modules::new(&self.base.parameters);
        let file = fixture("lora").join(format!("{spelling}.safetensors"));
        let mut adapters = lora_file::read(&file, &modules, &Device::Cpu, strength).unwrap();
        let lora = adapters.remove(&PartName::Unet).unwrap();
        assert_eq!(lora.len(), 128);
        let parameters = self.base.parameters[&PartName::Unet].clone().with_lora(lora);
        Unet::new(self.base.unet.config(), Build::from_parameters(parameters)).unwrap().0
    }

    /// Picture and final latents.
    fn draw(&self, unet: &Unet, sampler: Sampler, shot: &ImageMetadata) -> (Rgb, Tensor) {
        let interrupt = Interrupt::default();
        let (vae, schedule) = (&self.base.vae, &self.base.schedule);
        let generator = ImageGenerator::new(unet, vae, schedule, &Device::Cpu, &interrupt);
        let bar = Progress::hidden().bar("", 0);
        let (prompt, negative) = (&self.embeds["a dog"], &self.embeds["blurry"]);
        let image = generator.generate(shot, sampler, prompt, negative, &bar).unwrap();
        (image, generator.latents(shot, 1, sampler, prompt, negative, &bar).unwrap())
    }
}

/// The settings of `pipeline.safetensors`.
fn shot(sampler: Sampler, (height, width): (usize, usize)) -> ImageMetadata {
    ImageMetadata {
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
    }
}

/// The largest difference of two pictures, of 255.
fn worst(picture: &Rgb, pixels: &[u8]) -> u8 {
    assert_eq!(picture.pixels.len(), pixels.len());
    picture.pixels.iter().zip(pixels).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

/// Draws one picture and compares it and its latents with the reference of that name; the largest difference in pixels.
fn check(pipeline: &Fixture, unet: &Unet, sampler: Sampler, size: (usize, usize), f: &Tensors, which: &str) -> u8 {
    let name = format!("{which}.{sampler}.{}x{}", size.0, size.1);
    let (picture, latents) = pipeline.draw(unet, sampler, &shot(sampler, size));
    within(&latents, &f[&format!("{name}.final_latents")], 1e-4, &name);
    let pixels = &f[&format!("{name}.pixels")];
    assert_eq!(pixels.dims(), [picture.height, picture.width, 3]);
    let difference = worst(&picture, &pixels.flatten_all().unwrap().to_vec1().unwrap());
    assert!(difference <= 2, "{name}: differs by {difference} of 255");
    difference
}

#[test]
fn pictures_equal_diffusers_for_every_sampler_and_spelling() {
    let (pipeline, f) = (Fixture::load(), tensors("pipeline.safetensors"));
    let mut drawn = 0;
    for sampler in Sampler::ALL {
        for size in SIZES {
            let base = check(&pipeline, &pipeline.base.unet, sampler, size, &f, "base");
            let lora = SPELLINGS.map(|s| check(&pipeline, &pipeline.with_lora(s, 1.0), sampler, size, &f, "lora"));
            println!("{sampler} {size:?}: base within {base}, the five spellings within {lora:?} of 255");
            drawn += 2;
        }
    }
    assert_eq!(f.keys().filter(|name| name.ends_with(".pixels")).count(), drawn, "every reference is compared");
}

#[test]
fn initial_noise_equals_torch() {
    let f = tensors("pipeline.safetensors");
    for (height, width) in SIZES {
        let wanted = values(&f[&format!("initial_latents.{height}x{width}")]);
        let ours = Generator::manual_seed(7).randn(4 * height / 8 * width / 8);
        assert!(ours.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-6), "{height}x{width}");
        assert_eq!(ours.len(), wanted.len());
    }
}

#[test]
fn strength_of_the_lora_goes_from_the_base_to_the_whole() {
    let pipeline = Fixture::load();
    let sampler = Sampler::Ddim;
    let draw = |unet: &Unet| pipeline.draw(unet, sampler, &shot(sampler, (64, 64))).1;
    let base = draw(&pipeline.base.unet);
    let [none, half, whole] = [0.0, 0.5, 1.0].map(|s| draw(&pipeline.with_lora("kohya", s)));
    assert_eq!(values(&none), values(&base), "0 is the base model, bit for bit");
    assert!(relative(&half, &base) > 0.01 && relative(&half, &whole) > 0.01);
    let middle = ((&base + &whole).unwrap() * 0.5).unwrap();
    assert!(relative(&half, &middle) < relative(&half, &base), "0.5 lies between");
}

#[test]
fn guidance_of_one_runs_the_prompt_alone() {
    let pipeline = Fixture::load();
    let sampler = Sampler::Dpmpp2m;
    let at = |scale: f64| {
        let mut shot = shot(sampler, (64, 64));
        shot.params.guidance_scale = scale;
        pipeline.draw(&pipeline.base.unet, sampler, &shot).1
    };
    // Just above 1 the batch of two runs, and its formula gives the prompt's prediction.
    within(&at(1.0), &at(1.0 + 1e-9), 1e-4, "1 and hardly more");
    let more = relative(&at(1.0), &at(7.5));
    assert!(more > 1e-3, "guidance of 7.5 moves the latents by {more:.2e}");
    assert_eq!(values(&at(0.5)), values(&at(1.0)), "below 1 as well");
}

#[test]
fn seeds_and_prompts_make_the_picture() {
    let pipeline = Fixture::load();
    let sampler = Sampler::EulerA;
    let draw = |seed: u64| {
        let mut shot = shot(sampler, (64, 64));
        shot.params.seed = seed;
        pipeline.draw(&pipeline.base.unet, sampler, &shot).0.pixels
    };
    assert_eq!(draw(7), draw(7));
    assert_ne!(draw(7), draw(8));
    let swap = |name: &str, other: &str| (name.to_owned(), pipeline.embeds[other].clone());
    let embeds = [swap("a dog", "blurry"), swap("blurry", "a dog")].into_iter().collect();
    let swapped = Fixture { embeds, ..Fixture::load() };
    let other = swapped.draw(&pipeline.base.unet, sampler, &shot(sampler, (64, 64))).0.pixels;
    assert_ne!(draw(7), other);
}
