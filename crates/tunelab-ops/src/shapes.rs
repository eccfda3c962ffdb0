//! Plain shapes and switches of the operations, which their bodies on every device are told by.
//!
//! In: dimensions that a caller has. Out: small `Copy` values. Nothing of this crate is imported
//! here, so an operation and its bodies may both use what stands here.

use candle_core::{Result, Tensor, bail};

/// Zeros around an image. The VAE's down-sampling pads only below and to the right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Padding {
    /// Rows above and columns to the left.
    pub before: usize,
    /// Rows below and columns to the right.
    pub after: usize,
}

impl Padding {
    /// The same number of zeros on every side.
    pub fn same(n: usize) -> Self {
        Self { before: n, after: n }
    }
}

/// What is added to the result of a convolution [B, C, H, W] besides its bias.
#[derive(Debug, Clone, Copy)]
pub enum ConvPlus<'t> {
    /// One value for each sample and channel, [B, C]: a time embedding.
    Shift(&'t Tensor),
    /// A picture like the result.
    Residual(&'t Tensor),
}

/// All sizes of one convolution.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ConvShape {
    pub(crate) batch: usize,
    pub(crate) c: usize,
    pub(crate) h: usize,
    pub(crate) w: usize,
    pub(crate) o: usize,
    pub(crate) kh: usize,
    pub(crate) kw: usize,
    pub(crate) stride: usize,
    /// Zeros above and to the left.
    pub(crate) pad: usize,
    pub(crate) ho: usize,
    pub(crate) wo: usize,
}

impl ConvShape {
    pub(crate) fn new(
        (batch, c, h, w): (usize, usize, usize, usize),
        (o, wc, kh, kw): (usize, usize, usize, usize),
        stride: usize,
        padding: Padding,
    ) -> Result<Self> {
        let (full_h, full_w) = (h + padding.before + padding.after, w + padding.before + padding.after);
        if wc != c || full_h < kh || full_w < kw || [c, h, w, o, kh, kw, stride].contains(&0) {
            bail!("conv2d: a weight [{o}, {wc}, {kh}, {kw}] does not fit an input [{batch}, {c}, {h}, {w}]");
        }
        let (ho, wo) = ((full_h - kh) / stride + 1, (full_w - kw) / stride + 1);
        Ok(Self { batch, c, h, w, o, kh, kw, stride, pad: padding.before, ho, wo })
    }

    /// The same without a stride: as many results as there are pixels or, where these reach further, more.
    pub(crate) fn without_stride(self) -> Self {
        let reach = |n: usize, pixels: usize| pixels.max((n - 1) * self.stride + 1);
        Self { stride: 1, ho: reach(self.ho, self.h), wo: reach(self.wo, self.w), ..self }
    }

    /// The result's dimensions.
    pub(crate) fn result(&self) -> (usize, usize, usize, usize) {
        (self.batch, self.o, self.ho, self.wo)
    }

    /// The dimensions of image, weight and result.
    #[cfg(feature = "cuda")]
    pub(crate) fn dims(&self) -> [[usize; 4]; 3] {
        [
            [self.batch, self.c, self.h, self.w],
            [self.o, self.c, self.kh, self.kw],
            [self.batch, self.o, self.ho, self.wo],
        ]
    }

    /// Values in one patch: the inner dimension of the product.
    pub(crate) fn patch(&self) -> usize {
        self.c * self.kh * self.kw
    }

    pub(crate) fn pixels_out(&self) -> usize {
        self.ho * self.wo
    }

    pub(crate) fn pixels_in(&self) -> usize {
        self.h * self.w
    }

    /// Whether each result is of one pixel, at its place.
    pub(crate) fn is_pointwise(&self) -> bool {
        self.kh == 1 && self.kw == 1 && self.stride == 1 && self.pad == 0 && self.pixels_in() == self.pixels_out()
    }

    /// Whether this is a 3x3 convolution between zeros, to images of the same size.
    pub(crate) fn keeps_size(&self) -> bool {
        let kernel = (self.kh, self.kw, self.stride, self.pad) == (3, 3, 1, 1);
        kernel && (self.ho, self.wo) == (self.h, self.w)
    }
}

/// Which keys a query may look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttentionMask {
    /// All of them.
    None,
    /// Those at its own position and before (the text encoder).
    Causal,
}

/// What the products of attention are computed from, in host memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatmulPrecision {
    /// From f32.
    F32,
    /// From values that are rounded to bf16, where the processor has instructions for that.
    Bf16,
}

/// All sizes of one attention.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AttentionShape {
    pub(crate) batch: usize,
    pub(crate) queries: usize,
    pub(crate) keys: usize,
    pub(crate) heads: usize,
    /// Values of a head.
    pub(crate) d: usize,
    pub(crate) mask: AttentionMask,
}

impl AttentionShape {
    pub(crate) fn width(&self) -> usize {
        self.heads * self.d
    }

    pub(crate) fn scale(&self) -> f32 {
        1.0 / (self.d as f32).sqrt()
    }

    /// What scores are multiplied with to be exponents of 2.
    pub(crate) fn scale_of_exp2(&self) -> f32 {
        self.scale() * std::f32::consts::LOG2_E
    }

    /// Where head `i` of all samples' has its row `row` of `rows` in [B, rows, heads · d].
    pub(crate) fn place(&self, i: usize, row: usize, rows: usize) -> usize {
        (i / self.heads * rows + row) * self.width() + i % self.heads * self.d
    }

    /// How many keys query `query` may look at.
    pub(crate) fn visible_keys(&self, query: usize) -> usize {
        match self.mask {
            AttentionMask::None => self.keys,
            AttentionMask::Causal => (query + 1).min(self.keys),
        }
    }
}

/// The activation that follows a normalization in the same pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FusedActivation {
    /// None.
    None,
    /// SiLU, x · sigmoid(x).
    Silu,
}

/// The constants of one AdamW step, the same for every tensor.
#[derive(Debug, Clone, Copy)]
pub struct AdamWStep {
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the denominator.
    pub epsilon: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Number of this step, from 1.
    pub t: i32,
    /// What every gradient is multiplied with first (clipping).
    pub gradient_scale: f64,
}

/// The constants of an AdamW step as the kernels use them.
#[derive(Clone, Copy)]
pub(crate) struct AdamWConstants {
    pub(crate) gradient_scale: f32,
    pub(crate) decay: f32,
    pub(crate) beta1: f32,
    pub(crate) one_minus_beta1: f32,
    pub(crate) beta2: f32,
    pub(crate) one_minus_beta2: f32,
    /// lr / (1 - β₁ᵗ)
    pub(crate) rate: f32,
    /// 1 / √(1 - β₂ᵗ)
    pub(crate) correction: f32,
    pub(crate) epsilon: f32,
}

impl AdamWConstants {
    pub(crate) fn new(s: &AdamWStep) -> Self {
        Self {
            gradient_scale: s.gradient_scale as f32,
            decay: (1.0 - s.learning_rate * s.weight_decay) as f32,
            beta1: s.beta1 as f32,
            one_minus_beta1: (1.0 - s.beta1) as f32,
            beta2: s.beta2 as f32,
            one_minus_beta2: (1.0 - s.beta2) as f32,
            rate: (s.learning_rate / (1.0 - s.beta1.powi(s.t))) as f32,
            correction: (1.0 / (1.0 - s.beta2.powi(s.t)).sqrt()) as f32,
            epsilon: s.epsilon as f32,
        }
    }
}
