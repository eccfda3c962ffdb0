//! The smallest layers: linear, convolution, the two norms. Each takes its tensors from a [`Build`]
//! by diffusers' names and leaves its result to the adapter of its path where there is one.

use super::build::Build;
use super::lora::LoraLayer;
use crate::error::Result;
use candle_core::Tensor;
use tunelab_ops::{self as ops, ConvPlus, FusedActivation, MatmulPrecision, Padding, Weight};

/// W x + b over the last axis.
pub struct Linear {
    weight: Weight,
    bias: Option<Tensor>,
    lora: Option<LoraLayer>,
}

impl Linear {
    /// `weight` [outputs, inputs] and `bias` `[outputs]`.
    pub fn new(build: &Build, inputs: usize, outputs: usize) -> Result<Self> {
        let map = Self::no_bias(build, inputs, outputs)?;
        Ok(Self { bias: Some(build.bias(outputs)?), ..map })
    }

    /// `weight` alone.
    pub fn no_bias(build: &Build, inputs: usize, outputs: usize) -> Result<Self> {
        let shape = [outputs, inputs];
        Ok(Self { weight: build.weight(&shape)?, bias: None, lora: build.lora(&shape)? })
    }

    /// What attention to its results is computed from: rounded values beside a rounded weight.
    pub fn products(&self) -> MatmulPrecision {
        match self.weight {
            Weight::Full(_) => MatmulPrecision::F32,
            _ => MatmulPrecision::Bf16,
        }
    }

    /// x [..., inputs] → [..., outputs].
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match &self.lora {
            Some(lora) => lora.forward(x, &self.weight, self.bias.as_ref()),
            None => Ok(self.weight.linear(x, self.bias.as_ref())?),
        }
    }

    /// The same plus a residual like the result.
    pub fn forward_residual(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        let bias = self.bias.as_ref();
        match &self.lora {
            // Added last, as PyTorch does: of a short type its digits are coarser than a small update's.
            Some(lora) => Ok(ops::add(&lora.forward(x, &self.weight, bias)?, residual)?),
            None => Ok(self.weight.linear_residual(x, bias, residual)?),
        }
    }
}

/// Linear maps of one x without biases whose results lie side by side.
pub struct PackedLinear {
    weight: Weight,
    /// One a map, or none at all.
    lora: Vec<LoraLayer>,
}

impl PackedLinear {
    /// Of the maps `names` below the path of `build`, which `maps` are. `None` where they are no
    /// faster together, or where some have an adapter and others not.
    pub fn new<const N: usize>(build: &Build, names: [&str; N], maps: [&mut Linear; N]) -> Result<Option<Self>> {
        let lora: Vec<LoraLayer> = maps.iter().filter_map(|map| map.lora.clone()).collect();
        let fit = lora.is_empty() || lora.len() == N && lora.iter().all(|layer| layer.packs_with(&lora[0]));
        if !fit || maps.iter().any(|map| map.bias.is_some()) {
            return Ok(None);
        }
        let Some(weight) = build.packed(&names)? else { return Ok(None) };
        for (i, map) in maps.into_iter().enumerate() {
            map.weight = weight.part(i, N)?;
        }
        Ok(Some(Self { weight, lora }))
    }

    /// x [..., inputs] → [..., outputs of all].
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let adapters: Vec<[&Tensor; 2]> = self.lora.iter().map(|layer| [&layer.lora_a, &layer.lora_b]).collect();
        let factor = self.lora.first().map_or(1.0, LoraLayer::factor);
        Ok(self.weight.linear_lora_packed(x, &adapters, factor)?)
    }
}

/// Two-dimensional convolution with bias.
pub struct Conv2d {
    weight: Weight,
    bias: Tensor,
    stride: usize,
    padding: Padding,
    lora: Option<LoraLayer>,
}

impl Conv2d {
    /// `weight` [outputs, inputs, kernel, kernel] and `bias` `[outputs]`.
    pub fn new(
        build: &Build,
        inputs: usize,
        outputs: usize,
        kernel: usize,
        stride: usize,
        padding: Padding,
    ) -> Result<Self> {
        let shape = [outputs, inputs, kernel, kernel];
        let (weight, bias) = (build.weight(&shape)?, build.get(&[outputs], "bias")?);
        Ok(Self { weight, bias, stride, padding, lora: build.lora(&shape)? })
    }

    /// 3x3, stride 1, one row of zeros around.
    pub fn same3(build: &Build, inputs: usize, outputs: usize) -> Result<Self> {
        Self::new(build, inputs, outputs, 3, 1, Padding::same(1))
    }

    /// 1x1.
    pub fn pointwise(build: &Build, inputs: usize, outputs: usize) -> Result<Self> {
        Self::new(build, inputs, outputs, 1, 1, Padding::same(0))
    }

    /// x [B, inputs, H, W] → [B, outputs, H', W'].
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let Self { weight, bias, stride, padding, lora } = self;
        match lora {
            Some(lora) => lora.forward_conv2d(x, weight, Some(bias), *stride, *padding),
            None => Ok(weight.conv2d(x, Some(bias), *stride, *padding)?),
        }
    }

    /// The same plus what else comes to the result: `other`, as `plus` says. On a CUDA card the convolution adds it. Elsewhere,
    /// and beside an adapter, it is computed afterwards: adapters draw their dropout one after the other, and x is gone by then.
    pub fn forward_plus(
        &self,
        x: Tensor,
        other: impl FnOnce() -> Result<Tensor>,
        plus: fn(&Tensor) -> ConvPlus<'_>,
    ) -> Result<Tensor> {
        let Self { weight, bias, stride, padding, lora } = self;
        if lora.is_none() && x.device().is_cuda() {
            return Ok(weight.conv2d_plus(&x, Some(bias), plus(&other()?), *stride, *padding)?);
        }
        let y = self.forward(&x)?;
        drop(x);
        Ok(plus(&other()?).add_to(&y)?)
    }
}

/// Group normalization, optionally followed by SiLU.
pub struct GroupNorm {
    weight: Tensor,
    bias: Tensor,
    groups: usize,
    eps: f64,
}

impl GroupNorm {
    /// `weight` and `bias` `[channels]`.
    pub fn new(build: &Build, groups: usize, channels: usize, eps: f64) -> Result<Self> {
        let (weight, bias) = (build.get(&[channels], "weight")?, build.get(&[channels], "bias")?);
        Ok(Self { weight, bias, groups, eps })
    }

    /// The normalized picture.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(ops::group_norm(x, self.groups, &self.weight, &self.bias, self.eps, FusedActivation::None)?)
    }

    /// SiLU of the normalized picture.
    pub fn forward_silu(&self, x: &Tensor) -> Result<Tensor> {
        Ok(ops::group_norm(x, self.groups, &self.weight, &self.bias, self.eps, FusedActivation::Silu)?)
    }
}

/// Layer normalization over the last axis.
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl LayerNorm {
    /// `weight` and `bias` `[width]`.
    pub fn new(build: &Build, width: usize, eps: f64) -> Result<Self> {
        let (weight, bias) = (build.get(&[width], "weight")?, build.get(&[width], "bias")?);
        Ok(Self { weight, bias, eps })
    }

    /// The normalized rows.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(ops::layer_norm(x, &self.weight, &self.bias, self.eps)?)
    }
}
