//! Scaled dot-product attention (Vaswani et al. 2017): softmax(q kᵀ / √d) v, for each head.
//!
//! In: q, k and v. Out: a tensor like q, noted on the tape.
//!
//! q [B, N, heads · d], k and v [B, M, heads · d] → [B, N, heads · d]: the layout of the
//! projections, so no transposed copy is made. On the host, and on a CUDA card for heads of up to
//! 160 values, the N x M matrix is never written as a whole: some queries at a time, and backward
//! computes their probabilities again. On the host they are `blocks`, with products of f32 or of bf16.

mod blocks;
mod pack;
mod products;
#[cfg(target_arch = "x86_64")]
mod products_bf16;
mod products_f32;
mod softmax;

use crate::cpu::host;
#[cfg(feature = "cuda")]
use crate::cuda;
#[cfg(target_arch = "x86_64")]
use crate::gemm_bf16::unit::Unit;
use crate::shapes::{AttentionMask, AttentionShape, MatmulPrecision};
use crate::simd::{Vectors, with_isa};
use crate::tape::{composed, node, operand};
use candle_core::{D, Result, Tensor, bail};
use products::Operands;
use products_f32::F32;
use std::cell::OnceCell;
use std::rc::Rc;

/// Multi-head attention; the last axis of q, k and v holds the heads one after the other.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize, mask: AttentionMask) -> Result<Tensor> {
    attention_with(q, k, v, heads, mask, MatmulPrecision::F32)
}

/// The same with products that may be of rounded values.
pub fn attention_with(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    heads: usize,
    mask: AttentionMask,
    precision: MatmulPrecision,
) -> Result<Tensor> {
    let (batch, queries, width) = q.dims3()?;
    let (_, keys, _) = k.dims3()?;
    let is_empty = q.elem_count() == 0 || k.elem_count() == 0;
    if is_empty
        || heads == 0
        || !width.is_multiple_of(heads)
        || k.dims() != [batch, keys, width]
        || v.dims() != k.dims()
    {
        bail!("attention: q {:?}, k {:?} and v {:?} do not fit {heads} heads", q.dims(), k.dims(), v.dims());
    }
    let sizes = AttentionShape { batch, queries, keys, heads, d: width / heads, mask };
    #[cfg(feature = "cuda")]
    if cuda::supports(q)
        && let Some(y) = cuda::attention::attention(q, k, v, sizes)?
    {
        return Ok(y);
    }
    if !host::is_host_f32(q) {
        return composed(&[q, k, v], |t| from_candle(&t[0], &t[1], &t[2], heads, mask));
    }
    let (q, k, v) = (operand(q)?, operand(k)?, operand(v)?);
    let body = Body::of(precision);
    let (y, lse) = body.forward(&sizes, &host::values(&q)?, &host::values(&k)?, &host::values(&v)?);
    let operands = [q.clone(), k.clone(), v.clone()];
    // The result, which does not exist as a tensor before its node does.
    let result = Rc::new(OnceCell::new());
    let kept = Rc::clone(&result);
    let y = node(y, q.dims(), [&q, &k, &v], move |dy, wanted| {
        let Some(y) = kept.get() else { bail!("attention: its result was not kept") };
        backward(body, &sizes, operands.each_ref(), (y, &lse), dy, wanted)
    })?;
    // Nothing else holds the cell, and it is empty.
    let _ = result.set(y.detach());
    Ok(y)
}

/// Attention of a sequence to itself, whose queries, keys and values lie side by side: qkv [B, N,
/// 3 · heads · d], as one product with the three weights one below the other makes them. The
/// result is [B, N, heads · d].
///
/// # Errors
///
/// Of a wrong shape, and of the device.
pub fn attention_qkv_packed(qkv: &Tensor, heads: usize) -> Result<Tensor> {
    let (batch, rows, all) = qkv.dims3()?;
    if heads == 0 || !all.is_multiple_of(3 * heads) {
        bail!("attention: q, k and v {:?} do not fit {heads} heads", qkv.dims());
    }
    let width = all / 3;
    #[cfg(feature = "cuda")]
    if cuda::supports(qkv) {
        let of =
            AttentionShape { batch, queries: rows, keys: rows, heads, d: width / heads, mask: AttentionMask::None };
        if let Some(y) = cuda::attention::qkv_packed(qkv, of)? {
            return Ok(y);
        }
    }
    let _ = (batch, rows);
    composed(&[qkv], |t| {
        let [q, k, v] = [0, 1, 2].map(|i| t[0].narrow(2, i * width, width));
        from_candle(&q?, &k?, &v?, heads, AttentionMask::None)
    })
}

