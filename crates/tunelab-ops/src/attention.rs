//! Scaled dot-product attention (Vaswani et al. 2017): softmax(q kᵀ / √d) v, for each head.
//!
//! q [B, N, heads · d], k and v [B, M, heads · d] → [B, N, heads · d]: the layout of the projections, so no transposed
//! copy is made. On the host, and on a CUDA card for heads of up to 160 values, the N x M matrix is never written as a
//! whole: some queries at a time, and backward computes their probabilities again. On the host there are three bodies:
//! `blocks` for any processor, `strips` (AVX-512), and `pairs` for products of bf16.

mod blocks;
#[cfg(target_arch = "x86_64")]
mod pairs;
#[cfg(target_arch = "x86_64")]
mod strips;

#[cfg(feature = "cuda")]
use super::cuda;
use super::host;
#[cfg(target_arch = "x86_64")]
use super::product;
use super::tape::{composed, node, operand};
#[cfg(target_arch = "x86_64")]
use super::tiles;
use candle_core::{D, Result, Tensor, bail};
use rayon::prelude::*;

/// Which keys a query may look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask {
    /// All of them.
    Nothing,
    /// Those at its own position and before (the text encoder).
    Causal,
}

/// What the products of attention are computed from, in host memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Products {
    /// From f32.
    Full,
    /// From values that are rounded to bf16, where the processor has instructions for that.
    Rounded,
}

/// Multi-head attention; the last axis of q, k and v holds the heads one after the other.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize, mask: Mask) -> Result<Tensor> {
    attention_of(q, k, v, heads, mask, Products::Full)
}

/// The same with products that may be of rounded values.
pub fn attention_of(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    heads: usize,
    mask: Mask,
    products: Products,
) -> Result<Tensor> {
    let (batch, queries, width) = q.dims3()?;
    let (_, keys, _) = k.dims3()?;
    if heads == 0 || !width.is_multiple_of(heads) || k.dims() != [batch, keys, width] || v.dims() != k.dims() {
        bail!("attention: q {:?}, k {:?} and v {:?} do not fit {heads} heads", q.dims(), k.dims(), v.dims());
    }
    let sizes = Sizes { batch, queries, keys, heads, d: width / heads, mask, products };
    #[cfg(feature = "cuda")]
    if cuda::serves(q)
        && let Some(y) = cuda::attention::attention(q, k, v, sizes)?
    {
        return Ok(y);
    }
    if !host::is_host_f32(q) {
        return composed(&[q, k, v], |t| portable(&t[0], &t[1], &t[2], heads, mask));
    }
    let (q, k, v) = (operand(q)?, operand(k)?, operand(v)?);
    let y = forward(&sizes, &host::values(&q)?, &host::values(&k)?, &host::values(&v)?);
    let operands = [q.clone(), k.clone(), v.clone()];
    node(y, q.dims(), [&q, &k, &v], move |dy, wanted| backward(&sizes, operands.each_ref(), dy, wanted))
}

/// The same from candle's operations: any device, any type.
fn portable(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize, mask: Mask) -> Result<Tensor> {
    let split = |t: &Tensor| t.reshape((t.dim(0)?, t.dim(1)?, heads, ()))?.transpose(1, 2)?.contiguous();
    let scale = 1.0 / ((q.dim(2)? / heads) as f64).sqrt();
    let scores = (split(q)?.matmul(&split(k)?.t()?)? * scale)?;
    let scores = match mask {
        Mask::Nothing => scores,
        Mask::Causal => {
            let (n, m) = (q.dim(1)?, k.dim(1)?);
            let hidden: Vec<f32> = (0..n * m).map(|i| if i % m > i / m { f32::NEG_INFINITY } else { 0.0 }).collect();
            scores.broadcast_add(&Tensor::from_vec(hidden, (n, m), q.device())?.to_dtype(q.dtype())?)?
        }
    };
    let p = candle_nn::ops::softmax(&scores, D::Minus1)?;
    p.matmul(&split(v)?)?.transpose(1, 2)?.reshape(q.shape())
}

