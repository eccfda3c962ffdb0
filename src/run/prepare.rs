//! Everything that a run needs before its first step: model, data, class images, hidden states, latents.
//!
//! In: the experiment. Out: [`Prepared`]. A text encoder that is not trained is dropped as soon as every text has its
//! hidden states.

use super::{Experiment, class_images};
use crate::adapter::{self, TrainedModel};
use crate::assets::{self, ModelFiles};
use crate::config::{Dtype, Objective, Plan};
use crate::data::{self, Cache, Picture};
use crate::device;
use crate::diffusion::{NoiseSchedule, SamplerRun};
use crate::error::{Error, Result};
use crate::model::build::{Build, Parameters, Trainable};
use crate::model::clip::ClipText;
use crate::model::tokenizer::Tokenizer;
use crate::model::unet::Unet;
use crate::model::vae::Vae;
use crate::pipeline::load;
use crate::plan::{command, fit};
use crate::report::data_grid;
use crate::results::{Hashes, TrainingSummary};
use crate::train::examples::{Examples, Role, Sources};
use crate::train::objective::Predictor;
use crate::train::texts::{self, Ids, States, Texts};
use crate::train::trainer::Materials;
use candle_core::Tensor;
use std::collections::BTreeMap;
use std::sync::Arc;
use tunelab_ops::weight::products_in_bf16;

/// Beside the runs: latents, hidden states and class images by content, shared by all of them.
const CACHE_FOLDER: &str = ".cache";

/// What a run works with.
pub struct Prepared {
    /// The model's files.
    pub files: ModelFiles,
    /// The photographs.
    pub pictures: Vec<Picture>,
    /// What training learns from.
    pub examples: Examples,
    /// The class images of prior preservation, and the weight of their loss.
    pub class: Option<(Examples, f64)>,
    /// Captions and prompts for training.
    pub texts: Texts,
    /// The base model's hidden states [1, tokens, width] of the evaluation prompts and the negative prompt.
    pub prompts: States,
    /// The autoencoder.
    pub vae: Vae,
    /// The UNet with its trained tensors.
    pub unet: Unet,
    /// The UNet's tensors.
    pub parameters: Parameters,
    /// The text encoder's tensors, if it is trained.
    pub text_parameters: Option<Parameters>,
    /// How noise is added.
    pub schedule: NoiseSchedule,
    /// Numbers in text encoder, UNet and VAE.
    pub total_parameters: usize,
    /// Of everything that went in.
    pub hashes: Hashes,
    prompt_ids: Ids,
}

