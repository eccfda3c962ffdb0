//! Two-dimensional convolution: x [B, C, H, W], W [O, C, kh, kw], b `[O]` → y [B, O, H', W'].
//!
//! Four bodies, of which the fastest for the sizes at hand is taken: 3x3 kernels by Winograd's algorithm (`winograd`,
//! AVX-512), 3x3 kernels straight from the picture for few channels (`conv3x3`, AVX-512), products of the weight and panels
//! of patches (`panels`, AVX-512), and for any processor products of the weight and columns of patches (`columns`). Backward
//! computes each gradient only where it is wanted; x is kept for the weight's alone.
#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "results are not cleared before all of them is written")
)]

mod columns;
#[cfg(target_arch = "x86_64")]
mod panels;
#[cfg(target_arch = "x86_64")]
mod winograd;

#[cfg(target_arch = "x86_64")]
use super::conv3x3::{self, Turn};
#[cfg(feature = "cuda")]
use super::cuda;
use super::host;
#[cfg(target_arch = "x86_64")]
use super::product;
use super::tape::{composed, node, operand, tracked};
use super::vector::sum_of;
use candle_core::{Result, Tensor, bail};
#[cfg(target_arch = "x86_64")]
use half::bf16;
use rayon::prelude::*;
#[cfg(target_arch = "x86_64")]
use winograd::{Kernels, Value};

