//! The `tunelab sample` command: pictures of a run's result, or of any model with or without a
//! LoRA.
//!
//! In: its arguments. Out: `DIR/<prompt-slug>/<index>.png` with the parameters in the text chunk,
//! and `DIR/grid.png`.

use super::{ImageGenerator, check_base, load, trained_model};
use crate::adapter::file as lora_file;
use crate::assets;
use crate::cli::{SampleArgs, StepChoice};
use crate::config::local;
use crate::config::{Dtype, Plan, SampleParams, Source};
use crate::data::Rgb;
use crate::device;
use crate::diffusion::Sampler;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::numbers::median;
use crate::pipeline::load::passed_over;
use crate::pipeline::{Pipeline, tokenize};
use crate::progress::Progress;
use crate::report::grid::{Heading, Row, grid};
use crate::results::{ImageMetadata, PLAN_TOML, RunDir, RunRecord, SampleSet, slug, write_png};
use std::path::{Path, PathBuf};
use tunelab_ops::replay::NO_GRAPHS;

/// What is drawn with and how, all options resolved.
struct Settings {
    model: Source,
    lora: Option<(PathBuf, f64)>,
    /// Of the frozen weights.
    dtype: Dtype,
    tf32: bool,
    /// Of the run that is drawn with.
    zero_terminal_snr: bool,
    /// Of the run that trained the LoRA on this model.
    trained_on: Option<RunRecord>,
    params: SampleParams,
    images: usize,
    /// Width and height; the model's own if none.
    size: Option<(usize, usize)>,
    /// Chunks that texts are read in.
    chunks: usize,
    /// What the run's model stands in for.
    stand_in: Option<String>,
}

impl Settings {
    fn new(args: &SampleArgs) -> Result<Self> {
        let mut settings = match (&args.run_dir, &args.model) {
            (Some(run), _) => Self::of_run(run, args.step)?,
            (None, Some(model)) => Self::of_model(model, args)?,
            (None, None) => return Err(Error::input("give a run's folder or --model")),
        };
        if let Some(negative) = &args.negative_prompt {
            settings.params.negative_prompt.clone_from(negative);
            // diffusers encodes an empty text that is given, and takes zeros where none is.
            settings.params.force_zeros_for_empty_prompt = false;
        }
        settings.params.seed = args.seed.unwrap_or(settings.params.seed);
        settings.images = args.images.unwrap_or(settings.images);
        settings.params.steps = args.steps.unwrap_or(settings.params.steps);
        settings.params.guidance_scale = args.guidance_scale.unwrap_or(settings.params.guidance_scale);
        settings.params.sampler = args.sampler.unwrap_or(settings.params.sampler);
        // A run's own Karras sigmas go with a sampler that has them.
        settings.params.karras = args.karras || (settings.params.karras && settings.params.sampler.has_karras());
        settings.size = args.width.zip(args.height).or(settings.size);
        settings.chunks = args.text_chunks.unwrap_or(settings.chunks);
        Ok(settings)
    }

    /// A run's own settings, with the model or the LoRA that it trained.
    fn of_run(path: &Path, step: Option<StepChoice>) -> Result<Self> {
        let run = RunDir::existing(path)?;
        let plan = Plan::load(&run.path().join(PLAN_TOML), &[])?;
        let record = run.any_record()?;
        let set = step.map_or(Ok(SampleSet::Final), |step| set_of(step, &run, &plan, record.as_ref()))?;
        let (model, lora) = trained_model(&run, &plan, set)?;
        let trained_on = record.filter(|_| lora.is_some());
        let stand_in = plan.in_place();
        let eval = plan.eval;
        Ok(Self {
            model,
            // Weights that were trained are not rounded.
            dtype: if lora.is_some() { plan.train.dtype } else { Dtype::F32 },
            tf32: plan.train.tf32,
            zero_terminal_snr: plan.train.zero_terminal_snr,
            lora: lora.map(|file| (file, 1.0)),
            trained_on,
            size: Some((eval.sample.width, eval.sample.height)),
            params: eval.sample,
            images: eval.images,
            chunks: plan.text.chunks,
            stand_in,
        })
    }

