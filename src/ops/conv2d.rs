//! Two-dimensional convolution: x [B, C, H, W], W [O, C, kh, kw], b `[O]` → y [B, O, H', W'].
//!
//! Forward: the patches of a block of output pixels, or of several small pictures, are written as columns (im2col), and one
//! matrix product gives the block; a 1x1 convolution of a single picture needs no columns. Backward: dx is the transposed
//! product followed by the adjoint of im2col (col2im), dW = dy · columnsᵀ summed over the blocks in order, db = Σ dy. The
//! column buffer is bounded whatever the picture's size. 3x3 kernels have a body of their own (`conv3x3`) where that is
//! faster. Frozen weights get no gradient; dx is left out when nothing before x is trained.

#[cfg(target_arch = "x86_64")]
use super::conv3x3::{self, Turn};
use super::gemm::{Dst, Mat, Threads, gemm};
use super::host::{self, Scratch};
use super::vector::sum_of;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

/// Values in the column buffer at most (16 MiB), but never fewer than 64 columns.
const COLUMN_VALUES: usize = 4 << 20;

/// Zeros around the picture. The VAE's down-sampling pads only below and to the right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Padding {
    /// Rows above and columns to the left.
    pub before: usize,
    /// Rows below and columns to the right.
    pub after: usize,
}

impl Padding {
    /// The same number of zeros on every side.
    pub fn same(n: usize) -> Self {
        Self { before: n, after: n }
    }
}

/// Convolution with square stride. `weight` is [out, in, kh, kw]; `bias`, if any, is `[out]`.
pub fn conv2d(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, stride: usize, padding: Padding) -> Result<Tensor> {
    if !host::is_host_f32(x) {
        return portable(x, weight, bias, stride, padding);
    }
    let geometry = Geometry::new(x.dims4()?, weight.dims4()?, stride, padding)?;
    let x = x.contiguous()?;
    let weight = weight.contiguous()?;
    if weight.track_op() || bias.is_some_and(Tensor::track_op) {
        let op = Trained { geometry, dx: x.track_op() };
        match bias {
            Some(bias) => x.apply_op3(&weight, &bias.contiguous()?, op),
            None => x.apply_op2(&weight, op),
        }
    } else {
        let bias = bias.map(Tensor::contiguous).transpose()?;
        x.apply_op1(Frozen { geometry, weight, bias })
    }
}

/// The same from candle's operations: any device, any type. With a stride the picture is padded and cut to what the kernel
/// reaches first, because candle's gradient supposes that height and width leave equally many pixels over.
fn portable(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, stride: usize, padding: Padding) -> Result<Tensor> {
    let Padding { before, after } = padding;
    let y = if stride == 1 && before == after {
        x.conv2d(weight, before, 1, 1, 1)?
    } else {
        let g = Geometry::new(x.dims4()?, weight.dims4()?, stride, padding)?;
        let padded = x.pad_with_zeros(2, before, after)?.pad_with_zeros(3, before, after)?;
        let reached = padded.narrow(2, 0, (g.ho - 1) * stride + g.kh)?.narrow(3, 0, (g.wo - 1) * stride + g.kw)?;
        reached.contiguous()?.conv2d(weight, 0, stride, 1, 1)?
    };
    match bias {
        Some(bias) => y.broadcast_add(&bias.reshape((1, (), 1, 1))?),
        None => Ok(y),
    }
}

/// All sizes of one convolution.
#[derive(Clone, Copy)]
struct Geometry {
    batch: usize,
    c: usize,
    h: usize,
    w: usize,
    o: usize,
    kh: usize,
    kw: usize,
    stride: usize,
    pad: usize,
    ho: usize,
    wo: usize,
}

impl Geometry {
    fn new(
        (batch, c, h, w): (usize, usize, usize, usize),
        (o, wc, kh, kw): (usize, usize, usize, usize),
        stride: usize,
        padding: Padding,
    ) -> Result<Self> {
        let (full_h, full_w) = (h + padding.before + padding.after, w + padding.before + padding.after);
        if wc != c || full_h < kh || full_w < kw {
            bail!("conv2d: a weight [{o}, {wc}, {kh}, {kw}] does not fit an input [{batch}, {c}, {h}, {w}]");
        }
        let (ho, wo) = ((full_h - kh) / stride + 1, (full_w - kw) / stride + 1);
        Ok(Self { batch, c, h, w, o, kh, kw, stride, pad: padding.before, ho, wo })
    }

