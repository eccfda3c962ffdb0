//! The transformer over a picture's pixels (diffusers' `Transformer2DModel` with
//! `BasicTransformerBlock`s).
//!
//! Each block: self-attention, cross-attention to the text, GEGLU feed-forward; layer norm before,
//! residual after each.

use super::build::Build;
use super::layers::{Conv2d, GroupNorm, LayerNorm, Linear, PackedLinear};
use super::module::Positions;
use crate::error::Result;
use candle_core::Tensor;
use tunelab_ops::{self as ops, AttentionMask, ConvPlus};

/// Epsilon of the group norm in front of the transformer; diffusers fixes it apart from the UNet's
/// `norm_eps`.
const GROUP_NORM_EPS: f64 = 1e-6;
/// Epsilon of the blocks' layer norms.
const LAYER_NORM_EPS: f64 = 1e-5;

/// Sizes of one transformer.
#[derive(Debug, Clone, Copy)]
pub struct TransformerSizes {
    /// Channels of the picture.
    pub channels: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of the text's hidden states.
    pub cross_attention_dim: usize,
    /// Blocks.
    pub layers: usize,
    /// Groups of the group norm.
    pub groups: usize,
    /// Linear instead of 1x1 convolutions around the blocks (Stable Diffusion 2).
    pub use_linear_projection: bool,
}

/// Multi-head attention with its four projections.
pub struct Attention {
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
    /// q, k and v of self-attention, k and v of cross-attention, where they are faster together.
    packed: Option<PackedLinear>,
    heads: usize,
}

impl Attention {
    /// Queries of `width`; keys and values from the text's states, if their width is given, or from
    /// the picture.
    fn new(build: &Build, width: usize, text: Option<usize>, heads: usize) -> Result<Self> {
        let context = |name: &str| match text {
            Some(text) => Linear::no_bias(&build.pp(name).over(Positions::Tokens), text, width),
            None => Linear::no_bias(&build.pp(name), width, width),
        };
        let (mut to_q, mut to_k, mut to_v) =
            (Linear::no_bias(&build.pp("to_q"), width, width)?, context("to_k")?, context("to_v")?);
        let packed = match text {
            Some(_) => PackedLinear::new(build, ["to_k", "to_v"], [&mut to_k, &mut to_v])?,
            None => PackedLinear::new(build, ["to_q", "to_k", "to_v"], [&mut to_q, &mut to_k, &mut to_v])?,
        };
        Ok(Self { to_q, to_k, to_v, to_out: Linear::new(&build.pp("to_out.0"), width, width)?, packed, heads })
    }

    /// The same with biases on all projections: the VAE's.
    pub fn with_biases(build: &Build, width: usize) -> Result<Self> {
        Ok(Self {
            to_q: Linear::new(&build.pp("to_q"), width, width)?,
            to_k: Linear::new(&build.pp("to_k"), width, width)?,
            to_v: Linear::new(&build.pp("to_v"), width, width)?,
            to_out: Linear::new(&build.pp("to_out.0"), width, width)?,
            packed: None,
            heads: 1,
        })
    }

    /// x [B, N, width] attends to `context` [B, M, …], or to itself.
    pub fn forward(&self, x: &Tensor, context: Option<&Tensor>) -> Result<Tensor> {
        self.to_out.forward(&self.attended(x, context)?)
    }

    /// The same plus a residual like x.
    fn forward_residual(&self, x: &Tensor, context: Option<&Tensor>, residual: &Tensor) -> Result<Tensor> {
        self.to_out.forward_residual(&self.attended(x, context)?, residual)
    }

    /// What all heads make, in front of the last projection.
    fn attended(&self, x: &Tensor, context: Option<&Tensor>) -> Result<Tensor> {
        if let Some(packed) = &self.packed {
            return Ok(match context {
                None => ops::attention_qkv_packed(&packed.forward(x)?, self.heads)?,
                Some(text) => ops::attention_kv_packed(&self.to_q.forward(x)?, &packed.forward(text)?, self.heads)?,
            });
        }
        let context = context.unwrap_or(x);
        let (q, k, v) = (self.to_q.forward(x)?, self.to_k.forward(context)?, self.to_v.forward(context)?);
        let products = self.to_q.products();
        Ok(ops::attention_with(&q, &k, &v, self.heads, AttentionMask::None, products)?)
    }
}

