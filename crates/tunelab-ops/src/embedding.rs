//! Tokens to vectors: y[b, i] = tokens[id of b at i] + positions[i].
//!
//! tokens [V, width], positions [at least L, width] → [B, L, width]. Gradients are summed in the
//! order of the texts.

use crate::cpu::host;
#[cfg(feature = "cuda")]
use crate::cuda;
use crate::tape::{composed, node, operand};
use candle_core::{Result, Tensor, bail};

/// The embeddings of texts of one length, each id below the number of tokens.
pub fn embedding(ids: &[Vec<u32>], tokens: &Tensor, positions: &Tensor) -> Result<Tensor> {
    let length = ids.first().map_or(0, Vec::len);
    let ((vocabulary, width), (longest, _)) = (tokens.dims2()?, positions.dims2()?);
    let wrong = ids.iter().any(|i| i.len() != length) || length > longest || positions.dim(1)? != width;
    let flat = ids.concat();
    if wrong || flat.iter().any(|&id| id as usize >= vocabulary) {
        bail!(
            "embedding: {} texts of {length} ids do not fit {:?} and {:?}",
            ids.len(),
            tokens.dims(),
            positions.dims()
        );
    }
    let shape = (ids.len(), length, width);
    #[cfg(feature = "cuda")]
    if cuda::supports(tokens) {
        return cuda::embedding::embedding(flat, shape, tokens, positions);
    }
    if !host::is_host_f32(tokens) {
        let flat = Tensor::from_vec(flat, ids.len() * length, tokens.device())?;
        return composed(&[tokens, positions], |t| {
            t[0].index_select(&flat, 0)?.reshape(shape)?.broadcast_add(&t[1].narrow(0, 0, length)?)
        });
    }
    let (tokens, positions) = (operand(tokens)?, operand(positions)?);
    let mut y = Vec::with_capacity(flat.len() * width);
    {
        let (tokens, positions) = (host::values(&tokens)?, host::values(&positions)?);
        for (i, &id) in flat.iter().enumerate() {
            let (token, position) = (&tokens[id as usize * width..], &positions[i % length * width..][..width]);
            y.extend(token.iter().zip(position).map(|(t, p)| t + p));
        }
    }
    node(y, shape, [&tokens, &positions], move |dy, [dtokens, dpositions]| {
        let dy = host::values(dy)?;
        let gradient = |rows: usize, row: &dyn Fn(usize) -> usize| {
            let mut sums = vec![0.0f32; rows * width];
            for (i, dy) in dy.chunks_exact(width).enumerate() {
                sums[row(i) * width..].iter_mut().zip(dy).for_each(|(sum, dy)| *sum += dy);
            }
            host::tensor(sums, (rows, width))
        };
        Ok([
            dtokens.then(|| gradient(vocabulary, &|i| flat[i] as usize)).transpose()?,
            dpositions.then(|| gradient(longest, &|i| i % length)).transpose()?,
        ])
    })
}
