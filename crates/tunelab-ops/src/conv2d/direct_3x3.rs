//! 3x3 convolution with stride 1 between zeros, straight from the image: no columns are written
//! (AVX-512).
//!
//! In: images, weight and dy as slices. Out: y, dx or dW.
//!
//! x [S, C, h, w] is copied once with its border of zeros. A tile of up to 14 channels and 32
//! pixels of the result stays in registers while all C·9 taps pass: the weights of the tile's
//! channels are packed tap by tap beforehand, the pixels of a tap are an unaligned load. The
//! gradient of x is the same with the weights turned around, which lie well as they are; the
//! gradient of the weights sums over pixels in lanes. Each number is summed in one order, whatever
//! the number of threads.
#![expect(
    unsafe_code,
    reason = "vector instructions are called by name, on pointers into slices whose sizes are checked"
)]

use crate::cpu::buffer::Scratch;
use crate::gemm::patches::Padded;
use crate::gemm::transpose::transpose_into;
use crate::simd::Avx512;
use rayon::prelude::*;
use std::arch::x86_64::{
    __m512, _MM_HINT_T0, _mm_loadu_ps, _mm_prefetch, _mm256_castps_pd, _mm256_loadu_ps, _mm512_add_ps,
    _mm512_castpd_ps, _mm512_castps_pd, _mm512_castps128_ps512, _mm512_castps256_ps512, _mm512_fmadd_ps,
    _mm512_insertf32x4, _mm512_insertf64x4, _mm512_loadu_ps, _mm512_reduce_add_ps, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_storeu_ps,
};
/// Channels of a tile at most: with two vectors of pixels, 28 sums, two pixels' and one weight's
/// register are in use.
const TILE_CHANNELS: usize = 14;
/// Taps of a kernel.
const TAPS: usize = 9;
/// Pixels in a vector.
const LANES: usize = 16;
/// Pieces of work at least, where there is enough to share out.
const TASKS: usize = 8;
/// Channels ahead whose kernels are fetched.
const PREFETCH_CHANNELS: usize = 4;
/// Result channels of a tile of the weights' gradient.
const OUTPUTS: usize = 8;
/// Pixels, of one or several samples, after which that tile's lanes are summed: its dy stays in the
/// nearest cache.
const CHUNK: usize = 768;
/// The weights' gradient is left to the matrix product from this many weights on, where that is
/// faster.
const WIDE: usize = 128 * 128;

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
#[derive(Clone, Copy, PartialEq, Eq)]
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
                pad_row(&x[(sample * c + channel) * n + (y - 1) * w..][..w], out);
            }
        });
        padded
    }
}

/// A row between two zeros.
fn pad_row(row: &[f32], out: &mut [f32]) {
    let w = row.len();
    (out[0], out[w + 1]) = (0.0, 0.0);
    out[1..=w].copy_from_slice(row);
}

/// The result channels of one tile, and their planes in some samples.
struct Task<'a> {
    first: usize,
    planes: Vec<(usize, &'a mut [f32])>,
}

/// Splits y [S, outputs, n] into tasks that cover `rows` channels each.
fn tasks(y: &mut [f32], outputs: usize, n: usize, rows: usize) -> Vec<Task<'_>> {
    let blocks = outputs.div_ceil(rows);
    let samples = y.len() / (outputs * n);
    let together = samples.div_ceil(TASKS.div_ceil(blocks)).max(1);
    let mut tasks: Vec<Task> = Vec::new();
    for (sample, y) in y.chunks_mut(outputs * n).enumerate() {
        if sample % together == 0 {
            tasks.extend((0..blocks).map(|block| Task { first: block * rows, planes: Vec::new() }));
        }
        let newest = tasks.len() - blocks;
        for (task, y) in tasks[newest..].iter_mut().zip(y.chunks_mut(rows * n)) {
            task.planes.push((sample, y));
        }
    }
    tasks
}

