//! Convolution by columns, on any processor: the patches of a block of output pixels, or of several
//! small images, are written as columns (im2col), and one matrix product gives the block; a 1x1
//! convolution of a single image needs no columns. dx is the transposed product followed by the
//! adjoint of im2col (col2im), dW = dy · columnsᵀ. The column buffer is bounded whatever the
//! image's size.
//!
//! In: images, weight and dy as slices. Out: y, dx or dW.

use crate::cpu::buffer::Scratch;
use crate::gemm::portable::{Dst, Mat, Threads, gemm};
use crate::shapes::ConvShape;
use rayon::prelude::*;

/// Values in the column buffer at most (16 MiB), but never fewer than 64 columns.
const COLUMN_VALUES: usize = 4 << 20;

impl ConvShape {
    /// Blocks of whole output rows `(first row, rows)` whose columns fit the buffer.
    fn blocks(self) -> impl Iterator<Item = (usize, usize)> {
        let columns = (COLUMN_VALUES / self.patch()).max(64);
        let rows = (columns / self.wo).clamp(1, self.ho);
        (0..self.ho).step_by(rows).map(move |first| (first, rows.min(self.ho - first)))
    }

    /// How many samples are computed in one product: small images alone would leave the product too
    /// narrow.
    fn together(&self) -> usize {
        (COLUMN_VALUES / (self.patch() * self.pixels_out())).clamp(1, self.batch.max(1))
    }

    /// For the kernel column `kx`: the first output column whose tap lies inside the image, one
    /// past the last, and the input column of the first.
    fn inside(&self, kx: usize) -> (usize, usize, usize) {
        let first = self.pad.saturating_sub(kx).div_ceil(self.stride).min(self.wo);
        let last = (self.w + self.pad).saturating_sub(kx).div_ceil(self.stride).clamp(first, self.wo);
        (first, last, (first * self.stride + kx).saturating_sub(self.pad))
    }

    /// The input row under output row `oy` and kernel row `ky`, if it lies inside the image.
    fn input_row(&self, oy: usize, ky: usize) -> Option<usize> {
        (oy * self.stride + ky).checked_sub(self.pad).filter(|&iy| iy < self.h)
    }
}

/// Writes the patches of one or several samples under output rows `first..first + rows` as columns
/// [c·kh·kw, samples·rows·wo].
fn im2col(x: &[f32], g: &ConvShape, (first, rows): (usize, usize), columns: &mut [f32]) {
    let sample = g.c * g.pixels_in();
    let n = rows * g.wo;
    columns.par_chunks_mut(x.len() / sample * n).enumerate().for_each(|(tap, out)| {
        let (c, ky, kx) = (tap / (g.kh * g.kw), tap / g.kw % g.kh, tap % g.kw);
        let (left, right, ix) = g.inside(kx);
        let planes = x.chunks_exact(sample).map(|x| &x[c * g.pixels_in()..(c + 1) * g.pixels_in()]);
        for (plane, out) in planes.zip(out.chunks_exact_mut(n)) {
            for (oy, out) in (first..first + rows).zip(out.chunks_exact_mut(g.wo)) {
                let Some(iy) = g.input_row(oy, ky) else {
                    out.fill(0.0);
                    continue;
                };
                out[..left].fill(0.0);
                out[right..].fill(0.0);
                let row = &plane[iy * g.w..(iy + 1) * g.w];
                if g.stride == 1 {
                    out[left..right].copy_from_slice(&row[ix..ix + right - left]);
                } else {
                    for (o, v) in out[left..right].iter_mut().zip(row[ix..].iter().step_by(g.stride)) {
                        *o = *v;
                    }
                }
            }
        }
    });
}

/// The adjoint of `im2col`: adds each column value to the input pixel that it was taken from. Split
/// by sample and channel, so that every pixel is summed by one thread in a fixed order.
fn col2im(columns: &[f32], g: &ConvShape, (first, rows): (usize, usize), dx: &mut [f32]) {
    let n = rows * g.wo;
    let row = dx.len() / (g.c * g.pixels_in()) * n;
    dx.par_chunks_mut(g.pixels_in()).enumerate().for_each(|(i, plane)| {
        let (sample, c) = (i / g.c, i % g.c);
        for ky in 0..g.kh {
            for kx in 0..g.kw {
                let start = ((c * g.kh + ky) * g.kw + kx) * row + sample * n;
                let (left, right, ix) = g.inside(kx);
                for (oy, column) in (first..first + rows).zip(columns[start..start + n].chunks_exact(g.wo)) {
                    let Some(iy) = g.input_row(oy, ky) else { continue };
                    let row = &mut plane[iy * g.w..(iy + 1) * g.w];
                    for (v, d) in row[ix.min(g.w)..].iter_mut().step_by(g.stride).zip(&column[left..right]) {
                        *v += d;
                    }
                }
            }
        }
    });
}

/// Samples [S, channels, n] → rows [channels, S·n].
fn side_by_side(samples: &[f32], channels: usize, n: usize, rows: &mut [f32]) {
    rows.par_chunks_mut(samples.len() / channels).enumerate().for_each(|(c, row)| {
        for (sample, out) in samples.chunks_exact(channels * n).zip(row.chunks_exact_mut(n)) {
            out.copy_from_slice(&sample[c * n..(c + 1) * n]);
        }
    });
}

