//! A weight of a linear map or a convolution, in f32 or, if it is frozen, in bf16.
//!
//! bf16 halves what a frozen network takes. Where the processor has tiles for it (`tiles`) products are computed in bf16 with
//! sums in f32, as torch's autocast does; elsewhere the weight is widened to f32 whenever it is used, and the activations are
//! not rounded. Norms, biases, adapters, activations between the operations and all gradients of adapters are f32.
//!
//! On a CUDA card a frozen weight may be f16 too, activations are of the weight's type, and a trained weight stays f32 and
//! is rounded where it is used.
#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "results are not cleared before all of them is written")
)]

use super::conv2d::{Geometry, Padding};
#[cfg(feature = "cuda")]
use super::cuda;
use super::tape::{node, operand, tracked};
#[cfg(target_arch = "x86_64")]
use super::tiles::{self, Tiles};
use super::{conv2d, elementwise, host, linear};
use candle_core::{DType, Result, Tensor};

/// How products with weights in bf16 are computed on this machine.
pub fn products_in_bf16() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    if tiles::available() {
        return "on tile registers";
    }
    "widened to f32"
}

/// The values of a weight.
#[derive(Clone, Debug)]
pub enum Weight {
    /// As they are, trained or frozen.
    Full(Tensor),
    /// Frozen, rounded to bf16, or on a CUDA card to f16.
    Rounded(Tensor),
    /// Frozen, rounded to bf16 and laid out for tiles.
    #[cfg(target_arch = "x86_64")]
    Tiles(Tiles),
}

impl From<Tensor> for Weight {
    fn from(values: Tensor) -> Self {
        Self::Full(values)
    }
}

impl Weight {
    /// A frozen weight in bf16, in host memory.
    pub fn rounded(values: &Tensor) -> Result<Self> {
        #[cfg(target_arch = "x86_64")]
        if Tiles::fit(values.dims()) {
            return Tiles::new(values).map(Self::Tiles);
        }
        values.to_dtype(DType::BF16).map(Self::Rounded)
    }

    /// A frozen weight in this type, in a CUDA card's memory.
    pub fn short(values: &Tensor, dtype: DType) -> Result<Self> {
        values.to_dtype(dtype).map(Self::Rounded)
    }

    /// Its dimensions: [outputs, inputs], or [outputs, inputs, kernel, kernel].
    pub fn dims(&self) -> Vec<usize> {
        match self {
            Self::Full(values) | Self::Rounded(values) => values.dims().to_vec(),
            #[cfg(target_arch = "x86_64")]
            Self::Tiles(tiles) => tiles.dims(),
        }
    }

    /// Its values in f32 or, if they are not rounded, as they are.
    pub fn values(&self) -> Result<Tensor> {
        match self {
            Self::Full(values) => Ok(values.clone()),
            Self::Rounded(values) => values.to_dtype(DType::F32),
            #[cfg(target_arch = "x86_64")]
            Self::Tiles(tiles) => tiles.tensor()?.to_dtype(DType::F32),
        }
    }

    /// `x Wᵀ + b` over the last axis; see [`linear`](super::linear()). A bias beside a rounded weight is frozen too.
    pub fn linear(&self, x: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        self.check(bias, 2, x.dims().last().copied())?;
        match self {
            Self::Full(values) => linear::linear(x, values, bias),
            #[cfg(feature = "cuda")]
            Self::Rounded(values) if cuda::serves(x) => linear::linear(x, values, bias),
            Self::Rounded(_) => self.widened_linear(x, bias),
            #[cfg(target_arch = "x86_64")]
            Self::Tiles(weight) => {
                let (x, weight, bias) = (operand(x)?, weight.clone(), bias.map(operand).transpose()?);
                let [outputs, inputs] = [weight.outputs(), weight.inputs()];
                let (dims, m) = (x.dims().to_vec(), x.elem_count() / inputs);
                let (xs, b) = (host::values(&x)?, bias.as_ref().map(host::values).transpose()?);
                // SAFETY: a product writes all of its result.
                let y = unsafe { host::made(m * outputs, |y| tiles::multiply(y, m, &xs, &weight, b.as_deref())) };
                let mut shape = dims.clone();
                *shape.last_mut().unwrap_or(&mut 0) = outputs;
                node(y, shape, [&x], move |dy, [_]| {
                    let dy = host::values(dy)?;
                    // SAFETY: a product writes all of its result.
                    let dx = unsafe { host::made(m * inputs, |dx| tiles::multiply_back(dx, m, &dy, &weight)) };
                    Ok([Some(host::tensor(dx, dims)?)])
                })
            }
        }
    }

