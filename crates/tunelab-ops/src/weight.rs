//! A weight of a linear map or a convolution, in f32 or, if it is frozen, in bf16.
//!
//! In: a weight's values, and what it is multiplied with. Out: results of the operations, noted on
//! the tape.
//!
//! bf16 halves what a frozen network takes. Where the processor has instructions for it
//! (`gemm_bf16`) products are computed in bf16 with sums in f32, as torch's autocast does;
//! elsewhere, in 3x3 convolutions where there are no tile registers, and with weights that are no
//! multiples of 32, the weight is upcast to f32 whenever it is used, and the activations are not
//! rounded. Norms, biases, adapters, activations between the operations and all gradients of
//! adapters are f32.
//!
//! On a CUDA card a frozen weight may be f16 too, activations are of the weight's type, and a
//! trained weight stays f32 and is rounded where it is used.
#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "results are not cleared before all of them is written")
)]

use crate::cpu::host;
#[cfg(target_arch = "x86_64")]
use crate::cpu::uninit_output::fill_uninit;
#[cfg(feature = "cuda")]
use crate::cuda;
use crate::gemm::operand::Values;
#[cfg(target_arch = "x86_64")]
use crate::gemm_bf16;
#[cfg(target_arch = "x86_64")]
use crate::gemm_bf16::packed_weight::PackedBf16;
#[cfg(target_arch = "x86_64")]
use crate::gemm_bf16::unit::Unit;
use crate::shapes::{ConvPlus, ConvShape, Padding};
use crate::tape::{composed, node, operand, tracked};
use crate::{conv2d, elementwise, linear};
use candle_core::{DType, Result, Shape, Tensor};

/// How products with weights in bf16 are computed on this machine.
pub fn products_in_bf16() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    match Unit::detect() {
        Some(Unit::Amx(_)) => return "on tile registers",
        Some(Unit::Avx512Bf16(_)) => return "in pairs on vectors",
        None => {}
    }
    "widened to f32"
}

/// The values of a weight.
#[derive(Clone, Debug)]
pub enum Weight {
    /// As they are, trained or frozen.
    Full(Tensor),
    /// Frozen, rounded to bf16, or on a CUDA card to f16.
    Half(Tensor),
    /// Frozen, rounded to bf16 and packed for products in bf16.
    #[cfg(target_arch = "x86_64")]
    PackedBf16(PackedBf16),
}

impl From<Tensor> for Weight {
    fn from(values: Tensor) -> Self {
        Self::Full(values)
    }
}

impl Weight {
    /// A frozen weight in bf16, in host memory.
    pub fn bf16(values: &Tensor) -> Result<Self> {
        // Without tile registers a 3x3 convolution takes fewer operations in f32, by Winograd's
        // algorithm; the few with a stride take as long either way.
        #[cfg(target_arch = "x86_64")]
        if PackedBf16::fits(values.dims())
            && (matches!(Unit::detect(), Some(Unit::Amx(_))) || !matches!(values.dims(), [_, _, 3, 3]))
        {
            return PackedBf16::new(values).map(Self::PackedBf16);
        }
        values.to_dtype(DType::BF16).map(Self::Half)
    }

    /// A frozen weight in this type, in a CUDA card's memory.
    pub fn half(values: &Tensor, dtype: DType) -> Result<Self> {
        values.to_dtype(dtype).map(Self::Half)
    }

    /// Its dimensions: [outputs, inputs], or [outputs, inputs, kernel, kernel].
    pub fn dims(&self) -> Vec<usize> {
        match self {
            Self::Full(values) | Self::Half(values) => values.dims().to_vec(),
            #[cfg(target_arch = "x86_64")]
            Self::PackedBf16(tiles) => tiles.dims(),
        }
    }

    /// Its values in f32 or, if they are not rounded, as they are.
    pub fn values(&self) -> Result<Tensor> {
        match self {
            Self::Full(values) => Ok(values.clone()),
            Self::Half(values) if values.device().is_cpu() && values.dtype() == DType::BF16 => host::upcast(values),
            Self::Half(values) => values.to_dtype(DType::F32),
            #[cfg(target_arch = "x86_64")]
            Self::PackedBf16(tiles) => host::upcast(&tiles.tensor()?),
        }
    }

