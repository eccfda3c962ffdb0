//! From a model's files, or from the sizes of its networks alone, to its networks: the one way for
//! training, sampling and timing.
//!
//! In: [`ModelFiles`] or [`Configs`], a device, what is trained. Out: a [`Pipeline`], or one of its
//! parts; every error names the file.

use super::{ConditioningKind, Family, ModelFiles, Pipeline, TextEncoders, Tokenizers};
use crate::diffusion::{NoiseSchedule, Sampler};
use crate::error::{Error, Result};
use crate::model::Dtype;
use crate::model::build::{Build, Parameters, Trainable};
use crate::model::clip::{ClipConfig, ClipText};
use crate::model::published;
use crate::model::tokenizer::Tokenizer;
use crate::model::unet::{TextTime, Unet, UnetConfig};
use crate::model::vae::{Vae, VaeConfig};
use crate::weights::{Loader, PartName, TEXT_PROJECTION, Weights};
use candle_core::{DType, Device};
use std::collections::BTreeMap;

/// Where the networks' tensors come from.
#[derive(Clone, Copy)]
enum Source<'a> {
    Files(&'a ModelFiles),
    Random(&'a Configs),
}

/// The sizes of a model's networks, for one of random numbers.
pub struct Configs {
    /// What the model is.
    pub family: Family,
    /// The noise predictor.
    pub unet: UnetConfig,
    /// The autoencoder.
    pub vae: VaeConfig,
    /// Each text encoder.
    pub text_encoders: BTreeMap<PartName, ClipConfig>,
    /// How noise is added.
    pub schedule: NoiseSchedule,
}

impl Configs {
    /// Those of a family's best known model: Stable Diffusion 1.5, 2.1 and XL's base.
    pub fn of(family: Family) -> Result<Self> {
        let text_encoder = |(part, _)| Ok((part, published::text_encoder(family, part)?));
        Ok(Self {
            family,
            unet: published::unet(family)?,
            vae: published::vae(family)?,
            text_encoders: family.text_encoders().map(text_encoder).collect::<Result<_>>()?,
            schedule: published::schedule(family)?,
        })
    }
}

/// How a model's networks are made.
#[derive(Clone)]
pub struct PipelineLoader<'a> {
    source: Source<'a>,
    device: &'a Device,
    trained: BTreeMap<PartName, Trainable>,
    seed: u64,
    dtype: Dtype,
}

impl<'a> PipelineLoader<'a> {
    /// From files; all of it frozen, in f32.
    pub fn of_files(files: &'a ModelFiles, device: &'a Device) -> Self {
        Self { source: Source::Files(files), device, trained: BTreeMap::new(), seed: 0, dtype: Dtype::F32 }
    }

    /// Random weights, which change no cost; there are no tokenizers then.
    pub fn random(configs: &'a Configs, device: &'a Device) -> Self {
        Self { source: Source::Random(configs), device, trained: BTreeMap::new(), seed: 0, dtype: Dtype::F32 }
    }

    /// The same with what is trained of each part; what is not named is frozen.
    #[must_use]
    pub fn training(self, trained: BTreeMap<PartName, Trainable>) -> Self {
        Self { trained, ..self }
    }

    /// The same, in which new adapters and random weights draw from the streams of `seed`.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// The same with the UNet's frozen weights in this type.
    #[must_use]
    pub fn dtype(self, dtype: Dtype) -> Self {
        Self { dtype, ..self }
    }

    /// All of it. Errors also if the parts do not belong together.
    pub fn pipeline(&self) -> Result<Pipeline> {
        let schedule = self.schedule()?;
        let (unet, unet_parameters) = self.unet()?;
        let vae = self.vae()?;
        let (text_encoders, mut parameters) = self.text_encoders()?;
        parameters.insert(PartName::Unet, unet_parameters);
        self.check_sizes()?;
        let (family, tokenizers) = (self.family(), self.tokenizers()?);
        Ok(Pipeline { family, tokenizers, text_encoders, unet, vae, schedule, parameters })
    }

