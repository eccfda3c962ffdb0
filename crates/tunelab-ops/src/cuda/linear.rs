//! `y = x Wᵀ + b` and LoRA's update of it, as products of cuBLASLt.
//!
//! In: tensors of one card. Out: a tensor, noted on the tape.
//!
//! x and y are of one type, f32 or shorter; weight and bias are of that type or f32, and cast where
//! they are used. Gradients of f32 tensors are f32. x is kept for the gradient of a trained weight
//! alone.

use crate::cuda::product::{Batch, Plus, Product, product, products};
use crate::cuda::{Argument, Fresh, NULL, bias, cast, device, launch, over, pointer, source, typed};
use crate::tape::{operand, tracked};
use candle_core::{DType, Result, Tensor, bail};

/// See [`linear`](crate::linear()); plus a residual like the result, if there is one.
pub(crate) fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, residual: Option<&Tensor>) -> Result<Tensor> {
    let (x, weight, bias) = (operand(x)?, operand(weight)?, bias.map(operand).transpose()?);
    let residual = residual.map(operand).transpose()?;
    let map = Map::new(&x, &weight)?;
    let y = map.forward(&x, &weight, bias.as_ref(), residual.as_ref())?;
    let kept = tracked(&weight).then(|| x.clone());
    let (w, of_bias) = (weight.clone(), bias.as_ref().map(Tensor::dtype));
    let dims = x.dims().to_vec();
    y.node([Some(&x), Some(&weight), bias.as_ref(), residual.as_ref()], move |dy, [dx, _, db, dresidual]| {
        Ok([
            dx.then(|| map.backward_x(&dims, dy, &w)).transpose()?,
            kept.map(|x| map.backward_weight(&x, dy, w.dtype())).transpose()?,
            db.then(|| cast(&bias::sum_rows(dy, map.n)?, of_bias.unwrap_or(DType::F32))).transpose()?,
            dresidual.then(|| dy.clone()),
        ])
    })
}

