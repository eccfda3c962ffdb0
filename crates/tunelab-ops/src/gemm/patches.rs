//! The patches that a convolution's kernel sees of images, as right operands of a product.
//!
//! In: images, copied between their borders of zeros. Out: panels of patches as columns, or as
//! rows.

use super::columns::Columns;
use crate::cpu::buffer::Scratch;
use crate::simd::isa::LANES;
use rayon::prelude::*;
use std::ops::Range;

/// Images with their borders of zeros, [S, C, height, width].
#[derive(Clone, Copy)]
pub(crate) struct Padded<'a> {
    pub values: &'a [f32],
    pub channels: usize,
    pub height: usize,
    pub width: usize,
}

/// What slides over them.
#[derive(Clone, Copy)]
pub(crate) struct Window {
    /// Rows and columns of the kernel.
    pub kernel: (usize, usize),
    pub stride: usize,
    /// Rows and columns of the result.
    pub out: (usize, usize),
}

impl Padded<'_> {
    /// Copies images of [h, w] between zeros: `before` rows above and columns to the left, the rest
    /// after.
    pub(crate) fn new<'s>(
        x: &[f32],
        channels: usize,
        (h, w): (usize, usize),
        before: usize,
        (height, width): (usize, usize),
        scratch: &'s mut Scratch,
    ) -> Padded<'s> {
        let planes = x.len() / (h * w);
        let values = scratch.first(planes * height * width);
        values.par_chunks_mut(height * width).zip(x.par_chunks(h * w)).for_each(|(out, x)| {
            let (top, out) = out.split_at_mut(before * width);
            let (middle, bottom) = out.split_at_mut(h * width);
            top.fill(0.0);
            bottom.fill(0.0);
            for (out, x) in middle.chunks_exact_mut(width).zip(x.chunks_exact(w)) {
                out[..before].fill(0.0);
                out[before..before + w].copy_from_slice(x);
                out[before + w..].fill(0.0);
            }
        });
        Padded { values, channels, height, width }
    }

    fn plane(&self) -> usize {
        self.height * self.width
    }

    /// Where the value of a patch's k-th element lies, from the patch's first pixel in the first
    /// channel on.
    #[inline]
    fn tap(&self, window: &Window, k: usize) -> usize {
        let (kh, kw) = window.kernel;
        k / (kh * kw) * self.plane() + k / kw % kh * self.width + k % kw
    }

    /// Where the patch of result pixel `pixel` begins in its plane.
    #[inline]
    fn pixel(&self, window: &Window, pixel: usize) -> usize {
        let (y, x) = (pixel / window.out.1, pixel % window.out.1);
        (y * self.width + x) * window.stride
    }
}

/// The patches of images as columns: row k is a tap of a channel, a column a pixel of the result, a
/// segment a sample.
pub(crate) struct Patches<'a> {
    pub of: Padded<'a>,
    pub window: Window,
}

impl Patches<'_> {
    pub(super) fn pack(&self, k: Range<usize>, vectors: Range<usize>, out: &mut [f32]) {
        let width = vectors.len() * LANES;
        let columns = Columns { segments: 1, width: self.window.out.0 * self.window.out.1 };
        for (i, vector) in vectors.enumerate() {
            let (sample, first, n) = columns.of(vector);
            let image = &self.of.values[sample * self.of.channels * self.of.plane()..];
            let places: [usize; LANES] =
                std::array::from_fn(|lane| if lane < n { self.of.pixel(&self.window, first + lane) } else { 0 });
            // Pixels that lie side by side.
            let side_by_side = |length: usize| {
                n == LANES && places.chunks(length).all(|run| run.iter().enumerate().all(|(i, p)| *p == run[0] + i))
            };
            let run = [16, 8, 4].into_iter().find(|&length| side_by_side(length)).unwrap_or(1);
            for (row, k) in k.clone().enumerate() {
                let image = &image[self.of.tap(&self.window, k)..];
                let out = &mut out[row * width + i * LANES..][..LANES];
                match run {
                    16 => out.copy_from_slice(&image[places[0]..][..16]),
                    8 => pieces::<8>(image, &places, out),
                    4 => pieces::<4>(image, &places, out),
                    _ => {
                        for (out, place) in out.iter_mut().zip(places).take(n) {
                            *out = image[place];
                        }
                        out[n..].fill(0.0);
                    }
                }
            }
        }
    }
}

/// Copies runs of N values.
#[inline]
fn pieces<const N: usize>(image: &[f32], places: &[usize; LANES], out: &mut [f32]) {
    for (out, place) in out.chunks_exact_mut(N).zip(places.iter().step_by(N)) {
        out.copy_from_slice(&image[*place..][..N]);
    }
}

/// The patches of one image as rows: row k is a pixel of the result, a column a tap of a channel.
pub(crate) struct PatchRows<'a> {
    pub of: Padded<'a>,
    pub window: Window,
}

impl PatchRows<'_> {
    pub(super) fn pack(&self, k: Range<usize>, vectors: Range<usize>, out: &mut [f32]) {
        let width = vectors.len() * LANES;
        let columns = self.of.channels * self.window.kernel.0 * self.window.kernel.1;
        for (i, vector) in vectors.enumerate() {
            let n = LANES.min(columns - vector * LANES);
            let taps: [usize; LANES] =
                std::array::from_fn(|lane| if lane < n { self.of.tap(&self.window, vector * LANES + lane) } else { 0 });
            for (row, pixel) in k.clone().enumerate() {
                let image = &self.of.values[self.of.pixel(&self.window, pixel)..];
                let out = &mut out[row * width + i * LANES..][..LANES];
                for (out, tap) in out.iter_mut().zip(taps).take(n) {
                    *out = image[tap];
                }
                out[n..].fill(0.0);
            }
        }
    }
}
