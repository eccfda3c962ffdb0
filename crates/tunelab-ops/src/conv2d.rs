//! Two-dimensional convolution: x [B, C, H, W], W [O, C, kh, kw], b `[O]` → y [B, O, H', W'].
//!
//! In: tensors. Out: a tensor, noted on the tape; and the convolutions alone, on slices, for
//! [`crate::weight`].
//!
//! Four bodies, of which the fastest for the sizes at hand is taken: 3x3 filters by Winograd's
//! algorithm (`winograd`), 3x3 filters straight from the image for few channels
//! (`direct_3x3`), products of the weight and panels of patches (`implicit_gemm`), and for any processor products of the weight and columns of patches (`im2col`).
//! Backward computes each gradient only where it is wanted; x is kept for the weight's alone.
#![expect(unsafe_code, reason = "results are not cleared before all of them is written")]

mod direct_3x3;
mod im2col;
mod implicit_gemm;
mod winograd;

use crate::chosen::Chosen;
use crate::cpu::host;
use crate::cpu::uninit_output::fill_uninit;
use crate::cpu::vector_math::sum_of;
#[cfg(feature = "cuda")]
use crate::cuda;
use crate::elementwise;
use crate::gemm::operand::Values;
use crate::shapes::{ConvPlus, ConvShape, Padding};
use crate::simd::isa::{Isa, few_registers};
use crate::simd::{Vectors, vectorize, with_isa};
use crate::tape::{composed, node, operand, tracked};
use candle_core::{Device, Result, Tensor};
use direct_3x3::Direction;
use half::bf16;
use rayon::prelude::*;
use winograd::{FilterValue, Filters};

/// Fewer result channels than this are computed straight from the image.
const DIRECT_MAX_OUTPUTS: usize = 128;
/// Winograd's algorithm transforms weights at every call, which pays from this many tiles of 4x4
/// pixels on (a weight in bf16 is upcast besides, so with many registers it pays always), and
/// pixels and results, which pays from this many channels on. The gradient of a weight is summed over tiles, and the
/// transforms pay where they are many.
const WINOGRAD_MIN_TILES: usize = 2;
const WINOGRAD_MIN_CHANNELS: usize = 32;
const WINOGRAD_MIN_TILES_SUMMED: usize = 8;
const WINOGRAD_MIN_PIXELS_SUMMED: usize = 16;

/// Convolution with square stride. `weight` is [out, in, kh, kw]; `bias`, if any, is `[out]`.
pub fn conv2d(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, stride: usize, padding: Padding) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if cuda::supports(x) {
        return cuda::conv2d::conv2d(x, weight, bias, None, stride, padding);
    }
    if !host::is_host_f32(x) {
        let operands: Vec<&Tensor> = [x, weight].into_iter().chain(bias).collect();
        return composed(&operands, |t| portable(&t[0], &t[1], t.get(2), stride, padding));
    }
    let (x, weight, bias) = (operand(x)?, operand(weight)?, bias.map(operand).transpose()?);
    let g = ConvShape::new(x.dims4()?, weight.dims4()?, stride, padding)?;
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

impl ConvPlus<'_> {
    /// Adds it to what a convolution has made.
    ///
    /// # Errors
    ///
    /// Of shapes that do not fit.
    pub fn add_to(self, y: &Tensor) -> Result<Tensor> {
        match self {
            Self::Shift(shift) => elementwise::add_channels(y, shift),
            Self::Residual(residual) => elementwise::add(residual, y),
        }
    }
}

/// The same from candle's operations: any device, any type. With a stride the image is padded and
/// cut to what the kernel reaches first, because candle's gradient supposes that height and width
/// leave equally many pixels over.
fn portable(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, stride: usize, padding: Padding) -> Result<Tensor> {
    let Padding { before, after } = padding;
    let y = if stride == 1 && before == after {
        x.conv2d(weight, before, 1, 1, 1)?
    } else {
        let g = ConvShape::new(x.dims4()?, weight.dims4()?, stride, padding)?;
        let padded = x.pad_with_zeros(2, before, after)?.pad_with_zeros(3, before, after)?;
        let reached = padded.narrow(2, 0, (g.ho - 1) * stride + g.kh)?.narrow(3, 0, (g.wo - 1) * stride + g.kw)?;
        reached.contiguous()?.conv2d(weight, 0, stride, 1, 1)?
    };
    match bias {
        Some(bias) => y.broadcast_add(&bias.reshape((1, (), 1, 1))?),
        None => Ok(y),
    }
}

