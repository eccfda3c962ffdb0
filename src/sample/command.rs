//! The `tunelab sample` command: pictures of a run's result, or of any model with or without a LoRA.
//!
//! In: its arguments. Out: `DIR/<prompt-slug>/<index>.png` with the parameters in the text chunk, and `DIR/grid.png`.

use super::{Painter, check_base, trained_model};
use crate::adapter::file::{self as lora_file, Component, Modules};
use crate::assets::{self, ModelFiles};
use crate::cli::SampleArgs;
use crate::config::{Dtype, Plan, SampleParams, Source};
use crate::data::{Rgb, shortened};
use crate::device;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::model::build::{Build, Parameters, Trainable};
use crate::model::clip::ClipText;
use crate::model::tokenizer::Tokenizer;
use crate::model::unet::Unet;
use crate::model::vae::Vae;
use crate::pipeline::load;
use crate::progress::Progress;
use crate::report::grid::{Heading, Row, grid};
use crate::results::{ImageMetadata, PLAN_TOML, RunDir, RunRecord, slug, write_png};
use candle_core::{Device, Tensor};
use std::path::{Path, PathBuf};
use tunelab_ops::replay::NO_GRAPHS;

/// What is drawn with and how, all options resolved.
struct Settings {
    model: Source,
    lora: Option<(PathBuf, f64)>,
    /// Of the frozen weights.
    dtype: Dtype,
    tf32: bool,
    /// Of the run that trained the LoRA on this model.
    trained_on: Option<RunRecord>,
    params: SampleParams,
    images: usize,
    /// Width and height; the model's own if none.
    size: Option<(usize, usize)>,
    /// What the run's model stands in for.
    stand_in: Option<String>,
}

impl Settings {
    fn new(args: &SampleArgs) -> Result<Self> {
        let mut settings = match (&args.run_dir, &args.model) {
            (Some(run), _) => Self::of_run(run)?,
            (None, Some(model)) => Self::of_model(model, args)?,
            (None, None) => return Err(Error::input("give a run's folder or --model")),
        };
        if let Some(negative) = &args.negative_prompt {
            settings.params.negative_prompt.clone_from(negative);
        }
        settings.params.seed = args.seed.unwrap_or(settings.params.seed);
        settings.images = args.images.unwrap_or(settings.images);
        settings.params.steps = args.steps.unwrap_or(settings.params.steps);
        settings.params.guidance_scale = args.guidance_scale.unwrap_or(settings.params.guidance_scale);
        settings.params.sampler = args.sampler.unwrap_or(settings.params.sampler);
        settings.size = args.width.zip(args.height).or(settings.size);
        Ok(settings)
    }

    /// A run's own settings, with the model or the LoRA that it trained.
    fn of_run(path: &Path) -> Result<Self> {
        let run = RunDir::existing(path)?;
        let plan = Plan::load(&run.path().join(PLAN_TOML), &[])?;
        let (model, lora) = trained_model(&run, &plan)?;
        let trained_on = if lora.is_some() { run.any_record()? } else { None };
        let stand_in = plan.in_place();
        let eval = plan.eval;
        Ok(Self {
            model,
            // Weights that were trained are not rounded.
            dtype: if lora.is_some() { plan.train.dtype } else { Dtype::F32 },
            tf32: plan.train.tf32,
            lora: lora.map(|file| (file, 1.0)),
            trained_on,
            params: eval.sample,
            images: eval.images,
            size: Some((plan.dataset.resolution, plan.dataset.resolution)),
            stand_in,
        })
    }

