//! Everything that a run needs before its first step: model, data, class images, conditioning,
//! latents.
//!
//! In: the experiment. Out: [`RunInputs`]. Text encoders that are not trained are dropped as soon
//! as every text has its conditioning.

use super::metrics::Judges;
use super::run_inputs::RunInputs;
use super::{Experiment, class_images};
use crate::adapter::{self, Method};
use crate::assets;
use crate::config::{Objective, Plan, local, unfit_sampling};
use crate::data::{self, Cache, Picture, Shapes};
use crate::device;
use crate::error::{Error, Result};
use crate::hash;
use crate::model::Dtype;
use crate::model::build::{Build, Parameters, Trainable};
use crate::model::unet::Unet;
use crate::numbers::counted;
use crate::pipeline::load::passed_over;
use crate::pipeline::{Family, Ids, ModelFiles, PipelineLoader, PromptEmbeds, TextEncoders, Tokenizers, tokenize};
use crate::plan::{command, fit};
use crate::report::data_grid;
use crate::results::Hashes;
use crate::train::examples::{Examples, Role, Sources};
use crate::train::texts::{TextConditioning, encode_cached};
use crate::weights::PartName;
use std::collections::BTreeMap;
use tunelab_ops::weight::products_in_bf16;

/// Beside the runs: latents, conditioning and class images by content, shared by all of them.
pub(super) const CACHE_FOLDER: &str = ".cache";

impl RunInputs {
    /// Finds, fetches, checks, hashes and encodes. `judges` will measure the images.
    pub fn new(of: &Experiment, judges: &Judges) -> Result<Self> {
        let Experiment { plan, run, device, progress, interrupt, .. } = *of;
        let warn = &mut |text: String| progress.warn(text);
        let root = assets::find_dataset(&plan.dataset.source, progress)?;
        let pictures = data::load(&root, &plan.dataset, warn)?;
        note_masks(plan, &pictures, warn);
        let files = assets::find_model(&plan.model, progress)?;
        check(of, &files, warn)?;
        of.expect_run(&files.noise_schedule()?, judges, &pictures);
        let loader = PipelineLoader::of_files(&files, device)
            .training(trained(&adapter::method(&plan.adapter), files.family))
            .seed(plan.seed)
            .dtype(plan.train.dtype);
        loader.check_sizes()?;
        let mut hashes = Hashes { model: files.hashes()?, ..hash_data(plan, &pictures) };
        // Before hours of work; the class images are not known yet.
        run.check_inputs(&hashes)?;
        let cache = Cache::new(run.path().with_file_name(CACHE_FOLDER));
        let texts = Texts::of_plan(plan, &pictures, &loader.tokenizers()?, warn)?;
        // Those that are not trained are gone before the UNet comes: Stable Diffusion XL's are 3 GB.
        let (text_encoders, parameters) = loader.text_encoders()?;
        let of_texts: usize = parameters.values().map(Parameters::weight_count).sum();
        let texts = texts.encode(of, text_encoders, parameters, &hashes.model, &cache)?;
        let ((mut unet, unet_parameters), vae, schedule) = (loader.unet()?, loader.vae()?, loader.schedule()?);
        let total_parameters = of_texts + unet_parameters.weight_count() + vae.parameter_count();

        let vae_hash = hash_of_part(&hashes.model, PartName::Vae);
        let sources = Sources { vae: &vae, vae_hash: &vae_hash, cache: &cache, device, progress, interrupt };
        let examples = Examples::new(&pictures, Role::Instance, &plan.dataset, &sources)?;
        let class = match &plan.objective {
            Objective::Captions => None,
            Objective::DreamBooth(prior) => {
                let base = Build::from_parameters(unet_parameters.clone().without_lora());
                let (base, _) = Unet::new(unet.config(), base)?;
                let generator = of.image_generator(&base, &vae, &schedule);
                let embeds = &texts.eval_embeds;
                let sizes = class_images::sizes(plan, prior.class_images, &pictures);
                let found = class_images::find(of, (prior, &sizes), &generator, embeds, &hashes.model, &cache, warn)?;
                data_grid::write(run.path(), &pictures, &found, &Shapes::of(&plan.dataset))?;
                hashes.class = hash_pictures(&found);
                Some((Examples::class(&found, &examples, &plan.dataset, &sources)?, prior.prior_loss_weight))
            }
        };
        if plan.train.gradient_checkpointing {
            unet.recompute();
        }
        run.check_inputs(&hashes)?;
        run.write_inputs(&hashes)?;
        // The base model's class images were drawn over its own.
        let schedule = plan.train.noise_schedule(schedule)?;
        let Encoded { captions, eval_embeds, eval_ids, parameters: text_parameters } = texts;
        Ok(Self {
            files,
            pictures,
            examples,
            class,
            texts: captions,
            eval_embeds,
            eval_ids,
            vae,
            unet,
            unet_parameters,
            text_parameters,
            schedule,
            total_parameters,
            hashes,
        })
    }
}