    /// Values in one patch: the inner dimension of the product.
    fn patch(&self) -> usize {
        self.c * self.kh * self.kw
    }

    fn pixels_out(&self) -> usize {
        self.ho * self.wo
    }

    fn pixels_in(&self) -> usize {
        self.h * self.w
    }

    /// Whether the columns are the picture itself.
    fn is_pointwise(&self) -> bool {
        self.kh == 1 && self.kw == 1 && self.stride == 1 && self.pad == 0 && self.pixels_in() == self.pixels_out()
    }

    /// The pictures of `channels` channels that a 3x3 convolution between zeros maps to pictures of the same size.
    #[cfg(target_arch = "x86_64")]
    fn direct(&self, channels: usize) -> Option<conv3x3::Pictures> {
        let same = self.kh == 3 && self.kw == 3 && self.stride == 1 && self.pad == 1;
        let same = same && (self.ho, self.wo) == (self.h, self.w);
        same.then_some(conv3x3::Pictures { samples: self.batch, channels, height: self.h, width: self.w })
    }

    /// Blocks of whole output rows `(first row, rows)` whose columns fit the buffer.
    fn blocks(self) -> impl Iterator<Item = (usize, usize)> {
        let columns = (COLUMN_VALUES / self.patch()).max(64);
        let rows = (columns / self.wo).clamp(1, self.ho);
        (0..self.ho).step_by(rows).map(move |first| (first, rows.min(self.ho - first)))
    }

    /// How many samples are computed in one product: small pictures alone would leave the product too narrow.
    fn together(&self) -> usize {
        (COLUMN_VALUES / (self.patch() * self.pixels_out())).clamp(1, self.batch.max(1))
    }

    /// For the kernel column `kx`: the first output column whose tap lies inside the picture, one past the last, and
    /// the input column of the first.
    fn inside(&self, kx: usize) -> (usize, usize, usize) {
        let first = self.pad.saturating_sub(kx).div_ceil(self.stride).min(self.wo);
        let last = (self.w + self.pad).saturating_sub(kx).div_ceil(self.stride).clamp(first, self.wo);
        (first, last, (first * self.stride + kx).saturating_sub(self.pad))
    }

    /// The input row under output row `oy` and kernel row `ky`, if it lies inside the picture.
    fn input_row(&self, oy: usize, ky: usize) -> Option<usize> {
        (oy * self.stride + ky).checked_sub(self.pad).filter(|&iy| iy < self.h)
    }
}