/// Attention of q [B, N, heads · d] to keys and values that lie side by side: kv [B, M, 2 · heads ·
/// d]. The result is like q.
///
/// # Errors
///
/// Of a wrong shape, and of the device.
pub fn attention_kv_packed(q: &Tensor, kv: &Tensor, heads: usize) -> Result<Tensor> {
    let (batch, queries, width) = q.dims3()?;
    let (_, keys, _) = kv.dims3()?;
    if heads == 0 || !width.is_multiple_of(heads) || kv.dims() != [batch, keys, 2 * width] {
        bail!("attention: q {:?}, k and v {:?} do not fit {heads} heads", q.dims(), kv.dims());
    }
    #[cfg(feature = "cuda")]
    if cuda::supports(q) {
        let of = AttentionShape { batch, queries, keys, heads, d: width / heads, mask: AttentionMask::None };
        if let Some(y) = cuda::attention::kv_packed(q, kv, of)? {
            return Ok(y);
        }
    }
    let _ = queries;
    composed(&[q, kv], |t| {
        let [k, v] = [0, 1].map(|i| t[1].narrow(2, i * width, width));
        from_candle(&t[0], &k?, &v?, heads, AttentionMask::None)
    })
}

/// The same from candle's operations: any device, any type.
fn from_candle(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize, mask: AttentionMask) -> Result<Tensor> {
    let split = |t: &Tensor| t.reshape((t.dim(0)?, t.dim(1)?, heads, ()))?.transpose(1, 2)?.contiguous();
    let scale = 1.0 / ((q.dim(2)? / heads) as f64).sqrt();
    let scores = (split(q)?.matmul(&split(k)?.t()?)? * scale)?;
    let scores = match mask {
        AttentionMask::None => scores,
        AttentionMask::Causal => {
            let (n, m) = (q.dim(1)?, k.dim(1)?);
            let hidden: Vec<f32> = (0..n * m).map(|i| if i % m > i / m { f32::NEG_INFINITY } else { 0.0 }).collect();
            scores.broadcast_add(&Tensor::from_vec(hidden, (n, m), q.device())?.to_dtype(q.dtype())?)?
        }
    };
    let p = candle_nn::ops::softmax(&scores, D::Minus1)?;
    p.matmul(&split(v)?)?.transpose(1, 2)?.reshape(q.shape())
}

/// Which body computes it.
#[derive(Clone, Copy)]
enum Body {
    /// Of values rounded to bf16.
    #[cfg(target_arch = "x86_64")]
    Bf16(Unit),
    F32(Vectors),
}

impl Body {
    /// The fastest one for products of this precision.
    #[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables, reason = "there is one precision"))]
    fn of(precision: MatmulPrecision) -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(unit) = Unit::detect().filter(|_| precision == MatmulPrecision::Bf16) {
            return Self::Bf16(unit);
        }
        Self::F32(Vectors::detect())
    }

    /// y, and the logarithm of each query's sum.
    fn forward(self, sizes: &AttentionShape, q: &[f32], k: &[f32], v: &[f32]) -> (Vec<f32>, Vec<f32>) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Bf16(unit) => blocks::forward(unit, sizes, q, k, v),
            Self::F32(vectors) => with_isa!(vectors, isa => blocks::forward(F32(isa), sizes, q, k, v)),
        }
    }

    /// dq, dk, dv where they are wanted.
    fn backward(self, sizes: &AttentionShape, operands: Operands) -> [Vec<f32>; 3] {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Bf16(unit) => blocks::backward(unit, sizes, operands),
            Self::F32(vectors) => with_isa!(vectors, isa => blocks::backward(F32(isa), sizes, operands)),
        }
    }
}