/// Masks that lie there and are not asked for.
fn note_masks(plan: &Plan, pictures: &[Picture], warn: &mut dyn FnMut(String)) {
    let masks = pictures.iter().filter(|picture| picture.mask_file().is_some()).count();
    if masks > 0 && !plan.dataset.masks.on {
        warn(format!("{} not used: `masked_loss` in [dataset] is false", counted(masks, "mask")));
    }
}

/// What can be said of the model before its weights are read: whether it fits the card, what of it
/// is passed over, whether its schedule has the steps that are asked for.
fn check(of: &Experiment, files: &ModelFiles, warn: &mut dyn FnMut(String)) -> Result<()> {
    let Experiment { plan, device, progress, .. } = *of;
    // A model that cannot be counted is refused where it is loaded.
    if let Ok(memory) = fit::needed(plan, &files.root, !device.is_cpu()) {
        let short = match (device::card_memory(device), fit::HostMemory::now()) {
            (Some(card), _) => fit::fit(plan, &memory, card)?,
            (None, Some(host)) if device.is_cpu() => fit::fit_host(plan, &memory, &host)?,
            (None, _) => None,
        };
        short.into_iter().for_each(&mut *warn);
    }
    command::note(plan).into_iter().for_each(&mut *warn);
    check_sides(plan, files)?;
    let schedule = files.noise_schedule()?;
    passed_over(files)?.into_iter().for_each(&mut *warn);
    // It would show after the training.
    if let Some(unfit) = unfit_sampling(plan, &schedule).into_iter().next() {
        return Err(unfit.error);
    }
    if plan.train.dtype == Dtype::Bf16 && device.is_cpu() {
        progress.line(format!("frozen weights in bf16, products {}", products_in_bf16()));
    }
    Ok(())
}

/// Whether the model's networks can halve images of these sizes as often as they do: a plan is made before the model is here.
fn check_sides(plan: &Plan, files: &ModelFiles) -> Result<()> {
    let needed = local::multiple(&plan.model.found_at(&files.root), files.family);
    let buckets = &plan.dataset.buckets;
    let (key, sides) =
        if buckets.on { ("bucket_step", [buckets.step; 2]) } else { ("resolution", plan.dataset.resolution.sides()) };
    // A square is what every release has taken.
    let is_free = !buckets.on && plan.dataset.resolution.side().is_some();
    if is_free || sides.iter().all(|side| side.is_multiple_of(needed)) {
        return Ok(());
    }
    let message = format!("dataset.{key}: this model's networks need sides that are multiples of {needed}");
    Err(Error::input(message).hint(format!("set dataset.{key} to such")))
}

/// The ids of all texts of a plan.
struct Texts {
    captions: Ids,
    /// The evaluation's prompts, and those of the class images.
    eval: Ids,
}