/// Fewer result channels than this are computed straight from the picture.
#[cfg(target_arch = "x86_64")]
const FEW: usize = 128;
/// From this many pixels on the gradient of a weight is computed in panels.
#[cfg(target_arch = "x86_64")]
const MANY_PIXELS: usize = 256;
/// Winograd's algorithm transforms weights at every call, which pays from this many tiles of 4x4 pixels on (in f32:
/// what would have to be widened as a whole otherwise takes it always), and pixels and results, which pays from this
/// many channels on.
#[cfg(target_arch = "x86_64")]
const MANY_TILES: usize = 2;
#[cfg(target_arch = "x86_64")]
const MANY_CHANNELS: usize = 32;

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
    #[cfg(feature = "cuda")]
    if cuda::serves(x) {
        return cuda::conv2d::conv2d(x, weight, bias, stride, padding);
    }
    if !host::is_host_f32(x) {
        let operands: Vec<&Tensor> = [x, weight].into_iter().chain(bias).collect();
        return composed(&operands, |t| portable(&t[0], &t[1], t.get(2), stride, padding));
    }
    let (x, weight, bias) = (operand(x)?, operand(weight)?, bias.map(operand).transpose()?);
    let g = Geometry::new(x.dims4()?, weight.dims4()?, stride, padding)?;
    let b = bias.as_ref().map(host::values).transpose()?;
    let y = forward(&g, &host::values(&x)?, &host::values(&weight)?, b.as_deref());
    let (w, kept) = (weight.clone(), tracked(&weight).then(|| x.clone()));
    node(y, g.result(), [Some(&x), Some(&weight), bias.as_ref()], move |dy, [dx, _, db]| {
        Ok([
            dx.then(|| backward_x(&g, &w, dy)).transpose()?,
            kept.map(|x| backward_weight(&g, &x, dy)).transpose()?,
            db.then(|| backward_bias(&g, dy)).transpose()?,
        ])
    })
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
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Geometry {
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
    pub(super) fn new(
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

    /// The result's dimensions.
    pub(super) fn result(&self) -> (usize, usize, usize, usize) {
        (self.batch, self.o, self.ho, self.wo)
    }

    /// The dimensions of picture, weight and result.
    #[cfg(feature = "cuda")]
    pub(super) fn dims(&self) -> [[usize; 4]; 3] {
        [
            [self.batch, self.c, self.h, self.w],
            [self.o, self.c, self.kh, self.kw],
            [self.batch, self.o, self.ho, self.wo],
        ]
    }

    /// Zeros above and to the left.
    #[cfg(feature = "cuda")]
    pub(super) fn pad(&self) -> usize {
        self.pad
    }

    #[cfg(feature = "cuda")]
    pub(super) fn stride(&self) -> usize {
        self.stride
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

    /// Whether this is a 3x3 convolution between zeros, to pictures of the same size.
    #[cfg(target_arch = "x86_64")]
    fn keeps_size(&self) -> bool {
        let kernel = (self.kh, self.kw, self.stride, self.pad) == (3, 3, 1, 1);
        kernel && (self.ho, self.wo) == (self.h, self.w)
    }

    /// The pictures of `channels` channels that `conv3x3` might convolve.
    #[cfg(target_arch = "x86_64")]
    fn direct(&self, channels: usize) -> Option<conv3x3::Pictures> {
        let pictures = conv3x3::Pictures { samples: self.batch, channels, height: self.h, width: self.w };
        self.keeps_size().then_some(pictures)
    }

    /// The pictures of `channels` channels for which Winograd's algorithm pays.
    #[cfg(target_arch = "x86_64")]
    fn tiled(&self, channels: usize) -> Option<winograd::Pictures> {
        let pictures = winograd::Pictures { samples: self.batch, height: self.h, width: self.w };
        let pays = channels >= MANY_CHANNELS && pictures.tiles() >= MANY_TILES;
        (self.keeps_size() && pays).then_some(pictures)
    }
}

pub(super) fn forward(g: &Geometry, x: &[f32], w: &[f32], b: Option<&[f32]>) -> Vec<f32> {
    let n = g.batch * g.o * g.pixels_out();
    match way(g, g.c, g.o) {
        #[cfg(target_arch = "x86_64")]
        Way::Direct(x_of) => zeros_and(n, |y| conv3x3::conv(x_of, x, w, Turn::Forward, b, y)),
        #[cfg(target_arch = "x86_64")]
        Way::Winograd(x_of) => by_winograd(x_of, x, Kernels { values: w, inputs: g.c, turned: false }, b),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the result is a product.
        Way::Panels => unsafe { host::made(n, |y| panels::forward(g, x, w, b, y)) },
        Way::Columns => zeros_and(n, |y| columns::forward(g, x, w, b, y)),
    }
}

/// For what adds to its result: `n` zeros, and what `add` makes of them.
fn zeros_and(n: usize, add: impl FnOnce(&mut [f32])) -> Vec<f32> {
    let mut sums = vec![0.0; n];
    add(&mut sums);
    sums
}

/// dx: the adjoint, from o to c channels.
pub(super) fn backward_x(g: &Geometry, weight: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let (w, dy) = (host::values(weight)?, host::values(dy)?);
    let n = g.batch * g.c * g.pixels_in();
    let dx = match way(g, g.o, g.c) {
        #[cfg(target_arch = "x86_64")]
        Way::Direct(dy_of) => zeros_and(n, |dx| conv3x3::conv(dy_of, &dy, &w, Turn::Backward, None, dx)),
        #[cfg(target_arch = "x86_64")]
        Way::Winograd(dy_of) => by_winograd(dy_of, &dy, Kernels { values: &w[..], inputs: g.c, turned: true }, None),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the result is a product.
        Way::Panels if panels::turns(g) => unsafe { host::made(n, |dx| panels::backward_x(g, &w, &dy, dx)) },
        _ => zeros_and(n, |dx| columns::backward_x(g, &w, &dy, dx)),
    };
    host::tensor(dx, (g.batch, g.c, g.h, g.w))
}

/// Pictures of all channels that the kernels lead to.
#[cfg(target_arch = "x86_64")]
fn by_winograd<T: Value>(of: winograd::Pictures, x: &[f32], kernels: Kernels<T>, bias: Option<&[f32]>) -> Vec<f32> {
    let n = of.values(kernels.sizes().0);
    // SAFETY: every pixel of the result is one of a tile's.
    unsafe { host::made(n, |y| winograd::convolve(of, x, kernels, bias, y)) }
}

/// A convolution whose weight is bf16 and is widened while it is used.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(super) struct Widened {
    inputs: usize,
    pictures: winograd::Pictures,
}

#[cfg(target_arch = "x86_64")]
impl Widened {
    /// If this is one that Winograd's algorithm computes, forward and backward.
    pub(super) fn new(g: Geometry) -> Option<Self> {
        let pictures = winograd::Pictures { samples: g.batch, height: g.h, width: g.w };
        let many = g.c >= MANY_CHANNELS && g.o >= MANY_CHANNELS && pictures.tiles() > 0;
        (product::available() && g.keeps_size() && many).then_some(Self { inputs: g.c, pictures })
    }

    pub(super) fn forward(&self, x: &[f32], w: &[bf16], b: Option<&[f32]>) -> Vec<f32> {
        by_winograd(self.pictures, x, Kernels { values: w, inputs: self.inputs, turned: false }, b)
    }

    pub(super) fn backward_x(&self, w: &[bf16], dy: &[f32]) -> Vec<f32> {
        by_winograd(self.pictures, dy, Kernels { values: w, inputs: self.inputs, turned: true }, None)
    }
}

/// dW: for each weight the sum of dy · x over samples and pixels.
fn backward_weight(g: &Geometry, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let (x, dy) = (host::values(x)?, host::values(dy)?);
    let dw = zeros_and(g.o * g.patch(), |dw| match way_of_weight(g) {
        #[cfg(target_arch = "x86_64")]
        Way::Direct(x_of) => conv3x3::weight_gradient(x_of, &x, &dy, dw),
        #[cfg(target_arch = "x86_64")]
        Way::Panels => panels::backward_weight(g, &x, &dy, dw),
        _ => columns::backward_weight(g, &x, &dy, dw),
    });
    host::tensor(dw, (g.o, g.c, g.kh, g.kw))
}

/// How the convolution is computed: what is fastest depends on its sizes and on the processor.
enum Way {
    /// Straight from the picture.
    #[cfg(target_arch = "x86_64")]
    Direct(conv3x3::Pictures),
    /// By Winograd's algorithm.
    #[cfg(target_arch = "x86_64")]
    Winograd(winograd::Pictures),
    /// As a product of the weight and patches in panels.
    #[cfg(target_arch = "x86_64")]
    Panels,
    /// As a product of the weight and patches in columns, on any processor.
    Columns,
}

/// The way from pictures of `from` channels to pictures of `to`.
#[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables, reason = "there is one way"))]
fn way(g: &Geometry, from: usize, to: usize) -> Way {
    #[cfg(target_arch = "x86_64")]
    if product::available() {
        // A panel is laid out for all result channels at once, which does not pay for few of them.
        if let Some(pictures) = g.direct(from).filter(|x| to < FEW && x.fit()) {
            return Way::Direct(pictures);
        }
        return g.tiled(from).filter(|_| to >= FEW).map_or(Way::Panels, Way::Winograd);
    }
    Way::Columns
}

/// The way to the gradient of the weight.
#[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables, reason = "there is one way"))]
fn way_of_weight(g: &Geometry) -> Way {
    #[cfg(target_arch = "x86_64")]
    if product::available() {
        if let Some(x) = g.direct(g.c).filter(|x| x.fit_weight(g.o)) {
            return Way::Direct(x);
        }
        // From few pixels the product is narrow, and the gemm crate's packing pays.
        if g.pixels_out() >= MANY_PIXELS && !g.is_pointwise() {
            return Way::Panels;
        }
    }
    Way::Columns
}

/// db = the sum of dy over samples and pixels.
fn backward_bias(g: &Geometry, dy: &Tensor) -> Result<Tensor> {
    let dy = host::values(dy)?;
    let sum = |o: usize| {
        let mut sum = 0.0;
        host::vectorised(
            #[inline(always)]
            || {
                for plane in dy.chunks_exact(g.pixels_out()).skip(o).step_by(g.o) {
                    sum += f64::from(sum_of(plane, |v| v));
                }
            },
        );
        sum as f32
    };
    host::tensor((0..g.o).into_par_iter().map(sum).collect(), g.o)
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::super::host::checks::{close, values};
    use super::*;

    /// Batch, channels, height and width, result channels, kernel, stride, padding.
    type Case = (usize, usize, (usize, usize), usize, usize, usize, Padding);

    /// Pictures of widths that are and are not whole vectors, strides, kernels and paddings; with rests of every kind.
    const CASES: [Case; 9] = [
        (1, 5, (7, 9), 6, 3, 1, Padding { before: 1, after: 1 }),
        (2, 20, (16, 16), 30, 3, 1, Padding { before: 1, after: 1 }),
        (3, 70, (8, 8), 17, 3, 1, Padding { before: 1, after: 1 }),
        (2, 80, (4, 4), 33, 3, 1, Padding { before: 1, after: 1 }),
        (2, 9, (9, 8), 11, 3, 2, Padding { before: 1, after: 1 }),
        (1, 9, (8, 8), 11, 3, 2, Padding { before: 0, after: 1 }),
        (2, 33, (6, 5), 40, 1, 1, Padding { before: 0, after: 0 }),
        (1, 3, (9, 7), 4, 3, 1, Padding { before: 0, after: 2 }),
        (1, 4, (40, 24), 3, 4, 1, Padding { before: 2, after: 1 }),
    ];

    #[test]
    fn panels_equal_columns() {
        if !product::available() {
            return;
        }
        for (batch, c, (h, w), o, kernel, stride, padding) in CASES {
            let g = Geometry::new((batch, c, h, w), (o, c, kernel, kernel), stride, padding).unwrap();
            let what = format!("{batch} x {c} x {h} x {w} to {o}, kernel {kernel}, stride {stride}, {padding:?}");
            let (x, weight, b) = (values(batch * c * h * w, 1), values(o * g.patch(), 2), values(o, 3));
            let dy = values(batch * o * g.pixels_out(), 4);
            let (mut ours, mut other) = (vec![f32::NAN; dy.len()], vec![0.0; dy.len()]);
            panels::forward(&g, &x, &weight, Some(&b), &mut ours);
            columns::forward(&g, &x, &weight, Some(&b), &mut other);
            close(&ours, &other, &format!("y of {what}"));
            let (mut ours, mut other) = (vec![f32::NAN; weight.len()], vec![0.0; weight.len()]);
            panels::backward_weight(&g, &x, &dy, &mut ours);
            columns::backward_weight(&g, &x, &dy, &mut other);
            close(&ours, &other, &format!("dW of {what}"));
            if panels::turns(&g) {
                let (mut ours, mut other) = (vec![f32::NAN; x.len()], vec![0.0; x.len()]);
                panels::backward_x(&g, &weight, &dy, &mut ours);
                columns::backward_x(&g, &weight, &dy, &mut other);
                close(&ours, &other, &format!("dx of {what}"));
            }
        }
    }
}