    /// Errors if the parts do not belong together, by their configurations alone.
    pub fn check_sizes(&self) -> Result<()> {
        let family = self.family();
        let text = family.text_encoders().map(|(part, _)| self.text_config(part)).collect::<Result<Vec<_>>>()?;
        check_sizes(&self.unet_config()?, &self.vae_config()?, family.conditioning(), &text)
    }

    fn unet_config(&self) -> Result<UnetConfig> {
        match self.source {
            Source::Files(files) => UnetConfig::read(&files.part(PartName::Unet)?.config),
            Source::Random(configs) => Ok(configs.unet.clone()),
        }
    }

    fn vae_config(&self) -> Result<VaeConfig> {
        match self.source {
            Source::Files(files) => VaeConfig::read(&files.part(PartName::Vae)?.config),
            Source::Random(configs) => Ok(configs.vae.clone()),
        }
    }

    fn text_config(&self, part: PartName) -> Result<ClipConfig> {
        match self.source {
            Source::Files(files) => ClipConfig::read(&files.part(part)?.config),
            Source::Random(configs) => {
                let config = configs.text_encoders.get(&part);
                Ok(config.ok_or_else(|| Error::run(format!("the sizes of the {part} are not known")))?.clone())
            }
        }
    }

    /// The noise predictor.
    pub fn unet(&self) -> Result<(Unet, Parameters)> {
        let config = self.unet_config()?;
        Unet::new(&config, self.build(PartName::Unet, |_| false)?.of_type(self.dtype))
    }

    /// The autoencoder.
    pub fn vae(&self) -> Result<Vae> {
        let config = self.vae_config()?;
        Ok(Vae::new(&config, self.build(PartName::Vae, |_| false)?)?.0)
    }

    /// All text encoders, and their tensors.
    pub fn text_encoders(&self) -> Result<(TextEncoders, BTreeMap<PartName, Parameters>)> {
        let (mut networks, mut tensors) = (BTreeMap::new(), BTreeMap::new());
        for (part, _) in self.family().text_encoders() {
            let (clip, parameters) = self.text_encoder(part)?;
            networks.insert(part, clip);
            tensors.insert(part, parameters);
        }
        Ok((TextEncoders::new(self.family(), networks), tensors))
    }

    /// One text encoder. Layers above those of its configuration are left in the file.
    pub fn text_encoder(&self, part: PartName) -> Result<(ClipText, Parameters)> {
        let config = self.text_config(part)?;
        let above = |name: &str| text_layer(name).is_some_and(|layer| layer >= config.num_hidden_layers);
        ClipText::new(&config, self.build(part, above)?)
    }

    /// The tokenizers; none for random weights.
    pub fn tokenizers(&self) -> Result<Tokenizers> {
        let Source::Files(files) = self.source else { return Ok(Tokenizers(BTreeMap::new())) };
        let read = |(part, _)| Ok((part, Tokenizer::from_dir(files.tokenizer(part)?)?));
        Ok(Tokenizers(self.family().text_encoders().map(read).collect::<Result<_>>()?))
    }

    /// How noise is added.
    pub fn schedule(&self) -> Result<NoiseSchedule> {
        match self.source {
            Source::Files(files) => files.noise_schedule(),
            Source::Random(configs) => Ok(configs.schedule.clone()),
        }
    }

    fn family(&self) -> Family {
        match self.source {
            Source::Files(files) => files.family,
            Source::Random(configs) => configs.family,
        }
    }

    /// The tensors of a part, but for those that are `surplus`.
    fn build(&self, part: PartName, surplus: impl Fn(&str) -> bool) -> Result<Build> {
        let trained = self.trained.get(&part).cloned().unwrap_or(Trainable::None);
        Ok(match self.source {
            Source::Files(files) => {
                let weights = Weights::open_part(files.part(part)?)?.without(surplus);
                Build::from_files(Loader::new(weights, self.device, DType::F32), trained, self.seed)
            }
            Source::Random(_) => Build::untrained(trained, self.seed, self.device),
        })
    }
}

