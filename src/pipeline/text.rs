//! Texts on their way to the UNet: prompts as ids, ids as conditioning.
//!
//! In: the tokenizers and the text encoders of a family, and texts. Out: of each text its ids for
//! every encoder, and its [`Conditioning`].

use super::{Conditioning, ConditioningKind, Family};
use crate::data::shortened;
use crate::error::{Error, Result};
use crate::model::build::{Build, Parameters};
use crate::model::clip::ClipText;
use crate::model::tokenizer::Tokenizer;
use crate::weights::PartName;
use candle_core::Tensor;
use std::collections::BTreeMap;
use tunelab_ops as ops;

/// The ids of one text, for each text encoder.
pub type TokenIds = BTreeMap<PartName, Vec<u32>>;

/// The ids of many texts.
pub type Ids = BTreeMap<String, TokenIds>;

/// The conditioning of many texts, one sample each.
pub type PromptEmbeds = BTreeMap<String, Conditioning>;

/// Texts that had to be cut are told one by one up to this number.
const MAX_TOLD: usize = 20;

/// The tokenizers of a model, by the text encoder that reads their ids.
pub struct Tokenizers(pub BTreeMap<PartName, Tokenizer>);

impl Tokenizers {
    /// The ids of a text for each encoder, and what of it had to be cut off.
    fn encode(&self, text: &str) -> Result<(TokenIds, Option<String>)> {
        let mut ids = TokenIds::new();
        let mut cut = None;
        for (part, tokenizer) in &self.0 {
            let encoded = tokenizer.encode(text)?;
            ids.insert(*part, encoded.ids);
            cut = cut.or(encoded.cut);
        }
        Ok((ids, cut))
    }
}

/// Ids of all `texts`, each once; `warn` hears of the texts that had to be cut.
pub fn tokenize<'t>(
    tokenizers: &Tokenizers,
    texts: impl IntoIterator<Item = &'t str>,
    warn: &mut dyn FnMut(String),
) -> Result<Ids> {
    let mut all = Ids::new();
    let mut cuts: usize = 0;
    for text in texts {
        if all.contains_key(text) {
            continue;
        }
        let (ids, cut) = tokenizers.encode(text)?;
        if let Some(cut) = cut {
            cuts += 1;
            let [text, cut] = [text, &cut].map(shortened);
            if cuts <= MAX_TOLD {
                warn(format!("the prompt “{text}” is too long for the text encoder; this part is left out: “{cut}”"));
            }
        }
        all.insert(text.to_owned(), ids);
    }
    if cuts > MAX_TOLD {
        warn(format!("{} more prompts are too long for the text encoder; their ends are left out", cuts - MAX_TOLD));
    }
    Ok(all)
}

/// The text encoders of a model.
pub struct TextEncoders {
    kind: ConditioningKind,
    networks: BTreeMap<PartName, ClipText>,
}

impl TextEncoders {
    /// Those of a model of this family.
    pub fn new(family: Family, networks: BTreeMap<PartName, ClipText>) -> Self {
        Self { kind: family.conditioning(), networks }
    }

    /// One of them. Errors if the model has none of this name.
    pub fn get(&self, part: PartName) -> Result<&ClipText> {
        self.networks.get(&part).ok_or_else(|| Error::run(format!("the model has no {part}")))
    }

    /// Whether the conditioning depends on a text encoder's tensor.
    pub fn reads(&self, part: PartName, tensor: &str) -> bool {
        self.kind.reads(tensor, self.networks.get(&part).map(ClipText::config))
    }

    /// The conditioning of some texts together.
    pub fn encode(&self, texts: &[&TokenIds]) -> Result<Conditioning> {
        let (mut hidden_states, mut pooled) = (Vec::new(), None);
        for (part, clip) in &self.networks {
            let ids = texts.iter().map(|ids| ids.get(part).cloned()).collect::<Option<Vec<_>>>();
            let ids = ids.ok_or_else(|| Error::run(format!("a text has no ids for the {part}")))?;
            match self.kind {
                ConditioningKind::HiddenStates => hidden_states.push(clip.forward(&ids)?),
                ConditioningKind::Penultimate => {
                    let made = clip.penultimate(&ids)?;
                    hidden_states.push(made.hidden_states);
                    pooled = made.pooled.or(pooled);
                }
            }
        }
        let hidden_states: Vec<&Tensor> = hidden_states.iter().collect();
        let hidden_states = match hidden_states[..] {
            [only] => only.clone(),
            _ => ops::composed(&hidden_states, |states| Tensor::cat(states, 2))?,
        };
        Ok(Conditioning { pooled, ..hidden_states.into() })
    }

    /// The conditioning of each text alone.
    pub fn encode_each(&self, ids: &Ids) -> Result<PromptEmbeds> {
        ids.iter().map(|(text, ids)| Ok((text.clone(), self.encode(&[ids])?))).collect()
    }

    /// The same networks over other tensors.
    pub fn over(&self, parameters: impl Fn(PartName) -> Result<Parameters>) -> Result<Self> {
        let built = |(part, clip): (&PartName, &ClipText)| {
            Ok((*part, ClipText::new(clip.config(), Build::from_parameters(parameters(*part)?))?.0))
        };
        Ok(Self { kind: self.kind, networks: self.networks.iter().map(built).collect::<Result<_>>()? })
    }

    /// Puts other tensors under one of the networks.
    pub(super) fn rebuild(&mut self, part: PartName, parameters: Parameters) -> Result<()> {
        let clip = ClipText::new(self.get(part)?.config(), Build::from_parameters(parameters))?.0;
        self.networks.insert(part, clip);
        Ok(())
    }
}