    /// Any model with diffusers' defaults.
    fn of_model(model: &str, args: &SampleArgs) -> Result<Self> {
        let lora = args.lora.as_ref().map(|path| lora_file::find(path)).transpose()?;
        Ok(Self {
            model: Source::from_argument(model)?,
            lora: lora.map(|file| (file, args.lora_scale)),
            dtype: Dtype::F32,
            tf32: false,
            trained_on: None,
            params: SampleParams { seed: 0, ..SampleParams::default() },
            images: 1,
            size: None,
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

/// All networks of a pipeline.
pub(crate) struct Networks {
    tokenizer: Tokenizer,
    clip: ClipText,
    pub unet: Unet,
    pub vae: Vae,
}

impl Networks {
    /// A model with frozen weights of type `dtype`, with a LoRA and how strongly it works, if there is one.
    pub fn load(files: &ModelFiles, lora: Option<&(PathBuf, f64)>, device: &Device, dtype: Dtype) -> Result<Self> {
        let (mut clip, text_parameters) = load::text_encoder(files, device, Trainable::None, 0)?;
        let vae = load::vae(files, device)?;
        let (mut unet, unet_parameters) = load::unet(files, device, Trainable::None, 0, dtype)?;
        load::check_sizes(unet.config(), vae.config(), clip.config())?;
        if let Some((file, strength)) = lora {
            let modules = Modules::new(&unet_parameters, &text_parameters);
            let mut adapters = lora_file::read(file, &modules, device, *strength)?;
            let with = |p: Parameters, lora| Ok::<_, Error>(Build::from_parameters(p.with_lora(lora).folded()?));
            if let Some(lora) = adapters.remove(&Component::Unet) {
                unet = Unet::new(unet.config(), with(unet_parameters, lora)?)?.0;
            }
            if let Some(lora) = adapters.remove(&Component::TextEncoder) {
                clip = ClipText::new(clip.config(), with(text_parameters, lora)?)?.0;
            }
        }
        Ok(Self { tokenizer: Tokenizer::from_dir(&files.tokenizer)?, clip, unet, vae })
    }

    /// The hidden states [1, tokens, width] of a text.
    pub fn states(&self, text: &str, progress: &Progress) -> Result<Tensor> {
        let encoded = self.tokenizer.encode(text)?;
        if let Some(cut) = encoded.cut {
            let [text, cut] = [text, &cut].map(shortened);
            progress
                .warn(format!("the prompt “{text}” is too long for the text encoder; this part is left out: “{cut}”"));
        }
        self.clip.forward(&[encoded.ids])
    }
}

/// `tunelab sample`: draws every prompt's pictures and the grid of all.
pub fn command(args: &SampleArgs) -> Result<()> {
    let settings = Settings::new(args)?;
    let targets = targets(args, &settings)?;
    let interrupt = Interrupt::install()?;
    let progress = Progress::from_env();
    let device::Opened { device, why } = device::open(args.device)?;
    if let Some(why) = why {
        progress.line(why);
    }
    device::prepare(&device, settings.tf32);
    // A run may have been computed on another device.
    let dtype = device::check_type(&device, settings.dtype, false).map_or(Dtype::F32, |()| settings.dtype);
    let files = assets::find_model(&settings.model, &progress)?;
    settings.trained_on.iter().try_for_each(|record| check_base(record, &files))?;
    let schedule = load::schedule(&files)?;
    load::passed_over(&files)?.into_iter().for_each(|text| progress.warn(text));
    let networks = Networks::load(&files, settings.lora.as_ref(), &device, dtype)?;
    let (unet, vae) = (&networks.unet, &networks.vae);
    let [height, width] = unet.config().sample_size.map(|side| side * vae.config().downscale());
    let size = settings.size.unwrap_or((width, height));
    if size.0 % vae.config().downscale() != 0 || size.1 % vae.config().downscale() != 0 {
        let (w, h, by) = (size.0, size.1, vae.config().downscale());
        return Err(Error::input(format!("{w}x{h}: this model's pictures need sides that are multiples of {by}")));
    }
    let painter = Painter::new(unet, vae, &schedule, &device, &interrupt);
    let negative = networks.states(&settings.params.negative_prompt, &progress)?;
    let calls = painter.calls(settings.params.sampler, settings.params.steps)?
        * targets.iter().map(|(_, p)| p.len()).sum::<usize>();
    let bar = progress.bar("sampling", calls as u64);
    let mut rows = Vec::new();
    for (prompt, paths) in &targets {
        let states = networks.states(prompt, &progress)?;
        let mut pictures: Vec<Rgb> = Vec::with_capacity(paths.len());
        for (index, path) in paths.iter().enumerate() {
            let shot = settings.shot(prompt, index, size);
            let picture = painter.paint(&shot, settings.params.sampler, &states, &negative, &bar)?;
            write_png(path, &picture, &[("parameters", &shot.parameters())])?;
            pictures.push(picture);
        }
        rows.push(Row { label: prompt.clone(), images: pictures });
    }
    bar.finish();
    if let Some(Err(why)) = painter.replayed() {
        progress.line(format!("note: {NO_GRAPHS}: {why}"));
    }
    let mark = if settings.stand_in.is_some() { "STAND-IN" } else { "" };
    let heading = Heading { text: mark.into(), span: settings.images };
    let file = args.output.join("grid.png");
    write_png(&file, &grid(&[heading], &rows)?, &[])?;
    progress.line(format!("wrote {}", file.display()));
    Ok(())
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
