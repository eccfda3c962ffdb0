//! Attention in blocks of queries, with products from the gemm crate: on any processor.
//!
//! In: q, k, v and dy as slices. Out: y, or the gradients.

use crate::attention::products::Operands;
use crate::cpu::vector_math::{exp, max, sum_of, sum_of_pairs};
use crate::gemm::portable::{Dst, Mat, Threads, gemm};
use crate::shapes::AttentionShape;
use crate::simd::vectorize;
use rayon::prelude::*;

/// Values in one block of scores at most (1 MiB stays in the second-level cache), but never fewer
/// than 16 queries.
const SCORE_VALUES: usize = 1 << 18;

/// Queries in one block.
fn block(sizes: &AttentionShape) -> usize {
    (SCORE_VALUES / sizes.keys).clamp(16, sizes.queries.max(16))
}

/// The rows of sample and head `i`, from row `first` on, of a tensor with `rows` rows a sample.
fn head<'a>(sizes: &AttentionShape, t: &'a [f32], i: usize, rows: usize, first: usize) -> Mat<'a> {
    let (b, h) = (i / sizes.heads, i % sizes.heads);
    Mat::rows(&t[(b * rows + first) * sizes.width() + h * sizes.d..], sizes.width())
}

/// Probabilities of the queries `first..first + n` of sample and head `i`: [n, keys].
fn probabilities(sizes: &AttentionShape, q: &[f32], k: &[f32], i: usize, first: usize, n: usize) -> Vec<f32> {
    let mut p = vec![0.0; n * sizes.keys];
    let (q, kt) = (head(sizes, q, i, sizes.queries, first), head(sizes, k, i, sizes.keys, 0).t());
    gemm(&mut p, sizes.keys, (n, sizes.keys, sizes.d), q, kt, sizes.scale(), Dst::Write, Threads::One);
    vectorize(
        #[inline(always)]
        || {
            for (row, p) in p.chunks_exact_mut(sizes.keys).enumerate() {
                let (seen, hidden) = p.split_at_mut(sizes.visible_keys(first + row));
                softmax(seen);
                hidden.fill(0.0);
            }
        },
    );
    p
}

/// softmax(q kᵀ / √d) v.
pub(super) fn forward(sizes: &AttentionShape, q: &[f32], k: &[f32], v: &[f32]) -> Vec<f32> {
    let (block, blocks) = (block(sizes), sizes.queries.div_ceil(block(sizes)));
    let parts: Vec<Vec<f32>> = (0..sizes.batch * sizes.heads * blocks)
        .into_par_iter()
        .map(|task| {
            let (i, first) = (task / blocks, task % blocks * block);
            let n = block.min(sizes.queries - first);
            let p = probabilities(sizes, q, k, i, first, n);
            let mut y = vec![0.0; n * sizes.d];
            let (p, v) = (Mat::rows(&p, sizes.keys), head(sizes, v, i, sizes.keys, 0));
            gemm(&mut y, sizes.d, (n, sizes.d, sizes.keys), p, v, 1.0, Dst::Write, Threads::One);
            y
        })
        .collect();
    let mut y = vec![0.0; sizes.batch * sizes.queries * sizes.width()];
    for (task, part) in parts.iter().enumerate() {
        let (i, first) = (task / blocks, task % blocks * block);
        let (b, h) = (i / sizes.heads, i % sizes.heads);
        let rows = y[(b * sizes.queries + first) * sizes.width()..].chunks_mut(sizes.width());
        for (row, part) in rows.zip(part.chunks_exact(sizes.d)) {
            row[h * sizes.d..(h + 1) * sizes.d].copy_from_slice(part);
        }
    }
    y
}

/// dq, dk, dv where they are wanted.
pub(super) fn backward(sizes: &AttentionShape, operands: Operands) -> [Vec<f32>; 3] {
    let heads = (0..sizes.batch * sizes.heads).into_par_iter().with_max_len(1);
    let heads: Vec<_> = heads.map(|i| backward_head(sizes, operands, i)).collect();
    let rows = [sizes.queries, sizes.keys, sizes.keys];
    let mut result = rows.map(|rows| vec![0.0; sizes.batch * rows * sizes.width()]);
    for (which, (result, rows)) in result.iter_mut().zip(rows).enumerate() {
        if !operands.wanted[which.min(1)] {
            *result = Vec::new();
        }
        for (i, head) in heads.iter().enumerate() {
            for (row, values) in head[which].chunks_exact(sizes.d).enumerate() {
                result[sizes.place(i, row, rows)..][..sizes.d].copy_from_slice(values);
            }
        }
    }
    result
}

/// dq, dk, dv of sample and head `i`: dV = Pᵀ dY, dP = dY Vᵀ, dS = P ∘ (dP - Σ P dP), dQ = dS K /
/// √d, dK = dSᵀ Q / √d.
fn backward_head(sizes: &AttentionShape, operands: Operands, i: usize) -> [Vec<f32>; 3] {
    let Operands { q, k, v, dy, wanted, .. } = operands;
    let (m, d, threads) = (sizes.keys, sizes.d, Threads::One);
    let mut dq = vec![0.0; if wanted[0] { sizes.queries * d } else { 0 }];
    let [mut dk, mut dv] = [(); 2].map(|()| vec![0.0; if wanted[1] { m * d } else { 0 }]);
    let (ks, vs) = (head(sizes, k, i, m, 0), head(sizes, v, i, m, 0));
    for first in (0..sizes.queries).step_by(block(sizes)) {
        let n = block(sizes).min(sizes.queries - first);
        let (qs, dys) = (head(sizes, q, i, sizes.queries, first), head(sizes, dy, i, sizes.queries, first));
        let p = probabilities(sizes, q, k, i, first, n);
        if wanted[1] {
            gemm(&mut dv, d, (m, d, n), Mat::rows(&p, m).t(), dys, 1.0, Dst::Add, threads);
        }
        let mut ds = vec![0.0; n * m];
        gemm(&mut ds, m, (n, m, d), dys, vs.t(), 1.0, Dst::Write, threads);
        vectorize(
            #[inline(always)]
            || {
                for (ds, p) in ds.chunks_exact_mut(m).zip(p.chunks_exact(m)) {
                    let mean = sum_of_pairs(ds, p, |ds, p| ds * p);
                    ds.iter_mut().zip(p).for_each(|(ds, p)| *ds = p * (*ds - mean));
                }
            },
        );
        if wanted[0] {
            gemm(&mut dq[first * d..], d, (n, d, m), Mat::rows(&ds, m), ks, sizes.scale(), Dst::Write, threads);
        }
        if wanted[1] {
            gemm(&mut dk, d, (m, d, n), Mat::rows(&ds, m).t(), qs, sizes.scale(), Dst::Add, threads);
        }
    }
    [dq, dk, dv]
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
