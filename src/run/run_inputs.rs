//! What a run works with from its first step on.
//!
//! In: what `prepare` gathered. Out: [`RunInputs`], and from it what the trainer takes, the
//! networks without dropout for evaluation, and the networks as they will be written for drawing.

use crate::adapter::{self, TrainedModel};
use crate::config::Plan;
use crate::data::Picture;
use crate::diffusion::NoiseSchedule;
use crate::error::{Error, Result};
use crate::model::build::{Build, Parameters};
use crate::model::unet::Unet;
use crate::model::vae::Vae;
use crate::pipeline::original_names::UnetLevels;
use crate::pipeline::{Ids, ModelFiles, PromptEmbeds};
use crate::results::{Hashes, TrainingSummary};
use crate::train::examples::Examples;
use crate::train::items::Items;
use crate::train::objective::Predictor;
use crate::train::texts::TextConditioning;
use crate::train::trainer::TrainerInputs;
use crate::weights::PartName;
use candle_core::Tensor;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a run works with.
pub struct RunInputs {
    /// The model's files.
    pub files: ModelFiles,
    /// The photographs.
    pub pictures: Vec<Picture>,
    /// What training learns from.
    pub examples: Examples,
    /// The class images of prior preservation, and the weight of their loss.
    pub class: Option<(Examples, f64)>,
    /// What an epoch goes through.
    pub items: Items,
    /// The names of the sources of images, and of class images.
    pub names: [Vec<String>; 2],
    /// Captions for training.
    pub texts: TextConditioning,
    /// The base model's conditioning of the evaluation prompts and the negative prompt.
    pub eval_embeds: PromptEmbeds,
    /// The ids of the same.
    pub eval_ids: Ids,
    /// The autoencoder.
    pub vae: Vae,
    /// The UNet with its trained tensors.
    pub unet: Unet,
    /// The UNet's tensors.
    pub unet_parameters: Parameters,
    /// The text encoders' tensors, if they are trained.
    pub text_parameters: BTreeMap<PartName, Parameters>,
    /// How noise is added.
    pub schedule: NoiseSchedule,
    /// Numbers in text encoders, UNet and VAE.
    pub total_parameters: usize,
    /// Of everything that went in.
    pub hashes: Hashes,
}

impl RunInputs {
    /// What the trainer needs of it.
    pub fn trainer_inputs<'a>(&'a self, plan: &'a Plan) -> TrainerInputs<'a> {
        let dropouts = self.parameters().filter_map(|(part, p)| Some((part, Arc::clone(p.dropout()?)))).collect();
        TrainerInputs {
            predictor: self.predictor(&self.unet, &self.texts, plan),
            trained: self.trained(),
            dropouts,
            vae: &self.vae,
            examples: &self.examples,
            class: self.class.as_ref().map(|(examples, weight)| (examples, *weight)),
            items: self.items.clone(),
            train: &plan.train,
            ema_decay: adapter::method(&plan.adapter).ema_decay,
            seed: plan.seed,
            digest: self.hashes.digest(),
        }
    }

    /// The names of all sources, where there are several of images or of class images.
    pub fn source_names(&self) -> Option<Vec<String>> {
        self.names.iter().any(|names| names.len() > 1).then(|| self.names.concat())
    }