struct Block {
    norm1: LayerNorm,
    attn1: Attention,
    norm2: LayerNorm,
    attn2: Attention,
    norm3: LayerNorm,
    ff_in: Linear,
    ff_out: Linear,
}

impl Block {
    fn new(build: &Build, sizes: TransformerSizes) -> Result<Self> {
        let TransformerSizes { channels: c, heads, cross_attention_dim, .. } = sizes;
        Ok(Self {
            norm1: LayerNorm::new(&build.pp("norm1"), c, LAYER_NORM_EPS)?,
            attn1: Attention::new(&build.pp("attn1"), c, None, heads)?,
            norm2: LayerNorm::new(&build.pp("norm2"), c, LAYER_NORM_EPS)?,
            attn2: Attention::new(&build.pp("attn2"), c, Some(cross_attention_dim), heads)?,
            norm3: LayerNorm::new(&build.pp("norm3"), c, LAYER_NORM_EPS)?,
            ff_in: Linear::new(&build.pp("ff.net.0.proj"), c, 8 * c)?,
            ff_out: Linear::new(&build.pp("ff.net.2"), 4 * c, c)?,
        })
    }

    fn forward(&self, x: &Tensor, encoder_hidden_states: &Tensor) -> Result<Tensor> {
        let x = self.attn1.forward_residual(&self.norm1.forward(x)?, None, x)?;
        let x = self.attn2.forward_residual(&self.norm2.forward(&x)?, Some(encoder_hidden_states), &x)?;
        let h = ops::geglu(&self.ff_in.forward(&self.norm3.forward(&x)?)?)?;
        self.ff_out.forward_residual(&h, &x)
    }
}

/// In front of and behind the blocks: from pixels to rows and back.
enum Projection {
    Conv(Conv2d),
    Linear(Linear),
}

impl Projection {
    fn new(build: &Build, sizes: TransformerSizes) -> Result<Self> {
        let c = sizes.channels;
        if sizes.use_linear_projection {
            Linear::new(build, c, c).map(Self::Linear)
        } else {
            Conv2d::pointwise(build, c, c).map(Self::Conv)
        }
    }

    /// [B, C, H, W] → [B, H·W, C]
    fn to_rows(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Conv(conv) => Ok(ops::to_rows(&conv.forward(x)?)?),
            Self::Linear(linear) => linear.forward(&ops::to_rows(x)?),
        }
    }

    /// [B, H·W, C] → [B, C, H, W], plus a residual like that.
    fn to_picture(&self, x: &Tensor, size: (usize, usize), residual: &Tensor) -> Result<Tensor> {
        match self {
            Self::Conv(conv) => {
                conv.forward_plus(ops::to_image(x, size)?, || Ok(residual.clone()), |t| ConvPlus::Residual(t))
            }
            Self::Linear(linear) => Ok(ops::add(&ops::to_image(&linear.forward(x)?, size)?, residual)?),
        }
    }
}

/// A transformer over the pixels of a picture, with a residual around it.
pub struct Transformer {
    norm: GroupNorm,
    proj_in: Projection,
    blocks: Vec<Block>,
    proj_out: Projection,
}

impl Transformer {
    /// Takes its tensors from `build`, the path of one `attentions.N`.
    pub fn new(build: &Build, sizes: TransformerSizes) -> Result<Self> {
        let blocks = (0..sizes.layers).map(|i| Block::new(&build.pp("transformer_blocks").pp(i), sizes));
        Ok(Self {
            norm: GroupNorm::new(&build.pp("norm"), sizes.groups, sizes.channels, GROUP_NORM_EPS)?,
            proj_in: Projection::new(&build.pp("proj_in"), sizes)?,
            blocks: blocks.collect::<Result<_>>()?,
            proj_out: Projection::new(&build.pp("proj_out"), sizes)?,
        })
    }

    /// x [B, C, H, W], `encoder_hidden_states` [B, M, width] → [B, C, H, W].
    pub fn forward(&self, x: &Tensor, encoder_hidden_states: &Tensor) -> Result<Tensor> {
        let (_, _, height, width) = x.dims4()?;
        let mut rows = self.proj_in.to_rows(&self.norm.forward(x)?)?;
        for block in &self.blocks {
            rows = block.forward(&rows, encoder_hidden_states)?;
        }
        self.proj_out.to_picture(&rows, (height, width), x)
    }
}