/// `x Wᵀ + b + factor · (x Aᵀ) Bᵀ`, with W and b frozen. The update is added by the product of B, forward
/// and backward. A residual is not: of a short type it would leave a small update no digits.
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
    let y = whole.forward(&x, &weight, bias.as_ref(), None)?;
    let low = lower.forward(&x, &lora_a, None, None)?.tensor();
    let upper = Map::new(&low, &lora_b)?;
    if upper.n != whole.n {
        bail!("a LoRA of {} outputs does not fit a weight of {}", upper.n, whole.n);
    }
    upper.forward_onto(&y, &low, &lora_b, factor)?;
    let kept = (tracked(&lora_a) || tracked(&lora_b)).then(|| x.clone());
    let dims = x.dims().to_vec();
    let adapter = [lora_a.clone(), lora_b.clone()];
    y.node([Some(&x), Some(&lora_a), Some(&lora_b)], move |dy, [dx, dlora_a, dlora_b]| {
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

/// Adapters of one operation, at most: of queries, keys and values.
const PARTS: usize = 3;

/// Several maps of one x side by side: `x Wᵀ`, where W has the frozen weights of all one below the
/// other, `[parts · n, k]`, and with one adapter each, all of one rank: `+ factor · (x Aᵢᵀ) Bᵢᵀ` for
/// the i-th n columns. Two products and a batch of small ones, forward and backward, however many
/// there are.
pub(crate) fn linear_lora_packed(
    x: &Tensor,
    weight: &Tensor,
    adapters: &[[&Tensor; 2]],
    factor: f64,
) -> Result<Tensor> {
    let (x, weight, factor) = (operand(x)?, operand(weight)?, factor as f32);
    if tracked(&weight) {
        bail!("the weight beside a LoRA cannot be trained");
    }
    let whole = Map::new(&x, &weight)?;
    let Packed { lora_a, lora_b, rank, n } = Packed::new(&x, adapters)?;
    let parts = adapters.len();
    if parts * n != whole.n {
        bail!("{parts} LoRAs of {n} outputs do not fit a weight of {}", whole.n);
    }
    let (lower, side) = (Map::new(&x, &lora_a)?, Side { m: whole.m, n, rank, parts, dtype: whole.dtype });
    let y = whole.forward(&x, &weight, None, None)?;
    let low = lower.forward(&x, &lora_a, None, None)?.tensor();
    side.forward_onto(&y, &low, &lora_b, factor)?;
    let mut inputs = [None; 1 + 2 * PARTS];
    inputs[0] = Some(&x);
    for (i, [a, b]) in adapters.iter().enumerate() {
        (inputs[1 + i], inputs[1 + PARTS + i]) = (Some(*a), Some(*b));
    }
    let kept = adapters.iter().any(|[a, _]| tracked(a)).then(|| x.clone());
    let dims = x.dims().to_vec();
    y.node(inputs, move |dy, wanted| {
        // The gradients of the values between A and B, with the factor.
        let dlow = side.backward_low(dy, &low, &lora_b, factor)?;
        let mut gradients = [const { None }; 1 + 2 * PARTS];
        if wanted[0] {
            let dx = whole.backward_x_fresh(&dims, dy, &weight)?;
            lower.backward_x_onto(&dx, &dlow, &lora_a)?;
            gradients[0] = Some(dx.tensor());
        }
        if let Some(x) = kept {
            let da = lower.backward_weight(&x, &dlow, DType::F32)?;
            for (i, gradient) in gradients[1..=parts].iter_mut().enumerate() {
                *gradient = Some(da.narrow(0, i * rank, rank)?);
            }
        }
        if wanted[1 + PARTS..].contains(&true) {
            let db = side.backward_b(dy, &low, factor)?;
            for (i, gradient) in gradients[1 + PARTS..][..parts].iter_mut().enumerate() {
                *gradient = Some(db.get(i)?);
            }
        }
        Ok(gradients)
    })
}

/// The tensors of several adapters of one shape.
struct Packed {
    /// [parts · rank, k]
    lora_a: Tensor,
    /// [parts, n, rank]
    lora_b: Tensor,
    rank: usize,
    n: usize,
}

impl Packed {
    /// In the type of x.
    #[expect(unsafe_code, reason = "kernel launch")]
    fn new(x: &Tensor, adapters: &[[&Tensor; 2]]) -> Result<Self> {
        let full = |t: &Tensor| cast(&operand(t)?, DType::F32);
        let adapters = adapters.iter().map(|[a, b]| Ok([full(a)?, full(b)?])).collect::<Result<Vec<_>>>()?;
        let parts = adapters.len();
        let Some([a, b]) = adapters.first() else { bail!("there is no LoRA") };
        let ((rank, k), n) = (a.dims2()?, b.dim(0)?);
        if parts > PARTS || adapters.iter().any(|[a, b]| a.dims() != [rank, k] || b.dims() != [n, rank]) {
            bail!("at most {PARTS} LoRAs of one shape are computed together");
        }
        let card = device(x)?;
        let (a, b) = (Fresh::new(card, x.dtype(), (parts * rank, k))?, Fresh::new(card, x.dtype(), (parts, n, rank))?);
        let of =
            |i: usize, which: usize| adapters.get(i).map_or(Ok(NULL), |ab| pointer(&ab[which]).map(Argument::from));
        let arguments = [
            of(0, 0)?,
            of(1, 0)?,
            of(2, 0)?,
            of(0, 1)?,
            of(1, 1)?,
            of(2, 1)?,
            a.pointer()?.into(),
            b.pointer()?.into(),
            (rank * k).into(),
            (n * rank).into(),
            parts.into(),
        ];
        let over = over(parts * rank * (k + n));
        // SAFETY: the kernel's eleven parameters: for each part an A of rank * k and a B of n * rank
        // values of f32, and room for all of them, which it writes.
        unsafe { launch(card, source!("stack"), &typed("stack", x.dtype()), over, arguments) }?;
        Ok(Self { lora_a: a.tensor(), lora_b: b.tensor(), rank, n })
    }
}

/// The small products of several adapters: low [m, parts · rank] with B [parts, n, rank], beside
/// each other in y [m, parts · n].
#[derive(Clone, Copy)]
struct Side {
    m: usize,
    n: usize,
    rank: usize,
    parts: usize,
    dtype: DType,
}

impl Side {
    /// y += factor · lowᵢ Bᵢᵀ
    #[expect(unsafe_code, reason = "products of device memory")]
    fn forward_onto(&self, y: &Fresh, low: &Tensor, lora_b: &Tensor, factor: f32) -> Result<()> {
        let Self { m, n, rank, parts, dtype } = *self;
        let of = Product {
            b_transposed: true,
            row_steps: [parts * rank, 0, parts * n],
            batch: Batch { n: parts, a: rank, b: n * rank, d: n },
            ..Product::of(dtype, [m, n, rank])
        };
        // SAFETY: low is [m, parts * rank], B [parts, n, rank] and y [m, parts * n], all of this type.
        unsafe {
            products(device(low)?, of, [pointer(low)?, pointer(lora_b)?, y.pointer()?], factor, Some(y.pointer()?))
        }
    }

    /// factor · dyᵢ Bᵢ, like low.
    #[expect(unsafe_code, reason = "products of device memory")]
    fn backward_low(&self, dy: &Tensor, low: &Tensor, lora_b: &Tensor, factor: f32) -> Result<Tensor> {
        let Self { m, n, rank, parts, dtype } = *self;
        let (dy, dlow) = (cast(dy, dtype)?, Fresh::like(low)?);
        let of = Product {
            row_steps: [parts * n, 0, parts * rank],
            batch: Batch { n: parts, a: n, b: n * rank, d: rank },
            ..Product::of(dtype, [m, rank, n])
        };
        // SAFETY: dy is [m, parts * n], B [parts, n, rank] and dlow [m, parts * rank], all of this
        // type.
        unsafe { products(device(low)?, of, [pointer(&dy)?, pointer(lora_b)?, dlow.pointer()?], factor, None) }?;
        Ok(dlow.tensor())
    }

    /// factor · dyᵢᵀ lowᵢ, in f32: [parts, n, rank].
    #[expect(unsafe_code, reason = "products of device memory")]
    fn backward_b(&self, dy: &Tensor, low: &Tensor, factor: f32) -> Result<Tensor> {
        let Self { m, n, rank, parts, dtype } = *self;
        let (dy, db) = (cast(dy, dtype)?, Fresh::new(device(low)?, DType::F32, (parts, n, rank))?);
        let of = Product {
            a_transposed: true,
            result: DType::F32,
            row_steps: [parts * n, parts * rank, 0],
            batch: Batch { n: parts, a: n, b: rank, d: n * rank },
            ..Product::of(dtype, [n, rank, m])
        };
        // SAFETY: dy is [m, parts * n] and low [m, parts * rank] of this type, dB [parts, n, rank]
        // of f32.
        unsafe { products(device(low)?, of, [pointer(&dy)?, pointer(low)?, db.pointer()?], factor, None) }?;
        Ok(db.tensor())
    }
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

    /// x Wᵀ + b + residual
    fn forward(&self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, residual: Option<&Tensor>) -> Result<Fresh> {
        let mut dims = x.dims().to_vec();
        *dims.last_mut().unwrap_or(&mut 0) = self.n;
        let y = Fresh::new(device(x)?, self.dtype, dims)?;
        let bias = bias.map(|bias| cast(bias, self.dtype)).transpose()?;
        if bias.as_ref().is_some_and(|bias| bias.elem_count() != self.n) {
            bail!("linear: a bias of {:?} for {} outputs", bias.map(|b| b.dims().to_vec()), self.n);
        }
        if let Some(residual) = residual.filter(|r| r.dims() != y.shape.dims() || r.dtype() != self.dtype) {
            bail!("linear: a residual {residual:?} for {:?} of {:?}", y.shape, self.dtype);
        }
        let plus = Plus { matrix: residual.map(pointer).transpose()?, bias: bias.as_ref().map(pointer).transpose()? };
        let left = self.multiply(&y, x, weight, 1.0, plus)?;
        if let Some(bias) = bias.filter(|_| left) {
            bias::add_to_rows(&y, &cast(&bias, DType::F32)?)?;
        }
        Ok(y)
    }

    /// y += factor · x Wᵀ
    fn forward_onto(&self, y: &Fresh, x: &Tensor, weight: &Tensor, factor: f32) -> Result<()> {
        self.multiply(y, x, weight, factor, Plus::matrix(y.pointer()?))?;
        Ok(())
    }

    /// y = factor · x Wᵀ plus what it says; whether a bias is still to be added.
    #[expect(unsafe_code, reason = "a product of device memory")]
    fn multiply(&self, y: &Fresh, x: &Tensor, weight: &Tensor, factor: f32, plus: Plus<'_>) -> Result<bool> {
        let Self { m, n, k, dtype } = *self;
        let of = Product { b_transposed: true, ..Product::of(dtype, [m, n, k]) };
        let weight = cast(weight, dtype)?;
        // SAFETY: x is [m, k], W [n, k] and y [m, n], all of this type; what is added is y, or like it
        // with a bias of n values (`forward`).
        unsafe { product(device(x)?, of, [pointer(x)?, pointer(&weight)?, y.pointer()?], factor, plus) }
    }

    /// dy W, of the shape of x.
    fn backward_x(&self, dims: &[usize], dy: &Tensor, weight: &Tensor) -> Result<Tensor> {
        self.backward_x_times(dims, dy, weight, 1.0)
    }

    fn backward_x_times(&self, dims: &[usize], dy: &Tensor, weight: &Tensor, factor: f32) -> Result<Tensor> {
        let dx = Fresh::new(device(dy)?, self.dtype, dims)?;
        self.multiply_back(&dx, dy, weight, factor, Plus::NOTHING)?;
        Ok(dx.tensor())
    }

    fn backward_x_fresh(&self, dims: &[usize], dy: &Tensor, weight: &Tensor) -> Result<Fresh> {
        let dx = Fresh::new(device(dy)?, self.dtype, dims)?;
        self.multiply_back(&dx, dy, weight, 1.0, Plus::NOTHING)?;
        Ok(dx)
    }

    /// dx += dy W
    fn backward_x_onto(&self, dx: &Fresh, dy: &Tensor, weight: &Tensor) -> Result<()> {
        self.multiply_back(dx, dy, weight, 1.0, Plus::matrix(dx.pointer()?))
    }

    #[expect(unsafe_code, reason = "a product of device memory")]
    fn multiply_back(&self, dx: &Fresh, dy: &Tensor, weight: &Tensor, factor: f32, plus: Plus<'_>) -> Result<()> {
        let Self { m, n, k, dtype } = *self;
        let of = Product::of(dtype, [m, k, n]);
        let (dy, weight) = (cast(dy, dtype)?, cast(weight, dtype)?);
        // SAFETY: dy is [m, n], W [n, k] and dx [m, k], all of this type.
        unsafe { product(device(&dy)?, of, [pointer(&dy)?, pointer(&weight)?, dx.pointer()?], factor, plus) }?;
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
        unsafe { product(device(x)?, of, [pointer(&dy)?, pointer(x)?, dw.pointer()?], factor, Plus::NOTHING) }?;
        Ok(dw.tensor())
    }
}
