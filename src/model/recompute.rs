//! Gradient checkpointing (Chen et al. 2016): a stage of the UNet keeps its inputs only; backward computes it again.
//!
//! In: a stage (residual block and transformer) and its inputs. Out: its output, as one node of the graph. The gradients of
//! the stage's own tensors cannot be returned through that node; they are collected beside it in [`Collected`].

use super::lora::Dropout;
use super::resnet::Resnet;
use super::transformer::Transformer;
use crate::error::{Error, Result};
use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, CustomOp3, Layout, Shape, Storage, Tensor, Var};
use std::sync::{Arc, Mutex, PoisonError};

/// A residual block, and the transformer behind it where the level has attention.
pub struct Stage {
    /// The residual block.
    pub resnet: Resnet,
    /// The transformer.
    pub attention: Option<Transformer>,
}

impl Stage {
    /// x [B, C, H, W], `time` [B, width], `text` [B, M, width] → [B, C', H, W].
    ///
    /// Each input enters through a node of its own, so that the gradients of its uses in here are summed in here, with or
    /// without checkpointing: one order of sums, hence the same gradients to the last bit.
    pub fn forward(&self, x: &Tensor, time: &Tensor, text: &Tensor) -> Result<Tensor> {
        let x = self.resnet.forward(&x.reshape(x.shape())?, Some(&time.reshape(time.shape())?))?;
        match &self.attention {
            Some(attention) => attention.forward(&x, &text.reshape(text.shape())?),
            None => Ok(x),
        }
    }
}

/// Gradients of the stages' tensors, from one backward pass.
#[derive(Default)]
pub struct Collected(Mutex<Vec<GradStore>>);

impl Collected {
    /// Takes the gradient of `tensor` out, if a stage computed it.
    pub fn take(&self, tensor: &Tensor) -> Option<Tensor> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter_mut().find_map(|store| store.remove(tensor))
    }

    /// Forgets all gradients: before a new backward pass.
    pub fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Runs `stage` without keeping what it computes on the way.
pub fn run(
    stage: &Arc<Stage>,
    inputs: [&Tensor; 3],
    dropout: Option<&Arc<Dropout>>,
    collected: &Arc<Collected>,
) -> Result<Tensor> {
    let state = dropout.and_then(|d| d.state());
    let [x, time, text] = inputs.map(Tensor::detach);
    let output = stage.forward(&x, &time, &text)?.detach();
    let op = Recompute {
        stage: Arc::clone(stage),
        output: Mutex::new(Some(output.contiguous()?)),
        wanted: inputs.map(Tensor::track_op),
        dropout: dropout.map(|d| (Arc::clone(d), state)),
        collected: Arc::clone(collected),
    };
    // The node must be part of the graph even if nothing before the stage is trained: its own tensors may be.
    let x =
        if inputs.iter().any(|t| t.track_op()) { inputs[0].clone() } else { Var::from_tensor(inputs[0])?.into_inner() };
    Ok(x.contiguous()?.apply_op3(&inputs[1].contiguous()?, &inputs[2].contiguous()?, op)?)
}

struct Recompute {
    stage: Arc<Stage>,
    /// Until it has taken its place in the graph.
    output: Mutex<Option<Tensor>>,
    /// Whether a gradient is wanted for x, time and text.
    wanted: [bool; 3],
    dropout: Option<(Arc<Dropout>, Option<crate::random::Generator>)>,
    collected: Arc<Collected>,
}

impl Recompute {
    /// The stage once more, now with a graph, and its gradients.
    fn backward(&self, inputs: [&Tensor; 3], dy: &Tensor) -> Result<[Option<Tensor>; 3]> {
        if let Some((dropout, state)) = &self.dropout {
            dropout.set(state.clone());
        }
        let leaf = |i: usize| {
            let t = inputs[i].detach();
            if self.wanted[i] { Var::from_tensor(&t).map(Var::into_inner) } else { Ok(t) }
        };
        let leaves = [leaf(0)?, leaf(1)?, leaf(2)?];
        let output = self.stage.forward(&leaves[0], &leaves[1], &leaves[2])?;
        // The gradient of Σ y · dy with respect to y is dy.
        let mut store = (output * dy.detach())?.sum_all()?.backward()?;
        let gradients = leaves.each_ref().map(|leaf| store.remove(leaf));
        self.collected.0.lock().unwrap_or_else(PoisonError::into_inner).push(store);
        Ok(gradients)
    }
}

impl CustomOp3 for Recompute {
    fn name(&self) -> &'static str {
        "recompute"
    }

    /// The output is there already; it only takes its place in the graph.
    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let Some(output) = self.output.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            candle_core::bail!("recompute: the output was taken already")
        };
        let (storage, _) = output.storage_and_layout();
        match &*storage {
            Storage::Cpu(cpu) => Ok((cpu.clone(), output.shape().clone())),
            _ => candle_core::bail!("recompute: the output is not in host memory"),
        }
    }

    fn bwd(
        &self,
        x: &Tensor,
        time: &Tensor,
        text: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [x, time, text] =
            self.backward([x, time, text], dy).map_err(|e: Error| candle_core::Error::msg(e.to_string()))?;
        Ok((x, time, text))
    }
}