/// All sizes of one attention.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub(super) batch: usize,
    pub(super) queries: usize,
    pub(super) keys: usize,
    pub(super) heads: usize,
    /// Values of a head.
    pub(super) d: usize,
    pub(super) mask: Mask,
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "there are no products of rounded values"))]
    pub(super) products: Products,
}

impl Sizes {
    fn width(&self) -> usize {
        self.heads * self.d
    }

    fn scale(&self) -> f32 {
        1.0 / (self.d as f32).sqrt()
    }

    /// Whether products are of rounded values.
    #[cfg(target_arch = "x86_64")]
    fn rounds(&self) -> bool {
        self.products == Products::Rounded && tiles::available()
    }

    /// How many keys query `query` may look at.
    fn seen(&self, query: usize) -> usize {
        match self.mask {
            Mask::Nothing => self.keys,
            Mask::Causal => (query + 1).min(self.keys),
        }
    }
}

/// What backward reads, all samples and heads.
#[derive(Clone, Copy)]
struct Operands<'a> {
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    dy: &'a [f32],
    /// Whether a gradient is wanted for q, and for k and v.
    wanted: [bool; 2],
}

/// Gradients of one sample and head: of q [N, row], of k and v [M, row], of which the first d columns count; empty where
/// they are not wanted.
struct HeadGradients {
    of: [Vec<f32>; 3],
    row: usize,
}

fn forward(sizes: &Sizes, q: &[f32], k: &[f32], v: &[f32]) -> Vec<f32> {
    #[cfg(target_arch = "x86_64")]
    if sizes.rounds() {
        return pairs::forward(sizes, q, k, v);
    }
    #[cfg(target_arch = "x86_64")]
    if product::available() {
        return strips::forward(sizes, q, k, v);
    }
    blocks::forward(sizes, q, k, v)
}

/// dq, dk, dv where they are wanted.
fn backward(sizes: &Sizes, [q, k, v]: [&Tensor; 3], dy: &Tensor, wanted: [bool; 3]) -> Result<[Option<Tensor>; 3]> {
    let (q, k, v, dy) = (host::values(q)?, host::values(k)?, host::values(v)?, host::values(dy)?);
    let wanted = [wanted[0], wanted[1] || wanted[2]];
    let operands = Operands { q: &q, k: &k, v: &v, dy: &dy, wanted };
    #[cfg(target_arch = "x86_64")]
    let head = match product::available() {
        true if sizes.rounds() => pairs::backward_head,
        true => strips::backward_head,
        false => blocks::backward_head,
    };
    #[cfg(not(target_arch = "x86_64"))]
    let head = blocks::backward_head;
    let heads = (0..sizes.batch * sizes.heads).into_par_iter();
    let parts: Vec<HeadGradients> = heads.map(|i| head(sizes, operands, i)).collect();
    let of_keys = |which: usize| wanted[1].then(|| join(sizes, &parts, which, sizes.keys)).transpose();
    Ok([wanted[0].then(|| join(sizes, &parts, 0, sizes.queries)).transpose()?, of_keys(1)?, of_keys(2)?])
}

/// The heads' parts as one tensor [B, rows, heads · d].
fn join(sizes: &Sizes, parts: &[HeadGradients], which: usize, rows: usize) -> Result<Tensor> {
    let all = host::parts(sizes.batch * rows * sizes.width(), sizes.width(), |i, mut all| {
        let (sample, row) = (i / rows, i % rows);
        let heads = &parts[sample * sizes.heads..];
        for HeadGradients { of, row: length } in &heads[..sizes.heads] {
            all.copy(&of[which][row * length..][..sizes.d]);
        }
    });
    host::tensor(all, (sizes.batch, rows, sizes.width()))
}
