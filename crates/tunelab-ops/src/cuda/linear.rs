//! `y = x Wᵀ + b` and LoRA's update of it, as products of cuBLASLt.
//!
//! In: tensors of one card. Out: a tensor, noted on the tape.
//!
//! x and y are of one type, f32 or shorter; weight and bias are of that type or f32, and cast where
//! they are used. Gradients of f32 tensors are f32. x is kept for the gradient of a trained weight
//! alone.

use crate::cuda::product::{Onto, Product, product};
use crate::cuda::{Fresh, bias, cast, device, pointer};
use crate::tape::{operand, tracked};
use candle_core::{DType, Result, Tensor, bail};

/// See [`linear`](crate::linear()).
pub(crate) fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (x, weight, bias) = (operand(x)?, operand(weight)?, bias.map(operand).transpose()?);
    let map = Map::new(&x, &weight)?;
    let y = map.forward(&x, &weight, bias.as_ref())?;
    let kept = tracked(&weight).then(|| x.clone());
    let (w, of_bias) = (weight.clone(), bias.as_ref().map(Tensor::dtype));
    let dims = x.dims().to_vec();
    y.node([Some(&x), Some(&weight), bias.as_ref()], move |dy, [dx, _, db]| {
        Ok([
            dx.then(|| map.backward_x(&dims, dy, &w)).transpose()?,
            kept.map(|x| map.backward_weight(&x, dy, w.dtype())).transpose()?,
            db.then(|| cast(&bias::sum_rows(dy, map.n)?, of_bias.unwrap_or(DType::F32))).transpose()?,
        ])
    })
}

/// `x Wᵀ + b + factor · (x Aᵀ) Bᵀ`, with W and b frozen. The update is added by the product that
/// makes it, forward and backward.
pub(crate) fn linear_lora(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    [lora_a, lora_b]: [&Tensor; 2],
    factor: f64,
) -> Result<Tensor> {
    let (x, weight, bias) = (operand(x)?, operand(weight)?, bias.map(operand).transpose()?);
    let (lora_a, lora_b, factor) = (operand(lora_a)?, operand(lora_b)?, factor as f32);
    if tracked(&weight) || bias.as_ref().is_some_and(tracked) {
        bail!("the weight beside a LoRA cannot be trained");
    }
    let whole = Map::new(&x, &weight)?;
    let lower = Map::new(&x, &lora_a)?;
    let y = whole.forward(&x, &weight, bias.as_ref())?;
    let low = lower.forward(&x, &lora_a, None)?.tensor();
    let upper = Map::new(&low, &lora_b)?;
    if upper.n != whole.n {
        bail!("a LoRA of {} outputs does not fit a weight of {}", upper.n, whole.n);
    }
    upper.forward_onto(&y, &low, &lora_b, factor)?;
    let kept = (tracked(&lora_a) || tracked(&lora_b)).then(|| x.clone());
    let dims = x.dims().to_vec();
    let adapter = [lora_a.clone(), lora_b.clone()];
    y.node([&x, &lora_a, &lora_b], move |dy, [dx, dlora_a, dlora_b]| {
        let [lora_a, lora_b] = adapter;
        // The gradient of the values between A and B, with the factor.
        let dlow = upper.backward_x_times(low.dims(), dy, &lora_b, factor)?;
        let dx = dx.then(|| {
            let dx = whole.backward_x_fresh(&dims, dy, &weight)?;
            lower.backward_x_onto(&dx, &dlow, &lora_a)?;
            Ok::<_, candle_core::Error>(dx.tensor())
        });
        let dlora_a = match kept.filter(|_| dlora_a) {
            Some(x) => Some(lower.backward_weight(&x, &dlow, lora_a.dtype())?),
            None => None,
        };
        let dlora_b = dlora_b.then(|| upper.backward_weight_times(&low, dy, lora_b.dtype(), factor));
        Ok([dx.transpose()?, dlora_a, dlora_b.transpose()?])
    })
}

/// Sizes of a linear map from k to n values in m rows of this type.
#[derive(Clone, Copy)]
struct Map {
    m: usize,
    n: usize,
    k: usize,
    dtype: DType,
}

impl Map {
    fn new(x: &Tensor, weight: &Tensor) -> Result<Self> {
        let (n, k) = weight.dims2()?;
        if x.dims().last() != Some(&k) {
            bail!("linear: x {:?} does not fit a weight {:?}", x.dims(), weight.dims());
        }
        Ok(Self { m: x.elem_count() / k, n, k, dtype: x.dtype() })
    }

