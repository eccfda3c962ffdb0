//! The two places where methods differ: what is trained ([`Adapter`]), and how a batch and its loss
//! are formed ([`Objective`]). In the file both are under `[adapter]`.
//!
//! In: what a table of the experiment says. Out: settings, whose keys are stated here.

use std::ops::Bound;
use std::path::PathBuf;

use super::eval::SampleParams;
use super::keys::{
    Affects, Each, Inner, Keys, Visit, above, at_least, between, count, flag, folder, settings, share, text, texts,
    whole,
};

/// What is trained.
#[derive(Debug, Clone, PartialEq)]
pub enum Adapter {
    /// Low-rank updates beside frozen weights.
    Lora(Lora),
    /// The weights themselves, all of them.
    Full(Full),
}

settings! {
    /// W x + (alpha / rank) B A x beside frozen weights, as PEFT does it (Hu et al. 2022).
    pub struct Lora {
        /// Rows of A.
        rank: usize = 4 => whole(1..=1024);
        /// Scale of the update, which is alpha / rank.
        alpha: f64 = 4.0 => above(0.0).usual("the rank");
        /// Ends of the names of the UNet's modules that get an update.
        targets: Vec<String> = ["to_q", "to_k", "to_v", "to_out.0"].map(String::from).into() => texts();
        /// Share of A's inputs that is dropped in training.
        dropout: f64 = 0.0 => share();
        /// Also `q_proj`, `k_proj`, `v_proj` and `out_proj` of the text encoder.
        text_encoder: bool = false => flag();
    }
}

settings! {
    /// Every weight of the UNet.
    pub struct Full {
        /// Also every weight of the text encoder.
        text_encoder: bool = false => flag();
        /// Save a moving average (EMA) of the weights with this decay in their place.
        ema_decay: Option<f64> = None => between(Bound::Excluded(0.0), Bound::Excluded(1.0));
        /// Also write one checkpoint of the whole model, for A1111, ComfyUI and others.
        single_file: bool = false => flag();
    }
}

/// How a batch and its loss are formed.
#[derive(Debug, Clone, PartialEq)]
pub enum Objective {
    /// Each photograph with its caption.
    Captions,
    /// Each photograph with the instance prompt, and beside it a class image with the class prompt.
    DreamBooth(DreamBooth),
}

settings! {
    /// Prior preservation: loss = instance + `prior_loss_weight` · class (Ruiz et al. 2023).
    /// `dataset.prompt` is the instance prompt.
    pub struct DreamBooth {
        /// What the class images show, such as "a dog"; where there are `subjects`, each says its own.
        class_prompt: String = String::new() => text();
        /// How many class images the base model draws.
        class_images: usize = 100 => count(1), unless |own: &Self| own.class_path.is_some();
        /// A folder of your own class images; none are drawn then.
        class_path: Option<PathBuf> = None => folder();
        /// Weight of the class images' loss.
        prior_loss_weight: f64 = 1.0 => at_least(0.0);
        /// How class images are drawn, with an empty negative prompt, in the dataset's resolution.
        class_sample: SampleParams = SampleParams::default() => Inner::Part(
            &[
                ("seed", "class_seed"),
                ("steps", "class_steps"),
                ("guidance_scale", "class_guidance_scale"),
                ("sampler", "class_sampler"),
            ],
            Affects::Training,
        );
        /// Class images that are drawn at once; it may change how they are rounded.
        class_batch_size: usize = 4 => count(1);
        /// Several subjects in place of one.
        subjects: Vec<Subject> = Vec::new() => Each;
    }
}

settings! {
    /// One of several subjects: images, what they are called, and what its class images show.
    pub struct Subject {
        /// The `name` of the one of `[[dataset.sources]]` that has its images.
        source: String = String::new() => text();
        /// The instance prompt, such as "a sks dog".
        prompt: Option<String> = None => text().usual("that of its source");
        /// What its class images show, such as "a dog"; those of one class are drawn once.
        class_prompt: String = String::new() => text();
        /// The `name` of a source with `prior = true`, whose images are its class images; none are drawn then.
        class_source: Option<String> = None => text();
    }
}

/// The names of the adapters.
const ADAPTERS: [&str; 2] = ["lora", "full"];
const OUTER: [&str; 3] = ["lora", "full", "dreambooth"];

/// Visits `[adapter]`: one table, of which DreamBooth's is around the adapter's.
pub(super) fn keys(adapter: &mut Adapter, objective: &mut Objective, visit: &mut Visit) {
    let current = if let Objective::DreamBooth(_) = objective { "dreambooth" } else { adapter.name() };
    for name in visit.tables(&OUTER, current, |s| {
        s.exactly_one("adapter", &OUTER);
        Some(if s.has("dreambooth") { "dreambooth" } else { Adapter::written(s.has("lora"), s.has("full")) })
    }) {
        if name != "dreambooth" {
            adapter.table(name, visit);
            continue;
        }
        let mut dreambooth = match objective {
            Objective::DreamBooth(dreambooth) => dreambooth.clone(),
            Objective::Captions => DreamBooth::default(),
        };
        visit.table(name, DreamBooth::ABOUT, |visit| {
            dreambooth.keys(visit);
            for name in visit.tables(&ADAPTERS, adapter.name(), |s| {
                s.one_of("adapter in DreamBooth", &ADAPTERS);
                Some(Adapter::written(s.has("lora"), s.has("full")))
            }) {
                adapter.table(name, visit);
            }
        });
        *objective = Objective::DreamBooth(dreambooth);
    }
}

impl Adapter {
    fn name(&self) -> &'static str {
        match self {
            Self::Lora(_) => "lora",
            Self::Full(_) => "full",
        }
    }

    fn written(lora: bool, full: bool) -> &'static str {
        if full && !lora { "full" } else { "lora" }
    }

    /// Visits the table of that name, which becomes this adapter.
    fn table(&mut self, name: &'static str, visit: &mut Visit) {
        match (name, &*self) {
            ("lora", Self::Full(_)) => *self = Self::Lora(Lora::default()),
            ("full", Self::Lora(_)) => *self = Self::Full(Full::default()),
            _ => {}
        }
        match self {
            Self::Lora(lora) => visit.table(name, Lora::ABOUT, |visit| lora.keys(visit)),
            Self::Full(full) => visit.table(name, Full::ABOUT, |visit| full.keys(visit)),
        }
    }
}
