//! Group normalization (Wu & He 2018), optionally followed by SiLU, in one pass over the image.
//!
//! In: x, and weight and bias `[C]`. Out: a tensor like x, noted on the tape.
//!
//! x [B, C, …]; the channels of a group and all its pixels are one contiguous slab with one mean
//! and variance. y = SiLU?((x - mean) / sqrt(var + eps) · weight + bias). Backward recomputes mean
//! and variance.

use crate::cpu::host;
use crate::cpu::uninit_output::UninitOutput;
use crate::cpu::uninit_output::par_fill;
use crate::cpu::uninit_output::par_fill_with;
use crate::cpu::vector_math::{moments, sigmoid, sum_of, sum_of_pairs};
#[cfg(feature = "cuda")]
use crate::cuda;
use crate::shapes::FusedActivation;
use crate::simd::vectorize;
use crate::tape::{composed, node, operand};
use candle_core::{D, Result, Tensor, bail};

/// Group normalization; `weight` and `bias` are `[C]`, and `groups` divides C.
pub fn group_norm(
    x: &Tensor,
    groups: usize,
    weight: &Tensor,
    bias: &Tensor,
    eps: f64,
    activation: FusedActivation,
) -> Result<Tensor> {
    let c = x.dim(1)?;
    if groups == 0 || !c.is_multiple_of(groups) {
        bail!("group_norm: {c} channels cannot be split into {groups} groups");
    }
    #[cfg(feature = "cuda")]
    if cuda::supports(x) {
        return cuda::group_norm::group_norm(x, groups, weight, bias, eps, activation);
    }
    if !host::is_host_f32(x) {
        return composed(&[x, weight, bias], |t| portable(&t[0], groups, &t[1], &t[2], eps, activation));
    }
    let pixels = x.elem_count() / (x.dim(0)? * c);
    let kernel = Kernel { channels: c / groups, groups, pixels, eps: eps as f32, activation };
    let (x, weight, bias) = (operand(x)?, operand(weight)?, operand(bias)?);
    let y = kernel.forward(&host::values(&x)?, &host::values(&weight)?, &host::values(&bias)?);
    let kept = [x.clone(), weight.clone(), bias.clone()];
    node(y, x.dims(), [&x, &weight, &bias], move |dy, [dx, dw, db]| {
        let [x, weight, bias] = [host::values(&kept[0])?, host::values(&kept[1])?, host::values(&kept[2])?];
        let (gradient, sums) = kernel.backward(&x, &host::values(dy)?, &weight, &bias);
        let dx = dx.then(|| host::tensor(gradient, kept[0].dims())).transpose()?;
        if !dw && !db {
            return Ok([dx, None, None]);
        }
        let (mut dw, mut db) = (vec![0.0; c], vec![0.0; c]);
        for (i, (dweight, dbias)) in sums.into_iter().enumerate() {
            dw[i % c] += dweight;
            db[i % c] += dbias;
        }
        Ok([dx, Some(host::tensor(dw, c)?), Some(host::tensor(db, c)?)])
    })
}

/// The same from candle's operations: any device, any type.
fn portable(
    x: &Tensor,
    groups: usize,
    weight: &Tensor,
    bias: &Tensor,
    eps: f64,
    activation: FusedActivation,
) -> Result<Tensor> {
    let slabs = x.reshape((x.dim(0)?, groups, ()))?;
    let centered = slabs.broadcast_sub(&slabs.mean_keepdim(D::Minus1)?)?;
    let var = centered.sqr()?.mean_keepdim(D::Minus1)?;
    let normal = centered.broadcast_div(&(var + eps)?.sqrt()?)?.reshape(x.shape())?;
    let mut per_channel = vec![1; x.rank()];
    per_channel[1] = x.dim(1)?;
    let z = normal
        .broadcast_mul(&weight.reshape(per_channel.as_slice())?)?
        .broadcast_add(&bias.reshape(per_channel.as_slice())?)?;
    match activation {
        FusedActivation::None => Ok(z),
        FusedActivation::Silu => z.silu(),
    }
}