impl ConvShape {
    /// The images of `channels` channels that `direct_3x3` might convolve.
    fn direct_images(&self, channels: usize) -> Option<direct_3x3::Images> {
        let images = direct_3x3::Images { samples: self.batch, channels, height: self.h, width: self.w };
        self.keeps_size().then_some(images)
    }

    /// The images of `channels` channels for which Winograd's algorithm pays.
    fn winograd_images(&self, channels: usize) -> Option<winograd::Images> {
        let images = winograd::Images { samples: self.batch, height: self.h, width: self.w };
        let pays = channels >= WINOGRAD_MIN_CHANNELS && images.tiles() >= WINOGRAD_MIN_TILES;
        (self.keeps_size() && pays).then_some(images)
    }
}

pub(crate) fn forward(g: &ConvShape, x: &[f32], w: &[f32], b: Option<&[f32]>) -> Vec<f32> {
    let n = g.batch * g.o * g.pixels_out();
    match algorithm(g, g.c, g.o) {
        ConvAlgorithm::Direct(vectors, x_of) => {
            add_to_zeros(n, |y| with_isa!(vectors, isa => direct_3x3::conv(isa, x_of, x, w, Direction::Forward, b, y)))
        }
        ConvAlgorithm::Winograd(vectors, x_of) => {
            winograd_conv(vectors, x_of, x, Filters { values: w, inputs: g.c, flipped: false }, b)
        }
        // SAFETY: the result is a product.
        ConvAlgorithm::ImplicitGemm(vectors) => unsafe {
            fill_uninit(n, |y| with_isa!(vectors, isa => implicit_gemm::forward(isa, g, x, w.into(), b, y)))
        },
        ConvAlgorithm::Im2col => add_to_zeros(n, |y| im2col::forward(g, x, w, b, y)),
    }
}

/// For what adds to its result: `n` zeros, and what `add` makes of them.
fn add_to_zeros(n: usize, add: impl FnOnce(&mut [f32])) -> Vec<f32> {
    let mut sums = vec![0.0; n];
    add(&mut sums);
    sums
}

/// dx: the adjoint, from o to c channels.
pub(crate) fn backward_x(g: &ConvShape, weight: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let (w, dy) = (host::values(weight)?, host::values(dy)?);
    let n = g.batch * g.c * g.pixels_in();
    let dx = match algorithm(g, g.o, g.c) {
        ConvAlgorithm::Direct(vectors, dy_of) => add_to_zeros(
            n,
            |dx| with_isa!(vectors, isa => direct_3x3::conv(isa, dy_of, &dy, &w, Direction::Backward, None, dx)),
        ),
        ConvAlgorithm::Winograd(vectors, dy_of) => {
            winograd_conv(vectors, dy_of, &dy, Filters { values: &w[..], inputs: g.c, flipped: true }, None)
        }
        // SAFETY: the result is a product.
        ConvAlgorithm::ImplicitGemm(vectors) if implicit_gemm::supports_backward_x(g) => unsafe {
            fill_uninit(n, |dx| with_isa!(vectors, isa => implicit_gemm::backward_x(isa, g, Values::F32(&w), &dy, dx)))
        },
        _ => add_to_zeros(n, |dx| im2col::backward_x(g, &w, &dy, dx)),
    };
    host::tensor(dx, (g.batch, g.c, g.h, g.w))
}

/// Images of all channels that the filters lead to.
fn winograd_conv<T: FilterValue>(
    vectors: Vectors,
    of: winograd::Images,
    x: &[f32],
    filters: Filters<T>,
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let n = of.values(filters.sizes().0);
    // SAFETY: every pixel of the result is one of a tile's.
    unsafe { fill_uninit(n, |y| with_isa!(vectors, isa => winograd::convolve(isa, of, x, filters, bias, y))) }
}