/// Writes the patches of one or several samples under output rows `first..first + rows` as columns
/// [c·kh·kw, samples·rows·wo].
fn im2col(x: &[f32], g: &Geometry, (first, rows): (usize, usize), columns: &mut [f32]) {
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

/// The adjoint of `im2col`: adds each column value to the input pixel that it was taken from. Split by sample and channel,
/// so that every pixel is summed by one thread in a fixed order.
fn col2im(columns: &[f32], g: &Geometry, (first, rows): (usize, usize), dx: &mut [f32]) {
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

fn forward(g: &Geometry, x: &[f32], w: &[f32], b: Option<&[f32]>) -> (CpuStorage, Shape) {
    let (k, n_all) = (g.patch(), g.pixels_out());
    let mut y = vec![0.0; g.batch * g.o * n_all];
    #[cfg(target_arch = "x86_64")]
    if let Some(x_of) = g.direct(g.c).filter(conv3x3::Pictures::fit_forward) {
        conv3x3::conv(x_of, x, w, Turn::Forward, b, &mut y);
        return (CpuStorage::F32(y), (g.batch, g.o, g.ho, g.wo).into());
    }
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
    (CpuStorage::F32(y), (g.batch, g.o, g.ho, g.wo).into())
}

/// dx: the transposed product, then the adjoint of im2col.
fn backward_x(g: &Geometry, weight: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let (k, n_all) = (g.patch(), g.pixels_out());
    let (w, dy) = (host::values(weight)?, host::values(dy)?);
    let wt = Mat::rows(&w, k).t();
    let mut dx = vec![0.0; g.batch * g.c * g.pixels_in()];
    #[cfg(target_arch = "x86_64")]
    if let Some(dy_of) = g.direct(g.o).filter(conv3x3::Pictures::fit) {
        conv3x3::conv(dy_of, &dy, &w, Turn::Backward, None, &mut dx);
        return host::tensor(dx, (g.batch, g.c, g.h, g.w));
    }
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
    host::tensor(dx, (g.batch, g.c, g.h, g.w))
}

/// dW = dy · columnsᵀ, summed over samples and blocks in order.
fn backward_weight(g: &Geometry, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let (k, n_all) = (g.patch(), g.pixels_out());
    let (x, dy) = (host::values(x)?, host::values(dy)?);
    let mut dw = vec![0.0; g.o * k];
    #[cfg(target_arch = "x86_64")]
    if let Some(x_of) = g.direct(g.c).filter(|x| x.fit_weight(g.o)) {
        conv3x3::weight_gradient(x_of, &x, &dy, &mut dw);
        return host::tensor(dw, (g.o, g.c, g.kh, g.kw));
    }
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
            gemm(&mut dw, k, (g.o, k, n), dy, columns, 1.0, Dst::Add, Threads::All);
            continue;
        }
        if g.is_pointwise() {
            let (dy, xt) = (Mat::rows(dy, n_all), Mat::rows(x, n_all).t());
            gemm(&mut dw, k, (g.o, k, n_all), dy, xt, 1.0, Dst::Add, Threads::All);
            continue;
        }
        for block in g.blocks() {
            let n = block.1 * g.wo;
            let columns = columns.first(k * n);
            im2col(x, g, block, columns);
            let (dy, columns) = (Mat::rows(&dy[block.0 * g.wo..], n_all), Mat::rows(columns, n).t());
            gemm(&mut dw, k, (g.o, k, n), dy, columns, 1.0, Dst::Add, Threads::All);
        }
    }
    host::tensor(dw, (g.o, g.c, g.kh, g.kw))
}

/// db = the sum of dy over samples and pixels.
fn backward_bias(g: &Geometry, dy: &Tensor) -> Result<Tensor> {
    let dy = host::values(dy)?;
    let sum = |o: usize| {
        let mut sum = 0.0;
        host::vectorised(|| {
            for plane in dy.chunks_exact(g.pixels_out()).skip(o).step_by(g.o) {
                sum += f64::from(sum_of(plane, |v| v));
            }
        });
        sum as f32
    };
    host::tensor((0..g.o).into_par_iter().map(sum).collect(), g.o)
}

/// Weight and bias are frozen.
struct Frozen {
    geometry: Geometry,
    weight: Tensor,
    bias: Option<Tensor>,
}

/// Weight or bias is trained.
struct Trained {
    geometry: Geometry,
    /// Whether something before x is trained.
    dx: bool,
}

impl CustomOp1 for Frozen {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let w = host::values(&self.weight)?;
        let b = self.bias.as_ref().map(host::values).transpose()?;
        Ok(forward(&self.geometry, host::slice(x, layout)?, &w, b.as_deref()))
    }

    fn bwd(&self, _x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        backward_x(&self.geometry, &self.weight, &dy.contiguous()?).map(Some)
    }
}

impl CustomOp2 for Trained {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, w: &CpuStorage, lw: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok(forward(&self.geometry, host::slice(x, lx)?, host::slice(w, lw)?, None))
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        let dx = if self.dx { Some(backward_x(&self.geometry, w, &dy)?) } else { None };
        Ok((dx, Some(backward_weight(&self.geometry, x, &dy)?)))
    }
}

impl CustomOp3 for Trained {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
        b: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let b = host::slice(b, lb)?;
        Ok(forward(&self.geometry, host::slice(x, lx)?, host::slice(w, lw)?, Some(b)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _b: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let g = &self.geometry;
        let dy = dy.contiguous()?;
        let dx = if self.dx { Some(backward_x(g, w, &dy)?) } else { None };
        Ok((dx, Some(backward_weight(g, x, &dy)?), Some(backward_bias(g, &dy)?)))
    }
}