    /// Any model with its pipeline's defaults.
    fn of_model(model: &str, args: &SampleArgs) -> Result<Self> {
        let lora = args.lora.as_ref().map(|path| lora_file::find(path)).transpose()?;
        let model = Source::from_argument(model)?;
        let model = args.config.iter().try_fold(model, |model, config| model.with_config(config))?;
        let (sampler, guidance_scale) = local::family(&model).usual_sampling();
        Ok(Self {
            model,
            lora: lora.map(|file| (file, args.lora_scale)),
            dtype: Dtype::F32,
            tf32: false,
            zero_terminal_snr: false,
            trained_on: None,
            params: SampleParams { seed: 0, sampler, guidance_scale, ..SampleParams::default() },
            images: 1,
            size: None,
            chunks: 1,
            stand_in: None,
        })
    }

    fn shot(&self, prompt: &str, index: usize, (width, height): (usize, usize)) -> ImageMetadata {
        ImageMetadata {
            prompt: prompt.to_owned(),
            params: SampleParams { width, height, ..self.params.nth(index) },
            stand_in: self.stand_in.clone(),
        }
    }
}

/// `tunelab sample`: draws every prompt's pictures and the grid of all.
pub fn command(args: &SampleArgs) -> Result<()> {
    let mut settings = Settings::new(args)?;
    let targets = targets(args, &settings)?;
    let interrupt = Interrupt::install()?;
    let progress = Progress::from_env();
    let device::Opened { device, why } = device::open(args.device)?;
    if let Some(why) = why {
        progress.line(why);
    }
    device::prepare(&device, settings.tf32);
    let asked = args.dtype.as_deref().and_then(Dtype::named);
    if let Some(asked) = asked {
        device::check_type(&device, asked, false).map_err(|error| error.context("--dtype"))?;
    }
    // A run may have been computed on another device.
    let own = device::check_type(&device, settings.dtype, false).map_or(Dtype::F32, |()| settings.dtype);
    let dtype = asked.unwrap_or(own);
    let files = assets::find_model(&settings.model, &progress)?;
    if args.model.is_some() && args.sampler.is_none() {
        settings.params.sampler = Sampler::of_model(&files.noise_schedule()?).unwrap_or(settings.params.sampler);
    }
    settings.trained_on.iter().try_for_each(|record| check_base(record, &files.root, files.hashes()?))?;
    passed_over(&files)?.into_iter().for_each(|text| progress.warn(text));
    let pipeline = load(&files, settings.lora.as_ref(), &device, dtype)?.with_text_chunks(settings.chunks);
    let size = image_size(&pipeline, settings.size)?;
    let prompts = targets.iter().map(|(prompt, _)| prompt.as_str());
    let texts = [settings.params.negative_prompt.as_str()].into_iter().chain(prompts);
    let ids = tokenize(&pipeline.tokenizers, texts, &mut |text| progress.warn(text))?;
    let embeds = pipeline.text_encoders.encode_each(&ids)?;
    let own = &pipeline.schedule;
    let schedule = if settings.zero_terminal_snr { &own.with_zero_terminal_snr()? } else { own };
    let generator = ImageGenerator::new(&pipeline.unet, &pipeline.vae, schedule, &device, &interrupt);
    let images: usize = targets.iter().map(|(_, paths)| paths.len()).sum();
    let unet_calls = generator.unet_calls(settings.params.sampler, settings.params.steps)? * images;
    let bar = progress.bar("sampling", unet_calls as u64);
    let mut rows = Vec::new();
    for (prompt, paths) in &targets {
        let mut images: Vec<Rgb> = Vec::with_capacity(paths.len());
        for (index, path) in paths.iter().enumerate() {
            let shot = settings.shot(prompt, index, size);
            let (positive, negative) = (&embeds[prompt], &embeds[&settings.params.negative_prompt]);
            let image = generator.generate(&shot, settings.params.sampler, positive, negative, &bar)?;
            write_png(path, &image, &[("parameters", &shot.parameters())])?;
            images.push(image);
        }
        rows.push(Row { label: prompt.clone(), images });
    }
    // Of a step as `bench sample` times it: the bar's own speed counts the VAE, and the first step.
    bar.set_message(format!("{:.3} s a step without the VAE", median(&generator.seconds())));
    bar.finish();
    if let Some(Err(why)) = generator.replayed() {
        progress.line(format!("note: {NO_GRAPHS}: {why}"));
    }
    let mark = if settings.stand_in.is_some() { "STAND-IN" } else { "" };
    let heading = Heading { text: mark.into(), span: settings.images };
    let file = args.output.join("grid.png");
    write_png(&file, &grid(&[heading], &rows)?, &[])?;
    progress.line(format!("wrote {}", file.display()));
    Ok(())
}