    /// `x Wᵀ + b` over the last axis; see [`linear`](super::linear()). A bias beside a rounded
    /// weight is frozen too.
    pub fn linear(&self, x: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        self.check(bias, 2, x.dims().last().copied())?;
        match self {
            Self::Full(values) => linear::linear(x, values, bias),
            #[cfg(feature = "cuda")]
            Self::Half(values) if cuda::supports(x) => cuda::linear::linear(x, values, bias, None),
            _ => {
                let (x, weight, bias) = (operand(x)?, self.clone(), bias.map(operand).transpose()?);
                let (y, shape) = self.forward(&x, bias.as_ref())?;
                let dims = x.dims().to_vec();
                node(y, shape, [&x], move |dy, [_]| Ok([Some(host::tensor(weight.backward_x(dy)?, dims)?)]))
            }
        }
    }

    /// `x Wᵀ + b + factor · (x Aᵀ) Bᵀ`, where A and B are a LoRA's and W and b are frozen. Where
    /// one operation does all of it, this is it.
    pub fn linear_lora(
        &self,
        x: &Tensor,
        bias: Option<&Tensor>,
        [lora_a, lora_b]: [&Tensor; 2],
        factor: f64,
    ) -> Result<Tensor> {
        #[cfg(feature = "cuda")]
        if let (Self::Full(values) | Self::Half(values), true) = (self, cuda::supports(x)) {
            return cuda::linear::linear_lora(x, values, bias, [lora_a, lora_b], factor);
        }
        let trained = matches!(self, Self::Full(values) if tracked(values)) || bias.is_some_and(tracked);
        if host::is_host_f32(x) && !trained {
            return self.lora_onto(x, bias, [lora_a, lora_b], factor as f32);
        }
        let y = self.linear(x, bias)?;
        let low = elementwise::scale(&linear::linear(x, lora_a, None)?, factor)?;
        elementwise::add(&y, &linear::linear(&low, lora_b, None)?)
    }

    /// `x Wᵀ + b` plus a residual like the result. Where the product can add it, it does.
    ///
    /// # Errors
    ///
    /// Of tensors that do not fit, and of the device.
    pub fn linear_residual(&self, x: &Tensor, bias: Option<&Tensor>, residual: &Tensor) -> Result<Tensor> {
        #[cfg(feature = "cuda")]
        if let (Self::Full(values) | Self::Half(values), true) = (self, cuda::supports(x)) {
            return cuda::linear::linear(x, values, bias, Some(residual));
        }
        elementwise::add(&self.linear(x, bias)?, residual)
    }

    /// Several frozen weights of as many inputs each, one below the other, where one product with all
    /// of them is faster than one with each: in a CUDA card's memory.
    ///
    /// # Errors
    ///
    /// Those of the card.
    pub fn packed(parts: &[&Self]) -> Result<Option<Self>> {
        #[cfg(feature = "cuda")]
        {
            let values = |weight: &&Self| match weight {
                Self::Full(values) | Self::Half(values) if cuda::supports(values) && !values.is_variable() => {
                    Some(values.clone())
                }
                _ => None,
            };
            if let Some(all) = parts.iter().map(values).collect::<Option<Vec<_>>>() {
                let half = parts.iter().any(|weight| matches!(weight, Self::Half(_)));
                let packed = Tensor::cat(&all, 0)?;
                return Ok(Some(if half { Self::Half(packed) } else { Self::Full(packed) }));
            }
        }
        let _ = parts;
        Ok(None)
    }

    /// The i-th of so many weights that this one was packed of, in its memory.
    ///
    /// # Errors
    ///
    /// Where nothing can be packed, which is not in a CUDA card's memory.
    pub fn part(&self, i: usize, parts: usize) -> Result<Self> {
        let part = |values: &Tensor| {
            let rows = values.dim(0)? / parts;
            values.narrow(0, i * rows, rows)
        };
        match self {
            Self::Full(values) => part(values).map(Self::Full),
            Self::Half(values) => part(values).map(Self::Half),
            #[cfg(target_arch = "x86_64")]
            Self::PackedBf16(_) => candle_core::bail!("tiles are not made of several weights"),
        }
    }