/// y [S, outputs, h, w] = x [S, C, h, w] * weight + bias; `weight` is [outputs, C, 3, 3], or [C,
/// outputs, 3, 3] if it is used backward.
pub(super) fn conv(
    _: Avx512,
    of: Images,
    x: &[f32],
    weight: &[f32],
    direction: Direction,
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    let (c, n) = (of.channels, of.pixels());
    let outputs = weight.len() / (c * TAPS);
    assert!(of.supported() && y.len() == of.samples * outputs * n, "direct_3x3: y has another size");
    assert!(bias.is_none_or(|b| b.len() == outputs), "direct_3x3: the bias has another size");
    let mut padded = Scratch::new();
    let padded = of.pad_by_rows(x, &mut padded);
    let rows = outputs.div_ceil(outputs.div_ceil(TILE_CHANNELS));
    tasks(y, outputs, n, rows).into_par_iter().for_each(|Task { first, planes }| {
        let mut packed = Scratch::new();
        let m = planes.first().map_or(0, |(_, y)| y.len() / n);
        let weights = match direction {
            Direction::Forward => pack(&weight[first * c * TAPS..][..m * c * TAPS], m, &mut packed),
            Direction::Backward => &weight[first * TAPS..],
        };
        // The last kernel of the last channel of the tile is the furthest that is read.
        let step = if direction == Direction::Forward { TAPS * LANES } else { outputs * TAPS };
        let last = if direction == Direction::Forward { TAPS * LANES } else { m * TAPS };
        assert!(
            (1..=TILE_CHANNELS).contains(&m) && weights.len() >= (c - 1) * step + last,
            "direct_3x3: too few weights"
        );
        let weights = Weights { values: weights, step, direction };
        let bias = std::array::from_fn(|i| bias.filter(|_| i < m).map_or(0.0, |b| b[first + i]));
        for (sample, y) in planes {
            assert_eq!(y.len(), m * n, "direct_3x3: the planes of a task are equally many");
            let x = &padded[sample * c * of.plane()..][..c * of.plane()];
            for pixel in (0..n).step_by(2 * LANES) {
                // SAFETY: a witness of AVX-512 was given; `supported` found that n is a multiple of
                // 16; x holds h + 2 padded rows of C channels, y m planes of n pixels, and the
                // weights were measured above.
                unsafe { tile_pair(m, of, &weights, x, pixel, &bias, y) };
            }
        }
    });
}

/// The weights of a tile: those of channel c of x begin at c · `step`. Forward, tap t of the tile's
/// channel i is at 16 t + i; backward at 9 i + 8 - t.
struct Weights<'a> {
    values: &'a [f32],
    step: usize,
    direction: Direction,
}

/// The kernels of m result channels, [m, C·9], as [C·9, 16].
fn pack<'s>(kernels: &[f32], m: usize, scratch: &'s mut Scratch) -> &'s [f32] {
    let k = kernels.len() / m;
    let packed = scratch.first(k * LANES);
    let whole = k / LANES * LANES;
    for first in (0..whole).step_by(LANES) {
        // SAFETY: `conv` was given a witness of AVX-512; each of the m rows has 16 values from
        // `first` on, and so has `packed` 16 rows.
        unsafe {
            transpose_into(&kernels[first..], k, (m, LANES), &mut packed[first * LANES..][..LANES * LANES], LANES);
        };
    }
    for (tap, out) in packed.chunks_exact_mut(LANES).enumerate().skip(whole) {
        for (i, out) in out.iter_mut().enumerate() {
            *out = if i < m { kernels[i * k + tap] } else { 0.0 };
        }
    }
    packed
}

/// `tile` for the number of channels of this moment.
macro_rules! tile_of {
    ($m:expr, $vectors:literal, $rows:literal, $forward:literal, $arguments:tt) => {
        match $m {
            1 => tile::<1, $vectors, $rows, $forward> $arguments,
            2 => tile::<2, $vectors, $rows, $forward> $arguments,
            3 => tile::<3, $vectors, $rows, $forward> $arguments,
            4 => tile::<4, $vectors, $rows, $forward> $arguments,
            5 => tile::<5, $vectors, $rows, $forward> $arguments,
            6 => tile::<6, $vectors, $rows, $forward> $arguments,
            7 => tile::<7, $vectors, $rows, $forward> $arguments,
            8 => tile::<8, $vectors, $rows, $forward> $arguments,
            9 => tile::<9, $vectors, $rows, $forward> $arguments,
            10 => tile::<10, $vectors, $rows, $forward> $arguments,
            11 => tile::<11, $vectors, $rows, $forward> $arguments,
            12 => tile::<12, $vectors, $rows, $forward> $arguments,
            13 => tile::<13, $vectors, $rows, $forward> $arguments,
            _ => tile::<TILE_CHANNELS, $vectors, $rows, $forward> $arguments,
        }
    };
}

/// [`tile`] for the width and the direction of this moment.
macro_rules! tile_for {
    ($m:expr, $vectors:literal, $of:expr, $direction:expr, $arguments:tt) => {
        match ($of.width, $direction) {
            (4, Direction::Forward) => tile_of!($m, $vectors, 4, true, $arguments),
            (4, Direction::Backward) => tile_of!($m, $vectors, 4, false, $arguments),
            (8, Direction::Forward) => tile_of!($m, $vectors, 2, true, $arguments),
            (8, Direction::Backward) => tile_of!($m, $vectors, 2, false, $arguments),
            (_, Direction::Forward) => tile_of!($m, $vectors, 1, true, $arguments),
            (_, Direction::Backward) => tile_of!($m, $vectors, 1, false, $arguments),
        }
    };
}