/// Rows [channels, S·n] → samples [S, channels, n], with the bias of each channel added.
fn apart(rows: &[f32], channels: usize, n: usize, bias: Option<&[f32]>, samples: &mut [f32]) {
    let row = rows.len() / channels;
    samples.par_chunks_mut(n).enumerate().for_each(|(i, out)| {
        let (sample, c) = (i / channels, i % channels);
        let values = &rows[c * row + sample * n..][..n];
        let bias = bias.map_or(0.0, |b| b[c]);
        out.iter_mut().zip(values).for_each(|(o, v)| *o = v + bias);
    });
}

/// y, into zeros.
pub(super) fn forward(g: &ConvShape, x: &[f32], w: &[f32], b: Option<&[f32]>, y: &mut [f32]) {
    let (k, n_all) = (g.patch(), g.pixels_out());
    let (xs, ys) = (g.together() * g.c * g.pixels_in(), g.together() * g.o * n_all);
    let (mut columns, mut product) = (Scratch::new(), Scratch::new());
    for (x, y) in x.chunks(xs).zip(y.chunks_mut(ys)) {
        let samples = x.len() / (g.c * g.pixels_in());
        if samples > 1 {
            let n = samples * n_all;
            let (columns, product) = (columns.first(k * n), product.first(g.o * n));
            im2col(x, g, (0, g.ho), columns);
            gemm(product, n, (g.o, n, k), Mat::rows(w, k), Mat::rows(columns, n), 1.0, Dst::Write, Threads::All);
            apart(product, g.o, n_all, b, y);
            continue;
        }
        if let Some(b) = b {
            y.chunks_exact_mut(n_all).zip(b).for_each(|(plane, b)| plane.fill(*b));
        }
        if g.is_pointwise() {
            gemm(y, n_all, (g.o, n_all, k), Mat::rows(w, k), Mat::rows(x, n_all), 1.0, Dst::Add, Threads::All);
            continue;
        }
        for block in g.blocks() {
            let n = block.1 * g.wo;
            let columns = columns.first(k * n);
            im2col(x, g, block, columns);
            let y = &mut y[block.0 * g.wo..];
            gemm(y, n_all, (g.o, n, k), Mat::rows(w, k), Mat::rows(columns, n), 1.0, Dst::Add, Threads::All);
        }
    }
}

/// dx, into zeros: the transposed product, then the adjoint of im2col.
pub(super) fn backward_x(g: &ConvShape, w: &[f32], dy: &[f32], dx: &mut [f32]) {
    let (k, n_all) = (g.patch(), g.pixels_out());
    let wt = Mat::rows(w, k).t();
    let (xs, ys) = (g.together() * g.c * g.pixels_in(), g.together() * g.o * n_all);
    let (mut columns, mut rows) = (Scratch::new(), Scratch::new());
    for (dx, dy) in dx.chunks_mut(xs).zip(dy.chunks(ys)) {
        let samples = dy.len() / (g.o * n_all);
        if samples > 1 {
            let n = samples * n_all;
            let (columns, rows) = (columns.first(k * n), rows.first(g.o * n));
            side_by_side(dy, g.o, n_all, rows);
            gemm(columns, n, (k, n, g.o), wt, Mat::rows(rows, n), 1.0, Dst::Write, Threads::All);
            col2im(columns, g, (0, g.ho), dx);
            continue;
        }
        if g.is_pointwise() {
            gemm(dx, n_all, (k, n_all, g.o), wt, Mat::rows(dy, n_all), 1.0, Dst::Write, Threads::All);
            continue;
        }
        for block in g.blocks() {
            let n = block.1 * g.wo;
            let columns = columns.first(k * n);
            let dy = Mat::rows(&dy[block.0 * g.wo..], n_all);
            gemm(columns, n, (k, n, g.o), wt, dy, 1.0, Dst::Write, Threads::All);
            col2im(columns, g, block, dx);
        }
    }
}

/// dW, into zeros: dy · columnsᵀ, summed over samples and blocks in order.
pub(super) fn backward_weight(g: &ConvShape, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    let (k, n_all) = (g.patch(), g.pixels_out());
    let (xs, ys) = (g.together() * g.c * g.pixels_in(), g.together() * g.o * n_all);
    let (mut columns, mut rows) = (Scratch::new(), Scratch::new());
    for (x, dy) in x.chunks(xs).zip(dy.chunks(ys)) {
        let samples = dy.len() / (g.o * n_all);
        if samples > 1 {
            let n = samples * n_all;
            let (columns, rows) = (columns.first(k * n), rows.first(g.o * n));
            im2col(x, g, (0, g.ho), columns);
            side_by_side(dy, g.o, n_all, rows);
            let (dy, columns) = (Mat::rows(rows, n), Mat::rows(columns, n).t());
            gemm(dw, k, (g.o, k, n), dy, columns, 1.0, Dst::Add, Threads::All);
            continue;
        }
        if g.is_pointwise() {
            let (dy, xt) = (Mat::rows(dy, n_all), Mat::rows(x, n_all).t());
            gemm(dw, k, (g.o, k, n_all), dy, xt, 1.0, Dst::Add, Threads::All);
            continue;
        }
        for block in g.blocks() {
            let n = block.1 * g.wo;
            let columns = columns.first(k * n);
            im2col(x, g, block, columns);
            let (dy, columns) = (Mat::rows(&dy[block.0 * g.wo..], n_all), Mat::rows(columns, n).t());
            gemm(dw, k, (g.o, k, n), dy, columns, 1.0, Dst::Add, Threads::All);
        }
    }
}
