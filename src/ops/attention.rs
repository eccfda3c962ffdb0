//! Scaled dot-product attention (Vaswani et al. 2017): softmax(q kᵀ / √d) v, for each head.
//!
//! q [B, N, heads · d], k and v [B, M, heads · d] → [B, N, heads · d]: the layout of the projections, so no transposed
//! copy is made. On the host, and on a CUDA card for heads of up to 160 values, the N x M matrix is never written as a whole: a
//! block of queries at a time, and backward computes each block's probabilities again.

#[cfg(feature = "cuda")]
use super::cuda;
use super::gemm::{Dst, Mat, Threads, gemm};
use super::host;
use super::tape::{composed, node, operand};
use super::vector::{exp, max, sum_of, sum_of_pairs};
use candle_core::{D, Result, Tensor, bail};
use rayon::prelude::*;

/// Values in one block of scores at most (1 MiB stays in the second-level cache), but never fewer than 16 queries.
const SCORE_VALUES: usize = 1 << 18;

/// Which keys a query may look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask {
    /// All of them.
    Nothing,
    /// Those at its own position and before (the text encoder).
    Causal,
}

/// Multi-head attention; the last axis of q, k and v holds the heads one after the other.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize, mask: Mask) -> Result<Tensor> {
    let (batch, queries, width) = q.dims3()?;
    let (_, keys, _) = k.dims3()?;
    if heads == 0 || !width.is_multiple_of(heads) || k.dims() != [batch, keys, width] || v.dims() != k.dims() {
        bail!("attention: q {:?}, k {:?} and v {:?} do not fit {heads} heads", q.dims(), k.dims(), v.dims());
    }
    #[cfg(feature = "cuda")]
    if cuda::serves(q)
        && let Some(y) = cuda::attention::attention(q, k, v, heads, mask)?
    {
        return Ok(y);
    }
    if !host::is_host_f32(q) {
        return composed(&[q, k, v], |t| portable(&t[0], &t[1], &t[2], heads, mask));
    }
    let kernel = Kernel { batch, queries, keys, heads, d: width / heads, mask };
    let (q, k, v) = (operand(q)?, operand(k)?, operand(v)?);
    let y = kernel.forward(&host::values(&q)?, &host::values(&k)?, &host::values(&v)?);
    let operands = [q.clone(), k.clone(), v.clone()];
    node(y, q.dims(), [&q, &k, &v], move |dy, wanted| kernel.backward(operands.each_ref(), dy, wanted))
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

struct Kernel {
    batch: usize,
    queries: usize,
    keys: usize,
    heads: usize,
    d: usize,
    mask: Mask,
}

/// What a head's backward pass reads.
#[derive(Clone, Copy)]
struct Operands<'a> {
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    dy: &'a [f32],
    /// Whether a gradient is wanted for q, and for k and v.
    wanted: [bool; 2],
}

impl Kernel {
    fn width(&self) -> usize {
        self.heads * self.d
    }

    fn scale(&self) -> f32 {
        1.0 / (self.d as f32).sqrt()
    }

    /// Queries in one block.
    fn block(&self) -> usize {
        (SCORE_VALUES / self.keys).clamp(16, self.queries.max(16))
    }

