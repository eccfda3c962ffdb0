//! Everything that a run needs before its first step: model, data, hidden states, latents.
//!
//! In: the plan. Out: [`Prepared`]. The text encoder is dropped as soon as every text has its hidden states.

use crate::assets::{self, ModelFiles};
use crate::data::{self, Cache, Picture};
use crate::diffusion::NoiseSchedule;
use crate::error::{Error, Result};
use crate::model::build::{Parameters, Trained};
use crate::model::load;
use crate::model::lora::LoraConfig;
use crate::model::tokenizer::Tokenizer;
use crate::model::unet::Unet;
use crate::model::vae::Vae;
use crate::plan::{Adapter, Objective, Plan};
use crate::progress::Progress;
use crate::results::{Hashes, RunDir};
use crate::train::examples::{Examples, Sources, TextStates};
use crate::train::trainer::Materials;
use candle_core::{Device, Tensor};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Beside the runs: latents and hidden states by content, shared by all of them.
const CACHE_FOLDER: &str = ".cache";

/// What a run works with.
pub struct Prepared {
    /// The photographs.
    pub pictures: Vec<Picture>,
    /// What training learns from.
    pub examples: Examples,
    /// Hidden states [1, 77, width] of the evaluation prompts and the negative prompt.
    pub prompts: BTreeMap<String, Tensor>,
    /// The autoencoder.
    pub vae: Vae,
    /// The UNet with its trained tensors.
    pub unet: Unet,
    /// The UNet's tensors.
    pub parameters: Parameters,
    /// How noise is added.
    pub schedule: NoiseSchedule,
    /// Numbers in text encoder, UNet and VAE.
    pub total_parameters: usize,
    /// Of everything that went in.
    pub hashes: Hashes,
}

impl Prepared {
    /// Finds, fetches, checks, hashes and encodes.
    pub fn new(plan: &Plan, run: &RunDir, device: &Device, progress: &Progress) -> Result<Self> {
        if matches!(plan.objective, Objective::DreamBooth(_)) {
            return Err(Error::run("[adapter.dreambooth] is under construction"));
        }
        let warn = &mut |text: String| progress.line(format!("warning: {text}"));
        let root = assets::find_dataset(&plan.dataset.source, progress)?;
        let prompt = plan.dataset.prompt.as_deref();
        let pictures = data::load_dataset(&root, prompt, plan.dataset.skip_broken, warn)?;
        let files = assets::find_model(&plan.model, progress)?;
        let schedule = load::schedule(&files)?;
        let trained = match &plan.adapter {
            Adapter::Lora(l) => Trained::Lora(LoraConfig {
                rank: l.rank,
                alpha: l.alpha,
                targets: l.targets.clone(),
                dropout: l.dropout,
            }),
            Adapter::Full(_) => return Err(Error::run("[adapter.full] is under construction")),
        };
        let (unet, parameters) = load::unet(&files, device, trained, plan.seed)?;
        let vae = load::vae(&files, device)?;
        let model = hash_model(&files)?;
        let cache = Cache::new(run.path().with_file_name(CACHE_FOLDER));

        let (clip, clip_parameters) = load::text_encoder(&files, device)?;
        load::check_sizes(unet.config(), vae.config(), clip.config())?;
        let tokenizer = Tokenizer::from_dir(&files.tokenizer)?;
        let clip_hash = hash_of_part(&model, "text_encoder");
        let texts = TextStates { tokenizer: &tokenizer, clip: &clip, clip_hash: &clip_hash, cache: &cache, device };
        let captions = texts.encode(pictures.iter().map(|p| p.caption.as_str()), warn)?;
        let eval = plan.eval.prompts.iter().chain([&plan.eval.negative_prompt]).map(String::as_str);
        let prompts = texts.encode(eval, warn)?;
        let total_parameters = parameters.weight_count() + clip_parameters.weight_count() + vae.parameter_count();
        drop((clip, clip_parameters));

        let vae_hash = hash_of_part(&model, "vae");
        let sources = Sources { vae: &vae, vae_hash: &vae_hash, cache: &cache, device, progress };
        let examples = Examples::new(&pictures, &plan.dataset, captions, &sources)?;
        let data = pictures.iter().map(|p| (p.path.display().to_string(), p.sha256.clone())).collect();
        let hashes = Hashes { model, data };
        Ok(Self { pictures, examples, prompts, vae, unet, parameters, schedule, total_parameters, hashes })
    }
}

impl Prepared {
    /// What the trainer needs of it.
    pub fn materials<'a>(&'a self, plan: &'a Plan) -> Materials<'a> {
        Materials {
            unet: &self.unet,
            parameters: &self.parameters,
            vae: &self.vae,
            examples: &self.examples,
            schedule: &self.schedule,
            train: &plan.train,
            seed: plan.seed,
        }
    }
}

/// SHA-256 of every file that makes the model, by its path in the model's folder.
fn hash_model(files: &ModelFiles) -> Result<BTreeMap<String, String>> {
    let parts = [&files.unet, &files.vae, &files.text_encoder];
    let mut paths: Vec<PathBuf> = parts.iter().flat_map(|p| p.weights.iter().chain([&p.config])).cloned().collect();
    paths.push(files.scheduler_config.clone());
    for name in ["tokenizer.json", "vocab.json", "merges.txt"] {
        paths.extend(Some(files.tokenizer.join(name)).filter(|path| path.is_file()));
    }
    let named = |path: &PathBuf| {
        let name = path.strip_prefix(&files.root).unwrap_or(path);
        Ok((slashed(name), assets::sha256(path)?))
    };
    paths.par_iter().map(named).collect()
}

/// One hash for all files of a part.
fn hash_of_part(model: &BTreeMap<String, String>, part: &str) -> String {
    let prefix = format!("{part}/");
    let hashes: Vec<&str> =
        model.iter().filter(|(name, _)| name.starts_with(&prefix)).map(|(_, h)| h.as_str()).collect();
    data::key(&hashes)
}

/// The same on every system.
fn slashed(path: &Path) -> String {
    path.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/")
}