/// What the files hold and nothing takes, one line for a part: tensors for other uses, layers of a
/// text encoder above those of its config.json (which is how some leave out the last ones: "clip
/// skip"), and a scheduler that is not built.
pub fn passed_over(files: &ModelFiles) -> Result<Vec<String>> {
    let mut notes: Vec<String> = files.beside.clone().into_iter().collect();
    let schedule = files.noise_schedule()?;
    if let Some(class) = schedule.class_name().filter(|_| Sampler::of_model(&schedule).is_none()) {
        let usual = files.family.usual_sampling().0;
        notes.push(format!("scheduler: {class} is not built; where no sampler is named, it is {usual}"));
    }
    let is_text = |part: &PartName| files.family.text_encoders().any(|(name, _)| name == *part);
    for (name, part) in &files.parts {
        let weights = Weights::open_part(part)?;
        if !is_text(name) {
            notes.extend(weights.passed_over(*name));
            continue;
        }
        let ClipConfig { num_hidden_layers: layers, projection_dim, .. } = ClipConfig::read(&part.config)?;
        let there = weights.names().filter_map(text_layer).max().map_or(0, |last| last + 1);
        notes.extend(weights.without(|name| projection_dim.is_some() && name == TEXT_PROJECTION).passed_over(*name));
        // A file of Stable Diffusion 2 has the layer that its texts are not read from.
        let is_usual = part.original.is_some() && files.family == Family::Sd2 && there == layers + 1;
        if there > layers && !is_usual {
            notes.push(format!("{name}: {there} layers, of which config.json takes the first {layers}"));
        }
    }
    Ok(notes)
}

/// The number of the text encoder's layer that a tensor belongs to.
fn text_layer(name: &str) -> Option<usize> {
    name.strip_prefix("text_model.encoder.layers.")?.split('.').next()?.parse().ok()
}

/// Errors if the parts do not belong together: the sizes in which they meet must agree.
pub fn check_sizes(
    unet: &UnetConfig,
    vae: &VaeConfig,
    kind: ConditioningKind,
    text_encoders: &[ClipConfig],
) -> Result<()> {
    let text_width = text_encoders.iter().map(|config| config.hidden_size).sum();
    let pooled_width = kind.pooled_width(text_encoders);
    if unet.text_time.is_some() != pooled_width.is_some() {
        let (has, lacks) = if pooled_width.is_some() { ("text encoders", "UNet") } else { ("UNet", "text encoders") };
        return Err(Error::input(format!("the {has} are Stable Diffusion XL's, but the {lacks} are not"))
            .hint("take all parts from the same repository"));
    }
    let pairs = [
        ("unet in_channels", unet.in_channels, "vae latent_channels", vae.latent_channels),
        ("unet out_channels", unet.out_channels, "vae latent_channels", vae.latent_channels),
        ("unet cross_attention_dim", unet.cross_attention_dim, "text_encoder hidden_size", text_width),
        (
            "the UNet's width of the text as one vector",
            unet.text_time.map_or(0, TextTime::pooled_dim),
            "text_encoder_2 projection_dim",
            pooled_width.unwrap_or(0),
        ),
    ];
    let Some((a_name, a, b_name, b)) = pairs.iter().find(|(_, a, _, b)| a != b) else { return Ok(()) };
    let error = Error::input(format!("{a_name} is {a}, but {b_name} is {b}"));
    Err(match unet.in_channels.checked_sub(unet.out_channels) {
        // The picture to be filled and its mask; an instruction's picture.
        Some(extra @ (4 | 5)) => {
            let kind = if extra == 5 { "an inpainting model" } else { "a model that edits or enlarges a picture" };
            error.hint(format!("this is the UNet of {kind}, which tunelab does not train: take a text-to-image model"))
        }
        _ => error.hint("take unet/, vae/ and text_encoder/ from the same repository"),
    })
}
