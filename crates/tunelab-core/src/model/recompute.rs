//! The stages of the UNet, and gradient checkpointing (Chen et al. 2016): a stage keeps its inputs
//! only; backward computes it again.
//!
//! In: a stage (residual block and transformer) and its inputs. Out: its output. A stage has a tape
//! of its own, which is kept or made again; so the gradients of its inputs' uses in here are summed
//! in here, with or without checkpointing: one order of sums, hence the same gradients to the last
//! bit.

use super::lora::Dropout;
use super::resnet::Resnet;
use super::transformer::Transformer;
use crate::error::Result;
use candle_core::Tensor;
use std::sync::Arc;
use tunelab_ops::tape;

/// A residual block, and the transformer behind it where the level has attention.
pub struct Stage {
    /// The residual block.
    pub resnet: Resnet,
    /// The transformer.
    pub attention: Option<Transformer>,
}

impl Stage {
    /// x [B, C, H, W], `temb` [B, width], `encoder_hidden_states` [B, M, width] → [B, C', H, W].
    pub fn forward(&self, x: &Tensor, temb: &Tensor, encoder_hidden_states: &Tensor) -> Result<Tensor> {
        let x = self.resnet.forward(x, Some(temb))?;
        match &self.attention {
            Some(attention) => attention.forward(&x, encoder_hidden_states),
            None => Ok(x),
        }
    }
}

/// Runs `stage`; with `again`, without keeping what it computes on the way.
pub fn run(stage: &Arc<Stage>, inputs: [&Tensor; 3], dropout: Option<&Arc<Dropout>>, again: bool) -> Result<Tensor> {
    if !tape::recording() {
        return stage.forward(inputs[0], inputs[1], inputs[2]);
    }
    let state = dropout.map(|d| (Arc::clone(d), d.state()));
    let (output, tape) = tape::record(|| stage.forward(inputs[0], inputs[1], inputs[2]))?;
    if again {
        drop(tape);
        let (stage, [x, temb, text]) = (Arc::clone(stage), inputs.map(Tensor::clone));
        tape::section(&output, move || {
            if let Some((dropout, state)) = state {
                dropout.set(state);
            }
            tape::record(|| stage.forward(&x, &temb, &text)).map_err(|e| candle_core::Error::msg(e.to_string()))
        });
    } else {
        let kept = output.clone();
        tape::section(&output, move || Ok((kept, tape)));
    }
    Ok(output)
}