    /// x Wᵀ + b
    fn forward(&self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Fresh> {
        let mut dims = x.dims().to_vec();
        *dims.last_mut().unwrap_or(&mut 0) = self.n;
        let y = Fresh::new(device(x)?, self.dtype, dims)?;
        let bias = bias.map(|bias| cast(bias, self.dtype)).transpose()?;
        if bias.as_ref().is_some_and(|bias| bias.elem_count() != self.n) {
            bail!("linear: a bias of {:?} for {} outputs", bias.map(|b| b.dims().to_vec()), self.n);
        }
        let onto = bias.as_ref().map(pointer).transpose()?.map_or(Onto::Nothing, Onto::Bias);
        let left = self.multiply(&y, x, weight, 1.0, onto)?;
        if let Some(bias) = bias.filter(|_| left) {
            bias::add_to_rows(&y, &cast(&bias, DType::F32)?)?;
        }
        Ok(y)
    }

    /// y += factor · x Wᵀ
    fn forward_onto(&self, y: &Fresh, x: &Tensor, weight: &Tensor, factor: f32) -> Result<()> {
        self.multiply(y, x, weight, factor, Onto::Itself)?;
        Ok(())
    }

    /// y = factor · x Wᵀ onto what it says; whether a bias is still to be added.
    #[expect(unsafe_code, reason = "a product of device memory")]
    fn multiply(&self, y: &Fresh, x: &Tensor, weight: &Tensor, factor: f32, onto: Onto<'_>) -> Result<bool> {
        let Self { m, n, k, dtype } = *self;
        let of = Product { b_transposed: true, ..Product::of(dtype, [m, n, k]) };
        let weight = cast(weight, dtype)?;
        // SAFETY: x is [m, k], W [n, k] and y [m, n], all of this type, and a bias has n values of
        // it (`forward`).
        unsafe { product(device(x)?, of, [pointer(x)?, pointer(&weight)?, y.pointer()?], factor, onto) }
    }

    /// dy W, of the shape of x.
    fn backward_x(&self, dims: &[usize], dy: &Tensor, weight: &Tensor) -> Result<Tensor> {
        self.backward_x_times(dims, dy, weight, 1.0)
    }

    fn backward_x_times(&self, dims: &[usize], dy: &Tensor, weight: &Tensor, factor: f32) -> Result<Tensor> {
        let dx = Fresh::new(device(dy)?, self.dtype, dims)?;
        self.multiply_back(&dx, dy, weight, factor, Onto::Nothing)?;
        Ok(dx.tensor())
    }

    fn backward_x_fresh(&self, dims: &[usize], dy: &Tensor, weight: &Tensor) -> Result<Fresh> {
        let dx = Fresh::new(device(dy)?, self.dtype, dims)?;
        self.multiply_back(&dx, dy, weight, 1.0, Onto::Nothing)?;
        Ok(dx)
    }

    /// dx += dy W
    fn backward_x_onto(&self, dx: &Fresh, dy: &Tensor, weight: &Tensor) -> Result<()> {
        self.multiply_back(dx, dy, weight, 1.0, Onto::Itself)
    }

    #[expect(unsafe_code, reason = "a product of device memory")]
    fn multiply_back(&self, dx: &Fresh, dy: &Tensor, weight: &Tensor, factor: f32, onto: Onto<'_>) -> Result<()> {
        let Self { m, n, k, dtype } = *self;
        let of = Product::of(dtype, [m, k, n]);
        let (dy, weight) = (cast(dy, dtype)?, cast(weight, dtype)?);
        // SAFETY: dy is [m, n], W [n, k] and dx [m, k], all of this type.
        unsafe { product(device(&dy)?, of, [pointer(&dy)?, pointer(&weight)?, dx.pointer()?], factor, onto) }?;
        Ok(())
    }

    /// dyᵀ x, of the weight's type.
    fn backward_weight(&self, x: &Tensor, dy: &Tensor, of_weight: DType) -> Result<Tensor> {
        self.backward_weight_times(x, dy, of_weight, 1.0)
    }

    #[expect(unsafe_code, reason = "a product of device memory")]
    fn backward_weight_times(&self, x: &Tensor, dy: &Tensor, of_weight: DType, factor: f32) -> Result<Tensor> {
        let Self { m, n, k, dtype } = *self;
        let of = Product { a_transposed: true, result: of_weight, ..Product::of(dtype, [n, k, m]) };
        let dw = Fresh::new(device(x)?, of_weight, (n, k))?;
        let dy = cast(dy, dtype)?;
        // SAFETY: dy is [m, n] and x [m, k] of this type, dW [n, k] of the weight's.
        unsafe { product(device(x)?, of, [pointer(&dy)?, pointer(x)?, dw.pointer()?], factor, Onto::Nothing) }?;
        Ok(dw.tensor())
    }
}