/// dq, dk, dv where they are wanted.
fn backward(
    body: Body,
    sizes: &AttentionShape,
    [q, k, v]: [&Tensor; 3],
    (y, lse): (&Tensor, &[f32]),
    dy: &Tensor,
    wanted: [bool; 3],
) -> Result<[Option<Tensor>; 3]> {
    let (q, k, v, dy) = (host::values(q)?, host::values(k)?, host::values(v)?, host::values(dy)?);
    let (y, wanted) = (host::values(y)?, [wanted[0], wanted[1] || wanted[2]]);
    let [dq, dk, dv] = body.backward(sizes, Operands { q: &q, k: &k, v: &v, dy: &dy, y: &y, lse, wanted });
    let of_keys = (sizes.batch, sizes.keys, sizes.width());
    Ok([
        wanted[0].then(|| host::tensor(dq, (sizes.batch, sizes.queries, sizes.width()))).transpose()?,
        wanted[1].then(|| host::tensor(dk, of_keys)).transpose()?,
        wanted[1].then(|| host::tensor(dv, of_keys)).transpose()?,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::checks::{close, values};
    use candle_core::{DType, Device, Var};

    /// Heads that fill vectors and that do not, rests of blocks, queries in several parts, keys that a query
    /// may not look at, and gradients that are not wanted.
    #[test]
    fn blocks_equal_candle_in_f64() {
        for (batch, queries, keys, heads, d, mask) in [
            (1, 5, 7, 1, 3, AttentionMask::None),
            (2, 50, 77, 3, 40, AttentionMask::None),
            (1, 24, 64, 2, 80, AttentionMask::None),
            (1, 70, 33, 2, 160, AttentionMask::None),
            (1, 130, 257, 1, 64, AttentionMask::None),
            (1, 700, 50, 2, 20, AttentionMask::None),
            (2, 77, 77, 2, 20, AttentionMask::Causal),
            (1, 600, 600, 1, 8, AttentionMask::Causal),
            (2, 3, 33, 1, 1, AttentionMask::None),
            (1, 513, 1, 1, 33, AttentionMask::None),
            (1, 129, 31, 2, 37, AttentionMask::None),
            (1, 40, 40, 1, 512, AttentionMask::None),
        ] {
            let sizes = AttentionShape { batch, queries, keys, heads, d, mask };
            let width = heads * d;
            let (q, dy) = (values(batch * queries * width, 1), values(batch * queries * width, 2));
            let (k, v) = (values(batch * keys * width, 3), values(batch * keys * width, 4));
            // Scores of several sizes, so that the largest one so far changes.
            let q: Vec<f32> = q.iter().map(|v| 4.0 * v).collect();
            let of_f64 = |wanted: [bool; 2]| in_f64(&sizes, [&q, &k, &v], &dy, wanted);
            for vectors in Vectors::all() {
                let what = format!("{vectors:?} at {sizes:?}");
                let body = Body::F32(vectors);
                let (y, lse) = body.forward(&sizes, &q, &k, &v);
                for wanted in [[true, true], [true, false], [false, true]] {
                    let operands = Operands { q: &q, k: &k, v: &v, dy: &dy, y: &y, lse: &lse, wanted };
                    let [want, gradients @ ..] = of_f64(wanted);
                    close(&y, &want, &what);
                    for (which, (ours, want)) in body.backward(&sizes, operands).iter().zip(&gradients).enumerate() {
                        close(ours, want, &format!("gradient {which} of {what}"));
                    }
                }
            }
        }
    }

    /// y, dq, dk and dv of candle's operations in f64; nothing of a gradient that is not wanted.
    fn in_f64(sizes: &AttentionShape, qkv: [&[f32]; 3], dy: &[f32], wanted: [bool; 2]) -> [Vec<f32>; 4] {
        let rows = [sizes.queries, sizes.keys, sizes.keys];
        let tensor = |values: &[f32], rows: usize| {
            let of = Tensor::from_slice(values, (sizes.batch, rows, sizes.width()), &Device::Cpu);
            of.unwrap().to_dtype(DType::F64).unwrap()
        };
        let values = |t: &Tensor| t.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let [q, k, v] = [0, 1, 2].map(|i| Var::from_tensor(&tensor(qkv[i], rows[i])).unwrap());
        let y = from_candle(&q, &k, &v, sizes.heads, sizes.mask).unwrap();
        let gradients = (&y * tensor(dy, sizes.queries)).unwrap().sum_all().unwrap().backward().unwrap();
        let of = |var: &Var, is_wanted: bool| if is_wanted { values(gradients.get(var).unwrap()) } else { Vec::new() };
        [values(&y), of(&q, wanted[0]), of(&k, wanted[1]), of(&v, wanted[1])]
    }

    /// Where one key's score is far above the other's, its weight is 1, backward too.
    #[test]
    fn large_scores_keep_their_weights() {
        let sizes = AttentionShape { batch: 1, queries: 1, keys: 2, heads: 1, d: 1, mask: AttentionMask::None };
        for vectors in Vectors::all() {
            for size in [1e5, 3e15] {
                let (q, k, v, dy) = ([size], [size, 0.0], [1.0, -1.0], [1.0]);
                let body = Body::F32(vectors);
                let (y, lse) = body.forward(&sizes, &q, &k, &v);
                let operands = Operands { q: &q, k: &k, v: &v, dy: &dy, y: &y, lse: &lse, wanted: [true; 2] };
                assert_eq!((y[0], &body.backward(&sizes, operands)[2][..]), (1.0, &[1.0, 0.0][..]), "{vectors:?}");
            }
        }
    }

    /// Queries in several parts, and rests of blocks.
    #[test]
    fn attention_does_not_depend_on_the_number_of_threads() {
        let sizes = AttentionShape { batch: 1, queries: 1100, keys: 70, heads: 2, d: 40, mask: AttentionMask::None };
        let (q, dy) = (values(1100 * 80, 1), values(1100 * 80, 2));
        let (k, v) = (values(70 * 80, 3), values(70 * 80, 4));
        let bodies = Vectors::all().into_iter().map(Body::F32).chain([Body::of(MatmulPrecision::Bf16)]);
        for body in bodies {
            let run = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| {
                    let (y, lse) = body.forward(&sizes, &q, &k, &v);
                    let operands = Operands { q: &q, k: &k, v: &v, dy: &dy, y: &y, lse: &lse, wanted: [true; 2] };
                    let gradients = body.backward(&sizes, operands);
                    (y, gradients)
                })
            };
            let one = run(1);
            assert_eq!(one, run(2));
            assert_eq!(one, run(5));
        }
    }
}