impl Prepared {
    /// Finds, fetches, checks, hashes and encodes.
    pub fn new(of: &Experiment) -> Result<Self> {
        let Experiment { plan, run, device, progress, interrupt, .. } = *of;
        let warn = &mut |text: String| progress.warn(text);
        let root = assets::find_dataset(&plan.dataset.source, progress)?;
        let pictures = data::load_dataset(&root, plan.dataset.prompt.as_deref(), plan.dataset.skip_broken, warn)?;
        let files = assets::find_model(&plan.model, progress)?;
        // A model that cannot be counted is refused where it is loaded.
        if let (Some(card), Ok(memory)) = (device::card_memory(device), fit::needed(plan, &files.root))
            && let Some(short) = fit::fit(plan, &memory, card)?
        {
            warn(short);
        }
        command::note(plan).into_iter().for_each(&mut *warn);
        let schedule = load::schedule(&files)?;
        load::passed_over(&files)?.into_iter().for_each(&mut *warn);
        if !plan.eval.prompts.is_empty() {
            // What this sampler has not, over this model's schedule, would show after the training.
            SamplerRun::new(plan.eval.sample.sampler, &schedule, plan.eval.sample.steps)?;
        }
        let method = adapter::method(&plan.adapter);
        let is_text_trained = method.text_encoder != Trainable::None;
        if plan.train.dtype == Dtype::Bf16 && device.is_cpu() {
            progress.line(format!("frozen weights in bf16, products {}", products_in_bf16()));
        }
        let (mut unet, parameters) = load::unet(&files, device, method.unet, plan.seed, plan.train.dtype)?;
        let vae = load::vae(&files, device)?;
        let (clip, text_parameters) = load::text_encoder(&files, device, method.text_encoder, plan.seed)?;
        load::check_sizes(unet.config(), vae.config(), clip.config())?;
        let total_parameters = parameters.weight_count() + text_parameters.weight_count() + vae.parameter_count();
        let mut hashes = Hashes { model: assets::hash_model(&files)?, ..hash_data(plan, &pictures) };
        // Before hours of work; the class images are not known yet.
        run.check_inputs(&hashes)?;
        let model = &hashes.model;
        let cache = Cache::new(run.path().with_file_name(CACHE_FOLDER));

        let tokenizer = Tokenizer::from_dir(&files.tokenizer)?;
        let class_prompt = match &plan.objective {
            Objective::DreamBooth(prior) => Some(prior.class_prompt.as_str()),
            Objective::Captions => None,
        };
        let empty = (plan.dataset.caption_dropout > 0.0).then_some("");
        let captions = pictures.iter().map(|p| p.caption.as_str()).chain(class_prompt).chain(empty);
        let ids = texts::tokenize(&tokenizer, captions, warn)?;
        let prompts = plan.eval.prompts.iter().map(String::as_str);
        let prompts = prompts.chain([plan.eval.sample.negative_prompt.as_str(), ""]).chain(class_prompt);
        let prompt_ids = texts::tokenize(&tokenizer, prompts, warn)?;
        let clip_hash = hash_of_part(model, "text_encoder");
        let states = |ids: &Ids| {
            let (clip, _) = ClipText::new(clip.config(), Build::from_parameters(text_parameters.without_dropout()))?;
            texts::encode_cached(&clip, &clip_hash, ids, &cache, device)
        };
        let prompts = states(&prompt_ids)?;
        let texts = if is_text_trained { None } else { Some(Texts::Fixed(states(&ids)?)) };
        let texts = texts.unwrap_or_else(|| Texts::Trained(clip, ids));
        let text_parameters = is_text_trained.then_some(text_parameters);

        let vae_hash = hash_of_part(model, "vae");
        let sources = Sources { vae: &vae, vae_hash: &vae_hash, cache: &cache, device, progress, interrupt };
        let examples = Examples::new(&pictures, Role::Instance, &plan.dataset, &sources)?;
        let class = match &plan.objective {
            Objective::Captions => None,
            Objective::DreamBooth(prior) => {
                let (base, _) = Unet::new(unet.config(), Build::from_parameters(parameters.clone().without_lora()))?;
                let painter = of.painter(&base, &vae, &schedule);
                let found = class_images::find(of, prior, &painter, &prompts, model, cache.root(), warn)?;
                data_grid::write(run.path(), &pictures, &found, plan.dataset.resolution)?;
                hashes.class = hash_pictures(&found);
                Some((Examples::new(&found, Role::Class, &plan.dataset, &sources)?, prior.prior_loss_weight))
            }
        };
        if plan.train.gradient_checkpointing {
            unet.recompute();
        }
        run.check_inputs(&hashes)?;
        run.write_inputs(&hashes)?;
        Ok(Self {
            files,
            pictures,
            examples,
            class,
            texts,
            prompts,
            vae,
            unet,
            parameters,
            text_parameters,
            schedule,
            total_parameters,
            hashes,
            prompt_ids,
        })
    }

    /// What the trainer needs of it.
    pub fn materials<'a>(&'a self, plan: &'a Plan) -> Materials<'a> {
        let networks = [("unet", Some(&self.parameters)), ("text_encoder", self.text_parameters.as_ref())];
        let networks = || networks.into_iter().filter_map(|(name, p)| Some((name, p?)));
        let dropouts = networks().filter_map(|(name, p)| Some((name, Arc::clone(p.dropout()?)))).collect();
        Materials {
            predictor: self.predictor(&self.unet, &self.texts, plan),
            trained: self.trained(),
            dropouts,
            vae: &self.vae,
            examples: &self.examples,
            class: self.class.as_ref().map(|(examples, weight)| (examples, *weight)),
            train: &plan.train,
            ema_decay: adapter::method(&plan.adapter).ema_decay,
            seed: plan.seed,
            inputs: self.hashes.digest(),
        }
    }