    /// What is written of it after the training.
    pub fn trained_model<'a>(&'a self, plan: &'a Plan, ending: &'a TrainingSummary) -> TrainedModel<'a> {
        TrainedModel {
            plan,
            files: &self.files,
            file_sha256: self.file_sha256(),
            unet: &self.unet_parameters,
            unet_levels: UnetLevels {
                layers: self.unet.config().layers_per_block.clone(),
                up_attention: self.unet.config().up_attention.clone(),
            },
            text_encoders: &self.text_parameters,
            vae_levels: self.vae.config().block_out_channels.len(),
            schedule: &self.schedule,
            pictures: &self.pictures,
            class_images: self.class.as_ref().map_or(0, |(class, _)| class.len()),
            ending,
        }
    }

    /// SHA-256 of the base model's file, if it is one file.
    fn file_sha256(&self) -> Option<&str> {
        self.files.parts.get(&PartName::Unet)?.original?;
        let file = |name: &str| name.starts_with("unet/") && !name.ends_with("config.json");
        self.hashes.model.iter().find(|(name, _)| file(name)).map(|(_, sha256)| sha256.as_str())
    }

    /// The tensors of every network that may be trained.
    fn parameters(&self) -> impl Iterator<Item = (PartName, &Parameters)> {
        let text = self.text_parameters.iter().map(|(part, parameters)| (*part, parameters));
        [(PartName::Unet, &self.unet_parameters)].into_iter().chain(text)
    }

    /// The trained tensors of all networks, `unet.…` and `text_encoder.…`, but for those of a text encoder that nobody reads: they
    /// stay as they are.
    pub fn trained(&self) -> BTreeMap<String, Tensor> {
        let is_read = |part: PartName, name: &str| match &self.texts {
            TextConditioning::Trained(encoders, _) if part != PartName::Unet => encoders.reads(part, name),
            _ => true,
        };
        let named = |(part, parameters): (PartName, &Parameters)| {
            let trained = parameters.trained().into_iter().filter(move |(name, _)| is_read(part, name));
            trained.map(move |(name, tensor)| (format!("{part}.{name}"), tensor))
        };
        self.parameters().flat_map(named).collect()
    }

    /// A UNet and texts with this model's noise schedule.
    pub fn predictor<'a>(&'a self, unet: &'a Unet, texts: &'a TextConditioning, plan: &Plan) -> Predictor<'a> {
        let train = &plan.train;
        let schedule = &self.schedule;
        Predictor { unet, texts, schedule, snr_gamma: train.snr_gamma, loss: train.loss_function() }
    }

    /// The captions for a predictor without dropout: the trained text encoders' numbers as they are
    /// at each moment.
    pub fn texts_without_dropout(&self) -> Result<TextConditioning> {
        Ok(match &self.texts {
            TextConditioning::Cached(embeds) => TextConditioning::Cached(embeds.clone()),
            TextConditioning::Drawn(texts) => TextConditioning::Drawn(Arc::clone(texts)),
            TextConditioning::Trained(encoders, ids) => {
                let encoders = encoders.over(|part| Ok(self.text_encoder_parameters(part)?.without_dropout()))?;
                TextConditioning::Trained(encoders, ids.clone())
            }
        })
    }

    /// The conditioning of the evaluation prompts, of the text encoders as they are now and will be
    /// written.
    pub fn encode_eval_prompts(&self) -> Result<PromptEmbeds> {
        match &self.texts {
            TextConditioning::Cached(_) | TextConditioning::Drawn(_) => Ok(self.eval_embeds.clone()),
            TextConditioning::Trained(encoders, _) => {
                let written = |part| self.text_encoder_parameters(part)?.without_dropout().folded();
                encoders.over(written)?.encode_each(&self.eval_ids)
            }
        }
    }

    fn text_encoder_parameters(&self, part: PartName) -> Result<&Parameters> {
        self.text_parameters.get(&part).ok_or_else(|| Error::run(format!("the {part} has no tensors")))
    }

    /// The UNet as it is now and will be written.
    pub fn written_unet(&self) -> Result<Unet> {
        self.unet_over(self.unet_parameters.without_dropout().folded()?)
    }

    /// The UNet with its trained tensors as they are at each moment, without dropout.
    pub fn unet_without_dropout(&self) -> Result<Unet> {
        self.unet_over(self.unet_parameters.without_dropout())
    }

    /// The UNet without its adapter: the base model, as long as nothing else has been trained.
    pub fn base_unet(&self) -> Result<Unet> {
        self.unet_over(self.unet_parameters.without_dropout().without_lora())
    }

    fn unet_over(&self, parameters: Parameters) -> Result<Unet> {
        Ok(Unet::new(self.unet.config(), Build::from_parameters(parameters))?.0)
    }
}
