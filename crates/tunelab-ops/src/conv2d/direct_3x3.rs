//! 3x3 convolution with stride 1 between zeros, straight from the image: no columns are written.
//!
//! In: images, weight and dy as slices. Out: y, dx or dW.
//!
//! x [S, C, h, w] is copied once with its border of zeros. A tile of up to 14 channels and 32
//! pixels of the result stays in registers while all C·9 taps pass: the weights of the tile's
//! channels are packed tap by tap beforehand, the pixels of a tap are an unaligned load. The
//! gradient of x is the same with the weights turned around, which lie well as they are; the
//! gradient of the weights sums over pixels in lanes. Each number is summed in one order, whatever
//! the number of threads.
#![expect(unsafe_code, reason = "values are loaded and stored through pointers into slices whose sizes are checked")]

use crate::cpu::buffer::Scratch;
use crate::cpu::prefetch::Prefetch;
use crate::gemm::patches::Padded;
use crate::gemm::transpose::transpose_into;
use crate::simd::isa::{Isa, LANES, few_registers};
use rayon::prelude::*;

/// Channels of a tile at most, for any instructions.
const TILE_CHANNELS: usize = 14;
/// Taps of a kernel.
const TAPS: usize = 9;
/// Pieces of work at least, where there is enough to share out.
const TASKS: usize = 8;
/// Channels ahead whose kernels are fetched.
const PREFETCH_CHANNELS: usize = 4;
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
pub(super) fn conv<S: Isa>(
    isa: S,
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
    let (channels, vectors) = tile_size::<S>();
    let rows = outputs.div_ceil(outputs.div_ceil(channels));
    tasks(y, outputs, n, rows).into_par_iter().for_each(|Task { first, planes }| {
        let mut packed = Scratch::new();
        let m = planes.first().map_or(0, |(_, y)| y.len() / n);
        let weights = match direction {
            Direction::Forward => pack(isa, &weight[first * c * TAPS..][..m * c * TAPS], m, &mut packed),
            Direction::Backward => &weight[first * TAPS..],
        };
        // The last kernel of the last channel of the tile is the furthest that is read.
        let step = if direction == Direction::Forward { TAPS * LANES } else { outputs * TAPS };
        let last = if direction == Direction::Forward { TAPS * LANES } else { m * TAPS };
        assert!((1..=channels).contains(&m) && weights.len() >= (c - 1) * step + last, "direct_3x3: too few weights");
        let weights = Weights { values: weights, step, direction };
        let bias = std::array::from_fn(|i| bias.filter(|_| i < m).map_or(0.0, |b| b[first + i]));
        for (sample, y) in planes {
            assert_eq!(y.len(), m * n, "direct_3x3: the planes of a task are equally many");
            let x = &padded[sample * c * of.plane()..][..c * of.plane()];
            for pixel in (0..n).step_by(vectors * LANES) {
                // SAFETY: `supported` found that n is a multiple of 16; x holds h + 2 padded rows of C
                // channels, y m planes of n pixels, and the weights were measured above.
                unsafe { tile_pair(isa, m, of, &weights, x, pixel, &bias, y) };
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
fn pack<'s, S: Isa>(isa: S, kernels: &[f32], m: usize, scratch: &'s mut Scratch) -> &'s [f32] {
    let k = kernels.len() / m;
    let packed = scratch.first(k * LANES);
    let whole = k / LANES * LANES;
    for first in (0..whole).step_by(LANES) {
        // SAFETY: each of the m rows has 16 values from `first` on, and so has `packed` 16 rows.
        unsafe {
            transpose_into(isa, &kernels[first..], k, (m, LANES), &mut packed[first * LANES..][..LANES * LANES], LANES);
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
            1 => tile::<S, 1, $vectors, $rows, $forward> $arguments,
            2 => tile::<S, 2, $vectors, $rows, $forward> $arguments,
            3 => tile::<S, 3, $vectors, $rows, $forward> $arguments,
            4 => tile::<S, 4, $vectors, $rows, $forward> $arguments,
            5 => tile::<S, 5, $vectors, $rows, $forward> $arguments,
            6 => tile::<S, 6, $vectors, $rows, $forward> $arguments,
            7 if !few_registers::<S>() => tile::<S, 7, $vectors, $rows, $forward> $arguments,
            8 if !few_registers::<S>() => tile::<S, 8, $vectors, $rows, $forward> $arguments,
            9 if !few_registers::<S>() => tile::<S, 9, $vectors, $rows, $forward> $arguments,
            10 if !few_registers::<S>() => tile::<S, 10, $vectors, $rows, $forward> $arguments,
            11 if !few_registers::<S>() => tile::<S, 11, $vectors, $rows, $forward> $arguments,
            12 if !few_registers::<S>() => tile::<S, 12, $vectors, $rows, $forward> $arguments,
            13 if !few_registers::<S>() => tile::<S, 13, $vectors, $rows, $forward> $arguments,
            TILE_CHANNELS if !few_registers::<S>() => tile::<S, TILE_CHANNELS, $vectors, $rows, $forward> $arguments,
            _ => unreachable!("a tile has no more channels"),
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
/// `x`, the weights and `y` are as [`tile`] needs them, for `m` channels, of which a tile has as
/// many.
#[expect(clippy::too_many_arguments, reason = "a witness, sizes and slices")]
unsafe fn tile_pair<S: Isa>(
    isa: S,
    m: usize,
    of: Images,
    w: &Weights,
    x: &[f32],
    pixel: usize,
    bias: &[f32; TILE_CHANNELS],
    y: &mut [f32],
) {
    isa.run(
        #[inline(always)]
        // SAFETY: x, the weights and y are as the caller says; a second vector is there where it is
        // taken.
        || unsafe {
            if tile_size::<S>().1 > 1 && pixel + LANES < of.pixels() {
                tile_for!(m, 2, of, w.direction, (isa, of, w, x, pixel, bias, y));
            } else {
                tile_for!(m, 1, of, w.direction, (isa, of, w, x, pixel, bias, y));
            }
        },
    );
}

/// M result channels, N vectors of 16 pixels, each of which is P rows' of 16 / P.
///
/// # Safety
/// `x` holds the padded rows of all channels, the weights are there for each of
/// them and M channels, `y` holds M planes, and 16·N pixels from `pixel` on lie inside them,
/// `pixel` being a multiple of 16.
#[inline(always)]
unsafe fn tile<S: Isa, const M: usize, const N: usize, const P: usize, const FORWARD: bool>(
    isa: S,
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
    let mut sums = [[isa.zero(); N]; M];
    // SAFETY: the largest place read is that of the last pixel in the last channel, two rows and
    // two columns further on, which is the end of x; weights and y as the caller says. Fetching in
    // advance may name any address.
    unsafe {
        let (mut kernels, mut channel) = (weights.values.as_ptr(), x.as_ptr());
        for _ in 0..of.channels {
            if !FORWARD {
                // The kernels of the next channels are far apart in memory.
                let ahead = kernels.wrapping_add(PREFETCH_CHANNELS * weights.step);
                Prefetch::one(ahead, (M * TAPS).div_ceil(LANES)).fetch_run(0);
            }
            for tap in 0..TAPS {
                let mut pixels = [isa.zero(); N];
                for (pixels, place) in pixels.iter_mut().zip(places) {
                    *pixels = load::<S, P>(isa, channel.add(place + tap / 3 * row + tap % 3), row);
                }
                for (i, sums) in sums.iter_mut().enumerate() {
                    let at = if FORWARD { LANES * tap + i } else { TAPS * i + TAPS - 1 - tap };
                    let weight = isa.splat(*kernels.add(at));
                    for (sum, pixels) in sums.iter_mut().zip(pixels) {
                        *sum = isa.fma(weight, pixels, *sum);
                    }
                }
            }
            // Behind the last channel nothing is read, so the addresses need not lie inside.
            kernels = kernels.wrapping_add(weights.step);
            channel = channel.wrapping_add(of.row());
        }
        for (i, sums) in sums.into_iter().enumerate() {
            let bias = isa.splat(bias[i]);
            for (j, sum) in sums.into_iter().enumerate() {
                isa.store(y.as_mut_ptr().add(i * n + pixel + LANES * j), isa.add(sum, bias));
            }
        }
    }
}

/// 16 / P values at `at`, and as many on each of P - 1 further rows.
///
/// # Safety
/// These values may be read.
#[inline(always)]
unsafe fn load<S: Isa, const P: usize>(isa: S, at: *const f32, row: usize) -> S::F32 {
    // SAFETY: these values are there, says the caller.
    unsafe {
        match P {
            1 => isa.load(at),
            2 => isa.load_halves([at, at.add(row)]),
            _ => isa.load_quarters([at, at.add(row), at.add(2 * row), at.add(3 * row)]),
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
                let rows = [first, of.height.min(first + rows)];
                for channel in 0..c {
                    let x = &x[channel * of.plane()..];
                    for ky in 0..3 {
                        let out = dw[channel * TAPS + 3 * ky..].chunks_mut(c * TAPS);
                        // SAFETY: x begins with a padded plane and dy with m planes, and so they do
                        // again for each further sample; the rows lie inside them.
                        unsafe { add_taps_of(isa, m, (of, outputs), x, dy, rows, ky, out) };
                    }
                }
            }
        }
    });
}

/// [`add_taps`] for the number of channels of this moment.
///
/// # Safety
/// `x`, `dy` and the rows are as [`add_taps`] needs them, for `m` channels, of which a tile has as
/// many.
#[expect(clippy::too_many_arguments, reason = "a witness, sizes and slices")]
unsafe fn add_taps_of<'a, S: Isa>(
    isa: S,
    m: usize,
    of: (Images, usize),
    x: &[f32],
    dy: &[f32],
    rows: [usize; 2],
    ky: usize,
    out: impl Iterator<Item = &'a mut [f32]>,
) {
    isa.run(
        #[inline(always)]
        // SAFETY: x, dy and the rows are as the caller says.
        || unsafe {
            match m {
                1 => add_taps::<S, 1>(isa, of, x, dy, rows, ky, out),
                2 => add_taps::<S, 2>(isa, of, x, dy, rows, ky, out),
                3 if !few_registers::<S>() => add_taps::<S, 3>(isa, of, x, dy, rows, ky, out),
                4 if !few_registers::<S>() => add_taps::<S, 4>(isa, of, x, dy, rows, ky, out),
                5 if !few_registers::<S>() => add_taps::<S, 5>(isa, of, x, dy, rows, ky, out),
                6 if !few_registers::<S>() => add_taps::<S, 6>(isa, of, x, dy, rows, ky, out),
                7 if !few_registers::<S>() => add_taps::<S, 7>(isa, of, x, dy, rows, ky, out),
                OUTPUTS if !few_registers::<S>() => add_taps::<S, OUTPUTS>(isa, of, x, dy, rows, ky, out),
                _ => unreachable!("a tile has no more channels"),
            }
        },
    );
}

/// Adds the three taps of kernel row `ky`, for M result channels and one of x, summed over the rows
/// `first..last` of every sample in x [S, C, …] and dy [S, outputs, …].
///
/// # Safety
/// In each sample `x` begins with a padded plane and `dy` with M planes, the rows
/// lie inside them, and the width is a multiple of 16.
#[inline(always)]
unsafe fn add_taps<'a, S: Isa, const M: usize>(
    isa: S,
    (of, outputs): (Images, usize),
    x: &[f32],
    dy: &[f32],
    [first, last]: [usize; 2],
    ky: usize,
    out: impl Iterator<Item = &'a mut [f32]>,
) {
    let mut sums = [[isa.zero(); 3]; M];
    for (x, dy) in x.chunks(of.channels * of.plane()).zip(dy.chunks(outputs * of.pixels())) {
        for y in first..last {
            for column in (0..of.width).step_by(LANES) {
                // SAFETY: row y + ky of the padded plane has w + 2 values, so 16 from `column` + 2
                // on too; dy as the caller says.
                unsafe {
                    let x = x.as_ptr().add((y + ky) * of.row() + column);
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