    /// `x Wᵀ` of a packed weight, and for each of its parts `+ factor · (x Aᵀ) Bᵀ` with an adapter of
    /// its own; none at all is no adapter. What the parts make lies side by side: [..., outputs of
    /// all].
    ///
    /// # Errors
    ///
    /// Of adapters of different shapes, and of the device.
    pub fn linear_lora_packed(&self, x: &Tensor, adapters: &[[&Tensor; 2]], factor: f64) -> Result<Tensor> {
        if adapters.is_empty() {
            return self.linear(x, None);
        }
        #[cfg(feature = "cuda")]
        if let (Self::Full(values) | Self::Half(values), true) = (self, cuda::supports(x)) {
            return cuda::linear::linear_lora_packed(x, values, adapters, factor);
        }
        let part =
            |(i, adapter): (usize, &[&Tensor; 2])| self.part(i, adapters.len())?.linear_lora(x, None, *adapter, factor);
        let each = adapters.iter().enumerate().map(part).collect::<Result<Vec<Tensor>>>()?;
        let last = x.rank() - 1;
        composed(&each.iter().collect::<Vec<_>>(), |t| Tensor::cat(t, last))
    }

    /// The same in host memory: the update is added by the product that makes it, forward and
    /// backward.
    fn lora_onto(&self, x: &Tensor, bias: Option<&Tensor>, adapter: [&Tensor; 2], factor: f32) -> Result<Tensor> {
        self.check(bias, 2, x.dims().last().copied())?;
        let (x, bias, [lora_a, lora_b]) = (operand(x)?, bias.map(operand).transpose()?, adapter.map(operand));
        let (weight, lora_a, lora_b, [n, k]) = (self.clone(), lora_a?, lora_b?, [self.dims()[0], self.dims()[1]]);
        let (m, rank) = (x.elem_count() / k, lora_a.dim(0)?);
        if lora_a.dims() != [rank, k] || lora_b.dims() != [n, rank] {
            candle_core::bail!(
                "a LoRA of {:?} and {:?} does not fit a weight [{n}, {k}]",
                lora_a.dims(),
                lora_b.dims()
            );
        }
        let (mut y, shape) = self.forward(&x, bias.as_ref())?;
        let times = move |mut values: Vec<f32>| {
            for v in &mut values {
                *v *= factor;
            }
            host::tensor(values, (m, rank))
        };
        let low = times(linear::forward(&host::values(&x)?, x.shape(), Values::F32(&host::values(&lora_a)?), None)?.0)?;
        linear::forward_onto(&mut y, (m, n, rank), &host::values(&low)?, &host::values(&lora_b)?);
        let kept = tracked(&lora_a).then(|| x.clone());
        node(y, shape, [&x, &lora_a.clone(), &lora_b.clone()], move |dy, [dx, _, dlora_b]| {
            // The gradient of the values between A and B, with the factor.
            let dlow = times(linear::backward_x(Values::F32(&host::values(&lora_b)?), lora_b.dims2()?, dy)?)?;
            let dlow = host::values(&dlow)?;
            let dx = dx.then(|| {
                let mut dx = weight.backward_x(dy)?;
                linear::backward_x_onto(&mut dx, (m, rank, k), &dlow, &host::values(&lora_a)?);
                host::tensor(dx, linear::with_last(dy.dims(), k))
            });
            Ok([
                dx.transpose()?,
                kept.map(|x| linear::backward_weight(&x, (rank, k), &dlow)).transpose()?,
                dlora_b.then(|| linear::backward_weight(&low, (n, rank), &host::values(dy)?)).transpose()?,
            ])
        })
    }