    /// What is written of it after the training.
    pub fn trained_model<'a>(&'a self, plan: &'a Plan, ending: &'a TrainingSummary) -> TrainedModel<'a> {
        TrainedModel {
            plan,
            files: &self.files,
            unet: &self.parameters,
            unet_layers: &self.unet.config().layers_per_block,
            text_encoder: self.text_parameters.as_ref(),
            vae_levels: self.vae.config().block_out_channels.len(),
            schedule: &self.schedule,
            pictures: &self.pictures,
            class_images: self.class.as_ref().map_or(0, |(class, _)| class.len()),
            ending,
        }
    }

    /// The trained tensors of both networks, `unet.…` and `text_encoder.…`.
    pub fn trained(&self) -> BTreeMap<String, Tensor> {
        let named = |prefix: &str, p: &Parameters| -> Vec<(String, Tensor)> {
            p.trained().into_iter().map(|(name, t)| (format!("{prefix}.{name}"), t)).collect()
        };
        let text = self.text_parameters.iter().flat_map(|p| named("text_encoder", p));
        named("unet", &self.parameters).into_iter().chain(text).collect()
    }

    /// A UNet and texts with this model's noise schedule.
    pub fn predictor<'a>(&'a self, unet: &'a Unet, texts: &'a Texts, plan: &Plan) -> Predictor<'a> {
        Predictor { unet, texts, schedule: &self.schedule, snr_gamma: plan.train.snr_gamma }
    }

    /// The captions for a predictor without dropout: the trained text encoder's numbers as they are at each moment.
    pub fn still_texts(&self) -> Result<Texts> {
        match (&self.texts, &self.text_parameters) {
            (Texts::Trained(clip, ids), Some(parameters)) => {
                let (still, _) = ClipText::new(clip.config(), Build::from_parameters(parameters.without_dropout()))?;
                Ok(Texts::Trained(still, ids.clone()))
            }
            (Texts::Trained(..), None) => Err(Error::run("the text encoder has no tensors")),
            (Texts::Fixed(states), _) => Ok(Texts::Fixed(states.clone())),
        }
    }

    /// The hidden states of the evaluation prompts, of the text encoder as it is now and will be written.
    pub fn prompts_now(&self) -> Result<States> {
        let (Texts::Trained(clip, _), Some(parameters)) = (&self.texts, &self.text_parameters) else {
            return Ok(self.prompts.clone());
        };
        let written = parameters.without_dropout().folded()?;
        let (clip, _) = ClipText::new(clip.config(), Build::from_parameters(written))?;
        texts::encode(&clip, &self.prompt_ids)
    }

    /// The UNet as it is now and will be written.
    pub fn unet_now(&self) -> Result<Unet> {
        let written = self.parameters.without_dropout().folded()?;
        Ok(Unet::new(self.unet.config(), Build::from_parameters(written))?.0)
    }
}

/// The pictures' and the captions' hashes.
pub(super) fn hash_data(plan: &Plan, pictures: &[Picture]) -> Hashes {
    let own = pictures.iter().filter(|_| plan.dataset.prompt.is_none());
    let captions = own.map(|p| (p.name(), data::sha256(p.caption.as_bytes()))).collect();
    Hashes { data: hash_pictures(pictures), captions: Some(captions), ..Hashes::default() }
}

/// SHA-256 of every picture, by its name.
pub(super) fn hash_pictures(pictures: &[Picture]) -> BTreeMap<String, String> {
    pictures.iter().map(|p| (p.name(), p.sha256.clone())).collect()
}

/// One hash for all files of a part.
fn hash_of_part(model: &BTreeMap<String, String>, part: &str) -> String {
    let prefix = format!("{part}/");
    let hashes: Vec<&str> =
        model.iter().filter(|(name, _)| name.starts_with(&prefix)).map(|(_, h)| h.as_str()).collect();
    data::key(&hashes)
}
