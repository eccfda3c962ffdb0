//! The residual block of UNet and VAE (diffusers' `ResnetBlock2D`), and the layers that halve and
//! double a picture.
//!
//! h = conv1(SiLU(norm1(x))) + `time_emb_proj`(SiLU(temb)); y = shortcut(x) +
//! conv2(SiLU(norm2(h))).

use super::build::Build;
use super::layers::{Conv2d, GroupNorm, Linear};
use super::module::Positions;
use crate::error::Result;
use candle_core::Tensor;
use tunelab_ops::{self as ops, ConvPlus, Padding};

/// One residual block; with a time embedding in the UNet, without one in the VAE.
pub struct Resnet {
    norm1: GroupNorm,
    conv1: Conv2d,
    time_emb_proj: Option<Linear>,
    norm2: GroupNorm,
    conv2: Conv2d,
    shortcut: Option<Conv2d>,
}

/// Sizes that all blocks of a network share.
#[derive(Debug, Clone, Copy)]
pub struct ResnetSizes {
    /// Groups of the norms.
    pub groups: usize,
    /// Epsilon of the norms.
    pub eps: f64,
    /// Width of the time embedding, if there is one.
    pub temb_channels: Option<usize>,
}

impl Resnet {
    /// A block from `inputs` to `outputs` channels.
    pub fn new(build: &Build, sizes: ResnetSizes, inputs: usize, outputs: usize) -> Result<Self> {
        let ResnetSizes { groups, eps, temb_channels } = sizes;
        let time_emb_proj = &build.pp("time_emb_proj").over(Positions::Sample);
        let time_emb_proj = || temb_channels.map(|width| Linear::new(time_emb_proj, width, outputs)).transpose();
        let shortcut = || (inputs != outputs).then(|| Conv2d::pointwise(&build.pp("conv_shortcut"), inputs, outputs));
        Ok(Self {
            norm1: GroupNorm::new(&build.pp("norm1"), groups, inputs, eps)?,
            conv1: Conv2d::same3(&build.pp("conv1"), inputs, outputs)?,
            time_emb_proj: time_emb_proj()?,
            norm2: GroupNorm::new(&build.pp("norm2"), groups, outputs, eps)?,
            conv2: Conv2d::same3(&build.pp("conv2"), outputs, outputs)?,
            shortcut: shortcut().transpose()?,
        })
    }

    /// x [B, inputs, H, W], `temb` [B, width] after its SiLU → [B, outputs, H, W].
    pub fn forward(&self, x: &Tensor, temb: Option<&Tensor>) -> Result<Tensor> {
        // What has been used is dropped before the next large tensor is made.
        let h = self.norm2.forward_silu(&self.hidden(x, temb)?)?;
        let residual = || self.shortcut.as_ref().map_or_else(|| Ok(x.clone()), |shortcut| shortcut.forward(x));
        self.conv2.forward_plus(h, residual, |t| ConvPlus::Residual(t))
    }

    /// The first convolution's result with the time embedding.
    fn hidden(&self, x: &Tensor, temb: Option<&Tensor>) -> Result<Tensor> {
        let h = self.norm1.forward_silu(x)?;
        match (&self.time_emb_proj, temb) {
            (Some(proj), Some(temb)) => self.conv1.forward_plus(h, || proj.forward(temb), |t| ConvPlus::Shift(t)),
            _ => self.conv1.forward(&h),
        }
    }
}

/// Halves height and width with a 3x3 convolution of stride 2.
pub struct Downsample(Conv2d);

impl Downsample {
    /// The UNet pads by 1 on every side, the VAE below and to the right only. `level` is that of
    /// its result.
    pub fn new(build: &Build, level: usize, channels: usize, padding: Padding) -> Result<Self> {
        let build = build.over(Positions::Pixels { level });
        Ok(Self(Conv2d::new(&build.pp("downsamplers.0.conv"), channels, channels, 3, 2, padding)?))
    }

    /// [B, C, H, W] → [B, C, ⌈H/2⌉, ⌈W/2⌉] (the VAE: ⌊H/2⌋).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.0.forward(x)
    }
}

/// Nearest-neighbor upsampling followed by a 3x3 convolution.
pub struct Upsample(Conv2d);

impl Upsample {
    /// Keeps the number of channels. `level` is that of its result.
    pub fn new(build: &Build, level: usize, channels: usize) -> Result<Self> {
        let build = build.over(Positions::Pixels { level });
        Ok(Self(Conv2d::same3(&build.pp("upsamplers.0.conv"), channels, channels)?))
    }

    /// To the given height and width.
    pub fn forward(&self, x: &Tensor, (height, width): (usize, usize)) -> Result<Tensor> {
        self.0.forward(&ops::upsample_nearest(x, height, width)?)
    }
}
