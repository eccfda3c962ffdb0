//! 3x3 convolution with stride 1 between zeros, straight from the image: no columns are written.
//!
//! In: images, weight and dy as slices. Out: y, dx or dW.
//!
//! x [S, C, h, w] is copied once with its border of zeros. A tile of up to 14 channels and 32
//! pixels of the result stays in registers while all C·9 taps pass: the weights of the tile's
//! channels are packed tap by tap beforehand, the pixels of a tap are an unaligned load. The
//! gradient of x is the same with the kernels rotated by 180 degrees and read across; the
//! gradient of the weights sums over pixels in lanes. Each number is summed in one order, whatever
//! the number of threads.
#![expect(unsafe_code, reason = "values are loaded and stored through pointers into slices whose sizes are checked")]

use crate::cpu::buffer::Scratch;
use crate::cpu::disjoint_output::DisjointOutput;
use crate::gemm::patches::Padded;
use crate::simd::isa::{Isa, LANES, few_registers, load_pieces, with_count};
use rayon::prelude::*;
use std::ops::Range;

/// Channels of a tile at most, for any instructions.
const TILE_CHANNELS: usize = 14;
/// Taps of a kernel.
const TAPS: usize = 9;
/// Pieces of work at least, where there is enough to share out.
const TASKS: usize = 8;
/// Result channels of a tile of the weights' gradient at most, for any instructions.
const OUTPUTS: usize = 8;
/// Pixels, of one or several samples, after which that tile's lanes are summed: its dy stays in the
/// nearest cache.
const CHUNK: usize = 768;
/// The weights' gradient is left to the matrix product from this many weights on, where that is
/// faster.
const WIDE: usize = 128 * 128;

/// Channels of a tile at most, and vectors of pixels: with 32 registers 28 sums, two pixels' and one
/// weight's are in use; with 16 registers of half a vector, 12 sums.
const fn tile_size<S: Isa>() -> (usize, usize) {
    if few_registers::<S>() { (6, 1) } else { (TILE_CHANNELS, 2) }
}

/// The same for the weights' gradient, for three taps.
const fn outputs_together<S: Isa>() -> usize {
    if few_registers::<S>() { 2 } else { OUTPUTS }
}

/// S images of C channels.
#[derive(Clone, Copy)]
pub(super) struct Images {
    /// S
    pub samples: usize,
    /// C
    pub channels: usize,
    /// h
    pub height: usize,
    /// w
    pub width: usize,
}

/// How the weight [out, in, 3, 3] is used.
#[derive(Clone, Copy)]
pub(super) enum Direction {
    /// From in to out.
    Forward,
    /// From out to in, each kernel rotated by 180 degrees: the adjoint.
    Backward,
}

impl Images {
    /// Whether the kernels here take images of this size.
    pub(super) fn supported(&self) -> bool {
        let rows = match self.width {
            4 => self.height.is_multiple_of(4),
            8 => self.height.is_multiple_of(2),
            width => width.is_multiple_of(LANES),
        };
        rows && self.samples * self.pixels() > 0
    }

    /// Whether the kernels here take images of this size for the gradient of a weight [outputs,
    /// channels, 3, 3].
    pub(super) fn supports_weight_gradient(&self, outputs: usize) -> bool {
        self.supported() && self.width.is_multiple_of(LANES) && self.channels * outputs < WIDE
    }

    fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// Values in a row with its border.
    fn row(&self) -> usize {
        self.width + 2
    }

    /// Values in a channel with its border.
    fn plane(&self) -> usize {
        (self.height + 2) * self.row()
    }

    /// x with a border of zeros, [S, h + 2, C, w + 2]: what a tile reads of a row lies in one
    /// place, for all channels.
    fn pad_by_rows<'s>(&self, x: &[f32], scratch: &'s mut Scratch) -> &'s [f32] {
        let (n, c, w) = (self.pixels(), self.channels, self.width);
        assert_eq!(x.len(), self.samples * c * n, "direct_3x3: x has another size");
        let padded = scratch.first(self.samples * c * self.plane());
        padded.par_chunks_mut(c * self.row()).enumerate().for_each(|(i, out)| {
            let (sample, y) = (i / (self.height + 2), i % (self.height + 2));
            if y == 0 || y == self.height + 1 {
                return out.fill(0.0);
            }
            for (channel, out) in out.chunks_exact_mut(self.row()).enumerate() {
                (out[0], out[w + 1]) = (0.0, 0.0);
                out[1..=w].copy_from_slice(&x[(sample * c + channel) * n + (y - 1) * w..][..w]);
            }
        });
        padded
    }
}