    /// `x Wᵀ + b` in host memory, and its shape.
    fn forward(&self, x: &Tensor, bias: Option<&Tensor>) -> Result<(Vec<f32>, Shape)> {
        let (xs, b) = (host::values(x)?, bias.map(host::values).transpose()?);
        #[cfg(target_arch = "x86_64")]
        if let Self::PackedBf16(weight) = self {
            let (n, m) = (weight.outputs(), x.elem_count() / weight.inputs());
            // SAFETY: a product writes all of its result.
            let y = unsafe { fill_uninit(m * n, |y| gemm_bf16::linear::multiply(y, m, &xs, weight, b.as_deref())) };
            return Ok((y, linear::with_last(x.dims(), n).into()));
        }
        if let Self::Half(values) = self
            && values.dtype() == DType::BF16
        {
            return linear::forward(&xs, x.shape(), Values::Bf16(&host::values_of(values)?), b.as_deref());
        }
        let values = operand(&self.values()?)?;
        linear::forward(&xs, x.shape(), Values::F32(&host::values(&values)?), b.as_deref())
    }

    /// dy W in host memory.
    fn backward_x(&self, dy: &Tensor) -> Result<Vec<f32>> {
        #[cfg(target_arch = "x86_64")]
        if let Self::PackedBf16(weight) = self {
            let (dys, m) = (host::values(dy)?, dy.elem_count() / weight.outputs());
            // SAFETY: a product writes all of its result.
            return Ok(unsafe {
                fill_uninit(m * weight.inputs(), |dx| gemm_bf16::linear::multiply_back(dx, m, &dys, weight))
            });
        }
        if let Self::Half(values) = self
            && values.dtype() == DType::BF16
        {
            return linear::backward_x(Values::Bf16(&host::values_of(values)?), values.dims2()?, dy);
        }
        let values = operand(&self.values()?)?;
        linear::backward_x(Values::F32(&host::values(&values)?), values.dims2()?, dy)
    }

    /// Convolution; see [`conv2d`](super::conv2d()). A bias beside a rounded weight is frozen too.
    pub fn conv2d(&self, x: &Tensor, bias: Option<&Tensor>, stride: usize, padding: Padding) -> Result<Tensor> {
        self.check(bias, 4, x.dims().get(1).copied())?;
        match self {
            Self::Full(values) => conv2d::conv2d(x, values, bias, stride, padding),
            #[cfg(feature = "cuda")]
            Self::Half(values) if cuda::supports(x) => cuda::conv2d::conv2d(x, values, bias, None, stride, padding),
            #[cfg(target_arch = "x86_64")]
            Self::PackedBf16(weight) if weight.supports(stride, padding) => {
                let (x, weight, bias) = (operand(x)?, weight.clone(), bias.map(operand).transpose()?);
                let dims @ (samples, _, height, width) = x.dims4()?;
                let [outputs, inputs] = [weight.outputs(), weight.inputs()];
                let of = (samples, height, width);
                let shape = (samples, outputs, height.div_ceil(stride), width.div_ceil(stride));
                let n = shape.0 * shape.1 * shape.2 * shape.3;
                let (xs, b) = (host::values(&x)?, bias.as_ref().map(host::values).transpose()?);
                // SAFETY: every pixel of the result is one of a tile's.
                let y = unsafe {
                    fill_uninit(n, |y| gemm_bf16::conv2d::convolve(y, &xs, &weight, b.as_deref(), of, stride))
                };
                node(y, shape, [&x], move |dy, [_]| {
                    let (n, dy) = (samples * inputs * height * width, host::values(dy)?);
                    // SAFETY: every pixel of the result is one of a tile's.
                    let dx =
                        unsafe { fill_uninit(n, |dx| gemm_bf16::conv2d::convolve_back(dx, &dy, &weight, of, stride)) };
                    Ok([Some(host::tensor(dx, dims)?)])
                })
            }
            _ => self.upcast_conv2d(x, bias, stride, padding),
        }
    }

    /// The same plus what else comes to the result, added with the bias where one kernel can.
    ///
    /// # Errors
    ///
    /// Of tensors that do not fit, and of the device.
    pub fn conv2d_plus(
        &self,
        x: &Tensor,
        bias: Option<&Tensor>,
        plus: ConvPlus<'_>,
        stride: usize,
        padding: Padding,
    ) -> Result<Tensor> {
        #[cfg(feature = "cuda")]
        if let (Self::Full(values) | Self::Half(values), true) = (self, cuda::supports(x)) {
            self.check(bias, 4, x.dims().get(1).copied())?;
            return cuda::conv2d::conv2d(x, values, bias, Some(plus), stride, padding);
        }
        plus.add_to(&self.conv2d(x, bias, stride, padding)?)
    }