fn few_registers_of<S: Isa>(_: S) -> bool {
    few_registers::<S>()
}

/// A convolution whose weight is bf16 and is upcast while it is used.
#[derive(Clone, Copy)]
pub(crate) struct Upcast {
    vectors: Vectors,
    g: ConvShape,
    /// None for a kernel of one pixel, and with few registers for a single tile.
    winograd: Option<winograd::Images>,
}

impl Upcast {
    /// If this is one of many channels that keeps the size, or one of single pixels.
    pub(crate) fn new(g: ConvShape) -> Option<Self> {
        let keeps_size = g.keeps_size() && g.c.min(g.o) >= WINOGRAD_MIN_CHANNELS;
        let vectors = Vectors::detect().filter(|_| keeps_size || g.is_pointwise())?;
        let images = winograd::Images { samples: g.batch, height: g.h, width: g.w };
        let least = if with_isa!(vectors, isa => few_registers_of(isa)) { WINOGRAD_MIN_TILES } else { 1 };
        let winograd = Some(images).filter(|images| keeps_size && images.tiles() >= least);
        Some(Self { vectors, g, winograd })
    }

    pub(crate) fn forward(&self, x: &[f32], w: &[bf16], b: Option<&[f32]>) -> Vec<f32> {
        let g = &self.g;
        if let Some(images) = self.winograd {
            return winograd_conv(self.vectors, images, x, Filters { values: w, inputs: g.c, flipped: false }, b);
        }
        let forward = |y: &mut [_]| with_isa!(self.vectors, isa => implicit_gemm::forward(isa, g, x, w.into(), b, y));
        // SAFETY: the result is a product.
        unsafe { fill_uninit(g.batch * g.o * g.pixels_out(), forward) }
    }

    pub(crate) fn backward_x(&self, w: &[bf16], dy: &[f32]) -> Vec<f32> {
        let g = &self.g;
        if let Some(images) = self.winograd {
            return winograd_conv(self.vectors, images, dy, Filters { values: w, inputs: g.c, flipped: true }, None);
        }
        let back = |dx: &mut [_]| with_isa!(self.vectors, isa => implicit_gemm::backward_x(isa, g, w.into(), dy, dx));
        // SAFETY: the result is a product.
        unsafe { fill_uninit(g.batch * g.c * g.pixels_in(), back) }
    }
}

/// dW: for each weight the sum of dy · x over samples and pixels.
fn backward_weight(g: &ConvShape, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let (x, dy) = (host::values(x)?, host::values(dy)?);
    let n = g.o * g.patch();
    let dw = match weight_gradient_algorithm(g) {
        ConvAlgorithm::Direct(vectors, x_of) => {
            add_to_zeros(n, |dw| with_isa!(vectors, isa => direct_3x3::weight_gradient(isa, x_of, &x, &dy, dw)))
        }
        // SAFETY: each weight has a gradient.
        ConvAlgorithm::Winograd(vectors, x_of) => unsafe {
            fill_uninit(n, |dw| with_isa!(vectors, isa => winograd::weight_gradient(isa, x_of, &x, &dy, dw)))
        },
        ConvAlgorithm::ImplicitGemm(vectors) => {
            with_isa!(vectors, isa => implicit_gemm::backward_weight(isa, g, &x, &dy))
        }
        ConvAlgorithm::Im2col => add_to_zeros(n, |dw| im2col::backward_weight(g, &x, &dy, dw)),
    };
    host::tensor(dw, (g.o, g.c, g.kh, g.kw))
}

/// How the convolution is computed: what is fastest depends on its sizes and on the processor.
enum ConvAlgorithm {
    /// Straight from the image.
    Direct(Vectors, direct_3x3::Images),
    /// By Winograd's algorithm.
    Winograd(Vectors, winograd::Images),
    /// As a product of the weight and patches in panels.
    ImplicitGemm(Vectors),
    /// As a product of the weight and patches in columns, on any processor.
    Im2col,
}

