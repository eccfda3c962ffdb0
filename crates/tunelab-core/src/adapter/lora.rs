//! LoRA (Hu et al. 2021): low-rank updates beside frozen weights.
//!
//! In: its settings, and at the end the trained networks. Out: what it trains; the adapter for
//! diffusers and PEFT, and beside it in kohya's naming with the usual `ss_*` metadata.
//! `crate::model::lora` has its arithmetic, [`super::file`] its files' names.

use super::file::{self, Written};
use super::kohya_metadata::kohya_metadata;
use super::method::{Method, Output};
use super::weights::{TrainedModel, WeightsFolder};
use crate::config::Lora;
use crate::error::Result;
use crate::model::build::Trainable;
use crate::model::lora::LoraConfig;
use crate::results::{LORA_FILE, weights_name};
use crate::weights::PartName;

/// The text encoder's projections that an adapter is put beside.
const TEXT_ENCODER_TARGETS: [&str; 4] = ["q_proj", "k_proj", "v_proj", "out_proj"];

/// What it trains.
pub fn method(lora: &Lora) -> Method {
    let beside =
        |targets| Trainable::Lora(LoraConfig { rank: lora.rank, alpha: lora.alpha, targets, dropout: lora.dropout });
    Method {
        label: "lora",
        unet: beside(lora.targets.clone()),
        text_encoder: if lora.text_encoder { beside(text_encoder_targets()) } else { Trainable::None },
        beside_weights: Some(format!("LoRA of rank {}", lora.rank)),
        ema_decay: None,
        output: Output::Adapter(LORA_FILE),
    }
}

/// The same adapter in two files.
pub fn save(out: &mut WeightsFolder, lora: &Lora, trained: &TrainedModel) -> Result<()> {
    let text_encoder_targets = text_encoder_targets();
    let unet = Written { part: PartName::Unet, layers: &trained.unet.lora, targets: &lora.targets };
    let text_encoders = trained.text_encoders.iter().map(|(part, parameters)| Written {
        part: *part,
        layers: &parameters.lora,
        targets: &text_encoder_targets,
    });
    let networks: Vec<Written> = [unet].into_iter().chain(text_encoders).collect();
    let family = trained.files.family;
    out.write(LORA_FILE, |path| file::write_diffusers(path, family, &networks, lora.dropout))?;
    let metadata = kohya_metadata(lora, trained);
    out.write(&weights_name(&trained.plan.name), |path| {
        file::write_kohya(path, family, &trained.unet_levels, &networks, &metadata)
    })
}

fn text_encoder_targets() -> Vec<String> {
    TEXT_ENCODER_TARGETS.map(str::to_owned).to_vec()
}