    /// Errors if the weight has not this many dimensions, or not as many inputs, or stands beside a
    /// bias that is trained.
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

    /// A convolution in f32.
    fn upcast_conv2d(&self, x: &Tensor, bias: Option<&Tensor>, stride: usize, padding: Padding) -> Result<Tensor> {
        let (x, weight, bias) = (operand(x)?, self.clone(), bias.map(operand).transpose()?);
        let (g, b) = (ConvShape::new(x.dims4()?, Shape::from(self.dims()).dims4()?, stride, padding)?, bias.as_ref());
        let b = b.map(host::values).transpose()?;
        let y = weight.upcast(&g, |w| Ok(conv2d::forward(&g, &host::values(&x)?, w, b.as_deref())))?;
        node(y, g.result(), [&x], move |dy, [_]| Ok([Some(weight.upcast(&g, |w| conv2d::backward_x(&g, w, dy))?)]))
    }

    /// Convolves with a weight that is upcast piece by piece or, where that is not served, with a copy that is gone
    /// afterwards.
    fn upcast<T>(&self, g: &ConvShape, convolve: impl FnOnce(Values) -> Result<T>) -> Result<T> {
        match self {
            Self::Half(values) if values.dtype() == DType::BF16 && conv2d::upcasts(g) => {
                convolve(Values::Bf16(&host::values_of(values)?))
            }
            _ => convolve(Values::F32(&host::values(&self.values()?)?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::checks::{close, values};
    use crate::tape;
    use candle_core::{Device, Var};

    fn tensor(dims: &[usize], seed: u32) -> Tensor {
        Tensor::from_vec(values(dims.iter().product(), seed), dims, &Device::Cpu).unwrap()
    }

    fn var(dims: &[usize], seed: u32) -> Tensor {
        Var::from_tensor(&tensor(dims, seed)).unwrap().into_inner()
    }

    /// y, and the gradients of these tensors when y's is `dy`.
    fn both(f: impl FnOnce() -> Result<Tensor>, dy: &Tensor, of: [&Tensor; 3]) -> [Vec<f32>; 4] {
        let (y, tape) = tape::record(f).unwrap();
        let gradients = tape.backward_from(&y, dy.clone()).unwrap();
        [&y, gradients.get(of[0]).unwrap(), gradients.get(of[1]).unwrap(), gradients.get(of[2]).unwrap()]
            .map(|t| t.flatten_all().unwrap().to_vec1().unwrap())
    }

    #[test]
    fn a_lora_is_the_sum_of_its_parts() {
        for (rows, n, k, rank) in [(7, 96, 64, 4), (50, 64, 320, 3), (20, 320, 96, 40)] {
            let (x, lora_a, lora_b) = (var(&[2, rows, k], 1), var(&[rank, k], 2), var(&[n, rank], 3));
            let (w, bias, dy) = (tensor(&[n, k], 4), tensor(&[n], 5), tensor(&[2, rows, n], 6));
            for weight in
                [Weight::Full(w.clone()), Weight::bf16(&w).unwrap(), Weight::Half(w.to_dtype(DType::BF16).unwrap())]
            {
                let one = || weight.linear_lora(&x, Some(&bias), [&lora_a, &lora_b], 0.3);
                let parts = || {
                    let low = elementwise::scale(&linear::linear(&x, &lora_a, None)?, 0.3)?;
                    elementwise::add(&weight.linear(&x, Some(&bias))?, &linear::linear(&low, &lora_b, None)?)
                };
                let of = [&x, &lora_a, &lora_b];
                let (ours, theirs) = (both(one, &dy, of), both(parts, &dy, of));
                for (what, (ours, theirs)) in ["y", "dx", "dA", "dB"].iter().zip(ours.iter().zip(&theirs)) {
                    close(ours, theirs, &format!("{what} of {rows} rows, {k} to {n}, rank {rank}, {weight:?}"));
                }
            }
        }
    }
}