/// The way from images of `from` channels to images of `to`.
fn algorithm(g: &ConvShape, from: usize, to: usize) -> ConvAlgorithm {
    if let Some(vectors) = Vectors::detect() {
        // A panel is packed for all result channels at once, which does not pay for few of them.
        if let Some(images) = g.direct_images(from).filter(|x| to < DIRECT_MAX_OUTPUTS && x.supported()) {
            return ConvAlgorithm::Direct(vectors, images);
        }
        let images = g.winograd_images(from).filter(|_| to >= DIRECT_MAX_OUTPUTS);
        return images.map_or(ConvAlgorithm::ImplicitGemm(vectors), |images| ConvAlgorithm::Winograd(vectors, images));
    }
    ConvAlgorithm::Im2col
}

/// The way to the gradient of the weight.
fn weight_gradient_algorithm(g: &ConvShape) -> ConvAlgorithm {
    let Some(vectors) = Vectors::detect().filter(|_| g.batch > 0) else { return ConvAlgorithm::Im2col };
    if let Some(x) = g.direct_images(g.c).filter(|x| x.supports_weight_gradient(g.o)) {
        return ConvAlgorithm::Direct(vectors, x);
    }
    let images = g
        .winograd_images(g.c.min(g.o))
        .filter(|x| x.tiles() >= WINOGRAD_MIN_TILES_SUMMED && g.pixels_out() >= WINOGRAD_MIN_PIXELS_SUMMED);
    images.map_or(ConvAlgorithm::ImplicitGemm(vectors), |images| ConvAlgorithm::Winograd(vectors, images))
}

