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
    /// The same, which read a text in so many chunks.
    #[must_use]
    pub fn with_chunks(self, chunks: usize) -> Self {
        Self(self.0.into_iter().map(|(part, tokenizer)| (part, tokenizer.with_chunks(chunks))).collect())
    }

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

    /// The ids of a text for each encoder; what does not fit is left out.
    pub fn ids(&self, text: &str) -> Result<TokenIds> {
        Ok(self.encode(text)?.0)
    }
}

/// Ids of all `texts`, each once; `warn` hears of the texts that had to be cut.
pub fn tokenize(
    tokenizers: &Tokenizers,
    texts: impl IntoIterator<Item = impl AsRef<str>>,
    warn: &mut dyn FnMut(String),
) -> Result<Ids> {
    let mut all = Ids::new();
    let mut cuts: usize = 0;
    for text in texts {
        let text = text.as_ref();
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
    /// Of which each text's ids consist.
    chunks: usize,
}

impl TextEncoders {
    /// Those of a model of this family.
    pub fn new(family: Family, networks: BTreeMap<PartName, ClipText>) -> Self {
        Self { kind: family.conditioning(), networks, chunks: 1 }
    }

    /// The same for texts that consist of so many chunks.
    #[must_use]
    pub fn with_chunks(self, chunks: usize) -> Self {
        Self { chunks: chunks.max(1), ..self }
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
            let ids = self.in_chunks(ids);
            match self.kind {
                ConditioningKind::HiddenStates => hidden_states.push(self.joined(clip.forward(&ids)?)?),
                ConditioningKind::Penultimate => {
                    let made = clip.penultimate(&ids)?;
                    hidden_states.push(self.joined(made.hidden_states)?);
                    pooled = made.pooled.map(|pooled| self.of_first_chunks(pooled)).transpose()?.or(pooled);
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

    /// One row for each chunk.
    fn in_chunks(&self, ids: Vec<Vec<u32>>) -> Vec<Vec<u32>> {
        if self.chunks == 1 {
            return ids;
        }
        let rows =
            |ids: Vec<u32>| ids.chunks(ids.len().div_ceil(self.chunks).max(1)).map(<[u32]>::to_vec).collect::<Vec<_>>();
        ids.into_iter().flat_map(rows).collect()
    }

    /// States of chunks [B · n, tokens, width] → those of texts [B, n · (tokens - 2) + 2, width]: the first chunk's begin token, all
    /// chunks' texts, and the last one's end, as kohya's scripts join them.
    fn joined(&self, states: Tensor) -> Result<Tensor> {
        if self.chunks == 1 {
            return Ok(states);
        }
        let (rows, tokens, width) = states.dims3()?;
        let (chunks, texts) = (self.chunks, rows / self.chunks);
        Ok(ops::composed(&[&states], |states| {
            let all = states[0].reshape((texts, chunks, tokens, width))?;
            let edge =
                |chunk: usize, token: usize| all.narrow(1, chunk, 1)?.narrow(2, token, 1)?.reshape((texts, 1, width));
            let inner = all.narrow(2, 1, tokens - 2)?.reshape((texts, chunks * (tokens - 2), width))?;
            Tensor::cat(&[&edge(0, 0)?, &inner, &edge(chunks - 1, tokens - 1)?], 1)
        })?)
    }

    /// [B · n, width] → [B, width].
    fn of_first_chunks(&self, pooled: Tensor) -> Result<Tensor> {
        if self.chunks == 1 {
            return Ok(pooled);
        }
        let (rows, width) = pooled.dims2()?;
        let texts = rows / self.chunks;
        Ok(ops::composed(&[&pooled], |pooled| {
            pooled[0].reshape((texts, self.chunks, width))?.narrow(1, 0, 1)?.reshape((texts, width))
        })?)
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
        let networks = self.networks.iter().map(built).collect::<Result<_>>()?;
        Ok(Self { kind: self.kind, networks, chunks: self.chunks })
    }

    /// Puts other tensors under one of the networks.
    pub(super) fn rebuild(&mut self, part: PartName, parameters: Parameters) -> Result<()> {
        let clip = ClipText::new(self.get(part)?.config(), Build::from_parameters(parameters))?.0;
        self.networks.insert(part, clip);
        Ok(())
    }
}