/// The texts for training and for drawing.
struct Encoded {
    captions: TextConditioning,
    eval_embeds: PromptEmbeds,
    eval_ids: Ids,
    /// Of the text encoders, if they are trained.
    parameters: BTreeMap<PartName, Parameters>,
}

impl Texts {
    fn of_plan(
        plan: &Plan,
        pictures: &[Picture],
        tokenizers: &Tokenizers,
        warn: &mut dyn FnMut(String),
    ) -> Result<Self> {
        let class_prompt = match &plan.objective {
            Objective::DreamBooth(prior) => Some(prior.class_prompt.as_str()),
            Objective::Captions => None,
        };
        let empty = (plan.dataset.caption_dropout > 0.0).then_some("");
        let captions = pictures.iter().map(|p| p.caption.as_str()).chain(class_prompt).chain(empty);
        let captions = tokenize(tokenizers, captions, warn)?;
        let drawn = plan.drawn_prompts();
        let prompts = drawn.iter().map(String::as_str);
        let prompts = prompts.chain([plan.eval.sample.negative_prompt.as_str(), ""]).chain(class_prompt);
        Ok(Self { captions, eval: tokenize(tokenizers, prompts, warn)? })
    }

    /// With the text encoders as they are before the first step; those that are not trained are
    /// dropped.
    fn encode(
        self,
        of: &Experiment,
        encoders: TextEncoders,
        parameters: BTreeMap<PartName, Parameters>,
        model: &BTreeMap<String, String>,
        cache: &Cache,
    ) -> Result<Encoded> {
        let hashes = parameters.keys().map(|part| (*part, hash_of_part(model, *part))).collect();
        let without_dropout = encoders.over(|part| Ok(parameters[&part].without_dropout()))?;
        let embeds = |ids: &Ids| encode_cached(&without_dropout, &hashes, ids, cache, of.device);
        let eval_embeds = embeds(&self.eval)?;
        let is_trained = parameters.values().any(|parameters| !parameters.trained().is_empty());
        let (captions, parameters) = if is_trained {
            (TextConditioning::Trained(encoders, self.captions), parameters)
        } else {
            (TextConditioning::Cached(embeds(&self.captions)?), BTreeMap::new())
        };
        Ok(Encoded { captions, eval_embeds, eval_ids: self.eval, parameters })
    }
}

/// What of each part is trained.
fn trained(method: &Method, family: Family) -> BTreeMap<PartName, Trainable> {
    let text = family.text_encoders().map(|(part, _)| (part, method.text_encoder.clone()));
    text.chain([(PartName::Unet, method.unet.clone())]).collect()
}

/// The pictures' and the captions' hashes.
pub(super) fn hash_data(plan: &Plan, pictures: &[Picture]) -> Hashes {
    let own = pictures.iter().filter(|_| plan.dataset.prompt.is_none());
    let captions = own.map(|p| (p.name(), hash::sha256(p.caption.as_bytes()))).collect();
    let mut data = hash_pictures(pictures);
    if plan.dataset.masks.on {
        let masks = pictures.iter().filter_map(Picture::mask);
        data.extend(masks.map(|(name, sha256)| (name, sha256.to_owned())));
    }
    Hashes { data, captions: Some(captions), ..Hashes::default() }
}

/// SHA-256 of every picture, by its name.
pub(super) fn hash_pictures(pictures: &[Picture]) -> BTreeMap<String, String> {
    pictures.iter().map(|p| (p.name(), p.sha256.clone())).collect()
}

/// One hash for all files of a part.
fn hash_of_part(model: &BTreeMap<String, String>, part: PartName) -> String {
    let prefix = format!("{part}/");
    let hashes: Vec<&str> =
        model.iter().filter(|(name, _)| name.starts_with(&prefix)).map(|(_, h)| h.as_str()).collect();
    hash::key(&hashes)
}