/// y [S, outputs, h, w] = x [S, C, h, w] * weight + bias; `weight` is [outputs, C, 3, 3], or [C,
/// outputs, 3, 3] if it is used backward.
pub(super) fn conv<'y, S: Isa>(
    isa: S,
    of: Images,
    x: &[f32],
    weight: &[f32],
    direction: Direction,
    bias: Option<&[f32]>,
    y: impl Into<DisjointOutput<'y>>,
) {
    let (c, n, y) = (of.channels, of.pixels(), y.into());
    let outputs = weight.len() / (c * TAPS);
    assert!(of.supported() && y.len() == of.samples * outputs * n, "direct_3x3: y has another size");
    assert!(bias.is_none_or(|b| b.len() == outputs), "direct_3x3: the bias has another size");
    let mut padded = Scratch::new();
    let padded = of.pad_by_rows(x, &mut padded);
    // A task computes the channels of a tile in some samples.
    let rows = outputs.div_ceil(outputs.div_ceil(tile_size::<S>().0));
    let blocks = outputs.div_ceil(rows);
    let together = of.samples.div_ceil(TASKS.div_ceil(blocks));
    (0..of.samples.div_ceil(together) * blocks).into_par_iter().for_each(|task| {
        let (sample, first) = (task / blocks * together, task % blocks * rows);
        let m = rows.min(outputs - first);
        let mut packed = Scratch::new();
        let weights = pack(weight, direction, first..first + m, c, &mut packed);
        let bias = std::array::from_fn(|i| bias.filter(|_| i < m).map_or(0.0, |b| b[first + i]));
        for sample in sample..of.samples.min(sample + together) {
            let x = &padded[sample * c * of.plane()..][..c * of.plane()];
            let y = y.at((sample * outputs + first) * n, m * n);
            for pixel in (0..n).step_by(tile_size::<S>().1 * LANES) {
                let vectors = tile_size::<S>().1.min((n - pixel) / LANES);
                isa.run(
                    #[inline(always)]
                    // SAFETY: `supported` found that n is a multiple of 16; x holds h + 2 padded rows
                    // of C channels, y m planes of n pixels that no other task has, and the weights are
                    // those of C channels.
                    || unsafe {
                        with_count!(vectors, tile_size::<S>().1, N in [1 2] =>
                            with_count!(LANES / of.width.min(LANES), 4, P in [1 2 4] =>
                                with_count!(m, tile_size::<S>().0, M in [1 2 3 4 5 6 7 8 9 10 11 12 13 14] =>
                                    tile::<S, M, N, P>(isa, of, weights, x, pixel, &bias, y))));
                    },
                );
            }
        }
    });
}

/// The kernels that lead to some result channels, [C·9, m]: what a tap of a channel of x is
/// multiplied by, for each of the results.
fn pack<'s>(
    weight: &[f32],
    direction: Direction,
    results: Range<usize>,
    c: usize,
    scratch: &'s mut Scratch,
) -> &'s [f32] {
    let packed = scratch.first(c * TAPS * results.len());
    for (k, out) in packed.chunks_exact_mut(results.len()).enumerate() {
        let (first, row) = match direction {
            Direction::Forward => (k, c * TAPS),
            Direction::Backward => (k / TAPS * (weight.len() / c) + TAPS - 1 - k % TAPS, TAPS),
        };
        let weights = weight[first + results.start * row..].iter().step_by(row);
        out.iter_mut().zip(weights).for_each(|(out, weight)| *out = *weight);
    }
    packed
}

/// M result channels, N vectors of 16 pixels, each of which is P rows' of 16 / P.
///
/// # Safety
/// `x` holds the padded rows of all channels, `weights` M values for each tap of them, `y` M
/// planes, which are written, and 16·N pixels from `pixel` on lie inside them, `pixel` being a
/// multiple of 16.
#[inline(always)]
unsafe fn tile<S: Isa, const M: usize, const N: usize, const P: usize>(
    isa: S,
    of: Images,
    weights: &[f32],
    x: &[f32],
    pixel: usize,
    bias: &[f32; TILE_CHANNELS],
    y: *mut f32,
) {
    let (n, w, row) = (of.pixels(), of.width, of.channels * of.row());
    let places: [usize; N] = std::array::from_fn(|j| {
        let pixel = pixel + LANES * j;
        pixel / w * row + pixel % w
    });
    let mut sums = [[isa.zero(); N]; M];
    // SAFETY: the largest place read is that of the last pixel in the last channel, two rows and
    // two columns further on, which is the end of x; weights and y as the caller says.
    unsafe {
        let (mut kernels, mut channel) = (weights.as_ptr(), x.as_ptr());
        for _ in 0..of.channels {
            for tap in 0..TAPS {
                let mut pixels = [isa.zero(); N];
                for (pixels, place) in pixels.iter_mut().zip(places) {
                    let at = channel.add(place + tap / 3 * row + tap % 3);
                    *pixels = load_pieces::<S, P>(isa, |piece| at.add(piece * row));
                }
                for (i, sums) in sums.iter_mut().enumerate() {
                    let weight = isa.splat(*kernels.add(i));
                    for (sum, pixels) in sums.iter_mut().zip(pixels) {
                        *sum = isa.fma(weight, pixels, *sum);
                    }
                }
                kernels = kernels.add(M);
            }
            // Behind the last channel nothing is read, so the address need not lie inside.
            channel = channel.wrapping_add(of.row());
        }
        for (i, sums) in sums.into_iter().enumerate() {
            let bias = isa.splat(bias[i]);
            for (j, sum) in sums.into_iter().enumerate() {
                isa.store(y.add(i * n + pixel + LANES * j), isa.add(sum, bias));
            }
        }
    }
}

