//! Files that are no plain LoRA of the model, each refused as what it is.
//!
//! In: the names in a file. Out: an error that says what the file is, by which tensor, and what can
//! be done. What is read beside the plain form would draw something else without a word, so nothing
//! of such a file is.

use super::names::Modules;
use crate::error::{Error, Result};
use crate::weights::Weights;
use std::path::Path;

/// Where in a name the mark is.
#[derive(Debug, Clone, Copy)]
enum Mark {
    Begins(&'static str),
    Ends(&'static str),
    Has(&'static str),
    Is(&'static str),
}
use Mark::{Begins, Ends, Has, Is};

impl Mark {
    fn fits(self, name: &str) -> bool {
        match self {
            Begins(mark) => name.starts_with(mark),
            Ends(mark) => name.ends_with(mark),
            Has(mark) => name.contains(mark),
            Is(mark) => name == mark,
        }
    }
}

/// A kind of file that is not read.
#[derive(Debug)]
struct Kind {
    marks: &'static [Mark],
    what: &'static str,
    hint: &'static str,
}

const MERGE: &str = "merge it into its base model with the program that made it, and give the result as --model in diffusers' \
    layout; or train a plain LoRA";
const OTHER_BASE: &str = "take a LoRA that was trained for this model's family";
const AS_MODEL: &str = "a whole model is given as --model, as a folder in diffusers' layout; for --lora take a file of low-rank \
    updates";

/// What is read beside a model of that family, and refused beside any other.
const OF_XL: &str = "a LoRA of SDXL";

/// All kinds, the most telling mark first: a DoRA also has all that a LoRA has.
const KINDS: [Kind; 22] = [
    Kind {
        marks: &[Begins("moment1."), Begins("moment2.")],
        what: "a checkpoint of `tunelab run`",
        hint: "give the run's weights/ folder",
    },
    Kind { marks: &[Has(".dora_scale"), Has(".lora_magnitude_vector")], what: "a DoRA", hint: MERGE },
    Kind { marks: &[Has(".hada_")], what: "a LoHa", hint: MERGE },
    Kind { marks: &[Has(".lokr_")], what: "a LoKr", hint: MERGE },
    Kind { marks: &[Has(".lora_mid")], what: "a LoCon with a Tucker core (`lora_mid`)", hint: MERGE },
    Kind { marks: &[Has(".boft_"), Has(".oft_"), Has(".oft_blocks")], what: "an OFT or BOFT", hint: MERGE },
    Kind { marks: &[Ends(".a1.weight"), Ends(".a2.weight"), Has(".glora_")], what: "a GLoRA", hint: MERGE },
    Kind { marks: &[Ends(".on_input"), Has(".ia3_l")], what: "an (IA)³", hint: MERGE },
    Kind { marks: &[Has(".lora_E")], what: "an AdaLoRA", hint: MERGE },
    Kind { marks: &[Has("vera_lambda_"), Has("vera_A"), Has("vera_B")], what: "a VeRA", hint: MERGE },
    Kind { marks: &[Has(".lora_embedding_")], what: "a LoRA of the token embeddings", hint: MERGE },
    Kind {
        marks: &[Ends(".lora_B.bias"), Ends(".lora_up.bias"), Ends(".lora.up.bias"), Ends(".lora_B.default.bias")],
        what: "a LoRA with biases (`lora_bias`)",
        hint: MERGE,
    },
    Kind {
        marks: &[Ends(".diff"), Ends(".diff_b"), Ends(".set_weight"), Ends(".w_norm"), Ends(".b_norm")],
        what: "a file of differences of whole weights, biases or norms (LyCORIS' `full`, `train_norm`)",
        hint: MERGE,
    },
    Kind {
        marks: &[Begins("bundle_emb.")],
        what: "a LoRA with an embedding inside (`bundle_emb`)",
        hint: "its trigger word means nothing without the embedding, and embeddings are not read: save the LoRA without it",
    },
    Kind {
        marks: &[Is("emb_params"), Is("clip_l"), Is("clip_g"), Has("string_to_param")],
        what: "a textual inversion",
        hint: "embeddings are not read: take a LoRA",
    },
    Kind { marks: &[Has("motion_modules.")], what: "a motion LoRA of AnimateDiff", hint: OTHER_BASE },
    Kind {
        marks: &[
            Is("lora_controlnet"),
            Has("controlnet_"),
            Begins("control_model."),
            Begins("image_proj."),
            Begins("ip_adapter."),
        ],
        what: "a ControlNet or an IP-Adapter",
        hint: OTHER_BASE,
    },
    Kind { marks: &[Has("custom_diffusion")], what: "a Custom Diffusion", hint: MERGE },
    Kind {
        marks: &[
            Has("double_blocks"),
            Has("single_blocks"),
            Has("joint_blocks"),
            Has("single_transformer_blocks"),
            Begins("transformer."),
            Begins("lora_transformer_"),
            Begins("lora_te3_"),
            Begins("lora_prior_"),
            Begins("text_encoders.t5xxl."),
            Begins("diffusion_model.blocks."),
            Begins("diffusion_model.layers."),
        ],
        what: "a LoRA of another kind of model (Stable Diffusion 3, Flux or their like)",
        hint: OTHER_BASE,
    },
    Kind {
        marks: &[
            Begins("lora_te2_"),
            Begins("lora_te2."),
            Begins("clip_g."),
            Begins("text_encoder_2."),
            Begins("text_encoders.clip_g."),
            Has("label_emb"),
            Has("add_embedding"),
            Has("transformer_blocks_1_"),
            Has("transformer_blocks.1."),
        ],
        what: OF_XL,
        hint: OTHER_BASE,
    },
    Kind {
        marks: &[
            Begins("model.diffusion_model."),
            Begins("cond_stage_model."),
            Begins("first_stage_model."),
            Begins("conditioner.embedders."),
            Begins("model_ema."),
        ],
        what: "a whole model",
        hint: AS_MODEL,
    },
    Kind {
        marks: &[Begins("encoder.down"), Begins("decoder.up"), Begins("quant_conv."), Begins("post_quant_conv.")],
        what: "a VAE",
        hint: AS_MODEL,
    },
];

/// Errors if a name in the file is of another kind than plain LoRA.
pub(super) fn refuse(file: &Path, weights: &Weights, modules: &Modules) -> Result<()> {
    for kind in KINDS.iter().filter(|kind| kind.what != OF_XL || !modules.is_xl()) {
        let names: Vec<&str> = weights.names().filter(|name| kind.marks.iter().any(|mark| mark.fits(name))).collect();
        if !names.is_empty() {
            return Err(is_a(file, kind.what, &names).hint(kind.hint));
        }
    }
    of_this_family(file, weights, modules)?;
    let own: Vec<&str> = weights.names().filter(|name| modules.has_weight(name)).collect();
    if !own.is_empty() {
        return Err(is_a(file, "the weights of a whole network", &own).hint(AS_MODEL));
    }
    match weights.names().collect::<Vec<_>>()[..] {
        // diffusers names the tensor by its token.
        [only] if !only.contains("lora") && is_embedding(weights.shape(only)) => {
            Err(is_a(file, "a textual inversion", &[only]).hint("embeddings are not read: take a LoRA"))
        }
        _ => Ok(()),
    }
}

/// Errors if the LoRA's cross-attention reads texts of another width than the model's: then few of its modules are there.
fn of_this_family(file: &Path, weights: &Weights, modules: &Modules) -> Result<()> {
    let is_down = |name: &&str| {
        let reads_text = ["attn2_to_k", "attn2.to_k", "attn2.processor.to_k"].iter().any(|part| name.contains(part));
        reads_text && ["down.weight", "lora_A.weight", "lora_A.default.weight"].iter().any(|end| name.ends_with(end))
    };
    let Some(name) = weights.names().find(is_down) else { return Ok(()) };
    let (ours, theirs) = (modules.text_width(), weights.shape(name).and_then(|shape| shape.get(1).copied()));
    match (ours, theirs) {
        (Some(ours), Some(theirs)) if ours != theirs => Err(Error::input(format!(
            "{} does not fit the model: `{name}` reads texts of width {theirs}, and the model's are of width {ours}",
            file.display()
        ))
        .hint(other_base("attn2.to_k", Some(theirs), Some(ours)))),
        _ => Ok(()),
    }
}

/// The widths of the text encoders that there are embeddings for.
fn is_embedding(shape: Option<&[usize]>) -> bool {
    matches!(shape, Some([.., 768 | 1024 | 1280])) && shape.is_some_and(|shape| shape.len() <= 2)
}

fn is_a(file: &Path, what: &str, names: &[&str]) -> Error {
    let more = match names.len() - 1 {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Error::input(format!("{}: this is {what}, which is not read as a LoRA (`{}`{more})", file.display(), names[0]))
}

/// A LoRA whose matrices are for another network: `A` of the module at `path` takes `inputs`
/// numbers where ours has `ours`.
pub(super) fn other_base(path: &str, inputs: Option<usize>, ours: Option<usize>) -> &'static str {
    let reads_text = path.ends_with("attn2.to_k") || path.ends_with("attn2.to_v");
    let in_text_encoder = path.starts_with("text_model.");
    match inputs.filter(|_| inputs != ours && (reads_text || in_text_encoder)) {
        Some(1024) => "it was trained for Stable Diffusion 2",
        Some(2048 | 1280) => "it was trained for SDXL",
        Some(768) => "it was trained for Stable Diffusion 1",
        _ => "this LoRA was trained for another base model",
    }
}