    /// The rows of sample and head `i`, from row `first` on, of a tensor with `rows` rows a sample.
    fn head<'a>(&self, t: &'a [f32], i: usize, rows: usize, first: usize) -> Mat<'a> {
        let (b, h) = (i / self.heads, i % self.heads);
        Mat::rows(&t[(b * rows + first) * self.width() + h * self.d..], self.width())
    }

    /// Probabilities of the queries `first..first + n` of sample and head `i`: [n, keys].
    fn probabilities(&self, q: &[f32], k: &[f32], i: usize, first: usize, n: usize, threads: Threads) -> Vec<f32> {
        let mut p = vec![0.0; n * self.keys];
        let (q, kt) = (self.head(q, i, self.queries, first), self.head(k, i, self.keys, 0).t());
        gemm(&mut p, self.keys, (n, self.keys, self.d), q, kt, self.scale(), Dst::Write, threads);
        host::vectorised(|| {
            for (row, p) in p.chunks_exact_mut(self.keys).enumerate() {
                let seen = match self.mask {
                    Mask::Nothing => self.keys,
                    Mask::Causal => (first + row + 1).min(self.keys),
                };
                softmax(&mut p[..seen]);
                p[seen..].fill(0.0);
            }
        });
        p
    }

    fn forward(&self, q: &[f32], k: &[f32], v: &[f32]) -> Vec<f32> {
        let (block, blocks) = (self.block(), self.queries.div_ceil(self.block()));
        let parts: Vec<Vec<f32>> = (0..self.batch * self.heads * blocks)
            .into_par_iter()
            .map(|task| {
                let (i, first) = (task / blocks, task % blocks * block);
                let n = block.min(self.queries - first);
                let p = self.probabilities(q, k, i, first, n, Threads::One);
                let mut y = vec![0.0; n * self.d];
                let (p, v) = (Mat::rows(&p, self.keys), self.head(v, i, self.keys, 0));
                gemm(&mut y, self.d, (n, self.d, self.keys), p, v, 1.0, Dst::Write, Threads::One);
                y
            })
            .collect();
        let mut y = vec![0.0; self.batch * self.queries * self.width()];
        for (task, part) in parts.iter().enumerate() {
            self.put(&mut y, part, task / blocks, self.queries, task % blocks * block);
        }
        y
    }

    /// Puts rows [n, d] of sample and head `i` to their place from row `first` on.
    fn put(&self, all: &mut [f32], part: &[f32], i: usize, rows: usize, first: usize) {
        let (b, h) = (i / self.heads, i % self.heads);
        let start = (b * rows + first) * self.width();
        for (row, part) in all[start..].chunks_mut(self.width()).zip(part.chunks_exact(self.d)) {
            row[h * self.d..(h + 1) * self.d].copy_from_slice(part);
        }
    }

    /// dq, dk, dv of sample and head `i`: dV = Pᵀ dY, dP = dY Vᵀ, dS = P ∘ (dP - Σ P dP), dQ = dS K / √d, dK = dSᵀ Q / √d.
    fn backward_head(&self, Operands { q, k, v, dy, wanted }: Operands, i: usize, threads: Threads) -> [Vec<f32>; 3] {
        let (m, d) = (self.keys, self.d);
        let mut dq = vec![0.0; if wanted[0] { self.queries * d } else { 0 }];
        let [mut dk, mut dv] = [(); 2].map(|()| vec![0.0; if wanted[1] { m * d } else { 0 }]);
        let (ks, vs) = (self.head(k, i, m, 0), self.head(v, i, m, 0));
        for first in (0..self.queries).step_by(self.block()) {
            let n = self.block().min(self.queries - first);
            let (qs, dys) = (self.head(q, i, self.queries, first), self.head(dy, i, self.queries, first));
            let p = self.probabilities(q, k, i, first, n, threads);
            if wanted[1] {
                gemm(&mut dv, d, (m, d, n), Mat::rows(&p, m).t(), dys, 1.0, Dst::Add, threads);
            }
            let mut ds = vec![0.0; n * m];
            gemm(&mut ds, m, (n, m, d), dys, vs.t(), 1.0, Dst::Write, threads);
            host::vectorised(|| {
                for (ds, p) in ds.chunks_exact_mut(m).zip(p.chunks_exact(m)) {
                    let mean = sum_of_pairs(ds, p, |ds, p| ds * p);
                    ds.iter_mut().zip(p).for_each(|(ds, p)| *ds = p * (*ds - mean));
                }
            });
            if wanted[0] {
                let dq = &mut dq[first * d..];
                gemm(dq, d, (n, d, m), Mat::rows(&ds, m), ks, self.scale(), Dst::Write, threads);
            }
            if wanted[1] {
                gemm(&mut dk, d, (m, d, n), Mat::rows(&ds, m).t(), qs, self.scale(), Dst::Add, threads);
            }
        }
        [dq, dk, dv]
    }

    /// dq, dk, dv where they are wanted.
    fn backward(&self, [q, k, v]: [&Tensor; 3], dy: &Tensor, wanted: [bool; 3]) -> Result<[Option<Tensor>; 3]> {
        let (q, k, v, dy) = (host::values(q)?, host::values(k)?, host::values(v)?, host::values(dy)?);
        let wanted = [wanted[0], wanted[1] || wanted[2]];
        let operands = Operands { q: &q, k: &k, v: &v, dy: &dy, wanted };
        let heads = (0..self.batch * self.heads).into_par_iter();
        let parts: Vec<_> = heads.map(|i| self.backward_head(operands, i, Threads::One)).collect();
        let of_keys = |which: usize| wanted[1].then(|| self.join(&parts, which, self.keys)).transpose();
        Ok([wanted[0].then(|| self.join(&parts, 0, self.queries)).transpose()?, of_keys(1)?, of_keys(2)?])
    }

    /// The heads' parts as one tensor [B, rows, heads · d].
    fn join(&self, parts: &[[Vec<f32>; 3]], which: usize, rows: usize) -> Result<Tensor> {
        let mut all = vec![0.0; self.batch * rows * self.width()];
        for (i, part) in parts.iter().enumerate() {
            self.put(&mut all, &part[which], i, rows, 0);
        }
        host::tensor(all, (self.batch, rows, self.width()))
    }
}

/// In place, with the largest value taken off first.
#[inline(always)]
fn softmax(row: &mut [f32]) {
    let top = max(row);
    for v in row.iter_mut() {
        *v = exp(*v - top);
    }
    let scale = 1.0 / sum_of(row, |v| v);
    for v in row.iter_mut() {
        *v *= scale;
    }
}
