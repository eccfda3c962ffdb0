//! Everything that a run needs before its first step: model, data, class images, conditioning,
//! latents.
//!
//! In: the experiment. Out: [`RunInputs`]. Text encoders that are not trained are dropped as soon
//! as every text has its conditioning.

use super::class_images;
use super::experiment::Experiment;
use super::metrics::Judges;
use super::run_inputs::RunInputs;
use super::sources::{self, Loaded, treatment};
use crate::adapter::{self, Method};
use crate::assets;
use crate::config::{Objective, Plan, local, unfit_sampling};
use crate::data::{Cache, Picture, Shapes};
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
use crate::train::texts::{DrawnTexts, KnownTexts, TextConditioning, encode_cached};
use crate::weights::PartName;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tunelab_ops::weight::products_in_bf16;

/// Beside the runs: latents, conditioning and class images by content, shared by all of them.
pub(super) const CACHE_FOLDER: &str = ".cache";

impl RunInputs {
    /// Finds, fetches, checks, hashes and encodes. `judges` will measure the images.
    pub fn new(of: &Experiment, judges: &Judges) -> Result<Self> {
        let Experiment { plan, run, device, progress, interrupt, .. } = *of;
        let warn = &mut |text: String| progress.warn(text);
        let loaded = sources::load(plan, progress, warn)?;
        let pictures = sources::instances(&loaded);
        note_masks(plan, &pictures, warn);
        let files = assets::find_model(&plan.model, progress)?;
        check(of, &files, warn)?;
        of.expect_run(&files.noise_schedule()?, judges, &loaded);
        let loader = PipelineLoader::of_files(&files, device)
            .training(trained(&adapter::method(&plan.adapter), files.family))
            .seed(plan.seed)
            .dtype(plan.train.dtype);
        loader.check_sizes()?;
        let mut hashes = Hashes { model: files.hashes()?, ..hash_data(plan, &loaded) };
        // Before hours of work; the class images are not known yet.
        run.check_inputs(&hashes)?;
        let cache = Cache::new(run.path().with_file_name(CACHE_FOLDER));
        let chunks = plan.text.chunks;
        let texts = Texts::of_plan(plan, &loaded, loader.tokenizers()?.with_chunks(chunks), warn)?;
        // Those that are not trained are gone before the UNet comes: Stable Diffusion XL's are 3 GB.
        let (text_encoders, parameters) = loader.text_encoders()?;
        let of_texts: usize = parameters.values().map(Parameters::weight_count).sum();
        let texts = texts.encode(of, text_encoders.with_chunks(chunks), parameters, &hashes.model, &cache)?;
        let ((mut unet, unet_parameters), vae, schedule) = (loader.unet()?, loader.vae()?, loader.schedule()?);
        let total_parameters = of_texts + unet_parameters.weight_count() + vae.parameter_count();

        let vae_hash = hash_of_part(&hashes.model, PartName::Vae);
        let from = Sources { vae: &vae, vae_hash: &vae_hash, cache: &cache, device, progress, interrupt };
        let own: Vec<_> =
            loaded.iter().filter(|of| !of.part.prior).map(|of| (&of.pictures[..], treatment(&of.part))).collect();
        let examples = Examples::of_sources(&own, Role::Instance, &plan.dataset, &from)?;
        let mut class_names = Vec::new();
        let class = match &plan.objective {
            Objective::Captions => None,
            Objective::DreamBooth(prior) => {
                let base = Build::from_parameters(unet_parameters.clone().without_lora());
                let (base, _) = Unet::new(unet.config(), base)?;
                let generator = of.image_generator(&base, &vae, &schedule);
                let draw = |prompt: &str| {
                    let sizes = class_images::sizes(plan, prior.class_images, &pictures);
                    let embeds = &texts.eval_embeds;
                    class_images::find(of, (prior, prompt, &sizes), &generator, embeds, &hashes.model, &cache)
                };
                let found = sources::class_images(plan, &loaded, draw, warn)?;
                let all: Vec<Picture> = found.iter().flat_map(|class| class.pictures.iter().cloned()).collect();
                data_grid::write(run.path(), &pictures, &all, &Shapes::of(&plan.dataset))?;
                hashes.class = hash_pictures(&all);
                class_names = found.iter().map(|class| class.name.clone()).collect();
                let found: Vec<_> = found.iter().map(|class| (&class.pictures[..], class.how)).collect();
                Some((Examples::class(&found, &examples, &plan.dataset, &from)?, prior.prior_loss_weight))
            }
        };
        if plan.train.gradient_checkpointing {
            unet.recompute();
        }
        run.check_inputs(&hashes)?;
        run.write_inputs(&hashes)?;
        // The base model's class images were drawn over its own.
        let schedule = plan.train.noise_schedule(schedule)?;
        let items = sources::items(plan, &loaded, &examples, class.as_ref().map(|(class, _)| class));
        let names = loaded.iter().filter(|of| !of.part.prior).map(|of| of.part.name.clone().unwrap_or_default());
        let names = [names.collect(), class_names];
        let Encoded { captions, eval_embeds, eval_ids, parameters: text_parameters } = texts;
        Ok(Self {
            files,
            pictures,
            examples,
            class,
            items,
            names,
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
    /// For the texts that are drawn while training, if any are.
    drawn: Option<Arc<Tokenizers>>,
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
    fn of_plan(plan: &Plan, loaded: &[Loaded], tokenizers: Tokenizers, warn: &mut dyn FnMut(String)) -> Result<Self> {
        let class_prompts = plan.class_prompts();
        let empty = (plan.dataset.caption_dropout > 0.0).then(String::new);
        let pictures = || loaded.iter().flat_map(|of| &of.pictures);
        let captions = pictures().flat_map(|p| p.wordings.all()).chain(class_prompts.iter().cloned()).chain(empty);
        let mut captions = tokenize(&tokenizers, captions, warn)?;
        let drawn = plan.drawn_prompts();
        let prompts = drawn.iter().chain(&class_prompts).map(String::as_str);
        let prompts = prompts.chain([plan.eval.sample.negative_prompt.as_str(), ""]);
        let eval = tokenize(&tokenizers, prompts, warn)?;
        let is_drawn = pictures().any(|picture| picture.wordings.draws_tags());
        if is_drawn {
            // Those with all their tags are told of where they are too long, and seldom trained.
            let drawn = pictures().filter(|picture| picture.wordings.draws_tags());
            let whole: BTreeSet<String> = drawn.flat_map(|picture| picture.wordings.all()).collect();
            captions.retain(|text, _| !whole.contains(text));
        }
        Ok(Self { captions, eval, drawn: is_drawn.then(|| Arc::new(tokenizers)) })
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
        let (captions, parameters) = match self.drawn {
            tokenizers if is_trained => {
                (TextConditioning::Trained(encoders, KnownTexts { ids: self.captions, tokenizers }), parameters)
            }
            None => (TextConditioning::Cached(embeds(&self.captions)?), BTreeMap::new()),
            Some(tokenizers) => {
                let fixed = embeds(&self.captions)?;
                let texts = DrawnTexts::new(without_dropout, tokenizers, fixed);
                (TextConditioning::Drawn(Arc::new(texts)), BTreeMap::new())
            }
        };
        Ok(Encoded { captions, eval_embeds, eval_ids: self.eval, parameters })
    }
}

/// What of each part is trained.
fn trained(method: &Method, family: Family) -> BTreeMap<PartName, Trainable> {
    let text = family.text_encoders().map(|(part, _)| (part, method.text_encoder.clone()));
    text.chain([(PartName::Unet, method.unet.clone())]).collect()
}

/// The pictures' and the captions' hashes, and those of class images that are the user's own sources.
pub(super) fn hash_data(plan: &Plan, loaded: &[Loaded]) -> Hashes {
    let own = loaded.iter().filter(|of| of.part.prompt.is_none()).flat_map(|of| &of.pictures);
    let captions = own.map(|p| (p.name(), hash_captions(p))).collect();
    let instances = || loaded.iter().filter(|of| !of.part.prior).flat_map(|of| &of.pictures);
    let mut data = hash_pictures(instances());
    if plan.dataset.masks.on {
        let masks = instances().filter_map(Picture::mask);
        data.extend(masks.map(|(name, sha256)| (name, sha256.to_owned())));
    }
    let class = loaded.iter().filter(|of| of.part.prior).flat_map(|of| hash_pictures(&of.pictures)).collect();
    Hashes { data, captions: Some(captions), class, ..Hashes::default() }
}

/// Of one caption its own hash, of several one for all.
fn hash_captions(picture: &Picture) -> String {
    match &picture.wordings.all()[..] {
        [only] => hash::sha256(only.as_bytes()),
        several => hash::key(&several.iter().map(String::as_str).collect::<Vec<_>>()),
    }
}

/// SHA-256 of every picture, by its name.
pub(super) fn hash_pictures<'a>(pictures: impl IntoIterator<Item = &'a Picture>) -> BTreeMap<String, String> {
    pictures.into_iter().map(|p| (p.name(), p.sha256.clone())).collect()
}

/// One hash for all files of a part.
fn hash_of_part(model: &BTreeMap<String, String>, part: PartName) -> String {
    let prefix = format!("{part}/");
    let hashes: Vec<&str> =
        model.iter().filter(|(name, _)| name.starts_with(&prefix)).map(|(_, h)| h.as_str()).collect();
    hash::key(&hashes)
}