/// db = the sum of dy over samples and pixels.
fn backward_bias(g: &ConvShape, dy: &Tensor) -> Result<Tensor> {
    let dy = host::values(dy)?;
    let sum = |o: usize| {
        let mut sum = 0.0;
        vectorize(
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

/// The algorithms of all convolutions that this thread has computed on a CUDA card, in the order of
/// their shapes. Nothing on another device.
pub fn chosen(device: &Device) -> Vec<Chosen> {
    #[cfg(feature = "cuda")]
    if let Ok(card) = device.as_cuda_device() {
        return cuda::conv2d::chosen(card);
    }
    #[cfg(not(feature = "cuda"))]
    let _ = device;
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::checks::{close, values};

    /// Batch, channels, height and width, result channels, kernel, stride, padding.
    type Case = (usize, usize, (usize, usize), usize, usize, usize, Padding);

    /// Images of widths that are and are not whole vectors, strides, filters and paddings; with
    /// rests of every kind.
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
    fn implicit_gemm_equals_im2col() {
        for vectors in Vectors::all() {
            with_isa!(vectors, isa => equals_im2col(isa));
        }
    }

    fn equals_im2col<S: Isa>(isa: S) {
        for (batch, c, (h, w), o, kernel, stride, padding) in CASES {
            let g = ConvShape::new((batch, c, h, w), (o, c, kernel, kernel), stride, padding).unwrap();
            let what = format!("{batch} x {c} x {h} x {w} to {o}, kernel {kernel}, stride {stride}, {padding:?}");
            let (x, weight, b) = (values(batch * c * h * w, 1), values(o * g.patch(), 2), values(o, 3));
            let dy = values(batch * o * g.pixels_out(), 4);
            let (mut ours, mut other) = (vec![f32::NAN; dy.len()], vec![0.0; dy.len()]);
            implicit_gemm::forward(isa, &g, &x, Values::F32(&weight), Some(&b), &mut ours);
            im2col::forward(&g, &x, &weight, Some(&b), &mut other);
            close(&ours, &other, &format!("y of {what}"));
            let mut other = vec![0.0; weight.len()];
            im2col::backward_weight(&g, &x, &dy, &mut other);
            close(&implicit_gemm::backward_weight(isa, &g, &x, &dy), &other, &format!("dW of {what}"));
            if implicit_gemm::supports_backward_x(&g) {
                // A weight in bf16 gives the sums of its upcast values, to the bit.
                let rounded: Vec<bf16> = weight.iter().map(|v| bf16::from_f32(*v)).collect();
                let upcast: Vec<f32> = rounded.iter().map(|v| v.to_f32()).collect();
                let [half, full] = [Values::Bf16(&rounded), Values::F32(&upcast)].map(|w| {
                    let (mut y, mut dx) = (vec![f32::NAN; dy.len()], vec![f32::NAN; x.len()]);
                    implicit_gemm::forward(isa, &g, &x, w, Some(&b), &mut y);
                    implicit_gemm::backward_x(isa, &g, w, &dy, &mut dx);
                    [y, dx]
                });
                assert!(half == full, "bf16 of {what}");
                let (mut ours, mut other) = (vec![f32::NAN; x.len()], vec![0.0; x.len()]);
                implicit_gemm::backward_x(isa, &g, Values::F32(&weight), &dy, &mut ours);
                im2col::backward_x(&g, &weight, &dy, &mut other);
                close(&ours, &other, &format!("dx of {what}"));
            }
        }
    }

    /// Widths of quarters, halves and whole vectors; one and more tiles of channels; several
    /// samples.
    #[test]
    fn direct_3x3_equals_im2col() {
        for vectors in Vectors::all() {
            with_isa!(vectors, isa => direct_equals_im2col(isa));
        }
    }

    fn direct_equals_im2col<S: Isa>(isa: S) {
        for (batch, c, (h, w), o) in [(2, 5, (4, 4), 3), (1, 7, (6, 8), 17), (3, 9, (5, 16), 29), (1, 33, (7, 48), 11)]
        {
            let g = ConvShape::new((batch, c, h, w), (o, c, 3, 3), 1, Padding::same(1)).unwrap();
            let what = format!("{batch} x {c} x {h} x {w} to {o}");
            let (x, weight, b) = (values(batch * c * h * w, 1), values(o * c * 9, 2), values(o, 3));
            let dy = values(batch * o * h * w, 4);
            let of = |channels| g.direct_images(channels).filter(direct_3x3::Images::supported).unwrap();
            let (mut ours, mut other) = (vec![0.0; dy.len()], vec![0.0; dy.len()]);
            direct_3x3::conv(isa, of(c), &x, &weight, Direction::Forward, Some(&b), &mut ours);
            im2col::forward(&g, &x, &weight, Some(&b), &mut other);
            close(&ours, &other, &format!("y of {what}"));
            let (mut ours, mut other) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            direct_3x3::conv(isa, of(o), &dy, &weight, Direction::Backward, None, &mut ours);
            im2col::backward_x(&g, &weight, &dy, &mut other);
            close(&ours, &other, &format!("dx of {what}"));
            if of(c).supports_weight_gradient(o) {
                let (mut ours, mut other) = (vec![f32::NAN; weight.len()], vec![0.0; weight.len()]);
                direct_3x3::weight_gradient(isa, of(c), &x, &dy, &mut ours);
                im2col::backward_weight(&g, &x, &dy, &mut other);
                close(&ours, &other, &format!("dW of {what}"));
            }
        }
    }

    /// A weight in bf16 gives what its upcast values give, to the bit.
    #[test]
    fn pointwise_weights_in_bf16_are_upcast() {
        let Some(vectors) = Vectors::detect() else { return };
        for (batch, c, (h, w), o) in [(1, 33, (3, 5), 40), (2, 40, (16, 16), 33), (1, 320, (4, 4), 64)] {
            let g = ConvShape::new((batch, c, h, w), (o, c, 1, 1), 1, Padding::same(0)).unwrap();
            let rounded: Vec<bf16> = values(o * c, 2).into_iter().map(bf16::from_f32).collect();
            let widened: Vec<f32> = rounded.iter().map(|v| v.to_f32()).collect();
            let (x, b, dy) = (values(batch * c * h * w, 1), values(o, 3), values(batch * o * h * w, 4));
            let upcast = Upcast::new(g).unwrap();
            let (mut y, mut dx) = (vec![f32::NAN; dy.len()], vec![f32::NAN; x.len()]);
            with_isa!(vectors, isa => {
                implicit_gemm::forward(isa, &g, &x, Values::F32(&widened), Some(&b), &mut y);
                implicit_gemm::backward_x(isa, &g, Values::F32(&widened), &dy, &mut dx);
            });
            assert!(upcast.forward(&x, &rounded, Some(&b)) == y && upcast.backward_x(&rounded, &dy) == dx);
        }
    }
}