/// One or two vectors of pixels, from `pixel` on, of `m` result channels.
///
/// # Safety
/// AVX-512 is there; `x`, the weights and `y` are as [`tile`] needs them, for `m` channels, 1 to
/// 14.
#[target_feature(enable = "avx512f")]
unsafe fn tile_pair(
    m: usize,
    of: Images,
    w: &Weights,
    x: &[f32],
    pixel: usize,
    bias: &[f32; TILE_CHANNELS],
    y: &mut [f32],
) {
    // SAFETY: AVX-512, x, the weights and y are as the caller says; a second vector is there where
    // it is taken.
    unsafe {
        if pixel + LANES < of.pixels() {
            tile_for!(m, 2, of, w.direction, (of, w, x, pixel, bias, y));
        } else {
            tile_for!(m, 1, of, w.direction, (of, w, x, pixel, bias, y));
        }
    }
}

/// M result channels, N vectors of 16 pixels, each of which is P rows' of 16 / P.
///
/// # Safety
/// AVX-512 is there; `x` holds the padded rows of all channels, the weights are there for each of
/// them and M channels, `y` holds M planes, and 16·N pixels from `pixel` on lie inside them,
/// `pixel` being a multiple of 16.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn tile<const M: usize, const N: usize, const P: usize, const FORWARD: bool>(
    of: Images,
    weights: &Weights,
    x: &[f32],
    pixel: usize,
    bias: &[f32; TILE_CHANNELS],
    y: &mut [f32],
) {
    let (n, w, row) = (of.pixels(), of.width, of.channels * of.row());
    let places: [usize; N] = std::array::from_fn(|j| {
        let pixel = pixel + LANES * j;
        pixel / w * row + pixel % w
    });
    let mut sums = [[_mm512_setzero_ps(); N]; M];
    // SAFETY: the largest place read is that of the last pixel in the last channel, two rows and
    // two columns further on, which is the end of x; weights and y as the caller says. Fetching in
    // advance may name any address.
    unsafe {
        let (mut kernels, mut channel) = (weights.values.as_ptr(), x.as_ptr());
        for _ in 0..of.channels {
            if !FORWARD {
                // The kernels of the next channels are far apart in memory.
                let ahead = kernels.wrapping_add(PREFETCH_CHANNELS * weights.step);
                for line in 0..(M * TAPS).div_ceil(LANES) {
                    _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(LANES * line).cast());
                }
            }
            for tap in 0..TAPS {
                let mut pixels = [_mm512_setzero_ps(); N];
                for (pixels, place) in pixels.iter_mut().zip(places) {
                    *pixels = load::<P>(channel.add(place + tap / 3 * row + tap % 3), row);
                }
                for (i, sums) in sums.iter_mut().enumerate() {
                    let at = if FORWARD { LANES * tap + i } else { TAPS * i + TAPS - 1 - tap };
                    let weight = _mm512_set1_ps(*kernels.add(at));
                    for (sum, pixels) in sums.iter_mut().zip(pixels) {
                        *sum = _mm512_fmadd_ps(weight, pixels, *sum);
                    }
                }
            }
            // Behind the last channel nothing is read, so the addresses need not lie inside.
            kernels = kernels.wrapping_add(weights.step);
            channel = channel.wrapping_add(of.row());
        }
        for (i, sums) in sums.into_iter().enumerate() {
            let bias = _mm512_set1_ps(bias[i]);
            for (j, sum) in sums.into_iter().enumerate() {
                _mm512_storeu_ps(y.as_mut_ptr().add(i * n + pixel + LANES * j), _mm512_add_ps(sum, bias));
            }
        }
    }
}

/// 16 / P values at `at`, and as many on each of P - 1 further rows.
///
/// # Safety
/// AVX-512 is there, and these values may be read.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn load<const P: usize>(at: *const f32, row: usize) -> __m512 {
    // SAFETY: AVX-512 and these values are there, says the caller.
    unsafe {
        match P {
            1 => _mm512_loadu_ps(at),
            2 => {
                let first = _mm512_castps_pd(_mm512_castps256_ps512(_mm256_loadu_ps(at)));
                _mm512_castpd_ps(_mm512_insertf64x4::<1>(first, _mm256_castps_pd(_mm256_loadu_ps(at.add(row)))))
            }
            _ => {
                let first = _mm512_castps128_ps512(_mm_loadu_ps(at));
                let two = _mm512_insertf32x4::<1>(first, _mm_loadu_ps(at.add(row)));
                let three = _mm512_insertf32x4::<2>(two, _mm_loadu_ps(at.add(2 * row)));
                _mm512_insertf32x4::<3>(three, _mm_loadu_ps(at.add(3 * row)))
            }
        }
    }
}