/// The gradient of a weight [outputs, C, 3, 3]: for each tap Σ dy · x over samples and pixels, with
/// x shifted by the tap.
pub(super) fn weight_gradient<S: Isa>(isa: S, of: Images, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    let (c, n) = (of.channels, of.pixels());
    let outputs = dw.len() / (c * TAPS);
    assert!(of.supported() && of.width.is_multiple_of(LANES), "direct_3x3: images of another kind");
    assert_eq!(x.len(), of.samples * c * n, "direct_3x3: x has another size");
    assert_eq!(dy.len(), of.samples * outputs * n, "direct_3x3: dy has another size");
    let mut padded = Scratch::new();
    let image = (of.height, of.width);
    let padded = Padded::new(x, c, image, 1, (of.height + 2, of.row()), &mut padded).values;
    dw.fill(0.0);
    let (together, rows) = ((CHUNK / n).max(1), (CHUNK / of.width).clamp(1, of.height));
    let together_out = outputs_together::<S>();
    dw.par_chunks_mut(together_out * c * TAPS).enumerate().for_each(|(block, dw)| {
        let m = dw.len() / (c * TAPS);
        for (x, dy) in padded.chunks(together * c * of.plane()).zip(dy.chunks(together * outputs * n)) {
            let dy = &dy[block * together_out * n..];
            for first in (0..of.height).step_by(rows) {
                let rows = first..of.height.min(first + rows);
                // The kernel rows of all channels.
                for i in 0..c * 3 {
                    let x = &x[i / 3 * of.plane() + i % 3 * of.row()..];
                    let out = dw[3 * i..].chunks_mut(c * TAPS);
                    isa.run(
                        #[inline(always)]
                        // SAFETY: x begins with the rows of a padded plane that this row of the
                        // kernel sees, and dy with m planes, and so they do again for each further
                        // sample.
                        || unsafe {
                            with_count!(m, outputs_together::<S>(), M in [1 2 3 4 5 6 7 8] =>
                                add_taps::<S, M>(isa, (of, outputs), x, dy, rows.clone(), out));
                        },
                    );
                }
            }
        }
    });
}

/// Adds the three taps of a row of the kernel, for M result channels and one of x, summed over some
/// rows of every sample in x [S, C, …] and dy [S, outputs, …].
///
/// # Safety
/// In each sample `x` begins with the padded rows of a plane that the kernel's row sees and `dy`
/// with M planes, the rows lie inside them, and the width is a multiple of 16.
#[inline(always)]
unsafe fn add_taps<'a, S: Isa, const M: usize>(
    isa: S,
    (of, outputs): (Images, usize),
    x: &[f32],
    dy: &[f32],
    rows: Range<usize>,
    out: impl Iterator<Item = &'a mut [f32]>,
) {
    let mut sums = [[isa.zero(); 3]; M];
    for (x, dy) in x.chunks(of.channels * of.plane()).zip(dy.chunks(outputs * of.pixels())) {
        for y in rows.clone() {
            for column in (0..of.width).step_by(LANES) {
                // SAFETY: a padded row has w + 2 values, so 16 from `column` + 2 on too; dy as the caller says.
                unsafe {
                    let x = x.as_ptr().add(y * of.row() + column);
                    let x = [isa.load(x), isa.load(x.add(1)), isa.load(x.add(2))];
                    for (i, sums) in sums.iter_mut().enumerate() {
                        let dy = isa.load(dy.as_ptr().add(i * of.pixels() + y * of.width + column));
                        for (sum, x) in sums.iter_mut().zip(x) {
                            *sum = isa.fma(dy, x, *sum);
                        }
                    }
                }
            }
        }
    }
    for (out, sums) in out.zip(sums) {
        for (out, sum) in out.iter_mut().zip(sums) {
            *out += isa.reduce_add(sum);
        }
    }
}