/// Whose weights are asked for: the last step's are the run's result.
fn set_of(step: StepChoice, run: &RunDir, plan: &Plan, record: Option<&RunRecord>) -> Result<SampleSet> {
    let step = match step {
        StepChoice::Number(step) => step,
        StepChoice::Best => {
            let best = record.and_then(|record| record.metrics.as_ref()?.best.as_ref());
            best.map(|best| best.step).ok_or_else(|| {
                let hint = match &plan.metrics.best_by {
                    Some(by) if record.is_some() => format!("metrics.best_by is {by}, of which the run has no numbers"),
                    _ => {
                        "set metrics.best_by, such as \"dino\", and let `tunelab run` finish the experiment".to_owned()
                    }
                };
                Error::input(format!("{} knows no best step", run.path().display())).hint(hint)
            })?
        }
    };
    let is_last = record.is_some_and(|record| record.counts.steps == step);
    Ok(match step {
        0 => SampleSet::Base,
        _ if is_last => SampleSet::Final,
        step => SampleSet::Step(step),
    })
}

/// Width and height: those that are asked for, otherwise the model's own.
///
/// Errors: the VAE has no such size.
fn image_size(pipeline: &Pipeline, asked: Option<(usize, usize)>) -> Result<(usize, usize)> {
    let by = pipeline.vae.config().downscale();
    let [own_height, own_width] = pipeline.unet.config().sample_size.map(|side| side * by);
    let (width, height) = asked.unwrap_or((own_width, own_height));
    if width % by != 0 || height % by != 0 {
        let message = format!("{width}x{height}: this model's pictures need sides that are multiples of {by}");
        return Err(Error::input(message));
    }
    Ok((width, height))
}

/// Each prompt (once) with the files of its pictures. None of them may be there already.
fn targets(args: &SampleArgs, settings: &Settings) -> Result<Vec<(String, Vec<PathBuf>)>> {
    let mut targets: Vec<(String, Vec<PathBuf>)> = Vec::new();
    for prompt in &args.prompts {
        if targets.iter().all(|(other, _)| other != prompt) {
            let folder = args.output.join(slug(prompt));
            let paths = (0..settings.images).map(|index| folder.join(format!("{index}.png"))).collect();
            targets.push((prompt.clone(), paths));
        }
    }
    let grid = args.output.join("grid.png");
    let taken = targets.iter().flat_map(|(_, paths)| paths).chain([&grid]).find(|path| path.exists());
    if let Some(path) = taken {
        return Err(Error::input(format!("{} is there already", path.display()))
            .hint("give another folder with -o, or remove this one"));
    }
    // Now, and not after the first picture has been drawn.
    fs_err::create_dir_all(&args.output).map_err(|e| {
        Error::input(format!("the folder {} cannot be written", args.output.display()))
            .cause(e)
            .hint("give a folder that can be written with -o DIR")
    })?;
    Ok(targets)
}