#[derive(Clone, Copy)]
struct Kernel {
    /// Channels in a group.
    channels: usize,
    groups: usize,
    pixels: usize,
    eps: f32,
    activation: FusedActivation,
}

impl Kernel {
    fn slab(&self) -> usize {
        self.channels * self.pixels
    }

    fn forward(&self, x: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f32> {
        par_fill(x.len(), self.slab(), |i, mut y| {
            let x = &x[i * self.slab()..][..self.slab()];
            vectorize(
                #[inline(always)]
                || self.forward_slab(i, x, &mut y, weight, bias),
            );
        })
    }

    #[inline(always)]
    fn forward_slab(&self, i: usize, x: &[f32], y: &mut UninitOutput, weight: &[f32], bias: &[f32]) {
        let (mean, var) = moments(x);
        let rstd = 1.0 / (var + self.eps).sqrt();
        let first = i % self.groups * self.channels;
        for (c, x) in x.chunks_exact(self.pixels).enumerate() {
            let (scale, shift) = (rstd * weight[first + c], bias[first + c]);
            y.write_from(
                [x],
                #[inline(always)]
                |[x]| {
                    let z = (x - mean) * scale + shift;
                    match self.activation {
                        FusedActivation::None => z,
                        FusedActivation::Silu => z * sigmoid(z),
                    }
                },
            );
        }
    }

    /// dx, and for each sample and channel the contributions to dweight and dbias.
    fn backward(&self, x: &[f32], dy: &[f32], weight: &[f32], bias: &[f32]) -> (Vec<f32>, Vec<(f32, f32)>) {
        let (dx, sums) = par_fill_with(x.len(), self.slab(), |i, mut dx| {
            let [x, dy] = [x, dy].map(|t| &t[i * self.slab()..][..self.slab()]);
            let first = i % self.groups * self.channels;
            let [weight, bias] = [weight, bias].map(|t| &t[first..first + self.channels]);
            let mut sums = vec![(0.0, 0.0); self.channels];
            vectorize(
                #[inline(always)]
                || self.backward_slab(x, dy, weight, bias, &mut dx, &mut sums),
            );
            sums
        });
        (dx, sums.concat())
    }

    #[inline(always)]
    fn backward_slab(
        &self,
        x: &[f32],
        dy: &[f32],
        weight: &[f32],
        bias: &[f32],
        dx: &mut UninitOutput,
        sums: &mut [(f32, f32)],
    ) {
        let (mean, var) = moments(x);
        let rstd = 1.0 / (var + self.eps).sqrt();
        // The pieces of dx hold dz, the gradient behind the normalization and its scale, until the
        // two means are known.
        let (mut mean_d, mut mean_dx) = (0.0f64, 0.0f64);
        let mut pieces = Vec::with_capacity(self.channels);
        for (c, (x, dy)) in x.chunks_exact(self.pixels).zip(dy.chunks_exact(self.pixels)).enumerate() {
            let (scale, shift) = (rstd * weight[c], bias[c]);
            let dz = dx.write_from(
                [x, dy],
                #[inline(always)]
                |[x, dy]| match self.activation {
                    FusedActivation::None => dy,
                    FusedActivation::Silu => {
                        let z = (x - mean) * scale + shift;
                        let s = sigmoid(z);
                        dy * s * (1.0 + z * (1.0 - s))
                    }
                },
            );
            let dbias = sum_of(dz, |d| d);
            let dweight = sum_of_pairs(dz, x, |d, x| d * ((x - mean) * rstd));
            sums[c] = (dweight, dbias);
            mean_d += f64::from(dbias) * f64::from(weight[c]);
            mean_dx += f64::from(dweight) * f64::from(weight[c]);
            pieces.push(dz);
        }
        let n = self.slab() as f64;
        let (mean_d, mean_dx) = ((mean_d / n) as f32, (mean_dx / n) as f32);
        for (c, (dx, x)) in pieces.into_iter().zip(x.chunks_exact(self.pixels)).enumerate() {
            for (dx, x) in dx.iter_mut().zip(x) {
                *dx = rstd * (*dx * weight[c] - mean_d - (x - mean) * rstd * mean_dx);
            }
        }
    }
}