/// The gradient of a weight [outputs, C, 3, 3]: for each tap Σ dy · x over samples and pixels, with
/// x shifted by the tap.
pub(super) fn weight_gradient(_: Avx512, of: Images, x: &[f32], dy: &[f32], dw: &mut [f32]) {
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
    dw.par_chunks_mut(OUTPUTS * c * TAPS).enumerate().for_each(|(block, dw)| {
        let m = dw.len() / (c * TAPS);
        for (x, dy) in padded.chunks(together * c * of.plane()).zip(dy.chunks(together * outputs * n)) {
            let dy = &dy[block * OUTPUTS * n..];
            for first in (0..of.height).step_by(rows) {
                let rows = [first, of.height.min(first + rows)];
                for channel in 0..c {
                    let x = &x[channel * of.plane()..];
                    for ky in 0..3 {
                        let out = dw[channel * TAPS + 3 * ky..].chunks_mut(c * TAPS);
                        // SAFETY: a witness of AVX-512 was given; x begins with a padded plane and
                        // dy with m planes, and so they do again for each further sample; the rows
                        // lie inside them.
                        unsafe { add_taps_of(m, (of, outputs), x, dy, rows, ky, out) };
                    }
                }
            }
        }
    });
}

/// [`add_taps`] for the number of channels of this moment: 1 to 8.
///
/// # Safety
/// AVX-512 is there; `x`, `dy` and the rows are as [`add_taps`] needs them, for `m` channels, 1 to
/// 8.
#[target_feature(enable = "avx512f")]
unsafe fn add_taps_of<'a>(
    m: usize,
    of: (Images, usize),
    x: &[f32],
    dy: &[f32],
    rows: [usize; 2],
    ky: usize,
    out: impl Iterator<Item = &'a mut [f32]>,
) {
    // SAFETY: AVX-512 is there, and x, dy and the rows are as the caller says.
    unsafe {
        match m {
            1 => add_taps::<1>(of, x, dy, rows, ky, out),
            2 => add_taps::<2>(of, x, dy, rows, ky, out),
            3 => add_taps::<3>(of, x, dy, rows, ky, out),
            4 => add_taps::<4>(of, x, dy, rows, ky, out),
            5 => add_taps::<5>(of, x, dy, rows, ky, out),
            6 => add_taps::<6>(of, x, dy, rows, ky, out),
            7 => add_taps::<7>(of, x, dy, rows, ky, out),
            _ => add_taps::<OUTPUTS>(of, x, dy, rows, ky, out),
        }
    }
}

/// Adds the three taps of kernel row `ky`, for M result channels and one of x, summed over the rows
/// `first..last` of every sample in x [S, C, …] and dy [S, outputs, …].
///
/// # Safety
/// AVX-512 is there; in each sample `x` begins with a padded plane and `dy` with M planes, the rows
/// lie inside them, and the width is a multiple of 16.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn add_taps<'a, const M: usize>(
    (of, outputs): (Images, usize),
    x: &[f32],
    dy: &[f32],
    [first, last]: [usize; 2],
    ky: usize,
    out: impl Iterator<Item = &'a mut [f32]>,
) {
    let mut sums = [[_mm512_setzero_ps(); 3]; M];
    for (x, dy) in x.chunks(of.channels * of.plane()).zip(dy.chunks(outputs * of.pixels())) {
        for y in first..last {
            for column in (0..of.width).step_by(LANES) {
                // SAFETY: row y + ky of the padded plane has w + 2 values, so 16 from `column` + 2
                // on too; dy as the caller says.
                unsafe {
                    let x = x.as_ptr().add((y + ky) * of.row() + column);
                    let x = [_mm512_loadu_ps(x), _mm512_loadu_ps(x.add(1)), _mm512_loadu_ps(x.add(2))];
                    for (i, sums) in sums.iter_mut().enumerate() {
                        let dy = _mm512_loadu_ps(dy.as_ptr().add(i * of.pixels() + y * of.width + column));
                        for (sum, x) in sums.iter_mut().zip(x) {
                            *sum = _mm512_fmadd_ps(dy, x, *sum);
                        }
                    }
                }
            }
        }
    }
    for (out, sums) in out.zip(sums) {
        for (out, sum) in out.iter_mut().zip(sums) {
            *out += _mm512_reduce_add_ps(sum);
        }
    }
}