    /// `x Wᵀ + b + factor · (x Aᵀ) Bᵀ`, where A and B are a LoRA's and W and b are frozen. Where one operation does all of it, this
    /// is it.
    pub fn linear_lora(
        &self,
        x: &Tensor,
        bias: Option<&Tensor>,
        [down, up]: [&Tensor; 2],
        factor: f64,
    ) -> Result<Tensor> {
        #[cfg(feature = "cuda")]
        if let (Self::Full(values) | Self::Rounded(values), true) = (self, cuda::serves(x)) {
            return cuda::linear::linear_lora(x, values, bias, [down, up], factor);
        }
        let y = self.linear(x, bias)?;
        let low = elementwise::scale(&linear::linear(x, down, None)?, factor)?;
        elementwise::add(&y, &linear::linear(&low, up, None)?)
    }

    /// Convolution; see [`conv2d`](super::conv2d()). A bias beside a rounded weight is frozen too.
    pub fn conv2d(&self, x: &Tensor, bias: Option<&Tensor>, stride: usize, padding: Padding) -> Result<Tensor> {
        self.check(bias, 4, x.dims().get(1).copied())?;
        match self {
            Self::Full(values) => conv2d::conv2d(x, values, bias, stride, padding),
            #[cfg(feature = "cuda")]
            Self::Rounded(values) if cuda::serves(x) => conv2d::conv2d(x, values, bias, stride, padding),
            #[cfg(target_arch = "x86_64")]
            Self::Tiles(weight) if weight.serves(stride, padding) => {
                let (x, weight, bias) = (operand(x)?, weight.clone(), bias.map(operand).transpose()?);
                let dims @ (samples, _, height, width) = x.dims4()?;
                let [outputs, inputs] = [weight.outputs(), weight.inputs()];
                let of = (samples, height, width);
                let shape = (samples, outputs, height.div_ceil(stride), width.div_ceil(stride));
                let n = shape.0 * shape.1 * shape.2 * shape.3;
                let (xs, b) = (host::values(&x)?, bias.as_ref().map(host::values).transpose()?);
                // SAFETY: every pixel of the result is one of a tile's.
                let y = unsafe { host::made(n, |y| tiles::convolve(y, &xs, &weight, b.as_deref(), of, stride)) };
                node(y, shape, [&x], move |dy, [_]| {
                    let (n, dy) = (samples * inputs * height * width, host::values(dy)?);
                    // SAFETY: every pixel of the result is one of a tile's.
                    let dx = unsafe { host::made(n, |dx| tiles::convolve_back(dx, &dy, &weight, of, stride)) };
                    Ok([Some(host::tensor(dx, dims)?)])
                })
            }
            _ => self.widened_conv2d(x, bias, stride, padding),
        }
    }

    /// Errors if the weight has not this many dimensions, or not as many inputs, or stands beside a bias that is trained.
    fn check(&self, bias: Option<&Tensor>, rank: usize, inputs: Option<usize>) -> Result<()> {
        let dims = self.dims();
        if dims.len() != rank || inputs != Some(dims[1]) {
            candle_core::bail!(
                "a weight of {dims:?} does not fit {inputs:?} inputs in an operation of {rank} dimensions"
            );
        }
        if !matches!(self, Self::Full(_)) && bias.is_some_and(tracked) {
            candle_core::bail!("the bias of a weight in bf16 cannot be trained");
        }
        Ok(())
    }

    /// In f32, with a widened copy that is gone as soon as it was used, forward and backward.
    fn widened_linear(&self, x: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let (x, weight, bias) = (operand(x)?, self.clone(), bias.map(operand).transpose()?);
        let b = bias.as_ref().map(host::values).transpose()?;
        let values = self.values()?;
        let (y, shape) = linear::forward(&host::values(&x)?, x.shape(), &host::values(&values)?, b.as_deref())?;
        let dims = x.dims().to_vec();
        node(y, shape, [&x], move |dy, [_]| Ok([Some(linear::backward_x(&dims, &weight.values()?, dy)?)]))
    }

    /// The same for a convolution.
    fn widened_conv2d(&self, x: &Tensor, bias: Option<&Tensor>, stride: usize, padding: Padding) -> Result<Tensor> {
        let (x, weight, bias) = (operand(x)?, self.clone(), bias.map(operand).transpose()?);
        let b = bias.as_ref().map(host::values).transpose()?;
        let values = self.values()?;
        let g = Geometry::new(x.dims4()?, values.dims4()?, stride, padding)?;
        let y = conv2d::forward(&g, &host::values(&x)?, &host::values(&values)?, b.as_deref());
        node(y, g.result(), [&x], move |dy, [_]| Ok([Some(conv2d::backward_x(&g, &weight.values()?, dy)?)]))
    }
}
